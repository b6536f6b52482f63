"""What the ReLUs of a NAS-Bench-201 network are given, without what no ReLU reads.

In this space a ReLU stands before each convolution. So all convolutions out of a node share one ReLU pattern, and an
operation from which no further ReLU can be reached need not be computed, nor one on zeros. Results are written over
what is no longer read: fresh memory takes the processor as long as the arithmetic on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import nn
from torch.nn import functional as F

from metad2a_plugin.nn.relus import Visit
from metad2a_plugin.spaces.nasbench201.network import Cell, NASBench201Network, Reduction

_OUTPUT = 3
_Buffers = dict[tuple[int, torch.Size], torch.Tensor]
"""For the ReLU's output, by the node of the cell and its shape."""


@torch.no_grad()
def visit_relus(network: NASBench201Network, images: torch.Tensor, visit: Visit) -> None:
    """As `nn.relus.visit_relus`, up to rounding and the order; several times as fast on a CPU.

    Args:
        network: left as it is, running statistics included.
        images: ``[images, 3, height, width]``, best in the memory format ``channels_last``.
        visit: see `Visit`; zeros are shown as a single one, expanded.
    """
    buffers: _Buffers = {}
    stem, norm = network.stem
    x = _norms([(stem(images), norm)])
    for stage in network.stages:
        x = _cell(stage, x, visit, buffers) if isinstance(stage, Cell) else _reduction(stage, x, visit)
    visit(_norms([(x, network.head[0])]), 1)


def _reduction(block: nn.Module, x: torch.Tensor, visit: Visit) -> torch.Tensor:
    assert isinstance(block, Reduction)
    y = x
    for part in block.residual:
        assert isinstance(part, nn.Sequential)
        visit(y, 1)
        y = _norms([(_convolved(part[1], y if _is_zero(y) else F.relu(y)), part[2])])
    return y if _is_zero(x) else y.add_(block.shortcut(x))


def _cell(cell: Cell, x: torch.Tensor, visit: Visit, buffers: _Buffers) -> torch.Tensor:
    """The cell's output, ``[b, c, h, w]`` as its input."""
    edges = {(int(key[-1]), int(key[0])): module for key, module in cell.edges.items()}
    needed = _needed(edges)
    nodes: list[_Node] = []
    for target in range(_OUTPUT + 1):
        into = [(nodes[s], edges[s, target]) for s in range(target) if (s, target) in edges and target in needed]
        nodes.append(_Node(_sum(into, x) if target else x, target, buffers))
        convs = sum(source == target and isinstance(m, nn.Sequential) for (source, _), m in edges.items())
        if convs:
            visit(nodes[target].value, convs)
    return nodes[_OUTPUT].value


def _needed(edges: Mapping[tuple[int, int], nn.Module]) -> set[int]:
    """Nodes that a ReLU or the cell's output reads."""
    needed = {_OUTPUT}
    for node in range(_OUTPUT - 1, -1, -1):
        if any(s == node and (t in needed or isinstance(m, nn.Sequential)) for (s, t), m in edges.items()):
            needed.add(node)
    return needed


class _Node:
    """The sum at a node, ``[b, c, h, w]``, which nothing changes, and what several operations make of it alike."""

    def __init__(self, value: torch.Tensor, number: int, buffers: _Buffers) -> None:
        self.value, self._key, self._buffers = value, (number, value.shape), buffers

    @cached_property
    def relu(self) -> torch.Tensor:
        if _is_zero(self.value):
            return self.value
        # The same node of the cell before no longer needs it.
        buffer = self._buffers.get(self._key)
        self._buffers[self._key] = buffer = torch.empty_like(self.value) if buffer is None else buffer
        return torch.clamp_min(self.value, 0, out=buffer)

    @cached_property
    def pooled(self) -> torch.Tensor:
        """Average of 3 x 3 pixels without the padding."""
        if _is_zero(self.value):
            return self.value
        _, channels, height, width = self.value.shape
        # As a convolution this takes a third of the time that avg_pool2d takes on a CPU.
        ones = self.value.new_ones(channels, 1, 3, 3)
        inside = F.conv2d(self.value.new_ones(1, 1, height, width), ones[:1], padding=1)
        return F.conv2d(self.value, ones, padding=1, groups=channels).div_(inside)


def _sum(into: Sequence[tuple[_Node, nn.Module]], like: torch.Tensor) -> torch.Tensor:
    """Of what operations make of nodes; zeros like `like` where there are none."""
    convs = [(_convolved(m[1], node.relu), m[2]) for node, m in into if isinstance(m, nn.Sequential)]
    rest = [(node, m) for node, m in into if not isinstance(m, nn.Sequential)]
    terms = [node.value if isinstance(m, nn.Identity) else node.pooled for node, m in rest]
    terms = [term for term in terms if not _is_zero(term)]
    total = _norms(convs) if convs else _zeros(like, *like.shape)
    if _is_zero(total):
        return sum(terms[1:], terms[0]) if terms else total
    for term in terms:
        total.add_(term)
    return total


def _convolved(conv: nn.Module, x: torch.Tensor) -> torch.Tensor:
    assert isinstance(conv, nn.Conv2d)
    if not _is_zero(x):
        return conv(x)
    height, width = (-(-side // conv.stride[0]) for side in x.shape[2:])
    return _zeros(x, len(x), conv.out_channels, height, width)


def _norms(terms: Sequence[tuple[torch.Tensor, nn.Module]]) -> torch.Tensor:
    """The sum of tensors, each after a batch norm by the statistics of the batch, written over one of them.

    No trace is left in the modules.
    """
    first = terms[0][0]
    scaled, shift = [], first.new_zeros(first.shape[1])
    for values, norm in terms:
        assert isinstance(norm, nn.BatchNorm2d)
        shift = shift + norm.bias
        if not _is_zero(values):
            mean, variance = torch.batch_norm_update_stats(values, None, None, 0.0)
            scale = norm.weight * (variance + norm.eps).rsqrt()
            shift = shift - mean * scale
            scaled.append((values, scale[:, None, None]))
    if not scaled:
        return first + shift[:, None, None] if shift.any() else first
    total, scale = scaled[0]
    torch.addcmul(shift[:, None, None], total, scale, out=total)
    for values, scale in scaled[1:]:
        total.addcmul_(values, scale)
    return total


def _zeros(like: torch.Tensor, *shape: int) -> torch.Tensor:
    """Zeros that take no memory."""
    return like.new_zeros(()).expand(shape)


def _is_zero(x: torch.Tensor) -> bool:
    return not any(x.stride())
