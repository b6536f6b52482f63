"""What a network of the MobileNetV3 space is made of, as numbers that linear models read; nothing here is measured."""

from __future__ import annotations

import torch
from torch.nn.functional import one_hot

from metad2a_plugin.spaces.mobilenetv3.cost import network_costs
from metad2a_plugin.spaces.mobilenetv3.encoding import decode_layers
from metad2a_plugin.spaces.mobilenetv3.layout import DEPTHS, EXPANDS, KERNELS, LAYERS, STAGES

PLACES, KINDS = STAGES * LAYERS, len(KERNELS) * len(EXPANDS)


def layer_kinds(vertices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Kernel and expand ratio of each layer as one number, int64 ``[n, 20]``, and whether it is there, bool.

    Args:
        vertices: of `MobileNetV3Space`, int64 ``[n, 22]``; kinds are ``3 * kernel + expand``, as indices.
    """
    types = decode_layers(vertices)
    there = torch.arange(PLACES, device=types.device) % LAYERS < types // KINDS + DEPTHS[0]
    return types % KINDS, there


def layers_and_depths(vertices: torch.Tensor) -> torch.Tensor:
    """Which kernel and expand ratio each layer has, none where it is not there, and each stage's depth.

    Zeros and ones, float64 ``[n, 135]``; arguments and errors as in `layer_kinds`.
    """
    kinds, there = layer_kinds(vertices)
    kernels = one_hot(kinds // len(EXPANDS), len(KERNELS)) * there[:, :, None]
    expands = one_hot(kinds % len(EXPANDS), len(EXPANDS)) * there[:, :, None]
    return torch.cat([part.flatten(1) for part in (kernels, expands, _depths(there))], dim=1).double()


def depth_pairs(vertices: torch.Tensor) -> torch.Tensor:
    """Which depths each two stages have, zeros and ones, float64 ``[n, 90]``; arguments and errors as above."""
    depths = _depths(layer_kinds(vertices)[1])
    first, second = torch.triu_indices(STAGES, STAGES, 1)
    return (depths[:, first, :, None] * depths[:, second, None, :]).flatten(1).double()


def cost_powers(vertices: torch.Tensor, resolution: int) -> torch.Tensor:
    """Powers of the logarithms of multiply-accumulates at a resolution and of parameters, float64 ``[n, 7]``."""
    params, macs = network_costs(decode_layers(vertices), input_size=resolution)
    size, work = (params / 5).log(), (macs / 200).log()
    return torch.stack([work, size, work**2, size**2, work * size, work**3, size**3], dim=1)


def stage_means(vertices: torch.Tensor) -> torch.Tensor:
    """Depth, mean kernel and mean expand ratio of each stage, then of the whole network, float64 ``[n, 18]``."""
    kinds, there = layer_kinds(vertices)
    kernels, expands = (
        torch.tensor(options, dtype=torch.float64, device=kinds.device)[index] * there
        for options, index in ((KERNELS, kinds // len(EXPANDS)), (EXPANDS, kinds % len(EXPANDS)))
    )
    by_stage = [part.double().unflatten(1, (STAGES, LAYERS)).sum(2) for part in (there, kernels, expands)]
    depth, kernel, expand = (torch.cat([part, part.sum(1, keepdim=True)], dim=1) for part in by_stage)
    return torch.cat([depth, kernel / depth, expand / depth], dim=1)


def describe(vertices: torch.Tensor, resolution: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Descriptors, float32: costs and means of stages ``[n, 25]``; layers, depths and pairs of depths ``[n, 225]``.

    Args:
        vertices: int64 ``[n, 22]``.
        resolution: side of the images, in pixels, that costs are counted for.
    """
    structure = torch.cat([cost_powers(vertices, resolution), stage_means(vertices)], dim=1)
    return structure.float(), torch.cat([layers_and_depths(vertices), depth_pairs(vertices)], dim=1).float()


def _depths(there: torch.Tensor) -> torch.Tensor:
    """The depth of each stage as zeros and ones, int64 ``[n, 5, 3]``."""
    return one_hot(there.unflatten(1, (STAGES, LAYERS)).sum(2) - DEPTHS[0], len(DEPTHS))
