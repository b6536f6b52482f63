"""What the layers of a MobileNetV3 network cost, by options."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from metad2a_plugin.errors import ConfigError
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
from metad2a_plugin.utils.checks import integer

if TYPE_CHECKING:
    import torch

COST_OPTIONS = {"num_classes": 1000, "input_size": 224, "width": 1.0}


@lru_cache(maxsize=64)
def layer_counts(num_classes: int, input_size: int, width: float) -> tuple[Count, list[list[Count]]]:
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
    """Params and FLOPs in millions, float64 ``[n]`` each, of types of layers int64 ``[n, 20]``.

    Raises:
        ConfigError: an option is unknown or out of range.
    """
    import torch

    fixed, table = layer_counts(**cost_options(options, **COST_OPTIONS))
    chosen = torch.tensor(table, device=layers.device)[torch.arange(SLOTS, device=layers.device), layers]
    # Integers below 2**53 are exact in float64.
    params, macs = (chosen.sum(1) + torch.tensor(fixed, device=layers.device)).double().unbind(1)
    return params / 1e6, macs / 1e6


def cost_options(given: Mapping[str, Any], **defaults: Any) -> dict[str, Any]:
    """The defaults, with what was given in their place.

    Raises:
        ConfigError: an option is unknown or out of range.
    """
    unknown = sorted(given.keys() - defaults.keys())
    if unknown:
        raise ConfigError(f"unknown option {unknown[0]!r}; the options are {', '.join(defaults)}")
    options = {**defaults, **given}
    for name in options.keys() - {"width"}:
        integer(name, options[name], 1)
    width = options["width"]
    if not isinstance(width, (int, float)) or isinstance(width, bool) or not 0 < width < math.inf:
        raise ConfigError(f"width must be a positive number, such as 1.0 or 1.2, got {width!r}")
    return options
