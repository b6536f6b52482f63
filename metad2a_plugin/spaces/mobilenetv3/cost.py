"""What the layers of a MobileNetV3 network cost, by options."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from metad2a_plugin.errors import ConfigError, said
from metad2a_plugin.spaces.mobilenetv3.layout import (
    DEPTHS,
    EXPANDS,
    KERNELS,
    LAYERS,
    SLOTS,
    Count,
    fixed_count,
    halved,
    layer_count,
    layout,
)
from metad2a_plugin.utils.lazy import torch


@lru_cache(maxsize=64)
def layer_counts(num_classes: int = 1000, input_size: int = 224, width: float = 1.0) -> tuple[Count, list[list[Count]]]:
    """Of all but the searched layers, and of every layer by its type, ``[20][27]``; 0 beyond the stage's depth."""
    channels = layout(width)
    inputs, size = channels.stem, halved(input_size, 2)
    table = []
    for stage in channels.stages:
        for layer in range(LAYERS):
            stride = 1 if layer else stage.stride
            table.append(
                [
                    layer_count(inputs, k, e, stride, size, stage) if layer < depth else Count(0, 0)
                    for depth in DEPTHS
                    for k in KERNELS
                    for e in EXPANDS
                ]
            )
            inputs, size = stage.width, halved(size, stride)
    return fixed_count(channels, num_classes, halved(input_size, 2), size), table


def network_costs(layers: torch.Tensor, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Params and FLOPs in millions, float64 ``[n]`` each, of types of layers int64 ``[n, 20]``."""
    fixed, table = layer_counts(**options)
    chosen = torch.tensor(table, device=layers.device)[torch.arange(SLOTS, device=layers.device), layers]
    # Integers below 2**53 are exact in float64.
    params, macs = (chosen.sum(1) + torch.tensor(fixed, device=layers.device)).double().unbind(1)
    return params / 1e6, macs / 1e6


def check_width(width: Any) -> None:
    """Refuse what is no multiplier of channels, with a `ConfigError`."""
    if not isinstance(width, (int, float)) or isinstance(width, bool) or not 0 < width <= 1000:
        raise ConfigError(f"width must be a positive number, such as 1.0 or 1.2, got {said(width)}")
