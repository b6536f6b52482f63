"""The NAS-Bench-201 network around a cell (Dong and Yang, ICLR 2020, figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import nn
from torch.nn import functional as F

from metad2a_plugin.nn.lean import average_3x3
from metad2a_plugin.spaces.nasbench201.cell import CELL_EDGES, OPS

_OUTPUT = 3


def relu_conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, **norm: bool) -> nn.Sequential:
    """The three layers; `norm` are options of the batch norm."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs, **norm),
    )


def operation(op: str, channels: int, **norm: bool) -> nn.Module:
    """The module of an operation other than ``none``; `norm` are options of its batch norm."""
    if op == "skip_connect":
        return nn.Identity()
    if op == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return relu_conv_bn(channels, channels, 1 if op == "nor_conv_1x1" else 3, **norm)


class Cell(nn.Module):
    """Four nodes, each the sum of operations on the earlier ones; ``[b, c, h, w]`` to ``[b, c, h, w]``.

    Operations that cannot reach the output run too: the benchmark counts their parameters and FLOPs.

    Attributes:
        lean: whether they are left out, see `nn.lean.lean`.
    """

    lean = False

    def __init__(self, choices: Sequence[int], channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleDict(
            {
                f"{target}<-{source}": operation(OPS[op], channels)
                for (source, target), op in zip(CELL_EDGES, choices, strict=True)
                if OPS[op] != "none"
            }
        )

        reaching = {_OUTPUT}
        for node in range(_OUTPUT - 1, -1, -1):
            if any(source == node and target in reaching for source, target in self._ends()):
                reaching.add(node)
        self._reaching = sorted(reaching)

    def _ends(self) -> list[tuple[int, int]]:
        """Source and target of each edge."""
        return [(int(key[-1]), int(key[0])) for key in self.edges]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.lean:
            return self._lean(x)
        nodes = [x]
        for target in (1, 2, 3):
            keys = [(f"{target}<-{source}", source) for source in range(target)]
            terms = [self.edges[key](nodes[source]) for key, source in keys if key in self.edges]
            nodes.append(sum(terms[1:], terms[0]) if terms else torch.zeros_like(x))
        return nodes[-1]

    def _lean(self, x: torch.Tensor) -> torch.Tensor:
        """As `forward`, without what does not reach the output; edges out of a node share its ReLU and its average."""
        nodes = {0: _Node(x)}
        for target in self._reaching:
            if target:
                keys = [(f"{target}<-{source}", node) for source, node in nodes.items()]
                terms = [_term(self.edges[key], node) for key, node in keys if key in self.edges]
                nodes[target] = _Node(sum(terms[1:], terms[0]) if terms else torch.zeros_like(x))
        return nodes[_OUTPUT].value


class _Node:
    """The sum at a node, ``[b, c, h, w]``, and what several operations make of it alike."""

    def __init__(self, value: torch.Tensor) -> None:
        self.value = value

    @cached_property
    def relu(self) -> torch.Tensor:
        return F.relu(self.value)

    @cached_property
    def average(self) -> torch.Tensor:
        return average_3x3(self.value)


def _term(module: nn.Module, node: _Node) -> torch.Tensor:
    """What the module of an edge makes of the node it leaves."""
    if isinstance(module, nn.Sequential):
        _, conv, norm = module
        normed: torch.Tensor = norm(conv(node.relu))
        return normed
    return node.value if isinstance(module, nn.Identity) else node.average


class Reduction(nn.Module):
    """Residual block that halves the resolution (rounding up) and widens; ``[b, c, h, w]`` to ``[b, d, h/2, w/2]``."""

    def __init__(self, inputs: int, outputs: int, **norm: bool) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            relu_conv_bn(inputs, outputs, 3, stride=2, **norm), relu_conv_bn(outputs, outputs, 3, **norm)
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, stride=2, ceil_mode=True), nn.Conv2d(inputs, outputs, 1, bias=False)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shortcut(x) + self.residual(x)


class NASBench201Network(nn.Module):
    """Three stages of equal cells, widths c, 2c and 4c; images ``[b, 3, h, w]`` to logits ``[b, num_classes]``.

    Args:
        choices: the six operation indices of the cell.
        num_classes: outputs of the classifier.
        channels: width of the first stage.
        cells: cells per stage.

    Attributes:
        lean: whether a training loop runs it, see `nn.lean.lean`.
    """

    lean = False

    def __init__(self, choices: Sequence[int], num_classes: int, channels: int = 16, cells: int = 5) -> None:
        super().__init__()
        c1, c2, c3 = channels, 2 * channels, 4 * channels
        self.stem = nn.Sequential(nn.Conv2d(3, c1, 3, padding=1, bias=False), nn.BatchNorm2d(c1))
        self.stages = nn.Sequential(
            *(Cell(choices, c1) for _ in range(cells)),
            Reduction(c1, c2),
            *(Cell(choices, c2) for _ in range(cells)),
            Reduction(c2, c3),
            *(Cell(choices, c3) for _ in range(cells)),
        )
        self.head = nn.Sequential(nn.BatchNorm2d(c3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(c3, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.lean and images.device.type == "cpu":
            # All layers keep this format, and most are faster in it.
            images = images.contiguous(memory_format=torch.channels_last)
        return self.classifier(self.head(self.stages(self.stem(images))))
