"""What measured values add to predictions: a Gaussian process of architectures, with the prediction as its mean.

Values and predictions may be on different scales (another dataset, another training): both are standardised. How far
predictions are believed, how much noise there is and who learns from whom is learned from the values: see `evidence`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from metad2a_plugin.models.evidence import (
    SLOPE_VARIANCE,
    Learned,
    Pairs,
    learn,
    learn_all,
    learned_from,
    log_improvement,
    squash,
    unsquash,
)
from metad2a_plugin.spaces.base import SearchSpace

LEARN_FROM = 3
"""Values from which it is worth listening to them."""

Describe = Callable[[torch.Tensor], torch.Tensor]
"""Standardised structure of encoded architectures: int64 ``[n, vertices]`` to float64 ``[n, k]``."""


def structure_of(space: SearchSpace, vertices: torch.Tensor) -> Describe:
    """The space's descriptors of structure, standardised over some architectures.

    Args:
        space: whose `describe` is asked.
        vertices: simplified, encoded architectures, int64 ``[m, vertices]``.
    """
    known = space.describe(vertices).structure.double()
    scale = known.std(0, correction=0)
    told = scale > 1e-9  # what is the same for all of them tells nothing
    return _Structure(space, known.mean(0)[told], scale[told], told)


@dataclass(frozen=True)
class _Structure:
    """A function that can be pickled: see `structure_of`."""

    space: SearchSpace
    center: torch.Tensor
    scale: torch.Tensor
    told: torch.Tensor

    def __call__(self, vertices: torch.Tensor) -> torch.Tensor:
        return (self.space.describe(vertices).structure.double()[:, self.told] - self.center) / self.scale


class ResidualProcess:
    """Posterior of values, given some of them and predictions of all.

    Made so that few values do no harm to the order of a good prediction. Their low tail is drawn in (`squash`, twice):
    a single bad network would else weigh more than the order of all good ones. And answers are averaged over
    hyper-parameters (`learn_all`), of which few values do not tell the right ones.

    Args:
        told: simplified, encoded architectures, int64 ``[n, vertices]``; at least two.
        values: what was measured of them, float64 ``[n]``.
        predicted: what was predicted of them, float64 ``[n]``.
        everything: what was predicted over the whole space, float64 ``[m]``: it says what is much and what is little.
        describe: of `structure_of`, to share strength between architectures of similar structure; None does not.

    Attributes:
        learned: the hyper-parameters that are likeliest.
        slope: of standardised values on standardised predictions, as it is expected now: the weight of the prediction.
    """

    def __init__(
        self,
        told: torch.Tensor,
        values: torch.Tensor,
        predicted: torch.Tensor,
        everything: torch.Tensor,
        describe: Describe | None = None,
    ) -> None:
        self._frame = _Frame.of(everything, describe)
        self._told = self._frame.points(told, predicted)
        self._values, squashed = values, squash(squash(values))
        self._center, self._scale = squashed.mean(), squashed.std().clamp(min=1e-9)
        standard = _standard(squashed)
        first = self._told.first(learned_from(len(values)))
        start = _standard(squashed[: len(first.predicted)])
        every = learn_all(first.pairs(first), first.predicted, start, first.structure.shape[1] > 0)
        self.learned = every[0][1]
        pairs, self.slope = self._told.pairs(self._told), 0.0
        self._members: list[_Member] = []
        for weight, learned in every:
            factor = torch.linalg.cholesky(learned.covariance(pairs) + learned.noise * torch.eye(len(told)))
            residual = (standard - learned.slope * self._told.predicted)[:, None]
            weights = torch.cholesky_solve(residual, factor)[:, 0]
            slope = learned.slope + SLOPE_VARIANCE * float(self._told.predicted @ weights)
            self.slope += weight * slope
            self._members.append(_Member(weight, learned, factor, weights))

    def posterior(self, vertices: torch.Tensor, predicted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of values that are squashed and standardised, float64 ``[m]`` each.

        Args:
            vertices: simplified, encoded architectures, int64 ``[m, vertices]``.
            predicted: of the same, float64 ``[m]``.
        """
        points = self._frame.points(vertices, predicted)
        pairs = self._told.pairs(points)
        mean = square = torch.zeros(len(vertices), dtype=torch.float64)
        for weight, learned, factor, weights in self._members:
            cross = learned.covariance(pairs)
            whitened = torch.linalg.solve_triangular(factor, cross, upper=False)
            variance = (learned.variance(points.predicted) - whitened.square().sum(0)).clamp(min=0)
            own = learned.slope * points.predicted + weights @ cross
            mean = mean + weight * own
            square = square + weight * (own.square() + learned.deviation**2 * variance)
        return mean, (square - mean.square()).clamp(min=0).sqrt()

    def predict(self, vertices: torch.Tensor, predicted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Median, and half of the width of the middle 68%, in the unit of the values; arguments as of `posterior`."""
        mean, std = self.posterior(vertices, predicted)
        once = squash(self._values)
        low, median, high = (
            unsquash(unsquash(self._center + self._scale * one, once), self._values)
            for one in (mean - std, mean, mean + std)
        )
        return median, (high - low) / 2


class _Member(NamedTuple):
    """What a process of some hyper-parameters needs to answer: factor ``[n, n]``, weights of the told ones ``[n]``."""

    weight: float
    learned: Learned
    factor: torch.Tensor
    weights: torch.Tensor


class GrowingProcess:
    """`ResidualProcess` of fixed candidates that hears one value after the other, without computing all anew.

    What it answers depends on the values and their order alone, to the last bit.

    Args:
        candidates: simplified, encoded architectures, int64 ``[m, vertices]``.
        predicted: what was predicted of them, float64 ``[m]``.
        describe: as in `ResidualProcess`.
        squashed: draw in the low tail of the values, to look for the best: see `evidence.squash`.
    """

    def __init__(
        self,
        candidates: torch.Tensor,
        predicted: torch.Tensor,
        describe: Describe | None = None,
        squashed: bool = False,
    ) -> None:
        self._frame = _Frame.of(predicted, describe)
        self._candidates = self._frame.points(candidates, predicted)
        self._squashed = squashed
        self.forget()

    def forget(self) -> None:
        """Be as before the first value."""
        size = len(self._candidates.vertices)
        self._told = self._candidates.first(0)
        self._values = torch.empty(0, dtype=torch.float64)
        self._learned: Learned | None = None
        self._learned_from = self._rows = 0
        self._factor = torch.zeros(0, 0, dtype=torch.float64)
        self._whitened = torch.empty(0, size, dtype=torch.float64)
        self._variance = torch.empty(size, dtype=torch.float64)

    def __len__(self) -> int:
        return len(self._values)

    def tell(self, architecture: torch.Tensor, predicted: float, value: float) -> None:
        """Hear a value.

        Args:
            architecture: simplified and encoded, int64 ``[vertices]``.
            predicted: what was predicted of it.
            value: what was measured.
        """
        self._hear(self._frame.points(architecture[None], torch.tensor([predicted], dtype=torch.float64)), value)

    def tell_of(self, candidate: int, value: float) -> None:
        """Hear the value of a candidate, which is known already; the same as `tell`, but faster.

        Args:
            candidate: its number.
            value: what was measured.
        """
        self._hear(_Points(*(part[candidate : candidate + 1] for part in self._candidates)), value)

    def _hear(self, point: _Points, value: float) -> None:
        self._told = _Points(*(torch.cat(pair) for pair in zip(self._told, point, strict=True)))
        self._values = torch.cat((self._values, self._values.new_tensor([value])))

    @property
    def learned(self) -> Learned:
        """The hyper-parameters, after two values at the least."""
        first = learned_from(len(self))
        if self._learned is None or first != self._learned_from:
            told = self._told.first(first)
            self._learned, self._learned_from = _learn(told, self._standard(first)), first
            self._grow(max(16, 2 * len(self)))
            covariance = self._learned.covariance(told.pairs(told)) + self._learned.noise * torch.eye(first)
            self._factor[:first, :first] = factor = torch.linalg.cholesky(covariance)
            cross = self._learned.covariance(told.pairs(self._candidates))
            self._whitened[:first] = torch.linalg.solve_triangular(factor, cross, upper=False)
            self._variance = self._learned.variance(self._candidates.predicted)
            self._variance -= self._whitened[:first].square().sum(0)
            self._rows = first
        return self._learned

    def posterior(self) -> tuple[torch.Tensor, torch.Tensor]:
        """`ResidualProcess.posterior` of the candidates, after two values at the least."""
        learned, n = self.learned, len(self)
        while self._rows < n:
            self._append(learned)
        residual = self._standard(n) - learned.slope * self._told.predicted
        residual = torch.linalg.solve_triangular(self._factor[:n, :n], residual[:, None], upper=False)[:, 0]
        mean = learned.slope * self._candidates.predicted + residual @ self._whitened[:n]
        return mean, learned.deviation * self._variance.clamp(min=0).sqrt()

    def improvement(self) -> torch.Tensor:
        """Logarithm of how much each candidate is expected to improve on the best value, float64 ``[m]``."""
        return log_improvement(*self.posterior(), float(self._standard(len(self)).max()))

    def _standard(self, n: int) -> torch.Tensor:
        """The first `n` values, on the scale that the process is of, ``[n]``."""
        values = self._values[:n]
        return _standard(squash(values) if self._squashed else values)

    def _append(self, learned: Learned) -> None:
        """One more row of the Cholesky factor, and of what it makes of the candidates."""
        n = self._rows
        if n == len(self._factor):
            self._grow(2 * n)
        told, last = self._told.first(n), self._told.first(n + 1).last()
        cross = learned.covariance(told.pairs(last))
        row = torch.linalg.solve_triangular(self._factor[:n, :n], cross, upper=False)[:, 0]
        diagonal = (learned.variance(last.predicted)[0] + learned.noise - row @ row).sqrt()
        self._factor[n, :n], self._factor[n, n] = row, diagonal
        own = learned.covariance(last.pairs(self._candidates))[0]
        self._whitened[n] = (own - row @ self._whitened[:n]) / diagonal
        self._variance -= self._whitened[n].square()
        self._rows = n + 1

    def _grow(self, capacity: int) -> None:
        n = self._rows
        factor = torch.zeros(capacity, capacity, dtype=torch.float64)
        whitened = torch.empty(capacity, self._whitened.shape[1], dtype=torch.float64)
        factor[:n, :n], whitened[:n] = self._factor[:n, :n], self._whitened[:n]
        self._factor, self._whitened = factor, whitened


class _Points(NamedTuple):
    """Architectures as the kernels see them: int64 ``[n, vertices]``, float64 ``[n, k]`` and ``[n]``."""

    vertices: torch.Tensor
    structure: torch.Tensor
    predicted: torch.Tensor

    def first(self, n: int) -> _Points:
        return _Points(*(part[:n] for part in self))

    def last(self) -> _Points:
        return _Points(*(part[-1:] for part in self))

    def pairs(self, others: _Points) -> Pairs:
        changed = torch.zeros(len(self.vertices), len(others.vertices), dtype=torch.float64)
        for own, other in zip(self.vertices.T, others.vertices.T, strict=True):  # [n, m, vertices] would be large
            changed += own[:, None] != other
        a, b = self.structure, others.structure
        apart = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
        apart = apart.clamp(min=0) / max(1, a.shape[1])
        return Pairs(changed, apart, self.predicted[:, None] * others.predicted)


class _Frame(NamedTuple):
    """How architectures become `_Points`: predictions are standardised by `center` and `spread`."""

    center: torch.Tensor
    spread: torch.Tensor
    describe: Describe | None

    @classmethod
    def of(cls, predicted: torch.Tensor, describe: Describe | None) -> _Frame:
        return cls(predicted.mean(), predicted.std(correction=0).clamp(min=1e-9), describe)

    def points(self, vertices: torch.Tensor, predicted: torch.Tensor) -> _Points:
        none = torch.empty(len(vertices), 0, dtype=torch.float64)
        structure = none if self.describe is None else self.describe(vertices)
        return _Points(vertices, structure, (predicted - self.center) / self.spread)


def _learn(told: _Points, values: torch.Tensor) -> Learned:
    first = learned_from(len(values))
    told = told.first(first)
    return learn(told.pairs(told), told.predicted, _standard(values[:first]), told.structure.shape[1] > 0)


def _standard(values: torch.Tensor) -> torch.Tensor:
    return (values - values.mean()) / values.std().clamp(min=1e-9)
