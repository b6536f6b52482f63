"""MobileNetV3 networks as text and as configuration of the package ``ofa``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from metad2a_plugin.errors import ArchitectureError
from metad2a_plugin.spaces.mobilenetv3.layout import DEPTHS, EXPANDS, KERNELS, RESOLUTIONS

FORM = "k3e6-k5e4+k7e3-k3e3-k3e4+...: five stages joined by '+', each of two to four layers joined by '-'"
_LAYER = re.compile(r"k(\d+)e(\d+)")


def parse_stage(stage: str, number: int) -> list[tuple[int, int]]:
    """The choices of kernel and expand ratio of the layers of one stage."""
    layers = stage.split("-")
    if len(layers) not in DEPTHS:
        raise ArchitectureError(
            f"stage {number} must have {listed(DEPTHS)} layers joined by '-', got {len(layers)}: {stage!r}"
        )
    return [_parse_layer(layer, f"layer {i} of stage {number}") for i, layer in enumerate(layers, 1)]


def _parse_layer(layer: str, where: str) -> tuple[int, int]:
    found = _LAYER.fullmatch(layer)
    if found is None:
        raise ArchitectureError(f"{where} must read k<kernel>e<expand ratio>, such as k5e4, got {layer!r}")
    kernel, expand = map(int, found.groups())
    if kernel not in KERNELS:
        raise ArchitectureError(f"the kernel of {where} must be {listed(KERNELS)}, got {layer!r}")
    if expand not in EXPANDS:
        raise ArchitectureError(f"the expand ratio of {where} must be {listed(EXPANDS)}, got {layer!r}")
    return KERNELS.index(kernel), EXPANDS.index(expand)


def option_indices(config: Mapping[str, Any], name: str, options: tuple[int, ...], used: Sequence[bool]) -> list[int]:
    """Indices into `options` of the values of an entry; 0 where they are not used."""

    def refuse(got: str) -> NoReturn:
        raise ArchitectureError(f"{name} must be {len(used)} values, each {listed(options)}, got {got}")

    if name not in config:
        refuse("none")
    try:
        values = list(config[name])
    except TypeError:
        refuse(f"{config[name]!r}")
    if len(values) != len(used):
        refuse(f"{len(values)} values: {values!r}")
    for i, (value, needed) in enumerate(zip(values, used, strict=True)):
        if needed and value not in options:
            refuse(f"{value!r} at index {i}")
    return [options.index(value) if needed else 0 for value, needed in zip(values, used, strict=True)]


def read_resolution(config: Mapping[str, Any]) -> int:
    """The side of the images that a configuration says, in pixels."""
    given = config.get("r", config.get("image_size", RESOLUTIONS[-1]))
    resolution = given[0] if isinstance(given, (list, tuple)) and len(given) == 1 else given
    if isinstance(resolution, bool) or resolution not in RESOLUTIONS:
        raise ArchitectureError(
            f"r must be a resolution of {RESOLUTIONS[0]} to {RESOLUTIONS[-1]} pixels in steps of {RESOLUTIONS.step}, "
            f"got {given!r}"
        )
    return int(resolution)


def listed(options: Sequence[int]) -> str:
    """``3, 5 or 7``."""
    return f"{', '.join(map(str, options[:-1]))} or {options[-1]}"
