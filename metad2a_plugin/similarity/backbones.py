"""Small networks, one per task, whose weights tell tasks apart (the papers' epsilon-approximation networks).

They have no batch norm, so that each image has a gradient of its own. All begin at the same weights and see pixels
scaled alike, because the distances compare them weight by weight.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from metad2a_plugin.utils.checks import one_of


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Convolution, group norm (each image by itself) and ReLU."""
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(4, outputs), nn.ReLU())


class _Residual(nn.Module):
    """Two convolutions beside a shortcut; ``[n, inputs, h, w]`` to ``[n, outputs, h/2, w/2]``."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_conv(inputs, outputs, 2), _conv(outputs, outputs))
        self.shortcut = nn.Conv2d(inputs, outputs, 1, 2, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        summed: torch.Tensor = self.body(x) + self.shortcut(x)
        return summed


def _plain() -> tuple[nn.Sequential, int]:
    """VGG's pattern, 28,336 parameters."""
    layers = (_conv(3, 16, 2), _conv(16, 32), nn.MaxPool2d(2), _conv(32, 32), _conv(32, 48))
    return nn.Sequential(*layers), 48


def _residual() -> tuple[nn.Sequential, int]:
    """ResNet's pattern, 33,744 parameters."""
    return nn.Sequential(_conv(3, 16, 2), _Residual(16, 24), _Residual(24, 40)), 40


BACKBONES: dict[str, Callable[[], tuple[nn.Sequential, int]]] = {"plain": _plain, "residual": _residual}
"""Layers and number of output channels, by name."""


class TaskNetwork(nn.Module):
    """A backbone, which distances look at, and a linear head, whose size is the task's.

    Args:
        backbone: one of `BACKBONES`.
        num_classes: outputs.
        seed: of the initial weights; the backbone's do not depend on `num_classes`.

    Raises:
        ConfigError: no such backbone.
    """

    def __init__(self, backbone: str, num_classes: int, seed: int = 0) -> None:
        super().__init__()
        one_of("backbone", backbone, BACKBONES)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.backbone, width = BACKBONES[backbone]()
        self.head = nn.Linear(width, num_classes)
        # From zero, so that no weight depends on how many classes there are or how they are numbered.
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """RGB ``[n, 3, size, size]`` with values 0 to 255 to ``[n, width]``."""
        maps: torch.Tensor = self.backbone(images.float() / 127.5 - 1)
        return maps.mean((2, 3))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """RGB ``[n, 3, size, size]`` with values 0 to 255 to logits ``[n, classes]``."""
        logits: torch.Tensor = self.head(self.features(images))
        return logits
