"""How tasks are compared, and what is trained on known ones; importing this imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.utils.checks import FINITE, TINY, NamedSettings, integer, one_of, settings

_LEAST = {"input_size": 8, "images": 4, "steps": 1, "batch_size": 2, "fisher_images": 1, "seed": 0, "init_seed": 0}
_RANGES: dict[str, tuple[float, float, str]] = {"lr": (TINY, FINITE, "a positive number, such as 0.01")}


@dataclass(frozen=True)
class TaskConfig(NamedSettings):
    """How tasks are compared: networks of one configuration can be compared, no others.

    Attributes:
        backbone: one of `BACKBONES`.
        input_size: side of the square images, in pixels.
        images: of a dataset, at most, evenly over its classes; a tenth is held out to report an accuracy.
        steps: of training, the same for small and large datasets but for whole epochs.
        batch_size: largest batch.
        lr: highest learning rate; low, because networks that move far from their common start no longer compare weight
            by weight.
        flip: mirror images at random while training.
        fisher_images: training images of the target, at most, that Fisher information is measured on.
        init_seed: of the initial weights, which all networks share.
        seed: of everything else.
        device: where networks run.

    Raises:
        ConfigError: a value is out of range.
    """

    backbone: str = "plain"
    input_size: int = 24
    images: int = 2000
    steps: int = 800
    batch_size: int = 64
    lr: float = 0.01
    flip: bool = False
    fisher_images: int = 500
    init_seed: int = 0
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        settings(self, _LEAST, _RANGES)
        from metad2a_plugin.similarity.backbones import BACKBONES

        one_of("backbone", self.backbone, BACKBONES)

    def training(self, images: int) -> TrainConfig:
        """The settings of a training on so many images, a number of whole epochs."""
        epochs = max(1, round(self.steps / -(-images // self.batch_size)))
        same = {name: getattr(self, name) for name in ("batch_size", "lr", "flip", "input_size", "seed", "device")}
        return TrainConfig(epochs, validation=0.1, split_seed=self.seed, **same)


@dataclass(frozen=True)
class CellConfig(NamedSettings):
    """Which cells are trained on each task, and how; `TrainConfig` says the rest.

    Attributes:
        space: search space, whose networks take `channels` and `cells`.
        count: random live cells, no two of equal networks; the same for all tasks.
        good: how many of the best are a task's good cells.
        images: of a task, at most, evenly over its classes.
        epochs, input_size, channels, cells: of the training.
        seed: of the choice of cells and images, and of the training.

    Raises:
        ConfigError: a value is out of range.
    """

    space: str = "nasbench201"
    count: int = 12
    good: int = 4
    images: int = 600
    epochs: int = 10
    input_size: int = 16
    channels: int = 8
    cells: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in {"count": 2, "good": 2, "images": 4, "epochs": 1, "channels": 1, "cells": 1}.items():
            integer(name, getattr(self, name), least)
        if self.good > self.count:
            raise ConfigError(f"good ({self.good}) must not exceed count ({self.count}): they are the best of these")

    def training(self, device: str) -> TrainConfig:
        """The settings of each training."""
        same = {name: getattr(self, name) for name in ("epochs", "input_size", "seed")}
        options = {"channels": self.channels, "cells": self.cells}
        return TrainConfig(**same, batch_size=64, validation=0.4, options=options, split_seed=self.seed, device=device)
