"""MobileNetV3 networks as text and as configuration of the package ``ofa``."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

from metad2a_plugin.errors import ArchitectureError, said
from metad2a_plugin.spaces.mobilenetv3.encoding import used_slots
from metad2a_plugin.spaces.mobilenetv3.layout import DEPTHS, EXPANDS, KERNELS, RESOLUTIONS, STAGES

FORM = "k3e6-k5e4+k7e3-k3e3-k3e4+...: five stages joined by '+', each of two to four layers joined by '-'"
_LAYER = re.compile(r"k(\d{1,9})e(\d{1,9})", re.ASCII)
_ENTRIES = {"ks", "e", "d", "r", "image_size", "w", "wid"}


class Configuration(NamedTuple):
    """A network as OFA and NAT configure it: choices, and what else is said of it, as it was given."""

    kernels: list[int]
    expands: list[int]
    depths: list[int]
    resolution: Any
    width: Any


def read_configuration(config: dict[str, Any]) -> Configuration:
    """Read a dict of plain values with ``ks``, ``e`` and ``d``; see `MobileNetV3Space.from_config`."""
    if "blocks" in config:
        raise ArchitectureError(
            "this describes all layers of a network, as a net.config does; give its configuration, a dict with ks, e "
            "and d, such as a net.subnet"
        )
    if unknown := sorted(config.keys() - _ENTRIES):
        raise ArchitectureError(f"unknown entry {said(unknown[0])}; a configuration has ks, e, d and r")
    depths = option_indices(config, "d", DEPTHS, [True] * STAGES)
    used = used_slots(depths)
    kernels, expands = (option_indices(config, *entry, used) for entry in (("ks", KERNELS), ("e", EXPANDS)))
    given = config.get("r", config.get("image_size", RESOLUTIONS[-1]))
    resolution = given[0] if isinstance(given, (list, tuple)) and len(given) == 1 else given
    width = config.get("w", config.get("wid"))
    return Configuration(kernels, expands, depths, resolution, 1.0 if width is None else width)


def left_out(config: Configuration) -> str:
    """A sentence on what a configuration says besides the architecture, empty where that is as usual.

    Raises:
        ArchitectureError: it is no resolution or no width.
    """
    _, _, _, resolution, width = config
    if type(resolution) is not int or not 0 < resolution < 10_000:
        raise ArchitectureError(f"r must be the side of the images, such as {RESOLUTIONS[-1]}, got {said(resolution)}")
    if type(width) not in (int, float) or not 0 < width < math.inf:
        raise ArchitectureError(f"w must be the multiplier of all channels, such as 1.0 or 1.2, got {said(width)}")
    options = [f"input_size={resolution}"] * (resolution != RESOLUTIONS[-1]) + [f"width={width}"] * (width != 1)
    if not options:
        return ""
    flags = " ".join(f"--{option}".replace("_", "-").replace("=", " ") for option in options)
    return f"of the configuration only the architecture is read; give {' and '.join(options)} apart ({flags})"


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
        raise ArchitectureError(f"{where} must read k<kernel>e<expand ratio>, such as k5e4, got {said(layer)}")
    kernel, expand = map(int, found.groups())
    if kernel not in KERNELS:
        raise ArchitectureError(f"the kernel of {where} must be {listed(KERNELS)}, got {said(layer)}")
    if expand not in EXPANDS:
        raise ArchitectureError(f"the expand ratio of {where} must be {listed(EXPANDS)}, got {said(layer)}")
    return KERNELS.index(kernel), EXPANDS.index(expand)


def option_indices(config: Mapping[str, Any], name: str, options: tuple[int, ...], used: Sequence[bool]) -> list[int]:
    """Indices into `options` of the values of an entry; 0 where they are not used.

    The values are one for each of `used`, or for those that are used only.
    """

    def refuse(got: str) -> NoReturn:
        raise ArchitectureError(f"{name} must be {len(used)} values, each {listed(options)}, got {got}")

    if name not in config:
        refuse("none")
    try:
        values = list(config[name])
    except TypeError:
        refuse(said(config[name]))
    if len(values) == sum(used):
        places = iter(values)
        values = [next(places) if needed else None for needed in used]
    if len(values) != len(used):
        refuse(f"{len(values)} values: {said(values)}")
    for i, (value, needed) in enumerate(zip(values, used, strict=True)):
        if needed and value not in options:
            refuse(f"{said(value)} at index {i}")
    return [options.index(value) if needed else 0 for value, needed in zip(values, used, strict=True)]


def check_resolution(resolution: Any) -> int:
    """The side of the images that OFA's supernets were trained on, in pixels."""
    if isinstance(resolution, (bool, list)) or resolution not in RESOLUTIONS:
        raise ArchitectureError(
            f"r must be a resolution of {RESOLUTIONS[0]} to {RESOLUTIONS[-1]} pixels in steps of {RESOLUTIONS.step}, "
            f"got {said(resolution)}"
        )
    return int(resolution)


def listed(options: Sequence[int]) -> str:
    """``3, 5 or 7``."""
    return f"{', '.join(map(str, options[:-1]))} or {options[-1]}"
