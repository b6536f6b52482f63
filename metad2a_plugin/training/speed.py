"""The speed of training on this machine, measured in about two seconds."""

from __future__ import annotations

import random
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import torch

from metad2a_plugin.candidates.speed import Speed, Workload, workload_of
from metad2a_plugin.data import load_dataset
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.run import train_architecture

_SMALL, _LARGE = (16, 8, 80), (32, 64, 160)  # pixels, batch, images with those held out
_EPOCHS = 3  # of which the first warms up


def measure_speed(space: SearchSpace, device: str = "auto") -> Speed:
    """Train reference networks on noise for a few steps: small ones, and larger ones of much and of little arithmetic.

    Args:
        space: the search space.
        device: where trainings will run, as in `TrainConfig`.
    """
    workload = workload_of(space)
    small, large = (
        {name: values[which] for name, values in space.sizes.items()} for which in (0, len(space.sizes) // 2)
    )
    busy, idle = _references(space, workload, large)
    rows, seconds = [], []
    for architecture, options, (size, batch, images) in (
        (busy, small, _SMALL),
        (busy, large, _LARGE),
        (idle, large, _LARGE),
    ):
        config = TrainConfig(epochs=_EPOCHS, batch_size=batch, input_size=size, options=options, lr=1e-3, device=device)
        budget = config.budget.resolved(images)
        work = workload.of(space.encode([architecture]), size, options)
        each = budget.images or 0
        rows.append([budget.steps_per_epoch, each * float(work.flops), each * float(work.activations)])
        seconds.append(_seconds_per_epoch(space, architecture, config, images))
    return Speed(*_least_squares(torch.tensor(rows, dtype=torch.float64), torch.tensor(seconds, dtype=torch.float64)))


def _references(
    space: SearchSpace, workload: Workload, options: Mapping[str, Any]
) -> tuple[Architecture, Architecture]:
    """Of some random networks, those of the most and of the least arithmetic for each number that they move."""
    rng = random.Random(0)
    drawn = [space.sample(rng) for _ in range(50)]
    live = [architecture for architecture in drawn if not space.is_dead(architecture)]
    work = workload.of(space.encode(live), space.input_size, options)
    order = (work.flops / work.activations).argsort()
    return live[int(order[-1])], live[int(order[0])]


def _seconds_per_epoch(space: SearchSpace, architecture: Architecture, config: TrainConfig, images: int) -> float:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, config.input_size, config.input_size, 3), dtype=np.uint8)
    noise = load_dataset((pixels, np.arange(images) % 10))
    result = train_architecture(space, architecture, noise, config, progress=False)
    return min(epoch.seconds for epoch in result.history[1:])


def _least_squares(rows: torch.Tensor, seconds: torch.Tensor) -> list[float]:
    """Coefficients that are not negative and fit best by relative errors: the best fit with any of them left out."""
    relative = rows / seconds[:, None]
    scale = relative.abs().max(0).values
    best, least = torch.zeros(rows.shape[1], dtype=torch.float64), float("inf")
    columns = range(rows.shape[1])
    for kept in (list(c) for count in range(1, rows.shape[1] + 1) for c in combinations(columns, count)):
        found = torch.linalg.lstsq(relative[:, kept] / scale[kept], torch.ones(len(rows), 1, dtype=torch.float64))
        weights = found.solution[:, 0] / scale[kept]
        error = float((relative[:, kept] @ weights - 1).square().sum())
        if bool((weights >= 0).all()) and error < least:
            least, best = error, torch.zeros_like(best).index_put((torch.tensor(kept),), weights)
    return best.tolist()
