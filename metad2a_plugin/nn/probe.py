"""Linear classifiers of features in closed form: how well they tell images apart, and the classifier itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional as F

_RIDGES = (1e-3, 1e-2, 1e-1, 1.0)
"""Penalties tried, in mean squares of the features."""
_ROWS = 4096
"""Of features that are there in double precision at a time."""
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
    spread = _Standardised(features)
    wanted = F.one_hot(labels, -1 if classes is None else classes)
    if len(features) < features.shape[1] + 1:
        x = spread(features)
        values, left = torch.linalg.eigh(x @ x.T)
        product = x.T @ wanted.double()
        right = x.T @ (left / values.clamp(min=1e-300).sqrt())
    else:
        gram = features.new_zeros(2 * [features.shape[1] + 1], dtype=torch.float64)
        product = gram.new_zeros(len(gram), wanted.shape[1])
        for part, ones in zip(features.split(_ROWS), wanted.split(_ROWS), strict=True):
            x = spread(part)
            gram += x.T @ x
            product += x.T @ ones.double()
        values, right = torch.linalg.eigh(gram)
    # Directions without variance carry nothing.
    keep = values > 1e-9 * values.amax()
    values, right = values[keep], right[:, keep]
    projected = right.T @ product

    shrunk = [1 / (values + ridge * len(features)) for ridge in _RIDGES]

    def left_out(*chosen: torch.Tensor) -> Iterator[list[torch.Tensor]]:
        # Scores by the fits to all others, [n, classes], of some examples at a time.
        for part, ones in zip(features.split(_ROWS), wanted.split(_ROWS), strict=True):
            x = spread(part) @ right
            own = [(x.square() @ one)[:, None] for one in chosen]
            fitted = [x @ (one[:, None] * projected) for one in chosen]
            yield [(fit - h * ones) / (1 - h).clamp(min=1e-6) for fit, h in zip(fitted, own, strict=True)]

    correct = torch.zeros(len(shrunk), dtype=torch.int64, device=labels.device)
    for scores, true in zip(left_out(*shrunk), labels.split(_ROWS), strict=True):
        correct += torch.stack([(score.argmax(1) == true).sum() for score in scores])
    best = int(correct.argmax())
    found = torch.cat([scores for [scores] in left_out(shrunk[best])])
    weight = right @ (shrunk[best][:, None] * projected)
    weight, bias = weight[:-1] / spread.scale, weight[-1]
    losses = [float(F.cross_entropy(sharp * found, labels)) for sharp in _SHARPNESS]
    sharpness = _SHARPNESS[losses.index(min(losses))]
    return RidgeClassifier(weight, bias - spread.center @ weight, found, int(correct[best]) / len(labels), sharpness)


class _Standardised:
    """Features in double precision around their mean, in units of their spread, with a column of ones."""

    def __init__(self, features: torch.Tensor) -> None:
        parts = features.split(_ROWS)
        self.center = sum(part.double().sum(0) for part in parts) / len(features)
        squares = sum((part.double() - self.center).square().sum() for part in parts)
        self.scale = (squares / features.numel()).sqrt().clamp(min=1e-9)

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        x = (features.double() - self.center) / self.scale
        return torch.cat([x, x.new_ones(len(x), 1)], dim=1)


def linear_probe(features: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of images that `fit_ridge` gets right without having seen them; arguments as there."""
    return fit_ridge(features, labels).accuracy
