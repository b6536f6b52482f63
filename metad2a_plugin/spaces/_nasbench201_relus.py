"""What the ReLUs of a NAS-Bench-201 network are given, without what no ReLU reads.

In this space a ReLU stands before each convolution. So all convolutions out of a node share one ReLU pattern, and an
operation from which no further ReLU can be reached need not be computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import torch
from torch import nn
from torch.nn import functional as F

from metad2a_plugin.nn.relus import Visit
from metad2a_plugin.spaces._nasbench201_network import Cell, NASBench201Network, Reduction

_OUTPUT = 3


@torch.no_grad()
def visit_relus(network: NASBench201Network, images: torch.Tensor, visit: Visit) -> None:
    """As `nn.relus.visit_relus`, up to rounding and the order; several times as fast on a CPU.

    Args:
        network: left as it is, running statistics included.
        images: ``[images, 3, height, width]``, best in the memory format ``channels_last``.
        visit: see `Visit`.
    """
    x = _norm(network.stem[0](images), network.stem[1])
    for stage in network.stages:
        if isinstance(stage, Cell):
            x = _cell(stage, x, visit)
        else:
            assert isinstance(stage, Reduction)
            first, second = stage.residual
            x = stage.shortcut(x) + _relu_conv_bn(second, _relu_conv_bn(first, x, visit), visit)
    visit(_norm(x, network.head[0]), 1)


def _relu_conv_bn(block: nn.Module, x: torch.Tensor, visit: Visit) -> torch.Tensor:
    assert isinstance(block, nn.Sequential)
    visit(x, 1)
    return _norm(block[1](F.relu(x)), block[2])


def _cell(cell: Cell, x: torch.Tensor, visit: Visit) -> torch.Tensor:
    """The cell's output, ``[b, c, h, w]`` as its input."""
    edges = {(int(key[-1]), int(key[0])): module for key, module in cell.edges.items()}
    convs = [sum(s == node and isinstance(m, nn.Sequential) for (s, _), m in edges.items()) for node in range(3)]
    needed = _needed(edges)
    nodes = [_Node(x)]
    if convs[0]:
        visit(x, convs[0])
    for target in range(1, _OUTPUT + 1):
        sources = [source for source in range(target) if (source, target) in edges] if target in needed else []
        terms = [_apply(edges[source, target], nodes[source]) for source in sources]
        nodes.append(_Node(sum(terms[1:], terms[0]) if terms else torch.zeros_like(x)))
        if target < _OUTPUT and convs[target]:
            visit(nodes[target].value, convs[target])
    return nodes[_OUTPUT].value


def _needed(edges: Mapping[tuple[int, int], nn.Module]) -> set[int]:
    """Nodes that a ReLU or the cell's output reads."""
    needed = {_OUTPUT}
    for node in range(_OUTPUT - 1, -1, -1):
        if any(s == node and (t in needed or isinstance(m, nn.Sequential)) for (s, t), m in edges.items()):
            needed.add(node)
    return needed


class _Node:
    """The sum at a node, ``[b, c, h, w]``, and what several operations make of it alike."""

    def __init__(self, value: torch.Tensor) -> None:
        self.value = value

    @cached_property
    def relu(self) -> torch.Tensor:
        return F.relu(self.value)

    @cached_property
    def pooled(self) -> torch.Tensor:
        """Average of 3 x 3 pixels without the padding."""
        _, channels, height, width = self.value.shape
        # As a convolution this takes a third of the time that avg_pool2d takes on a CPU.
        ones = self.value.new_ones(channels, 1, 3, 3)
        inside = F.conv2d(self.value.new_ones(1, 1, height, width), ones[:1], padding=1)
        return F.conv2d(self.value, ones, padding=1, groups=channels).div_(inside)


def _apply(operation: nn.Module, node: _Node) -> torch.Tensor:
    if isinstance(operation, nn.Sequential):
        return _norm(operation[1](node.relu), operation[2])
    return node.value if isinstance(operation, nn.Identity) else node.pooled


def _norm(x: torch.Tensor, norm: nn.Module) -> torch.Tensor:
    """Batch norm by the statistics of the batch, which leaves no trace in the module."""
    assert isinstance(norm, nn.BatchNorm2d)
    return F.batch_norm(x, None, None, norm.weight, norm.bias, True, 0.0, norm.eps)
