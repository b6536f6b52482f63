"""ResNet-20 (He et al., CVPR 2016, section 4.2) of any width, as a contender: what a plain network gives."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional as F

from metad2a_plugin.contest.contenders import Contender
from metad2a_plugin.contest.images import Images
from metad2a_plugin.nn.counting import count_cost
from metad2a_plugin.nn.normalized import NormalizedNetwork
from metad2a_plugin.spaces.base import Cost
from metad2a_plugin.training.classifier import Classifier
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import TrainingData
from metad2a_plugin.training.soft import SoftLabels

_BLOCKS = 3  # of each of three stages


class _Block(nn.Module):
    """Two convolutions and a shortcut without weights, padded with zeros where it widens."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stride, self.more = (1, 0) if inputs == outputs else (2, outputs - inputs)
        self.first = nn.Conv2d(inputs, outputs, 3, self.stride, 1, bias=False)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norms[1](self.second(F.relu(self.norms[0](self.first(x)))))
        return F.relu(y + F.pad(x[..., :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more)))


class ResNet20(nn.Module):
    """Images ``[b, 3, h, w]`` to logits ``[b, classes]``."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        widths = [width] * (_BLOCKS + 1) + [2 * width] * _BLOCKS + [4 * width] * _BLOCKS
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.blocks = nn.Sequential(*(_Block(a, b) for a, b in itertools.pairwise(widths)))
        self.classifier = nn.Linear(4 * width, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = images.contiguous(memory_format=torch.channels_last)
        logits: torch.Tensor = self.classifier(self.blocks(self.stem(x)).mean((2, 3)))
        return logits


class ResNet20Classifier(NormalizedNetwork, Classifier):
    """On raw pixels."""

    def __init__(self, data: TrainingData, width: int, side: int) -> None:
        super().__init__(ResNet20(len(data.class_names), width), data.mean, data.std)
        self.class_names, self.input_size = data.class_names, side
        params, flops = count_cost(lambda: ResNet20(len(data.class_names), width), side)
        self.cost = Cost(params / 1e6, flops / 1e6)


@dataclass(frozen=True)
class ResNet20Contender(Contender):
    """One as wide as parameters allow, with soft labels.

    Attributes:
        params: at most, in millions.
        config: how it is trained.
    """

    params: float
    config: TrainConfig
    name = "resnet20"
    title = "ResNet-20"

    def classifier(self, images: Images) -> Classifier:
        data = self.data(images)
        width = max(1, int(16 * (self.params / 0.27) ** 0.5))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            return ResNet20Classifier(data, width, self.config.input_size)

    def cost(self, images: Images) -> Cost:
        return self.classifier(images).cost

    def data(self, images: Images) -> TrainingData:
        return replace(super().data(images), soft=SoftLabels(images.soft))
