"""Networks of a `Genotype`, as DARTS stacks cells (Liu, Simonyan and Yang, ICLR 2019), in any small size.

A cell that halves the resolution is the same cell with stride 2 on what leaves its inputs: so a network has the wiring
of one cell everywhere, and cells compare by it.
"""

from __future__ import annotations

import torch
from torch import nn

from metad2a_plugin.analysis.wiring import INPUTS, Genotype
from metad2a_plugin.nn.lean import average_3x3
from metad2a_plugin.utils.checks import integer

STAGES = 3


class GenotypeNetwork(nn.Module):
    """Three stages of equal cells, of c, 2c and 4c channels a node; images ``[b, 3, h, w]`` to logits.

    Args:
        genotype: of every cell.
        num_classes: outputs.
        channels: c.
        cells: of a stage.

    Raises:
        ConfigError: a number is less than 1.
    """

    lean = False

    def __init__(self, genotype: Genotype, num_classes: int, channels: int = 8, cells: int = 1) -> None:
        super().__init__()
        for name, value in (("num_classes", num_classes), ("channels", channels), ("cells", cells)):
            integer(name, value, 1)
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
        before, last, halved = channels, channels, False
        stack = []
        for place in range(STAGES * cells):
            halves = place > 0 and place % cells == 0
            cell = _Cell(genotype, before, last, channels << place // cells, halves, halved)
            stack.append(cell)
            before, last, halved = last, cell.outputs, halves
        self.cells = nn.ModuleList(stack)
        self.classifier = nn.Linear(last, num_classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.lean and images.device.type == "cpu":
            # All layers keep this format, and most are faster in it.
            images = images.contiguous(memory_format=torch.channels_last)
        before = last = self.stem(images)
        for cell in self.cells:
            before, last = last, cell(before, last)
        logits: torch.Tensor = self.classifier(torch.relu(last).mean((2, 3)))
        return logits


class _Cell(nn.Module):
    """Outputs of the cell before the last and of the last, ``[b, c, h, w]``, to this one's."""

    def __init__(
        self, genotype: Genotype, before: int, last: int, channels: int, halves: bool, before_is_larger: bool
    ) -> None:
        super().__init__()
        self.outputs, self._nodes = channels * len(genotype.nodes), genotype.nodes
        first = _Halving(before, channels) if before_is_larger else _relu_conv_bn(before, channels)
        self.inputs = nn.ModuleList([first, _relu_conv_bn(last, channels)])
        self.connections = nn.ModuleList(
            _operation(name, channels, 2 if halves and source < INPUTS else 1)
            for names, sources in zip(genotype.operations, genotype.nodes, strict=True)
            for name, source in zip(names, sources, strict=True)
        )

    def forward(self, before: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        states = [into(x) for into, x in zip(self.inputs, (before, last), strict=True)]
        connections = iter(self.connections)
        for sources in self._nodes:
            terms = [next(connections)(states[source]) for source in sources]
            states.append(sum(terms[1:], terms[0]))
        return torch.cat(states[INPUTS:], dim=1)


def _operation(name: str, channels: int, stride: int) -> nn.Module:
    if name == "skip_connect":
        # Without weights, so that cells of the same operations have the same parameters, however they are connected.
        return nn.Identity() if stride == 1 else nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
    if name == "max_pool_3x3":
        return nn.MaxPool2d(3, stride, 1)
    if name == "avg_pool_3x3":
        return _Average(stride)
    kind, side = name[:3], int(name[-1])
    if kind == "dil":
        return nn.Sequential(*_separable(channels, side, stride, dilation=2))
    return nn.Sequential(*_separable(channels, side, stride), *_separable(channels, side, 1))


def _separable(channels: int, side: int, stride: int, dilation: int = 1) -> list[nn.Module]:
    padding = dilation * (side - 1) // 2
    depthwise = nn.Conv2d(channels, channels, side, stride, padding, dilation, groups=channels, bias=False)
    return [nn.ReLU(), depthwise, nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels)]


def _relu_conv_bn(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.ReLU(), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


class _Average(nn.Module):
    """Mean of the 3 x 3 pixels around each, those outside left out."""

    lean = False

    def __init__(self, stride: int) -> None:
        super().__init__()
        self._stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.lean and self._stride == 1:
            return average_3x3(x)
        return nn.functional.avg_pool2d(x, 3, self._stride, 1, count_include_pad=False)


class _Halving(nn.Module):
    """Half the resolution, rounded up: of even pixels half of the channels, of odd pixels the others."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.even = nn.Conv2d(inputs, outputs - outputs // 2, 1, 2, bias=False)
        self.odd = nn.Conv2d(inputs, outputs // 2, 1, 2, bias=False) if outputs > 1 else None
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(x)
        parts = [self.even(x)]
        if self.odd is not None:
            # One pixel further, and a border of zeros in place of what is cut off.
            parts.append(self.odd(nn.functional.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]))
        halved: torch.Tensor = self.norm(torch.cat(parts, dim=1))
        return halved
