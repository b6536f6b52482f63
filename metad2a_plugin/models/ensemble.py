"""The default performance predictor: a random-subspace ensemble of Bayesian linear models.

Each member sees a random subset of the structural descriptors (Ho, 1998), all detailed descriptors,
and the dataset's code. `metad2a_plugin.meta.fit` trains it; this module only evaluates, in a few matrix products.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import ClassVar, NamedTuple

import torch

from metad2a_plugin.models import states
from metad2a_plugin.models.few_images import images_of_a_class, underestimate
from metad2a_plugin.models.set_code import EMBEDDING_SCALES, OF_CLASSES, image_separability, remoteness, task_code
from metad2a_plugin.plugins.predictor import Prediction
from metad2a_plugin.plugins.task import Task, class_means
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.utils.last_use import LastUse

CENTER, SCALE = 73.0, 5.0
"""`SubspaceEnsemble.response` where nothing else is said."""
IMAGES = 10.65
"""`SubspaceEnsemble.images` where nothing else is said: those of the published meta-database."""
IGNORANCE = 100 / math.sqrt(12)
"""Standard deviation in points of a level of which only is known that it lies between 0 and 100."""


class Seen(NamedTuple):
    """What was seen of a dataset.

    Attributes:
        code: mean of the codes of its `Task.sets`, ``[code]``.
        classes: of each of these.
        images: different ones of a class on average, see `few_images.images_of_a_class`.
    """

    code: torch.Tensor
    classes: int
    images: float


@dataclass(frozen=True, eq=False)
class SubspaceEnsemble:
    """Weights of a trained ensemble of ``members`` models; a cell is any architecture of the space.

    Attributes:
        space: describes the architectures (`SearchSpace.describe`).
        cell_center, cell_scale: standardisation of the cell descriptors, ``[descriptors]``.
        cell_weight: ``[members, descriptors]``; zero outside a member's subspace.
        cell_effect: one number per cell in lexicographic order, counted as one more descriptor, ``[size]``
            (`SearchSpace.places`); empty without benchmark tables.
        anchors: class prototypes the dataset code refers to, ``[anchors, dim]``.
        unit: median squared distance between anchors, ``[1]``.
        task_center, task_scale: standardisation of the dataset code, ``[code]``.
        task_weight: ``[members, code]``.
        task_spread: standard deviation of the datasets' mean accuracies, ``[1]``.
        factors: projection of the standardised code to a few principal components, ``[code, factors]``.
        interaction: how each component changes the weight of a descriptor, ``[members, factors, descriptors]``.
        gate: intercept and slope, ``[members, 2]``, of the share of the interaction that a cell takes.
        radius: norm of the factors that 99% of the meta-training rows stay within, ``[1]``.
        classes: of a meta-training task, ``[1]``.
        images: of a class, on average, that 99% of the meta-training tasks have at least, ``[1]``.
        reach: how far from all anchors the farthest meta-training row lies (`remoteness`), ``[1]``.
        offset: mean accuracy of each member, ``[members]``.
        second_offset: difference of the second evaluation protocol of the meta-database, ``[members]``.
        second_logit: log-odds of that protocol from the cell descriptors, ``[1 + descriptors]``.
        noise: standard deviation of a measurement under either protocol, ``[2]``.
        response: accuracies in percent are ``response[0] + response[1] * value``, and all others are values; ``[2]``.
    """

    space: SearchSpace
    cell_center: torch.Tensor
    cell_scale: torch.Tensor
    cell_weight: torch.Tensor
    cell_effect: torch.Tensor
    anchors: torch.Tensor
    unit: torch.Tensor
    task_center: torch.Tensor
    task_scale: torch.Tensor
    task_weight: torch.Tensor
    task_spread: torch.Tensor
    factors: torch.Tensor
    interaction: torch.Tensor
    gate: torch.Tensor
    radius: torch.Tensor
    classes: torch.Tensor
    reach: torch.Tensor
    offset: torch.Tensor
    second_offset: torch.Tensor
    second_logit: torch.Tensor
    noise: torch.Tensor
    response: torch.Tensor = field(default_factory=lambda: torch.tensor([CENTER, SCALE]))
    images: torch.Tensor = field(default_factory=lambda: torch.tensor([IMAGES]))
    knows_budgets: ClassVar[bool] = False
    _coded: LastUse[Task, Seen] = field(default_factory=LastUse, init=False, repr=False)

    @property
    def feature_dim(self) -> int:
        return int(self.anchors.shape[1])

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {name: getattr(self, name) for name in _tensors()}

    @classmethod
    def from_state_dict(cls, state: dict[str, torch.Tensor], space: SearchSpace) -> SubspaceEnsemble:
        """Raises `SchemaError` when a tensor is missing, unknown, or not what `models.states` says of it."""
        states.check_ensemble_shapes({name: tuple(tensor.shape) for name, tensor in state.items()}, space)
        states.check_ensemble_values(state)
        return cls(space, **{name: tensor.float() for name, tensor in state.items()})

    def to(self, device: str | torch.device) -> SubspaceEnsemble:
        return SubspaceEnsemble(self.space, **{name: tensor.to(device) for name, tensor in self.state_dict().items()})

    def cell_features(self, vertices: torch.Tensor) -> torch.Tensor:
        """Standardised descriptors, ``[n, vertices]`` to ``[n, descriptors]``."""
        raw = torch.cat(self.space.describe(vertices), dim=1).to(self.cell_center.device)
        columns = [(raw - self.cell_center) / self.cell_scale]
        if len(self.cell_effect):
            columns.append(self.cell_effect[self.space.places(vertices).to(self.cell_effect.device), None])
        return torch.cat(columns, dim=1)

    @property
    def sees_images(self) -> bool:
        """Whether the code of a dataset also says how well its images are told apart."""
        return len(self.task_center) > len(EMBEDDING_SCALES) * len(self.anchors) + OF_CLASSES

    def codes(self, sets: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """Standardised codes ``[sets, code]`` of image sets of equally many classes each, as `Task.sets` gives them."""
        device, unit = self.anchors.device, float(self.unit)
        prototypes = torch.stack([class_means(*one) for one in sets]).to(device)
        images = None
        if self.sees_images:
            images = torch.stack([image_separability(*one, unit) for one in sets]).to(device)
        raw = task_code(prototypes, self.anchors, unit, images)
        # What cannot be known of classes with one image each is taken to be average.
        return (raw.where(raw.isfinite(), self.task_center) - self.task_center) / self.task_scale

    def distance(self, task: Task) -> float:
        """How far a dataset may be from those of meta-training, of which 99% are within 1.

        The larger of two ratios, the norm of its factors over `radius` and its remoteness over `reach`, times what few
        images and classes hide of it (`few_images.underestimate`).
        """
        return float(self._farthest(self.encode_task(task)))

    def encode_task(self, task: Task) -> Seen:
        """The code of a dataset, and of how much it was made."""

        def encode() -> Seen:
            sets = task.sets()
            return Seen(self.codes(sets).mean(0), len(sets[0][1].unique()), images_of_a_class(sets))

        return self._coded.get(task, encode)

    def _farthest(self, seen: Seen) -> torch.Tensor:
        """`distance`: what the level is known by, where `_distance` is what the order is known by."""
        hidden = underestimate(seen.images, seen.classes) / underestimate(float(self.images), float(self.classes))
        return self._distance(seen.code) * hidden

    def _distance(self, code: torch.Tensor, classes: int | None = None) -> torch.Tensor:
        """``[...]`` of codes ``[..., code]`` of datasets with so many classes; None: as many as in meta-training."""
        # A mean over fewer classes scatters more, without being any less of the kind.
        scatter = 1.0 if classes is None else (self.classes / classes).clamp(min=1).sqrt()
        factors = (code @ self.factors).norm(dim=-1) / (self.radius * scatter)
        return factors.maximum(remoteness(code * self.task_scale + self.task_center, len(self.anchors)) / self.reach)

    @staticmethod
    def _share(distance: torch.Tensor) -> torch.Tensor:
        """How far what was learned of datasets is believed: 1 among those of meta-training, then falling to 0."""
        return distance.clamp(min=1) ** -4

    @torch.inference_mode()
    def predict_task(self, task: Task | None, vertices: torch.Tensor) -> Prediction:
        """Accuracy of every architecture on one dataset.

        Args:
            task: the dataset, of whose `Task.sets` the codes are averaged; None predicts for the average meta-training
                task.
            vertices: encoded architectures, int64 ``[n, vertices]``.
        """
        cells = self.cell_features(vertices)
        seen = None if task is None else self.encode_task(task)
        mean, std = self._answer(None if seen is None else seen.code, cells, seen)
        return Prediction(mean.cpu(), std.cpu(), percent=True)

    def members(self, code: torch.Tensor | None, cells: torch.Tensor, seen: Seen | None = None) -> torch.Tensor:
        """Each member's accuracy in percent, ``[n, members]``; `code` is ``[code]`` or ``[n, code]``.

        With `seen` its level is believed less than its order, which does not depend on it.
        """
        quality = cells @ self.cell_weight.T
        value = quality + self.offset
        if code is not None:
            near = self._distance(code, None if seen is None else seen.classes)
            factors = self._share(near)[..., None] * (code @ self.factors).clamp(-3, 3)
            crossed = torch.einsum("nf,mfd,nd->nm", factors.expand(len(cells), -1), self.interaction, cells)
            gate = torch.sigmoid(self.gate[:, 0] + self.gate[:, 1] * quality)
            believed = self._share(near if seen is None else self._farthest(seen))[..., None]
            value = value + believed * (code @ self.task_weight.T) + gate * crossed
        return self.response[0] + self.response[1] * value

    def predict_code(self, code: torch.Tensor | None, cells: torch.Tensor) -> Prediction:
        """`predict_task` from a meta-training task's `code` and `cell_features`; ``[n, code]`` is one each."""
        return Prediction(*self._answer(code, cells), percent=True)

    def _answer(
        self, code: torch.Tensor | None, cells: torch.Tensor, seen: Seen | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation, ``[n]`` each; without `seen` as of a meta-training task."""
        value = self.members(code, cells, seen)
        # Without a dataset, or far from those of meta-training, its level is unknown.
        unit = self.response[1]
        level = unit * self.task_spread
        if code is not None:
            distance = (self._distance(code) if seen is None else self._farthest(seen)).clamp(min=1)
            level = (level * distance * (1 - self._share(distance))).clamp(max=IGNORANCE)
        variance = (value - value.mean(1, keepdim=True)).square().mean(1) + (unit * self.noise[0]) ** 2 + level**2
        return value.mean(1), variance.sqrt()

    def mixture(
        self, code: torch.Tensor | None, cells: torch.Tensor, level: float = 0.9
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Mean and central interval of a meta-database row whose evaluation protocol is not known; ``[n]`` each.

        The released meta-database mixes two protocols about 16 points apart; which one a row used depends on
        its cell, so an honest prediction of a row is a mixture of both.
        """
        mean, std = self._answer(code, cells)
        share = torch.sigmoid(self.second_logit[0] + cells @ self.second_logit[1:])
        unit = self.response[1]
        shift = unit * self.second_offset.mean()
        spread = (std**2 + unit**2 * (self.noise[1] ** 2 - self.noise[0] ** 2)).sqrt()

        def cdf(x: torch.Tensor) -> torch.Tensor:
            a = torch.special.ndtr((x - mean) / std)
            return (1 - share) * a + share * torch.special.ndtr((x - mean - shift) / spread)

        def quantile(p: float) -> torch.Tensor:
            low, high = torch.zeros_like(mean) - 50, torch.zeros_like(mean) + 150
            for _ in range(40):
                middle = (low + high) / 2
                below = cdf(middle) < p
                low, high = torch.where(below, middle, low), torch.where(below, high, middle)
            return (low + high) / 2

        return mean + share * shift, quantile(0.5 - level / 2), quantile(0.5 + level / 2)


def _tensors() -> tuple[str, ...]:
    """Names of the weights."""
    return tuple(f.name for f in fields(SubspaceEnsemble) if f.name not in ("space", "_coded"))
