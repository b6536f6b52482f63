"""The decisions of MobileNetV3 by name: a depth of each stage, then kernel and expand ratio of each of its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from metad2a_plugin.spaces.choice import option_of
from metad2a_plugin.spaces.mobilenetv3.encoding import Decisions
from metad2a_plugin.spaces.mobilenetv3.layout import DEPTHS, EXPANDS, KERNELS, LAYERS, SLOTS, STAGES


def _depth(stage: int) -> str:
    return f"stage{stage + 1}/depth"


def _layer(stage: int, layer: int) -> tuple[str, str]:
    start = f"stage{stage + 1}/layer{layer + 1}"
    return f"{start}/kernel", f"{start}/expand"


def options() -> dict[str, tuple[str | int, ...]]:
    """Of every decision, by its name."""
    found: dict[str, tuple[str | int, ...]] = {}
    for stage in range(STAGES):
        found[_depth(stage)] = DEPTHS
        for layer in range(LAYERS):
            kernel, expand = _layer(stage, layer)
            found |= {kernel: KERNELS, expand: EXPANDS}
    return found


def decide(choose: Callable[[str], Any]) -> Decisions:
    """What `choose` answers; of layers beyond the depth of their stage nothing is asked.

    Raises:
        ArchitectureError: an answer is no option.
    """

    def option(name: str, known: tuple[int, ...]) -> int:
        return option_of(name, known, choose(name))

    depths, kernels, expands = [], [0] * SLOTS, [0] * SLOTS
    for stage in range(STAGES):
        depths.append(option(_depth(stage), DEPTHS))
        for layer in range(DEPTHS[depths[-1]]):
            (kernel, expand), place = _layer(stage, layer), stage * LAYERS + layer
            kernels[place], expands[place] = option(kernel, KERNELS), option(expand, EXPANDS)
    return Decisions(tuple(kernels), tuple(expands), tuple(depths))


def decided(stages: Sequence[Sequence[tuple[int, int]]]) -> dict[str, str | int]:
    """Options by name, of the (kernel, expand ratio) of each layer of each stage."""
    found: dict[str, str | int] = {}
    for stage, layers in enumerate(stages):
        found[_depth(stage)] = len(layers)
        for layer, taken in enumerate(layers):
            found |= zip(_layer(stage, layer), taken, strict=True)
    return found
