"""Networks of inverted residual blocks without gates: MobileNetV2 and EfficientNet-Lite."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from metad2a_plugin.nn.channels import divisible


class Stage(NamedTuple):
    """Equal blocks of which the first may shrink the image."""

    expand: int
    channels: int
    blocks: int
    stride: int
    kernel: int = 3


MOBILENET_V2 = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)
"""Sandler et al., CVPR 2018, table 2."""
_EFFICIENT = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 40, 2, 2, 5),
    Stage(6, 80, 3, 2),
    Stage(6, 112, 3, 1, 5),
    Stage(6, 192, 4, 2, 5),
    Stage(6, 320, 1, 1),
)
"""Tan and Le, ICML 2019, table 1."""


def efficientnet_lite(width: float, depth: float) -> tuple[Stage, ...]:
    """Stages of an EfficientNet-Lite: first and last are as deep in all sizes (Liu, TensorFlow blog, March 2020)."""
    inner = range(1, len(_EFFICIENT) - 1)
    return tuple(
        stage._replace(
            channels=divisible(stage.channels * width),
            blocks=math.ceil(stage.blocks * depth) if number in inner else stage.blocks,
        )
        for number, stage in enumerate(_EFFICIENT)
    )


class SameConv2d(nn.Conv2d):
    """A convolution that pads as TensorFlow's ``SAME``: more on the right and below where a stride leaves a rest."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stride, kernel = self.stride[0], self.kernel_size[0]
        pads: list[int] = []
        for side in (x.shape[-1], x.shape[-2]):
            pad = max(0, (-(-side // stride) - 1) * stride + kernel - side)
            pads += [pad // 2, pad - pad // 2]
        return F.conv2d(F.pad(x, pads), self.weight, None, self.stride, 0, 1, self.groups)


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection, and a shortcut where shapes allow one."""

    def __init__(self, inputs: int, stage: Stage, stride: int, same: bool, eps: float) -> None:
        super().__init__()
        middle = inputs * stage.expand
        layers: list[nn.Module] = []
        if stage.expand != 1:
            layers += _convolution(inputs, middle, 1, 1, 1, same, eps)
        layers += _convolution(middle, middle, stage.kernel, stride, middle, same, eps)
        self.layers = nn.Sequential(*layers, *_convolution(middle, stage.channels, 1, 1, 1, same, eps)[:-1])
        self.shortcut = stride == 1 and inputs == stage.channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layers(x)
        return x + y if self.shortcut else y


class InvertedResidualNetwork(nn.Module):
    """Normalised images ``[b, 3, h, w]`` to features ``[b, 1280]``.

    Args:
        stages: the blocks.
        same: pad as TensorFlow does.
        eps: of the batch norm.
    """

    dim = 1280
    _STEM = 32

    def __init__(self, stages: tuple[Stage, ...], same: bool, eps: float) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_convolution(3, self._STEM, 3, 2, 1, same, eps))
        self.blocks = nn.Sequential(*self._blocks(stages, same, eps))
        self.top = nn.Sequential(*_convolution(stages[-1].channels, self.dim, 1, 1, 1, same, eps))

    def _blocks(self, stages: tuple[Stage, ...], same: bool, eps: float) -> Iterator[nn.Module]:
        inputs = self._STEM
        for stage in stages:
            for number in range(stage.blocks):
                yield InvertedResidual(inputs, stage, 1 if number else stage.stride, same, eps)
                inputs = stage.channels

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        # Twice as fast there.
        x = images.contiguous(memory_format=torch.channels_last) if images.device.type == "cpu" else images
        pooled: torch.Tensor = self.top(self.blocks(self.stem(x))).mean((2, 3))
        return pooled


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int, groups: int, same: bool, eps: float
) -> list[nn.Module]:
    """Convolution, batch norm and activation."""
    kind = SameConv2d if same and kernel > 1 else nn.Conv2d
    conv = kind(inputs, outputs, kernel, stride, 0 if same else kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs, eps), nn.ReLU6(inplace=True)]
