"""The meta-database: rows of (task, architecture, accuracy), tasks as sets of classes, and class images.

A folder with

- ``rows.csv[.gz]``: columns ``task, arch_str, accuracy`` (percent), ``split`` (``train`` or ``valid``), and
  optionally ``protocol`` (0 or 1: how the accuracy was measured) and ``row`` (an integer of its own for each row, which
  sorts them, so that it does not matter in which order they were written); or the same in several files,
  ``rows.I-of-N.csv[.gz]`` with I from 1 to N;
- ``tasks.csv[.gz]``: ``task`` and any number of ``class_*`` columns holding class ids;
- ``map_clsloc.txt``: one line a class, ``folder id name``; the folder is where the class's images are.

Other columns and files are ignored.

The released database of MetaD2A mixes two evaluation protocols without a column that says so: nine rows in ten
are multiples of 0.2 percent (500 validation images), the others lie on a finer grid and about 16 points lower.
`load_database` tells them apart by that grid when asked to (`protocol_step`).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from metad2a_plugin.errors import ArchitectureError, ConfigError, DatasetError, said
from metad2a_plugin.meta.tables import database_rows, table_file, table_rows, whole_number
from metad2a_plugin.plugins.task import Task
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.utils.schema import read_bytes, why


@dataclass(frozen=True)
class MetaDatabase:
    """Rows, tasks and splits, ready for training.

    Attributes:
        vertices: encoded architecture of each row, int64 ``[rows, vertices]``.
        accuracy: percent, float32 ``[rows]``.
        task: task index of each row, int64 ``[rows]``.
        valid: True for validation rows, bool ``[rows]``.
        protocol: 0 or 1, int64 ``[rows]``.
        task_classes: class ids of each task, int64 ``[tasks, classes]``.
        class_folders: image folder of each class id.
        space: of the architectures.
    """

    vertices: torch.Tensor
    accuracy: torch.Tensor
    task: torch.Tensor
    valid: torch.Tensor
    protocol: torch.Tensor
    task_classes: torch.Tensor
    class_folders: dict[int, str]
    space: SearchSpace


def _class_folders(path: Path) -> dict[int, str]:
    if not path.exists():
        raise DatasetError(f"no {path.name} in {path.parent}; it maps class ids to image folders (folder id name)")
    try:
        lines = read_bytes(path).decode().splitlines()
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read ({why(error)}); is it damaged?") from error
    folders = {}
    for number, line in enumerate(lines, 1):
        parts = line.split()
        if len(parts) < 2 or not re.fullmatch(r"\d{1,6}", parts[1], re.ASCII):
            raise DatasetError(f"{path.name}, line {number}: expected 'folder id name', got {said(line)}")
        folders[int(parts[1])] = parts[0]
    return folders


def load_database(folder: Path | str, space: SearchSpace, *, protocol_step: float | None = None) -> MetaDatabase:
    """Read and check a meta-database folder.

    Args:
        folder: see the module's description.
        space: parses ``arch_str``.
        protocol_step: rows whose accuracy is no multiple of this many percent are protocol 1; ignored when
            ``rows.csv`` has a ``protocol`` column.

    Raises:
        DatasetError: a file, column or value is missing or wrong; says where.
        ArchitectureError: an architecture string is not of `space`.
        ConfigError: `protocol_step` is not positive.
    """
    if protocol_step is not None and not 0 < protocol_step <= 100:
        raise ConfigError(f"protocol_step must be a positive number of percent, such as 0.2, got {said(protocol_step)}")
    folder = Path(folder)
    tasks: dict[int, int] = {}
    classes: list[list[int]] = []
    for place, row in table_rows(table_file(folder, "tasks"), ("task", "class_0")):
        try:
            task = whole_number(row["task"])
            members = [whole_number(v) for k, v in row.items() if k.startswith("class_") and v]
        except ValueError as error:
            raise DatasetError(f"{place}: tasks and classes must be integers ({error})") from None
        if task in tasks:
            raise DatasetError(f"{place}: task {task} is there twice")
        tasks[task] = len(classes)
        classes.append(members)
    if not classes:
        raise DatasetError("tasks.csv holds no task")
    if len({len(c) for c in classes}) != 1:
        raise DatasetError("tasks.csv: every task must have the same number of classes")
    folders = _class_folders(folder / "map_clsloc.txt")
    unknown = {c for task in classes for c in task} - set(folders)
    if unknown:
        raise DatasetError(f"tasks.csv names classes that map_clsloc.txt lacks: {sorted(unknown)[:5]}")

    architectures, accuracy, task_index, valid, protocol = [], [], [], [], []
    for place, row in database_rows(folder, ("task", "arch_str", "accuracy", "split")):
        try:
            value, task = float(row["accuracy"]), tasks[whole_number(row["task"])]
        except (ValueError, KeyError) as error:
            raise DatasetError(f"{place}: bad number or unknown task ({error})") from None
        if not 0 <= value <= 100 or row["split"] not in ("train", "valid"):
            raise DatasetError(
                f"{place}: accuracy must be 0 to 100 and split train or valid, got "
                f"{said(row['accuracy'])}, {said(row['split'])}"
            )
        if row.get("protocol", "0") not in ("0", "1"):
            raise DatasetError(f"{place}: protocol must be 0 or 1, got {said(row['protocol'])}")
        try:
            architectures.append(space.parse(row["arch_str"]))
        except ArchitectureError as error:
            raise ArchitectureError(f"{place}: {error}") from None
        accuracy.append(value)
        task_index.append(task)
        valid.append(row["split"] == "valid")
        if "protocol" in row:
            protocol.append(int(row["protocol"]))
        else:
            protocol.append(int(protocol_step is not None and _off_grid(value, protocol_step)))
    if len(set(valid)) < 2:
        raise DatasetError(f"rows.csv needs rows of both splits, got {len(valid)} rows, {sum(valid)} of them valid")
    return MetaDatabase(
        vertices=space.encode(architectures),
        accuracy=torch.tensor(accuracy),
        task=torch.tensor(task_index),
        valid=torch.tensor(valid),
        protocol=torch.tensor(protocol),
        task_classes=torch.tensor(classes),
        class_folders=folders,
        space=space,
    )


def _off_grid(value: float, step: float) -> bool:
    steps = value / step
    return abs(steps - round(steps)) > 1e-6


@dataclass(frozen=True)
class ClassFeatures:
    """Image features grouped by class.

    Attributes:
        features: float32 ``[images, dim]``, sorted by class.
        start, count: first image and number of images of each class, int64 ``[classes]``.
        encoder: name of the image encoder.
    """

    features: torch.Tensor
    start: torch.Tensor
    count: torch.Tensor
    encoder: str

    @classmethod
    def group(cls, features: torch.Tensor, folders: np.ndarray, database: MetaDatabase, encoder: str) -> ClassFeatures:
        """Group images ``[images, dim]`` in class `folders` ``[images]`` by the database's class ids.

        Raises:
            DatasetError: a class that some task uses has no image.
        """
        used = sorted({int(c) for c in database.task_classes.unique()})
        number = {database.class_folders[c]: c for c in used}
        ids = np.array([number.get(f, -1) for f in folders])
        order = np.argsort(ids, kind="stable")
        order = order[ids[order] >= 0]
        count = torch.from_numpy(np.bincount(ids[order], minlength=used[-1] + 1))
        lacking = [c for c in used if count[c] == 0]
        if lacking:
            raise DatasetError(
                f"{len(lacking)} classes of the tasks have no images, for instance "
                f"{[database.class_folders[c] for c in lacking[:3]]}; check the image source"
            )
        return cls(features[torch.from_numpy(order)], count.cumsum(0) - count, count, encoder)

    def draw(self, classes: torch.Tensor, images: int, generator: torch.Generator) -> torch.Tensor:
        """Random images of each class, with replacement; ids ``[..., n]`` to ``[..., n, images, dim]``."""
        u = torch.rand(*classes.shape, images, generator=generator)
        count = self.count[classes].unsqueeze(-1)
        index = self.start[classes].unsqueeze(-1) + (u * count).long().minimum(count - 1)
        return self.features[index]

    def task(self, classes: torch.Tensor, name: str) -> Task:
        """All images of some classes, ids int64 ``[n]``, as a dataset."""
        members = [self.features[self.start[c] : self.start[c] + self.count[c]] for c in classes.tolist()]
        labels = torch.repeat_interleave(torch.arange(len(classes)), self.count[classes])
        return Task(torch.cat(members), labels, name=name, encoder=self.encoder)

    def prototypes(self) -> torch.Tensor:
        """Mean feature of each class that has images; ``[classes, dim]`` (zeros for the others)."""
        owner = torch.repeat_interleave(torch.arange(len(self.count)), self.count)
        total = torch.zeros(len(self.count), self.features.shape[1]).index_add_(0, owner, self.features)
        return total / self.count.clamp(min=1).unsqueeze(1)


def fingerprint(settings: object, *parts: object) -> str:
    """SHA-256 over the representation of `settings` and every tensor that is an attribute of one of `parts`."""
    digest = hashlib.sha256(repr(settings).encode())
    for tensor in (value for part in parts for value in vars(part).values() if isinstance(value, torch.Tensor)):
        digest.update(f"{tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
