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

    def __init__(
        self, told: torch.Tensor, values: torch.Tensor, predicted: torch.Tensor, spread: torch.Tensor
    ) -> None:
        self.center, self.scale = values.mean(), values.std().clamp(min=1e-9)
        self._told, self._predicted = told, predicted
        self._unit = predicted.std().clamp(min=0.1 * spread).clamp(min=1e-9)
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

    def _prior(self, predicted: torch.Tensor) -> torch.Tensor:
        return _TRUST * (predicted - self._predicted.mean()) / self._unit


def _kernel(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``exp(-changed decisions / length)`` of encoded architectures, float64 ``[n, m]``."""
    changed = (a[:, None] != b[None]).sum(-1)
    return (-changed.double() / _LENGTH).exp()
