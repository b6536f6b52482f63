"""How well a linear classifier tells images apart, each left out of its own training; in closed form."""

from __future__ import annotations

import torch
from torch.nn import functional as F

_RIDGES = (1e-3, 1e-2, 1e-1, 1.0)
"""Penalties tried, in mean squares of the features."""


def linear_probe(features: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of images that a ridge regression on one-hot labels gets right without having seen them.

    The best of a few penalties counts. An image's prediction without itself follows from the fit to all (the hat
    matrix; e.g. Hastie et al., The Elements of Statistical Learning, 2009, equation 7.64).

    Args:
        features: ``[n, dim]``.
        labels: class of each, int64 ``[n]``, values from 0.
    """
    x = features.double()
    x = x - x.mean(0)
    x = torch.cat([x / x.square().mean().sqrt().clamp(min=1e-9), x.new_ones(len(x), 1)], dim=1)
    wanted = F.one_hot(labels).double()
    wide = x.shape[1] > len(x)
    values, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    # Left singular vectors; directions without variance carry nothing.
    keep = values > 1e-9 * values.amax()
    values = values[keep]
    left = vectors[:, keep] if wide else x @ vectors[:, keep] / values.sqrt()
    projected, found = left.T @ wanted, 0.0
    for ridge in _RIDGES:
        share = values / (values + ridge * len(x))
        fitted, own = left @ (share[:, None] * projected), (left.square() @ share)[:, None]
        without = (fitted - own * wanted) / (1 - own).clamp(min=1e-6)
        found = max(found, float((without.argmax(1) == labels).double().mean()))
    return found
