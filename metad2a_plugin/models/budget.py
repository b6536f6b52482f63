"""`BudgetModel`: what a network reaches, by its architecture, its budget and the dataset; a Gaussian process.

What it learned is a few thousand trainings, which it keeps, and the variances of `budget_kernel`; its answers are those of
Gaussian process regression (Rasmussen and Williams, 2006, section 2.2) on the logit of the accuracy. The noise of an accuracy
is known from the number of held-out images; that between seeds is learned. A curve is the last accuracy and how far
those at a few shares of the training are from it, a process each; so a partial curve tells the rest in closed form.

Without a budget it answers as the predictor of long training that it carries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import torch

from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.models.budget_curve import SHARES, binomial, condition, percent
from metad2a_plugin.models.budget_inputs import DATASET, budget_features, budget_names, dataset_features
from metad2a_plugin.models.budget_kernel import Contexts, Hyper, Networks
from metad2a_plugin.models.budget_process import Evidence, Fitted, Head
from metad2a_plugin.models.ensemble import SubspaceEnsemble
from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.plugins.predictor import Prediction
from metad2a_plugin.plugins.task import Task
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.utils.last_use import LastUse

HEADS = ("last", *(f"after_{share:g}" for share in SHARES))
"""Names of the processes."""
_LONG, _HELD_OUT = "long.", 0.25
_STEPS = 6  # how many doublings of the images an interval must be at least as wide as


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

    def distance(self, task: Task) -> float:
        """As that of `long`."""
        return self.long.distance(task)

    # -- state -------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, torch.Tensor]:
        found = {name: getattr(self, name) for name in _TENSORS}
        found |= {f"contexts.{n}": getattr(self.evidence.contexts, n) for n in _CONTEXTS}
        found["networks.columns"] = self.evidence.networks.columns
        found |= {"context": self.evidence.context, "places": self.evidence.places}
        for name, head in zip(HEADS, self.heads, strict=True):
            found |= {f"{name}.{key}": value for key, value in head.state().items()}
        found |= {f"{_LONG}{name}": tensor for name, tensor in self.long.state_dict().items()}
        return {name: tensor.float().contiguous() for name, tensor in found.items()}

    @classmethod
    def from_state_dict(cls, state: dict[str, torch.Tensor], space: SearchSpace) -> BudgetModel:
        """Raises `CheckpointError` when a tensor is missing, unknown, of another shape or of another version."""
        long = SubspaceEnsemble.from_state_dict(_part(state, _LONG), space)
        known = {*_TENSORS, "context", "networks.columns", "places", *(f"contexts.{n}" for n in _CONTEXTS)}
        parts = [f"hyper.{name}" for name in Hyper.names()] + ["rows", "target", "noise", "mean", "scale"]
        known |= {f"{head}.{part}" for head in HEADS for part in parts}
        given = {name for name in state if not name.startswith(_LONG)}
        if missing := sorted(known - given):
            raise CheckpointError(f"not a predictor of budgets: {missing[0]!r} is missing")
        if unknown := sorted(given - known):
            raise CheckpointError(f"not a predictor of budgets: {unknown[0]!r} is unknown")
        tensors = {name: state[name].double() for name in _TENSORS}
        places = state["places"].long()
        prior = tensors["columns"]
        described = sum(part.shape[1] for part in space.describe(space.encode([])))
        for what, found, expected in (
            ("features of a budget", len(tensors["budget_center"]), len(budget_names(space))),
            ("features of a dataset", len(tensors["dataset_center"]), len(DATASET)),
            ("descriptors of an architecture", len(tensors["descriptor_center"]), described),
            ("rows of the descriptors' map", len(tensors["descriptor_map"]), described),
            ("architectures", len(prior), space.size if len(prior) else 0),
            ("trainings", len(state["context"]), len(places)),
            ("errors' correlations", len(tensors["correlation"]), len(HEADS)),
        ):
            if found != expected:
                raise CheckpointError(f"it has {found} {what}, expected are {expected}")
        ids = {name: state[f"contexts.{name}"].long() for name in ("image_set", "task", "number")}
        floats = {name: state[f"contexts.{name}"].double() for name in ("budget", "dataset")}
        contexts, context = Contexts(**floats, **ids), state["context"].long()
        heads = tuple(Head.of(_part(state, f"{name}.")) for name in HEADS)
        if context.max() >= len(contexts) or max(int(head.rows.max()) for head in heads) >= len(context):
            raise CheckpointError("its trainings are of contexts that it does not have")
        if places.min() < 0 or places.max() >= space.size:
            raise CheckpointError(f"its trainings are of architectures that the space {space.name!r} does not have")
        vertices = _vertices(space, places)
        described = _describe(space, vertices, tensors["descriptor_center"], tensors["descriptor_map"])
        kind = space.places(space.simplify(vertices))
        networks = Networks(described, state["networks.columns"].double(), kind)
        return cls(space, long, Evidence(contexts, context, networks, places), heads, **tensors)

    # -- inputs ------------------------------------------------------------------------------
    def networks(self, vertices: torch.Tensor) -> Networks:
        """Encoded architectures, int64 ``[n, vertices]``, as the processes read them."""
        places = self.space.places(self.space.simplify(vertices))
        descriptors = _describe(self.space, vertices, self.descriptor_center, self.descriptor_map)
        columns = (
            self.columns[self.space.places(vertices)] if len(self.columns) else torch.zeros(len(vertices), 0).double()
        )
        return Networks(descriptors, columns, places)

    def context(self, task: Task | None, budget: Budget) -> Contexts:
        """A new one; `budget.images` must be given."""
        numbers = (budget_features(self.space, budget) - self.budget_center) / self.budget_scale
        if task is None:
            dataset = torch.full_like(self.dataset_center, torch.nan)
        else:
            dataset = self._features.get(task, lambda: dataset_features(task))
            # What is not known is taken to be average.
            dataset = ((dataset - self.dataset_center) / self.dataset_scale).nan_to_num().clamp(-4, 4)
        new = torch.tensor([-1])
        return Contexts(numbers[None], dataset[None], new, new, new)

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
        networks, live = self.networks(vertices), ~self.space.dead_mask(vertices)
        mean, variance = self._last(task, budget, networks)
        middle, std = percent(mean, variance)
        for step in range(1, _STEPS + 1):
            # More images never make an interval wider: the fewer there are, the more is left to chance.
            more = Budget(**{**vars(budget), "images": (budget.images or 1) * 2**step})
            std = std.maximum(percent(*self._last(task, more, networks))[1])
        blind = _chance(task)
        middle, std = torch.where(live, middle, blind), torch.where(live, std, std.new_tensor(2.0))
        return Prediction(middle.float(), std.float(), percent=True)

    def predict_designs(self, task: Task | None, designs: Sequence[tuple[torch.Tensor, Budget]]) -> list[Prediction]:
        """`predict_task` of architectures ``[n, vertices]`` with a budget each."""
        return [self.predict_task(task, vertices, budget) for vertices, budget in designs]

    def _last(self, task: Task | None, budget: Budget, networks: Networks) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance of the logit of one measured value, ``[n]`` each."""
        context, fitted = self.context(task, budget), self._fitted(0)
        mean, variance = fitted.posterior(context, networks)
        variance = (variance + fitted.draw_noise(context)) * fitted.head.scale.square()
        return mean, variance + binomial(mean.sigmoid(), _HELD_OUT * (budget.images or 1))

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
    "budget_center", "budget_scale", "dataset_center", "dataset_scale", "descriptor_center", "descriptor_map", "columns",
    "correlation", "wiggle",
)  # fmt: skip
_CONTEXTS = ("budget", "dataset", "image_set", "task", "number")


def _images(task: Task) -> int:
    return len(task.features) if task.images is None else task.images


def _chance(task: Task | None) -> torch.Tensor:
    """Accuracy of always naming the most frequent class, percent."""
    share = 0.1 if task is None else float(task.labels.bincount().max()) / len(task.labels)
    return torch.tensor(100 * share, dtype=torch.float64)


def _describe(space: SearchSpace, vertices: torch.Tensor, center: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
    return (torch.cat(space.describe(vertices), dim=1).double() - center) @ to


def _vertices(space: SearchSpace, places: torch.Tensor) -> torch.Tensor:
    """Inverse of `SearchSpace.places`."""
    order = torch.empty(space.size, dtype=torch.int64)
    every = space.all_vertices()
    order[space.places(every)] = torch.arange(space.size)
    return every[order[places]]


def _part(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
