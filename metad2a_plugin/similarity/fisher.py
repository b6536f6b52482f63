"""Diagonal Fisher information of a network on a dataset, and the distances between tasks made of it.

Le, Soltani, Ravier, Tarokh, *NAS From Task Similarity Measure*, 2021 (log-determinant distance), and the later
*Task-Aware Neural Architecture Search* line of the same authors (Frechet distance).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from metad2a_plugin.errors import ConfigError

Fisher = dict[str, torch.Tensor]
"""Diagonal of a Fisher information matrix: one float64 tensor per parameter, of the parameter's shape."""
_TINY = 1e-10  # of the log-determinant distance: keeps the logarithm of weights without gradient finite


def diagonal_fisher(
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    parameters: Collection[str] | None = None,
    chunk: int = 32,
) -> Fisher:
    """Mean over the examples of the squared gradient of each one's own log-likelihood, scaled to unit trace.

    The gradients are squared example by example, before the mean: the square of a batch's gradient is another number.

    Args:
        network: takes `images`, gives logits ``[batch, classes]``; nothing in it may mix examples.
        images: ``[n, ...]``, as the network takes them.
        labels: int64 ``[n]``; the dataset's own (empirical Fisher) or sampled from the network's answers (Fisher).
        parameters: names of those to count; None counts all.
        chunk: examples at a time; memory grows with it, the result does not depend on it but for rounding.

    Raises:
        ConfigError: batch norm would mix examples; there are no examples; or the gradients are zero or not finite.
    """
    _check(network, images, labels)
    named = dict(network.named_parameters())
    counted = {name: named[name].detach() for name in (named if parameters is None else parameters)}

    def loss(values: Mapping[str, torch.Tensor], image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        logits = functional_call(network, dict(values), (image[None],))
        return nn.functional.cross_entropy(logits, label[None])

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))
    total = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in counted.items()}
    for part, answers in zip(images.split(chunk), labels.split(chunk), strict=True):
        for name, gradient in gradients(counted, part, answers).items():
            total[name] += gradient.detach().double().square().sum(0)
    trace = float(sum(value.sum() for value in total.values()))
    if not 0 < trace < float("inf"):
        raise ConfigError(
            f"the squared gradients of {type(network).__name__} on {len(images)} images sum to {trace}, so there is no "
            "Fisher information to compare; train the network longer or with a lower learning rate"
        )
    return {name: value / trace for name, value in total.items()}


def log_determinant_distance(first: Fisher, second: Fisher) -> float:
    """``1/P`` times the sum over layers of ``|sum_i log((first_i + 1e-10) / (second_i + 1e-10))|`` (seed paper).

    `P` is the number of parameters, and a layer is a module's weight and bias together. Symmetric in its arguments; as
    a distance of tasks it is not, because both are measured on the target's data. Both must be of one network.
    """
    _check_pair(first, second)
    layers: dict[str, torch.Tensor] = {}
    for name in first:
        ratio = ((first[name] + _TINY).log() - (second[name] + _TINY).log()).sum()
        layer = name.rpartition(".")[0]
        layers[layer] = layers[layer] + ratio if layer in layers else ratio
    return float(sum(abs(float(ratio)) for ratio in layers.values()) / sum(v.numel() for v in first.values()))


def frechet_distance(first: Fisher, second: Fisher) -> float:
    """``1/sqrt(2)`` times the Frobenius norm of ``first^(1/2) - second^(1/2)`` (later paper); from 0 to 1."""
    _check_pair(first, second)
    square = sum(float((first[name].sqrt() - second[name].sqrt()).square().sum()) for name in first)
    return (square / 2) ** 0.5


DISTANCES: dict[str, Callable[[Fisher, Fisher], float]] = {
    "frechet": frechet_distance,
    "log-determinant": log_determinant_distance,
}
"""By the names that commands and strategies take."""


def _check(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    if len(images) == 0 or len(images) != len(labels):
        raise ConfigError(f"Fisher information needs one label per image, got {len(images)} and {len(labels)}")
    for name, module in network.named_modules():
        mixes = module.training or getattr(module, "running_mean", None) is None
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and mixes:
            raise ConfigError(
                f"the batch norm {name!r} mixes examples, so none has a gradient of its own; call network.eval(), or "
                "use a network without batch norm"
            )


def _check_pair(first: Fisher, second: Fisher) -> None:
    shapes = [{name: value.shape for name, value in one.items()} for one in (first, second)]
    if not first or shapes[0] != shapes[1]:
        raise ConfigError("the two Fisher informations are not of the same parameters; use one network for both tasks")
