"""What measured values add to predictions: a Gaussian process over changed decisions, with the prediction as its mean.

Values and predictions may be on different scales (another dataset, another training): both are standardised.
"""

from __future__ import annotations

import torch

LEARN_FROM = 5
"""Values from which it is worth listening to them."""
_LENGTH = 1.0
"""Length scale of the kernel, in changed decisions."""
_NOISE = 0.3
"""Standard deviation of a value, in deviations of the values told."""
_TRUST = 0.5
"""Slope expected of values on predictions, both standardised."""


class ResidualProcess:
    """Posterior of values, given some of them and predictions of all.

    Args:
        told: simplified, encoded architectures, int64 ``[n, vertices]``; at least two.
        values: what was measured of them, float64 ``[n]``.
        predicted: what was predicted of them, float64 ``[n]``.
        spread: standard deviation of the predictions over the whole space.

    Attributes:
        center, scale: mean and standard deviation of the values: ``center + scale * mean`` is in their unit.
    """

    def __init__(self, told: torch.Tensor, values: torch.Tensor, predicted: torch.Tensor, spread: torch.Tensor) -> None:
        self._told = told
        self.center, self.scale = _standard(values)
        self._prior = _Prior(predicted, spread)
        covariance = _kernel(told, told) + _NOISE**2 * torch.eye(len(told), dtype=torch.float64)
        self._factor = torch.linalg.cholesky(covariance)
        residual = (values - self.center) / self.scale - self._prior(predicted)
        self._residual = torch.linalg.solve_triangular(self._factor, residual[:, None], upper=False)

    def posterior(self, vertices: torch.Tensor, predicted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of standardised values, float64 ``[m]`` each.

        Args:
            vertices: simplified, encoded architectures, int64 ``[m, vertices]``.
            predicted: of the same, float64 ``[m]``.
        """
        cross = _kernel(self._told, vertices)
        whitened = torch.linalg.solve_triangular(self._factor, cross, upper=False)
        variance = (1 - whitened.square().sum(0)).clamp(min=0)
        return self._prior(predicted) + (whitened.T @ self._residual)[:, 0], variance.sqrt()


class GrowingProcess:
    """`ResidualProcess` of fixed candidates that hears one value after the other, without computing all anew.

    Args:
        candidates: simplified, encoded architectures, int64 ``[m, vertices]``.
        predicted: what was predicted of them, float64 ``[m]``.
    """

    def __init__(self, candidates: torch.Tensor, predicted: torch.Tensor) -> None:
        self._candidates, self._candidates_predicted = candidates, predicted
        self._told = candidates[:0]
        self._values, self._predicted = (torch.empty(0, dtype=torch.float64) for _ in range(2))
        self._factor = torch.zeros(0, 0, dtype=torch.float64)
        self._whitened = torch.empty(0, len(candidates), dtype=torch.float64)
        self._explained = torch.zeros(len(candidates), dtype=torch.float64)

    def __len__(self) -> int:
        return len(self._values)

    def tell(self, architecture: torch.Tensor, predicted: float, value: float) -> None:
        """Hear a value.

        Args:
            architecture: simplified and encoded, int64 ``[vertices]``.
            predicted: what was predicted of it.
            value: what was measured.
        """
        n = len(self)
        if n == len(self._factor):
            self._grow(max(16, 2 * n))
        # One more row of the Cholesky factor, and of what it makes of the candidates.
        cross = _kernel(self._told, architecture[None])
        row = torch.linalg.solve_triangular(self._factor[:n, :n], cross, upper=False)[:, 0]
        diagonal = (1 + _NOISE**2 - row @ row).sqrt()
        self._factor[n, :n], self._factor[n, n] = row, diagonal
        whitened = (_kernel(architecture[None], self._candidates)[0] - row @ self._whitened[:n]) / diagonal
        self._whitened[n] = whitened
        self._explained += whitened.square()
        self._told = torch.cat((self._told, architecture[None]))
        self._values = torch.cat((self._values, self._values.new_tensor([value])))
        self._predicted = torch.cat((self._predicted, self._predicted.new_tensor([predicted])))

    def posterior(self) -> tuple[torch.Tensor, torch.Tensor]:
        """`ResidualProcess.posterior` of the candidates, after two values at the least."""
        n = len(self)
        prior = _Prior(self._predicted, self._candidates_predicted.std())
        center, scale = _standard(self._values)
        residual = (self._values - center) / scale - prior(self._predicted)
        residual = torch.linalg.solve_triangular(self._factor[:n, :n], residual[:, None], upper=False)[:, 0]
        mean = prior(self._candidates_predicted) + residual @ self._whitened[:n]
        return mean, (1 - self._explained).clamp(min=0).sqrt()

    def _grow(self, capacity: int) -> None:
        n = len(self)
        factor = torch.zeros(capacity, capacity, dtype=torch.float64)
        whitened = torch.empty(capacity, len(self._candidates), dtype=torch.float64)
        factor[:n, :n], whitened[:n] = self._factor[:n, :n], self._whitened[:n]
        self._factor, self._whitened = factor, whitened


class _Prior:
    """Predictions on the scale of standardised values."""

    def __init__(self, told: torch.Tensor, spread: torch.Tensor) -> None:
        self._center = told.mean()
        self._unit = told.std().clamp(min=0.1 * spread).clamp(min=1e-9)

    def __call__(self, predicted: torch.Tensor) -> torch.Tensor:
        return _TRUST * (predicted - self._center) / self._unit


def _standard(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return values.mean(), values.std().clamp(min=1e-9)


def _kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``exp(-changed decisions / length)`` of encoded architectures, float64 ``[n, m]``."""
    changed = (a[:, None] != b[None]).sum(-1)
    return (-changed.double() / _LENGTH).exp()
