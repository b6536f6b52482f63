"""`BudgetModel`: what a network reaches, by its architecture, its budget and the dataset; a Gaussian process.

What it learned is a few thousand trainings, which it keeps, and the variances of `budget_kernel`; its answers are
those of Gaussian process regression (Rasmussen and Williams, 2006, section 2.2) on the logit of the accuracy. The noise
of an accuracy is known from the number of held-out images; that between seeds is learned. A curve is the last accuracy
and how far those at a few shares of the training are from it, a process each; so a partial curve tells the rest in
closed form.

Without a budget it answers as the predictor of long training that it carries.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import ClassVar

import torch

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.models.budget_curve import SHARES, binomial, condition, percent
from metad2a_plugin.models.budget_inputs import (
    budget_features,
    components,
    dataset_features,
    standardised,
)
from metad2a_plugin.models.budget_kernel import Contexts, Networks, joined
from metad2a_plugin.models.budget_process import Evidence, Fitted, Head
from metad2a_plugin.models.ensemble import SubspaceEnsemble
from metad2a_plugin.models.states import HEADS, LONG, check_budget_shapes, check_budget_values, part
from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.plugins.predictor import Prediction
from metad2a_plugin.plugins.task import Task
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.utils.last_use import LastUse

_HELD_OUT = 0.25
_IMAGES = (3, 12, 50, 200, 800, 3200, 12_800, 51_200)
"""Training images for which the width of intervals is computed; between them it is interpolated."""
_AT_ONCE = 256  # designs
_SAMPLING = 16.0
"""Distance between the features of n images and those of their whole dataset, times the root of n, about: mean of
subsets of a known dataset; features in standard deviations."""


@dataclass(frozen=True, eq=False)
class BudgetModel:
    """Predicts accuracies of networks trained within a budget; `meta.trainings.fit` makes it.

    Attributes:
        space: describes the architectures.
        long: answers where no budget is given.
        evidence: trainings.
        heads: processes of the last accuracy and of `SHARES`.
        budget_center, budget_scale, dataset_center, dataset_scale: standardisation of features.
        descriptor_center, descriptor_map: of `SearchSpace.describe`, ``[all]`` and ``[all, descriptors]``.
        columns: what is known of every architecture beforehand, in lexicographic order, ``[size, columns]``; empty
            where the space has no tables.
        correlation: of the heads' errors, ``[heads, heads]``.
        wiggle: variance of a curve's value around a smooth one, ``[1]``.
    """

    space: SearchSpace
    long: SubspaceEnsemble
    evidence: Evidence
    heads: tuple[Head, ...]
    budget_center: torch.Tensor
    budget_scale: torch.Tensor
    dataset_center: torch.Tensor
    dataset_scale: torch.Tensor
    descriptor_center: torch.Tensor
    descriptor_map: torch.Tensor
    columns: torch.Tensor
    correlation: torch.Tensor
    wiggle: torch.Tensor
    _features: LastUse[Task, torch.Tensor] = field(default_factory=LastUse, init=False, repr=False)

    knows_budgets: ClassVar[bool] = True

    @property
    def feature_dim(self) -> int:
        return self.long.feature_dim

    def to(self, device: str | torch.device) -> BudgetModel:
        """Itself: it always answers on the CPU, in double precision."""
        return self

    def distance(self, task: Task, budget: Budget | None = None) -> float:
        """How far a dataset may be from those of meta-training, of which 99% are within 1.

        With a budget it is by the features that answers go by: to the nearest of the tasks that were trained, and what
        few images make uncertain of it, in units of how far these tasks are from the nearest of another image set.
        Without one it is that of `long`.
        """
        if budget is None:
            return self.long.distance(task)
        contexts = self.evidence.contexts
        apart = torch.cdist(contexts.dataset, contexts.dataset)
        same = contexts.image_set[:, None] == contexts.image_set[None]
        unit = apart.masked_fill(same, math.inf).amin(1).quantile(0.99)
        nearest = float(torch.cdist(self._dataset(task)[None], contexts.dataset).min())
        return (nearest + _SAMPLING / math.sqrt(len(task.labels))) / float(unit)

    # -- state -------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, torch.Tensor]:
        found = {name: getattr(self, name) for name in _TENSORS}
        found |= {f"contexts.{n}": getattr(self.evidence.contexts, n) for n in _CONTEXTS}
        found["networks.columns"] = self.evidence.networks.columns
        found |= {"context": self.evidence.context, "places": self.evidence.places}
        for name, head in zip(HEADS, self.heads, strict=True):
            found |= {f"{name}.{key}": value for key, value in head.state().items()}
        found |= {f"{LONG}{name}": tensor for name, tensor in self.long.state_dict().items()}
        return {name: tensor.float().contiguous() for name, tensor in found.items()}

    @classmethod
    def from_state_dict(cls, state: dict[str, torch.Tensor], space: SearchSpace) -> BudgetModel:
        """Raises `SchemaError` when a tensor is missing, unknown, or not what `models.states` says of it."""
        check_budget_shapes({name: tuple(tensor.shape) for name, tensor in state.items()}, space)
        check_budget_values(state, space)
        long = SubspaceEnsemble.from_state_dict(part(state, LONG), space)
        tensors = {name: state[name].double() for name in _TENSORS}
        places = state["places"].long()
        ids = {name: state[f"contexts.{name}"].long() for name in ("image_set", "task", "number")}
        floats = {name: state[f"contexts.{name}"].double() for name in ("budget", "dataset")}
        contexts, context = Contexts(**floats, **ids), state["context"].long()
        heads = tuple(Head.of(part(state, f"{name}.")) for name in HEADS)
        vertices = _vertices(space, places)
        features = components(space, vertices, tensors["descriptor_center"], tensors["descriptor_map"])
        kind = space.places(space.simplify(vertices))
        networks = Networks(features, state["networks.columns"].double(), kind)
        return cls(space, long, Evidence(contexts, context, networks, places), heads, **tensors)

    # -- inputs ------------------------------------------------------------------------------
    def networks(self, vertices: torch.Tensor) -> Networks:
        """Encoded architectures, int64 ``[n, vertices]``, as the processes read them."""
        places = self.space.places(self.space.simplify(vertices))
        descriptors = components(self.space, vertices, self.descriptor_center, self.descriptor_map)
        columns = (
            self.columns[self.space.places(vertices)] if len(self.columns) else torch.zeros(len(vertices), 0).double()
        )
        return Networks(descriptors, columns, places)

    def context(self, task: Task | None, budget: Budget) -> Contexts:
        """A new one; `budget.images` must be given."""
        numbers = (budget_features(self.space, budget) - self.budget_center) / self.budget_scale
        dataset = torch.full_like(self.dataset_center, torch.nan) if task is None else self._dataset(task)
        new = torch.tensor([-1])
        return Contexts(numbers[None], dataset[None], new, new, new)

    def _dataset(self, task: Task) -> torch.Tensor:
        """Standardised features, ``[dataset features]``."""
        features = self._features.get(task, lambda: dataset_features(task))
        return standardised(features, self.dataset_center, self.dataset_scale)

    # -- answers -----------------------------------------------------------------------------
    @torch.inference_mode()
    def predict_task(self, task: Task | None, vertices: torch.Tensor, budget: Budget | None = None) -> Prediction:
        """Accuracy of every architecture on held-out images of one dataset.

        Args:
            task: the dataset; None for one of which nothing is known.
            vertices: encoded architectures, int64 ``[n, vertices]``.
            budget: what each is trained with; None for long training, on the scale of `long`.

        Raises:
            ConfigError: neither the budget nor the task says how many images there are.
        """
        if budget is None:
            return self.long.predict_task(task, vertices)
        budget = budget.resolved(None if task is None else _images(task))
        networks, context = self.networks(vertices), partial(self.context, task)
        mean = self._answer(context(budget), networks, budget.images or 1)[0]
        grid = _grid(budget.images or 1)
        widths = [self._answer(context(replace(budget, images=n)), networks, n)[1] for n in grid]
        told = torch.full((len(mean),), float(budget.images or 1))
        return self._prediction(task, vertices, mean, grid, torch.stack(widths), told)

    @torch.inference_mode()
    def median_task(self, task: Task | None, vertices: torch.Tensor, budget: Budget) -> torch.Tensor:
        """Median of what `predict_task` gives, percent ``[n]``: without its width it takes a fraction of the time."""
        context = self.context(task, budget.resolved(None if task is None else _images(task)))
        mean = 100 * self._fitted(0).mean(context, self.networks(vertices)).sigmoid()
        return torch.where(self.space.dead_mask(vertices), _chance(task), mean).float()

    @torch.inference_mode()
    def predict_designs(self, task: Task | None, vertices: torch.Tensor, budgets: Sequence[Budget]) -> Prediction:
        """`predict_task` of architectures with a budget each.

        Args:
            task: the dataset; None for one of which nothing is known.
            vertices: encoded architectures, int64 ``[n, vertices]``.
            budgets: ``n``, each given.

        Raises:
            ConfigError: there are not as many budgets as architectures, or how many images there are is not known.
        """
        if len(budgets) != len(vertices):
            raise ConfigError(f"a budget each is needed for {len(vertices)} architectures, got {len(budgets)}")
        images = None if task is None else _images(task)
        numbers: dict[Budget, int] = {}
        index = torch.tensor([numbers.setdefault(b.resolved(images), len(numbers)) for b in budgets], dtype=torch.int64)
        resolved, networks = list(numbers), self.networks(vertices)
        told = torch.tensor([float(budget.images or 1) for budget in resolved], dtype=torch.float64)[index]
        contexts = joined([self.context(task, budget) for budget in resolved])
        grid = _grid(min((budget.images or 1 for budget in resolved), default=1))
        others = [joined([self.context(task, replace(b, images=n)) for b in resolved]) for n in grid]
        found = []
        for rows in torch.arange(len(vertices)).split(_AT_ONCE):
            at, some = index[rows], networks[rows]
            mean = self._answer(contexts, some, told[rows], at)[0]
            widths = [self._answer(other, some, n, at)[1] for other, n in zip(others, grid, strict=True)]
            found.append(self._prediction(task, vertices[rows], mean, grid, torch.stack(widths), told[rows]))
        return sum(found[1:], found[0]) if found else Prediction(torch.zeros(0), torch.zeros(0), percent=True)

    def _answer(
        self, contexts: Contexts, networks: Networks, images: torch.Tensor | float, at: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation in percent of one measured value of each network, ``[n]``; `at`: its context."""
        fitted = self._fitted(0)
        if at is None:
            mean, variance = fitted.posterior(contexts, networks)
        else:
            mean, variance = fitted.of_each(contexts, at, networks)
        seeds = fitted.draw_noise(contexts if at is None else contexts[at])
        variance = (variance + seeds) * fitted.head.scale.square()
        return percent(mean, variance + binomial(mean.sigmoid(), _HELD_OUT * images))

    def _prediction(
        self,
        task: Task | None,
        vertices: torch.Tensor,
        mean: torch.Tensor,
        numbers: Sequence[int],
        widths: torch.Tensor,
        images: torch.Tensor,
    ) -> Prediction:
        """Widths ``[numbers, n]`` never grow with the images; networks that cannot learn are at chance."""
        widths = widths.flip(0).cummax(0).values.flip(0)
        grid = torch.tensor(numbers, dtype=torch.float64).log()
        at = images.double().log().clamp(grid[0], grid[-1])
        right = torch.searchsorted(grid, at).clamp(1, len(grid) - 1)
        part = (at - grid[right - 1]) / (grid[right] - grid[right - 1])
        every = torch.arange(len(mean))
        std = (1 - part) * widths[right - 1, every] + part * widths[right, every]
        live = ~self.space.dead_mask(vertices)
        mean, std = torch.where(live, mean, _chance(task)), torch.where(live, std, std.new_tensor(2.0))
        return Prediction(mean.float(), std.float(), percent=True)

    @torch.inference_mode()
    def curve(
        self, task: Task | None, vertices: torch.Tensor, budget: Budget, seen: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Accuracy in percent after every epoch, mean and standard deviation, float32 ``[n, epochs]`` each.

        Args:
            task, vertices, budget: as in `predict_task`, but for a budget that must be given.
            seen: accuracies of the first epochs, ``[n, k]``, in percent; all others are predicted given them.

        Raises:
            ConfigError: more is seen than there are epochs, or not of as many networks.
        """
        budget = budget.resolved(None if task is None else _images(task))
        seen = torch.zeros(len(vertices), 0) if seen is None else seen
        if seen.ndim != 2 or len(seen) != len(vertices) or seen.shape[1] > budget.epochs:
            raise ConfigError(
                f"seen must be [{len(vertices)}, at most {budget.epochs}] accuracies, got {list(seen.shape)}"
            )
        context = self.context(task, budget)
        means, joint = self.logits(context, self.networks(vertices), _HELD_OUT * (budget.images or 1))
        mean, variance = condition(means, joint, budget.epochs, seen, self.wiggle)
        middle, std = percent(mean, variance)
        middle[:, : seen.shape[1]], std[:, : seen.shape[1]] = seen.double(), 0.0
        return middle.float(), std.float()

    def logits(self, context: Contexts, networks: Networks, held_out: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Of a curve at `SHARES` and its end, mean ``[n, heads]`` and covariance ``[n, heads, heads]``.

        Args:
            context: one.
            networks: of which curves are asked.
            held_out: images that accuracies are counted on.
        """
        means, spreads = [], []
        for number in range(len(HEADS)):
            fitted = self._fitted(number)
            mean, variance = fitted.posterior(context, networks)
            variance = (variance + fitted.draw_noise(context)) * fitted.head.scale.square()
            # All values of a curve are counted on the same images, so their differences are not.
            variance = variance if number else variance + binomial(mean.sigmoid(), held_out)
            means.append(mean)
            spreads.append(variance.sqrt())
        mean, spread = torch.stack(means, 1), torch.stack(spreads, 1)
        joint = spread[:, :, None] * self.correlation * spread[:, None, :]
        # From (last, distances from it) to (at each share, last).
        to = torch.zeros(len(HEADS), len(HEADS), dtype=torch.float64)
        to[:-1, 1:], to[:, 0] = torch.eye(len(SHARES), dtype=torch.float64), 1.0
        return mean @ to.T, to @ joint @ to.T

    def _fitted(self, head: int) -> Fitted:
        if head not in self._posteriors:
            self._posteriors[head] = Fitted(self.heads[head], self.evidence)
        return self._posteriors[head]

    @cached_property
    def _posteriors(self) -> dict[int, Fitted]:
        return {}


_TENSORS = (
    "budget_center", "budget_scale", "dataset_center", "dataset_scale", "descriptor_center", "descriptor_map",
    "columns", "correlation", "wiggle",
)  # fmt: skip
_CONTEXTS = ("budget", "dataset", "image_set", "task", "number")


def _grid(least: int) -> tuple[int, ...]:
    """Of `_IMAGES` the last that is not more than `least`, and all that are: no others tell a width."""
    return _IMAGES[max(0, min(bisect_right(_IMAGES, least), len(_IMAGES) - 1) - 1) :]


def _images(task: Task) -> int:
    return len(task.labels) if task.images is None else task.images


def _chance(task: Task | None) -> torch.Tensor:
    """Accuracy of always naming the most frequent class, percent."""
    share = 0.1 if task is None else float(task.labels.bincount().max()) / len(task.labels)
    return torch.tensor(100 * share, dtype=torch.float64)


def _vertices(space: SearchSpace, places: torch.Tensor) -> torch.Tensor:
    """Inverse of `SearchSpace.places`."""
    order = torch.empty(space.size, dtype=torch.int64)
    every = space.all_vertices()
    order[space.places(every)] = torch.arange(space.size)
    return every[order[places]]
