"""Images, settings and trials for the tests of Ray Tune; nothing of it imports Ray."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow.fs import LocalFileSystem

from metad2a_plugin.training.config import TrainConfig

CELLS = [
    "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|",
    "|nor_conv_1x1~0|+|nor_conv_3x3~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|",
    "|skip_connect~0|+|nor_conv_3x3~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|",
]
TINY = TrainConfig(epochs=3, input_size=8, options={"channels": 4, "cells": 1}, device="cpu")


def images(each: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Three classes of noise, each with a colour of its own."""
    labels = np.repeat(np.arange(3), each)
    pixels = np.random.default_rng(0).integers(0, 200, (len(labels), 8, 8, 3)).astype(np.uint8)
    pixels[np.arange(len(labels)), :, :, labels] += 55
    return pixels, labels


class KilledError(Exception):
    """The process is gone."""


class Kept:
    """A checkpoint in a folder of this machine."""

    def __init__(self, path: str, filesystem: Any = None) -> None:
        self.path, self.filesystem = path, filesystem or LocalFileSystem()

    @classmethod
    def from_directory(cls, path: Path) -> Kept:
        return cls(str(path))

    def to_directory(self, to: str) -> None:
        shutil.copytree(self.path, to, dirs_exist_ok=True)


class Session:
    """What Tune is to a trial: it takes reports and checkpoints, and may end at one.

    Args:
        folder: of the checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.reports = folder, list[dict[str, Any]]()
        self.last: Kept | None = None
        self.dies_after: int | None = None
        self.Checkpoint = Kept

    def report(self, metrics: dict[str, Any], checkpoint: Kept) -> None:
        kept = self.folder / f"checkpoint_{len(self.reports):06}"
        shutil.copytree(checkpoint.path, kept)
        self.last = Kept(str(kept))
        self.reports.append(metrics)
        if self.dies_after == len(self.reports):
            raise KilledError

    def get_checkpoint(self) -> Any:
        return self.last
