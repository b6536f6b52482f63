"""Images, settings and a plain implementation for tests of NASWOT."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from metad2a_plugin.data import Task
from metad2a_plugin.plugins.predictor import Prediction, Predictor
from metad2a_plugin.spaces.base import Architectures

TINY: dict[str, Any] = {"batch_size": 8, "input_size": 8, "channels": 4, "cells": 1}


def noise(count: int = 12, size: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random images of two classes."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8), np.arange(count) % 2


def plain_kernel(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """K as the paper writes it, one ReLU after the other; float64 ``[n, n]``."""
    kernel = torch.zeros(len(images), len(images), dtype=torch.float64)

    def add(_: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        x = (inputs[0] > 0).double().flatten(1)
        kernel.add_(x @ x.T + (1 - x) @ (1 - x).T)

    for module in network.modules():
        if isinstance(module, (nn.ReLU, nn.ReLU6)):
            module.register_forward_pre_hook(add)
    with torch.no_grad():
        network.train()(images)
    return kernel


class Sum(Predictor):
    """Scores an architecture by its choices, and counts how many it has scored."""

    scored = 0

    def predict(self, task: Task | None, architectures: Architectures) -> Prediction:
        self.scored += len(architectures)
        return Prediction(torch.tensor([float(sum(a.choices)) for a in self.space.decode(architectures)]))
