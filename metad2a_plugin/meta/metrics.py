"""Correlations of predicted and measured accuracy."""

from __future__ import annotations

import torch


def pearson(a: torch.Tensor, b: torch.Tensor) -> float:
    """Pearson correlation of ``[n]`` and ``[n]``; 0 where one of them is constant."""
    return torch.corrcoef(torch.stack([a.double(), b.double()]))[0, 1].nan_to_num().item()


def spearman(a: torch.Tensor, b: torch.Tensor) -> float:
    """Spearman's rank correlation of ``[n]`` and ``[n]``; equal values share their mean rank.

    >>> round(spearman(torch.tensor([1.0, 2.0, 2.0, 9.0]), torch.tensor([0.0, 5.0, 6.0, 7.0])), 4)
    0.9487
    """
    return pearson(_ranks(a), _ranks(b))


def _ranks(values: torch.Tensor) -> torch.Tensor:
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2)[inverse]
