"""Settings of a meta-database of real trainings; nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass

from metad2a_plugin.errors import ConfigError, said
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.utils.checks import FINITE, TINY, settings

_LEAST = {"trainings": 1, "tasks_per_set": 1, "train_images": 10, "held_out_images": 10, "wide": 2, "seed": 0}
_RANGES: dict[str, tuple[float, float, str]] = {
    "shortest": (TINY, FINITE, "a positive number of seconds, such as 1"),
    "longest": (TINY, FINITE, "a positive number of seconds, such as 60"),
}


@dataclass(frozen=True)
class TrainingsConfig:
    """Settings of a database of trainings.

    Attributes:
        space: registry name of the search space.
        trainings: rows; more may be asked for later, and those before stay as they are.
        tasks_per_set: subsets of each image set, of which the first is all of it.
        train_images: of a task, at the most.
        held_out_images: of a task, that accuracies are measured on, at the most.
        shortest, longest: bounds of a training's nominal seconds (`plan.nominal_seconds`) on one core.
        wide: architectures of a context that many share.
        seed: of everything random.

    Raises:
        ConfigError: a value is out of range.
    """

    space: str = "nasbench201"
    trainings: int = 5000
    tasks_per_set: int = 12
    train_images: int = 1500
    held_out_images: int = 800
    shortest: float = 1.0
    longest: float = 60.0
    wide: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        settings(self, _LEAST, _RANGES)
        get_space(self.space)
        if self.longest < self.shortest:
            raise ConfigError(f"longest must be {self.shortest!r} seconds or more, got {said(self.longest)}")
