"""A database of trainings as tensors, for those who learn from it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from metad2a_plugin.errors import ArchitectureError, DatasetError, said, shortened
from metad2a_plugin.meta.tables import database_rows, table_file, table_rows
from metad2a_plugin.meta.trainings.measure import columns
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.utils.schema import exactly, read_json, record, text, why

SETTINGS = ("input_size", "epochs", "batch_size", "lr", "flip", "classes", "train_images", "held_out_images")
"""Of every row, besides the options of the space's networks."""
_POSITIVE = {*SETTINGS} - {"flip"}
_MOST_EPOCHS, _MOST_VALUES = 10_000, 50_000_000


@dataclass(frozen=True)
class Trainings:
    """Trainings, one a row.

    Attributes:
        space: of the architectures.
        vertices: encoded architectures, int64 ``[rows, vertices]``.
        task: number of each row's task, int64 ``[rows]``.
        sets: name of the image set of each task.
        settings: by name, those of `SETTINGS` and options of networks, float64 ``[rows]`` each.
        seed: of each training, int64 ``[rows]``.
        curve: accuracy on held-out images in percent after each epoch, float32 ``[rows, epochs]``; NaN after the last.
        seconds: of one core, float64 ``[rows]``.
        context: equal where rows differ in nothing but architecture and seed, int64 ``[rows]``.
    """

    space: SearchSpace
    vertices: torch.Tensor
    task: torch.Tensor
    sets: tuple[str, ...]
    settings: Mapping[str, torch.Tensor]
    seed: torch.Tensor
    curve: torch.Tensor
    seconds: torch.Tensor
    context: torch.Tensor

    def __len__(self) -> int:
        return len(self.task)

    @property
    def accuracy(self) -> torch.Tensor:
        """After the last epoch, percent, float32 ``[rows]``."""
        return self.curve.gather(1, self.settings["epochs"].long()[:, None] - 1)[:, 0]

    @property
    def image_set(self) -> tuple[str, ...]:
        """Name of each row's image set."""
        return tuple(self.sets[task] for task in self.task.tolist())

    def rows(self, chosen: torch.Tensor) -> Trainings:
        """Some of them, by a mask or by numbers."""
        settings = {name: values[chosen] for name, values in self.settings.items()}
        parts = {name: getattr(self, name)[chosen] for name in ("vertices", "task", "seed", "curve", "seconds")}
        return Trainings(self.space, sets=self.sets, settings=settings, context=self.context[chosen], **parts)


def load_trainings(folder: Path | str) -> Trainings:
    """Read and check a folder that `meta.trainings.build.build_trainings` wrote, complete or not.

    Raises:
        DatasetError: a file, column or value is missing or wrong; says where.
        ArchitectureError: an architecture is not of the space.
        ConfigError: the search space is not installed.
    """
    folder = Path(folder)
    space = _space(folder / "build.json")
    sets: list[str] = []
    for place, row in table_rows(table_file(folder, "tasks"), ("task", "set")):
        if row["task"] != str(len(sets)):
            raise DatasetError(f"{place}: tasks must be numbered from 0, got {said(row['task'])}")
        sets.append(row["set"])
    names = (*space.sizes, *SETTINGS)
    rows = database_rows(folder, columns(space))
    if not rows:
        raise DatasetError(f"the database in {folder} holds no training yet; run metad2a build-database")
    task = [_integer(place, "task", row["task"], len(sets)) for place, row in rows]
    values = [[_number(place, name, row[name]) for name in names] for place, row in rows]
    table = torch.tensor(values, dtype=torch.float64)
    keys = [(t, *line) for t, line in zip(task, values, strict=True)]
    numbers: dict[object, int] = {}
    curves = [_curve(place, row) for place, row in rows]
    if (taken := len(curves) * max(map(len, curves))) > _MOST_VALUES:
        raise DatasetError(f"the curves in {folder} would take {taken:,} values, more than {_MOST_VALUES:,}")
    return Trainings(
        space=space,
        vertices=space.encode([_architecture(space, place, row["arch_str"]) for place, row in rows]),
        task=torch.tensor(task),
        sets=tuple(sets),
        settings=dict(zip(names, table.unbind(1), strict=True)),
        seed=torch.tensor([_integer(place, "seed", row["seed"], 2**62) for place, row in rows]),
        curve=torch.nn.utils.rnn.pad_sequence(curves, batch_first=True, padding_value=math.nan),
        seconds=torch.tensor([_number(place, "seconds", row["seconds"]) for place, row in rows], dtype=torch.float64),
        context=torch.tensor([numbers.setdefault(key, len(numbers)) for key in keys]),
    )


_MADE_OF = record({"kind": exactly("trainings"), "trainings": record({"space": text(1, 200)})})


def _space(path: Path) -> SearchSpace:
    try:
        made_of = _MADE_OF(read_json(path), "")
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{str(path)!r} is not of a database of trainings ({why(error)}); give a folder that "
            "metad2a build-database wrote"
        ) from error
    return get_space(made_of["trainings"]["space"])


def _number(place: str, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0 or (name in _POSITIVE and value == 0):
        raise DatasetError(f"{place}: {name} must be a positive number, got {said(text)}")
    return value


def _integer(place: str, name: str, text: str, end: int) -> int:
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII) or int(text) >= end:
        raise DatasetError(f"{place}: {name} must be an integer from 0 to {end - 1}, got {said(text)}")
    return int(text)


def _architecture(space: SearchSpace, place: str, text: str) -> Architecture:
    try:
        return space.parse(text)
    except ArchitectureError as error:
        raise ArchitectureError(f"{place}: {error}") from None


def _curve(place: str, row: dict[str, str]) -> torch.Tensor:
    values = [_number(place, "curve", text) for text in row["curve"].split()]
    if row["epochs"] != str(len(values)) or not 0 < len(values) <= _MOST_EPOCHS or max(values) > 100:
        raise DatasetError(
            f"{place}: the curve must have an accuracy from 0 to 100 for each of {shortened(row['epochs'])} epochs, "
            f"got {len(values)} values up to {max(values, default=0):g}"
        )
    return torch.tensor(values)
