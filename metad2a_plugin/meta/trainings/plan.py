"""What a database of trainings will hold, before anything is trained: contexts, and the architectures of each row.

A context is all but the architecture: a task, the size of the network and of the images, and the budget. Contexts are
quasi-random (Sobol), so that they cover what there is evenly, however many there are. Rows come in cycles: most
contexts have one row; some have three, of which the last repeats the second with another seed; one in twenty has many
architectures, of which a quarter is repeated.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import cache, cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch

from metad2a_plugin.candidates.speed import REFERENCE, workload_of
from metad2a_plugin.meta.trainings.config import TrainingsConfig
from metad2a_plugin.meta.trainings.tasks import TaskPlan
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.training import TrainConfig

INPUT_SIZES = (16, 24, 32, 48, 64)
BATCHES = (16, 32, 64, 128, 256)
_LR = (0.02, 0.3)
_STEEPNESS = 1.0  # nominal seconds have the density 1 / s ** (1 + steepness)
_SHARED_SECONDS = (3.0, 14.0)
_EPOCHS = (3.0, 60.0)
_MOST_EPOCHS = 300
_CYCLE = (1, 1, 3, 1, 1, 1, 3, 1, 1, 0, 1, 3, 1, 1, 3, 1, 1, 1, 3, 1)  # 0 stands for the context that many share
_DIMENSIONS = 10

# What one core does in a second, and seconds that a step costs besides; no more than a way to plan.
_FLOPS, _ACTIVATIONS, _PER_STEP = 60e9, 400e6, 3e-3
_SAMPLED = 4  # architectures that stand for the average one


class Row(NamedTuple):
    """A training to make."""

    number: int
    task: int
    architecture: Architecture
    config: TrainConfig


class _Context(NamedTuple):
    task: int
    options: Mapping[str, Any]
    input_size: int
    epochs: int
    batch_size: int
    lr: float
    flip: bool


class Plan:
    """Rows; the same image sets and settings always give the same, and more rows do not change those before.

    Args:
        tasks: the tasks.
        config: settings.
    """

    def __init__(self, tasks: TaskPlan, config: TrainingsConfig) -> None:
        self.tasks, self.config = tasks, config
        self.space: SearchSpace = get_space(config.space)
        self._images = lru_cache(maxsize=None)(lambda task: len(tasks.task(task).train))

    def __len__(self) -> int:
        return self.config.trainings

    def row(self, number: int) -> Row:
        """The row of a number from 0."""
        context, place = self._place(number)
        found = self._context(context)
        rows = self._rows(context)
        # The last quarter of many, and the last of three, repeat one before with another seed.
        repeated = rows // 5 if rows > 3 else rows // 3
        kinds = rows - repeated
        kind, again = (place, 0) if place < kinds else (place - kinds + (kinds - repeated), 1)
        rng = random.Random(f"{self.config.seed} {context} {kind}")
        config = TrainConfig(
            epochs=found.epochs,
            batch_size=found.batch_size,
            lr=found.lr,
            flip=found.flip,
            input_size=found.input_size,
            options=found.options,
            seed=2 * context + again,
            device="cpu",
        )
        return Row(number, found.task, self._alive(rng), config)

    def _rows(self, context: int) -> int:
        """Of a context."""
        rows = _CYCLE[context % len(_CYCLE)]
        return rows or self.config.wide + self.config.wide // 4

    def _place(self, number: int) -> tuple[int, int]:
        """The context of a row, and which of its rows it is."""
        counts = np.cumsum([self._rows(context) for context in range(len(_CYCLE))])
        cycle, rest = divmod(number, int(counts[-1]))
        inside = int(np.searchsorted(counts, rest, side="right"))
        return cycle * len(_CYCLE) + inside, rest - int(counts[inside] - self._rows(inside))

    def _context(self, number: int) -> _Context:
        u = self._points[number]
        shared = self._rows(number) > 3
        # All image sets take turns, those of the contexts that many share by themselves.
        turn = number // len(_CYCLE) if shared else number
        owner = int(self._order(turn // len(self.tasks.sets))[turn % len(self.tasks.sets)])
        first, last = int(self.tasks.first[owner]), int(self.tasks.first[owner + 1])
        task = first if u[0] < 0.5 else first + int(2 * (u[0] - 0.5) * (last - first))
        low, high = _SHARED_SECONDS if shared else (self.config.shortest, self.config.longest)
        seconds = _power_law(float(u[1]), low, high, 1e-9 if shared else _STEEPNESS)
        options = {
            name: values[int(share * len(values))]
            for (name, values), share in zip(self.space.sizes.items(), u[2:5].tolist(), strict=False)
        }
        size, batch = INPUT_SIZES[int(u[5] * len(INPUT_SIZES))], BATCHES[int(u[6] * len(BATCHES))]
        images = self._images(task)
        batch = max(b for b in BATCHES if b <= max(batch if images >= 2 * batch else images // 2, BATCHES[0]))
        lr = 0.1 if u[7] < 0.5 else _LR[0] * (_LR[1] / _LR[0]) ** float(2 * (u[7] - 0.5))
        # What would not get through as many epochs is made smaller, one thing after the other.
        wanted = _EPOCHS[0] * (_EPOCHS[1] / _EPOCHS[0]) ** float(u[9])
        for turn in range(int(3 * u[9]), 32):
            epoch = self.nominal_seconds(options, size, batch, images)
            if wanted * epoch <= 1.5 * seconds:
                break
            size, options = self._smaller(size, options, turn)
        epochs = min(_MOST_EPOCHS, max(2, round(seconds / epoch)))
        return _Context(task, options, size, epochs, batch, float(f"{lr:.3g}"), bool(u[8] < 0.5))

    def _smaller(self, size: int, options: Mapping[str, Any], turn: int) -> tuple[int, dict[str, Any]]:
        names = [*self.space.sizes]
        which = turn % (1 + len(names))
        if which == len(names):
            return _before(INPUT_SIZES, size), dict(options)
        name = names[which]
        return size, {**options, name: _before(self.space.sizes[name], options[name])}

    def nominal_seconds(self, options: Mapping[str, Any], input_size: int, batch_size: int, images: int) -> float:
        """Of an epoch, roughly, on one core: of arithmetic, memory and steps, for an average architecture."""
        flops, activations = _work(self.config.space, tuple(sorted(options.items())))
        pixels = (input_size / REFERENCE) ** 2
        each = pixels * (6 * flops / _FLOPS + activations / _ACTIVATIONS)
        return images * each + -(-images // batch_size) * _PER_STEP

    def _alive(self, rng: random.Random) -> Architecture:
        """A random architecture; one that cannot learn is in only one case in twenty left as it is."""
        while self.space.is_dead(found := self.space.sample(rng)) and rng.random() >= 0.05:
            pass
        return found

    @lru_cache(maxsize=64)  # noqa: B019 - lives as long as the process that measures
    def _order(self, turn: int) -> np.ndarray:
        return np.random.default_rng((self.config.seed, 2, turn)).permutation(len(self.tasks.sets))

    @cached_property
    def _points(self) -> np.ndarray:
        """Of each context, in the unit cube, float64 ``[contexts, dimensions]``."""
        contexts = self._place(len(self) - 1)[0] + 1
        sobol = torch.quasirandom.SobolEngine(_DIMENSIONS, scramble=True, seed=self.config.seed)
        points: np.ndarray = sobol.draw(contexts, dtype=torch.float64).numpy()
        return points.clip(0, 1 - 1e-9)


@cache
def _work(name: str, options: tuple[tuple[str, Any], ...]) -> tuple[float, float]:
    """Multiply-accumulates and activations of an image of `REFERENCE` pixels a side, of an average architecture."""
    space, rng = get_space(name), random.Random(0)
    flops = activations = 0.0
    for architecture in (space.sample(rng) for _ in range(_SAMPLED)):
        flops += space.cost(architecture, input_size=REFERENCE, **dict(options)).flops * 1e6
        activations += workload_of(space).count(architecture, dict(options))
    return flops / _SAMPLED, activations / _SAMPLED


def _power_law(u: float, low: float, high: float, steepness: float) -> float:
    """The value at a share `u` of the density ``1 / s ** (1 + steepness)`` between two bounds."""
    a, b = low**-steepness, high**-steepness
    return float((a - u * (a - b)) ** (-1 / steepness))


def _before(values: Sequence[Any], value: Any) -> Any:
    return values[max(0, values.index(value) - 1)]
