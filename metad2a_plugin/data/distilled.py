"""The default image encoder: a small residual network distilled from a strong ImageNet teacher's features.

`benchmarks/train_encoder.py` trains it; the weights ship in ``pretrained/encoder``.
"""

from __future__ import annotations

import torch
from torch import nn


class _Block(nn.Module):
    """Basic residual block (He et al., CVPR 2016): two 3x3 convolutions and a shortcut."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class DistilledEncoder(nn.Module):
    """Images to features.

    Args:
        stem: channels of the two stride-2 stem convolutions.
        widths: channels of each stage; every stage after the first halves the resolution.
        depths: residual blocks of each stage.
        dim: width of the feature vector.
    """

    def __init__(
        self,
        stem: tuple[int, int] = (24, 48),
        widths: tuple[int, ...] = (48, 96, 192),
        depths: tuple[int, ...] = (1, 2, 2),
        dim: int = 256,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in stem:
            layers += [nn.Conv2d(channels, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for block in range(depth):
                layers.append(_Block(channels, width, 2 if stage and block == 0 else 1))
                channels = width
        self.trunk = nn.Sequential(*layers)
        self.head = nn.Linear(channels, dim)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 ``[batch, 3, size, size]`` to float32 ``[batch, dim]``."""
        x = images.to(self.head.weight.dtype).div(127.5).sub(1.0)
        return self.head(self.trunk(x).mean(dim=(2, 3)))
