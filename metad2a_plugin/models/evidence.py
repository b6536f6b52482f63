"""What a Gaussian process of measured values learns from them: noise, lengths, how far predictions are believed.

Values are standardised. Their model, in units of its deviation: a free level, plus a slope times the standardised
prediction, plus a process of the architecture, plus noise. The process has two kernels: `Pairs` tells how. All is
learned by marginal likelihood (Rasmussen and Williams, 2006, section 5.4.1) on a grid, the slope, the level and the
deviation in closed form, with hyper-priors that a few values do not outweigh.
"""

from __future__ import annotations

import math
from itertools import product
from typing import NamedTuple

import torch

_SHARES = (0.0, 0.3, 0.6, 0.9)
_LENGTHS = (1.0, 2.0)
_REACHES = (1.0, 2.0)
_NOISES = (0.01, 0.05, 0.2, 0.5)
_SLOPES = (0.0, 0.5, 1.0, 2.0)
SLOPE_VARIANCE = 0.25
"""Of the slope about each of the grid: what lies between and beyond is learned in closed form, also a negative one."""
_LEVEL_VARIANCE = 4.0
_NOISE_PRIOR = (0.1, 1.5)
"""Median of the noise's variance, and deviation of its logarithm."""
_WIDE_NOISES, _WIDE_NOISE_PRIOR = (*_NOISES, 2.0), (0.5, 1.5)
_SLOPE_PRIOR = (-2.0, -0.5, 0.0, -0.5)
"""Logarithms of weights of `_SLOPES` where hyper-parameters are averaged: a prediction is made to say something."""
_LEAST = 1e-3
"""Hyper-parameters of less than this share of the best one's weight are left out."""
_DEVIATION_PRIOR = (2.0, 1.0)
"""Shape and rate of the inverse gamma distribution of the squared deviation; values are standardised."""
MOST = 128
"""Values that are learned from: more change nothing any more, and take longer with their third power."""


class Pairs(NamedTuple):
    """What kernels need to know of pairs of architectures, float64 ``[n, m]`` each.

    Attributes:
        changed: decisions that differ. The kernel is ``exp(-changed / length)``.
        apart: mean squared distance of the standardised structures. The kernel is ``exp(-apart / reach ** 2 / 2)``:
            architectures that share no decision share strength by it.
        predicted: products of standardised predictions.
    """

    changed: torch.Tensor
    apart: torch.Tensor
    predicted: torch.Tensor


class Learned(NamedTuple):
    """Hyper-parameters of a process.

    Attributes:
        share: of the structure's kernel in the process.
        length: of the decisions' kernel, in changed decisions.
        reach: of the structure's kernel, in deviations of the structure.
        noise: variance of a value's noise, that of the process being one.
        slope: expected of values on predictions, both standardised, before any value is known.
        deviation: of the process, in deviations of the values.
    """

    share: float
    length: float
    reach: float
    noise: float
    slope: float
    deviation: float

    def covariance(self, pairs: Pairs) -> torch.Tensor:
        """Of values without noise, slope and level included, float64 ``[n, m]``, in squared units of `deviation`."""
        own = (-pairs.changed / self.length).exp()
        if self.share:
            own = self.share * (pairs.apart / (-2 * self.reach**2)).exp() + (1 - self.share) * own
        return own + _LEVEL_VARIANCE + SLOPE_VARIANCE * pairs.predicted

    def variance(self, predicted: torch.Tensor) -> torch.Tensor:
        """The diagonal of `covariance`, float64 ``[n]``."""
        return 1 + _LEVEL_VARIANCE + SLOPE_VARIANCE * predicted.square()


def learn(pairs: Pairs, predicted: torch.Tensor, values: torch.Tensor, structured: bool = True) -> Learned:
    """The hyper-parameters of highest marginal likelihood, times their prior.

    Args:
        pairs: of the told architectures with each other, ``[n, n]``.
        predicted: of them, standardised, float64 ``[n]``.
        values: of them, standardised, float64 ``[n]``; one or more.
        structured: whether there is a structure to share strength by.
    """
    tried, posterior = _grid(pairs, predicted, values, structured, _NOISES, _NOISE_PRIOR)
    return tried[int(posterior.argmax())]


def learn_all(
    pairs: Pairs, predicted: torch.Tensor, values: torch.Tensor, structured: bool = True
) -> list[tuple[float, Learned]]:
    """Hyper-parameters with their weights, which sum to one, best first: of few values the best alone is a gamble.

    Noise is expected beyond that of `learn`, and the prediction to say something: where few values say little about
    others than themselves, the prediction is left as it is.

    Args:
        pairs, predicted, values, structured: as in `learn`.
    """
    tried, posterior = _grid(pairs, predicted, values, structured, _WIDE_NOISES, _WIDE_NOISE_PRIOR)
    posterior = posterior + posterior.new_tensor(_SLOPE_PRIOR).repeat(len(posterior) // len(_SLOPES))
    weights, order = posterior.softmax(0).sort(descending=True, stable=True)
    count = int((weights > _LEAST * weights[0]).sum())
    weights = weights[:count] / weights[:count].sum()
    return [(weight, tried[i]) for weight, i in zip(weights.tolist(), order[:count].tolist(), strict=True)]


def _grid(
    pairs: Pairs,
    predicted: torch.Tensor,
    values: torch.Tensor,
    structured: bool,
    variances: tuple[float, ...],
    noise_prior: tuple[float, float],
) -> tuple[list[Learned], torch.Tensor]:
    """All hyper-parameters that are tried, and the logarithm of their posterior, up to a constant, ``[tried]``."""
    n, (shape, rate) = len(values), _DEVIATION_PRIOR
    reaches = {share: _REACHES if share else _REACHES[:1] for share in (_SHARES if structured else _SHARES[:1])}
    kinds = [(share, length, reach) for share in reaches for length in _LENGTHS for reach in reaches[share]]
    own = torch.stack([Learned(*kind, 0.0, 0.0, 1.0).covariance(pairs) for kind in kinds])
    noises = torch.tensor(variances, dtype=torch.float64)
    covariances = own[:, None] + noises[:, None, None] * torch.eye(n, dtype=torch.float64)
    factors = torch.linalg.cholesky(covariances.reshape(-1, n, n))
    slopes = torch.tensor(_SLOPES, dtype=torch.float64)
    residuals = values[:, None] - predicted[:, None] * slopes
    whitened = torch.linalg.solve_triangular(factors, residuals.expand(len(factors), -1, -1), upper=False)
    squares = whitened.square().sum(1)
    volume = factors.diagonal(dim1=1, dim2=2).log().sum(1)
    # The deviation is integrated out: a Student-t distribution.
    likelihood = -volume[:, None] - (shape + n / 2) * (rate + squares / 2).log()
    center, spread = noise_prior
    prior = -0.5 * ((noises / center).log() / spread).square()
    posterior = (likelihood + prior.repeat(len(kinds))[:, None]).flatten()
    deviations = ((rate + squares.flatten() / 2) / (shape + n / 2 - 1)).sqrt().tolist()
    tried = [(*kind, noise, slope) for kind, noise, slope in product(kinds, variances, _SLOPES)]
    return [Learned(*one, deviation) for one, deviation in zip(tried, deviations, strict=True)], posterior


def learned_from(n: int) -> int:
    """How many of `n` values hyper-parameters are learned from: the first so many.

    They depend on the values alone, not on when somebody asks, so that a search that is resumed goes the same way.
    """
    return n if n < 16 else min(n - n % 8, MOST)


def squash(values: torch.Tensor) -> torch.Tensor:
    """Values whose low tail is drawn in: how bad the bad ones are says little about where the best is; ``[n]``.

    One unit is the best's distance from the median; what is lower than the median by more goes by its logarithm.
    """
    middle, unit = _middle_and_unit(values)
    found = (values - middle) / unit
    return torch.where(found < -1, -1 - (-1 - found).clamp(min=0).log1p(), found)


def _middle_and_unit(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    middle = values.median()
    unit = values.max() - middle
    return middle, (unit if unit > 0 else values.std(correction=0)).clamp(min=1e-9)


def unsquash(found: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """`squash` of these values the other way round, for any numbers ``[m]``; below the lowest it goes straight on.

    Args:
        found: squashed.
        values: that were squashed, ``[n]``.
    """
    middle, unit = _middle_and_unit(values)
    lowest = squash(values).min()
    within = found.clamp(min=lowest)
    drawn_out = torch.where(within < -1, -1 - (-1 - within).clamp(min=0).expm1(), within)
    return middle + unit * (drawn_out + (found - within))


def log_improvement(mean: torch.Tensor, std: torch.Tensor, best: float) -> torch.Tensor:
    """Logarithm of the expected improvement on `best` (Jones et al., 1998), float64 ``[n]``.

    Args:
        mean, std: of normal distributions, float64 ``[n]`` each.
        best: what is to be improved on.
    """
    std = std.clamp(min=1e-9)
    ahead = (mean - best) / std
    density = (-ahead.square() / 2).exp() / math.sqrt(2 * math.pi)
    # Far below, the exact sum is lost in rounding: there density / ahead ** 2 is what it tends to.
    exact = (density + ahead * torch.special.ndtr(ahead)).clamp(min=1e-300).log()
    far = -ahead.square() / 2 - math.log(math.sqrt(2 * math.pi)) - 2 * ahead.abs().clamp(min=1).log()
    return std.log() + torch.where(ahead < -5, far, exact)
