"""Curves of accuracies: logits at a few shares of a training, what single epochs take of them, and percent."""

from __future__ import annotations

from collections.abc import Sequence

import torch

SHARES = (0.03, 0.06, 0.12, 0.25, 0.5)
"""Of a training, where a curve's distance from its end is predicted; ascending."""
_NODES = torch.linspace(-4, 4, 33, dtype=torch.float64)
_WEIGHTS = (-_NODES.square() / 2).softmax(0)


def interpolation(epochs: int, shares: Sequence[float] = SHARES) -> torch.Tensor:
    """What each epoch takes of the values at the shares and at the end, float64 ``[epochs, heads]``."""
    points = torch.tensor([*shares, 1.0], dtype=torch.float64).log()
    at = (torch.arange(1, epochs + 1, dtype=torch.float64) / epochs).log()
    right = torch.searchsorted(points, at).clamp(1, len(points) - 1)
    part = ((at - points[right - 1]) / (points[right] - points[right - 1])).clamp(-0.5, 1)
    weights = torch.zeros(epochs, len(points), dtype=torch.float64)
    rows = torch.arange(epochs)
    weights[rows, right - 1], weights[rows, right] = 1 - part, part
    return weights


def condition(
    mean: torch.Tensor, joint: torch.Tensor, epochs: int, seen: torch.Tensor, wiggle: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of whole curves given their first values: mean and variance, ``[n, epochs]`` each.

    Args:
        mean, joint: as `BudgetModel.logits` gives them.
        epochs: of the training.
        seen: percent, ``[n, k]``.
        wiggle: variance of single values around a smooth curve.
    """
    weights = interpolation(epochs)
    values = (seen.double() / 100).clamp(2e-3, 1 - 2e-3).logit()
    jitter = wiggle.expand(values.shape)
    early = weights[: seen.shape[1]]
    cross = joint @ early.T
    matrix = early @ cross + torch.diag_embed(jitter)
    gain = torch.linalg.solve(matrix, cross.mT).mT
    mean = mean + (gain @ (values - mean @ early.T)[..., None])[..., 0]
    joint = joint - gain @ cross.mT
    at = mean @ weights.T
    variance = ((weights @ joint) * weights).sum(-1).clamp(min=1e-8)
    return at, variance + wiggle * (torch.arange(epochs) < epochs - 1)


def percent(mean: torch.Tensor, variance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the accuracy in percent, of Gaussian logits."""
    values = 100 * (mean[..., None] + variance.sqrt()[..., None] * _NODES).sigmoid()
    middle = values @ _WEIGHTS
    return middle, ((values - middle[..., None]).square() @ _WEIGHTS).sqrt()


def binomial(share: torch.Tensor, images: torch.Tensor | float) -> torch.Tensor:
    """Variance of the logit of a share that was counted on so many images, one or more."""
    share = share.clamp(1e-2, 1 - 1e-2)
    return 1 / (images * share * (1 - share))
