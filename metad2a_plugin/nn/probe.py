"""Linear classifiers of features in closed form: how well they tell images apart, and the classifier itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

_RIDGES = (1e-3, 1e-2, 1e-1, 1.0)
"""Penalties tried, in mean squares of the features."""
_SHARPNESS = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0)


@dataclass(frozen=True, eq=False)
class RidgeClassifier:
    """A ridge regression on one-hot labels.

    Attributes:
        weight: ``[dim, classes]``.
        bias: ``[classes]``.
        left_out: scores of each example by the fit to all others, ``[n, classes]``.
        accuracy: share of the examples that these get right.
        sharpness: what scores are multiplied by to be logits, by the cross-entropy of `left_out`.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    left_out: torch.Tensor
    accuracy: float
    sharpness: float

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """Logits ``[n, classes]`` of features ``[n, dim]``."""
        return self.sharpness * (features @ self.weight.to(features) + self.bias.to(features))


def fit_ridge(features: torch.Tensor, labels: torch.Tensor, classes: int | None = None) -> RidgeClassifier:
    """The ridge regression of the penalty that gets most examples right without having seen them.

    An example's prediction without itself follows from the fit to all (the hat matrix; e.g. Hastie et al., The Elements
    of Statistical Learning, 2009, equation 7.64).

    Args:
        features: ``[n, dim]``.
        labels: class of each, int64 ``[n]``, values from 0.
        classes: how many there are; None is one more than the highest label.
    """
    x = features.double()
    center, spread = x.mean(0), (x - x.mean(0)).square().mean().sqrt().clamp(min=1e-9)
    x = torch.cat([(x - center) / spread, x.new_ones(len(x), 1)], dim=1)
    wanted = F.one_hot(labels, -1 if classes is None else classes).double()
    wide = x.shape[1] > len(x)
    values, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    # Left singular vectors; directions without variance carry nothing.
    keep = values > 1e-9 * values.amax()
    values = values[keep]
    left = vectors[:, keep] if wide else x @ vectors[:, keep] / values.sqrt()
    projected = left.T @ wanted
    best = -1.0
    for ridge in _RIDGES:
        share = values / (values + ridge * len(x))
        fitted, own = left @ (share[:, None] * projected), (left.square() @ share)[:, None]
        without = (fitted - own * wanted) / (1 - own).clamp(min=1e-6)
        accuracy = float((without.argmax(1) == labels).double().mean())
        if accuracy > best:
            best, found, penalty = accuracy, without, ridge
    right = x.T @ (left / values.sqrt())
    weight = right @ (values.sqrt() / (values + penalty * len(x)))[:, None].mul(projected)
    weight, bias = weight[:-1] / spread, weight[-1]
    losses = [float(F.cross_entropy(sharp * found, labels)) for sharp in _SHARPNESS]
    sharpness = _SHARPNESS[losses.index(min(losses))]
    return RidgeClassifier(weight, bias - center @ weight, found, best, sharpness)


def linear_probe(features: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of images that `fit_ridge` gets right without having seen them; arguments as there."""
    return fit_ridge(features, labels).accuracy
