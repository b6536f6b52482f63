"""MobileNetV3 networks as decisions and as vertices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from metad2a_plugin.errors import ArchitectureError, said
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.mobilenetv3.layout import (
    DEPTHS,
    EXPANDS,
    KERNELS,
    KINDS,
    LAYERS,
    SLOTS,
    STAGES,
    TYPES,
)
from metad2a_plugin.utils.lazy import torch

NAME = "mobilenetv3"
"""Of the space."""


class Decisions(NamedTuple):
    """The choices of an architecture, apart."""

    kernels: tuple[int, ...]
    expands: tuple[int, ...]
    depths: tuple[int, ...]

    @classmethod
    def of(cls, choices: tuple[int, ...]) -> Decisions:
        return cls(choices[:SLOTS], choices[SLOTS : 2 * SLOTS], choices[2 * SLOTS :])


def used_slots(depths: Iterable[int]) -> list[bool]:
    """Whether each of the 20 layers is within the depth of its stage."""
    return [layer < DEPTHS[depth] for depth in depths for layer in range(LAYERS)]


def validated(architecture: Architecture) -> Architecture:
    """The same, if it is one of the space; errors as of `SearchSpace.validate`."""
    if not isinstance(architecture, Architecture) or architecture.space != NAME:
        raise ArchitectureError(
            f"expected an Architecture of space {NAME!r}, got {said(architecture)}; read strings with parse() and "
            "configuration dicts with from_config()"
        )
    choices = architecture.choices
    legal = isinstance(choices, tuple) and len(choices) == 2 * SLOTS + STAGES
    if not legal or not all(isinstance(c, int) and 0 <= c < 3 for c in choices):
        raise ArchitectureError(
            f"a {NAME} architecture has {2 * SLOTS + STAGES} choices, each 0 to 2 ({SLOTS} kernels of "
            f"{KERNELS}, {SLOTS} expand ratios of {EXPANDS}, {STAGES} depths of {DEPTHS}), got {said(choices)}"
        )
    kernels, expands, depths = Decisions.of(choices)
    for i, used in enumerate(used_slots(depths)):
        if not used and (kernels[i] or expands[i]):
            raise ArchitectureError(
                f"layer {i % LAYERS + 1} of stage {i // LAYERS + 1} is beyond the stage's depth of "
                f"{DEPTHS[depths[i // LAYERS]]}, so its choices must be 0, got {said(choices)}; from_config() and "
                "decode() drop what is said of such layers"
            )
    return architecture


def layers_of(architecture: Architecture) -> tuple[tuple[tuple[int, int], ...], ...]:
    """The (kernel, expand ratio) of each layer of each stage."""
    kernels, expands, depths = Decisions.of(validated(architecture).choices)
    layers = [(KERNELS[k], EXPANDS[e]) for k, e in zip(kernels, expands, strict=True)]
    return tuple(tuple(layers[s * LAYERS : s * LAYERS + DEPTHS[d]]) for s, d in enumerate(depths))


def single_changes(choices: tuple[int, ...]) -> list[dict[int, int]]:
    """What each neighbour changes, by place in `choices`."""
    depths = Decisions.of(choices).depths
    places = [place for i, used in enumerate(used_slots(depths)) if used for place in (i, SLOTS + i)]
    changes = [{place: option} for place in places for option in range(3) if option != choices[place]]
    for stage, depth in enumerate(depths):
        place, end = 2 * SLOTS + stage, LAYERS * stage + DEPTHS[depth]
        if depth > 0:
            changes.append({place: depth - 1, end - 1: 0, SLOTS + end - 1: 0})
        if depth < len(DEPTHS) - 1:
            changes += [{place: depth + 1, end: k, SLOTS + end: e} for k in range(3) for e in range(3)]
    return changes


def encode_layers(layers: torch.Tensor) -> torch.Tensor:
    """Vertex types int64 ``[n, 22]`` of types of layers ``[n, 20]``."""
    from torch.nn.functional import pad

    return pad(pad(layers + 2, (1, 0), value=0), (0, 1), value=1)


def decode_layers(vertices: torch.Tensor) -> torch.Tensor:
    """The checked types of layers, 0 to 26, int64 ``[n, 20]``, in the form that `encode_layers` is given.

    Args:
        vertices: int64 ``[n, 22]``.
    """
    if vertices.ndim != 2 or vertices.shape[1] != SLOTS + 2 or vertices.is_floating_point():
        raise ArchitectureError(
            f"expected integer vertex types of shape [n, {SLOTS + 2}], "
            f"got {vertices.dtype} of shape {list(vertices.shape)}"
        )
    layers = vertices[:, 1:-1].long() - 2
    wrong = (vertices[:, 0] != 0) | (vertices[:, -1] != 1) | ((layers < 0) | (layers >= TYPES)).any(1)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ArchitectureError(
            f"row {row}, {vertices[row].tolist()}, is no mobilenetv3 network: expected 0 (input), "
            f"{SLOTS} layers 2 to {TYPES + 1}, 1 (output)"
        )
    depths = (layers // KINDS).unflatten(1, (STAGES, LAYERS))
    uneven = (depths != depths[:, :, :1]).any(2)
    if uneven.any():
        row, stage = uneven.nonzero()[0].tolist()
        raise ArchitectureError(
            f"row {row} is no mobilenetv3 network: the four layers of stage {stage + 1} must agree on its depth, "
            f"got {[DEPTHS[d] for d in depths[row, stage].tolist()]}"
        )
    unused = torch.arange(LAYERS, device=depths.device) >= depths + DEPTHS[0]
    return torch.where(unused.flatten(1), KINDS * depths.flatten(1), layers)
