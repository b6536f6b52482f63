"""The published records of NAS-Bench-201: one a cell, with every training of it."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from metad2a_plugin.errors import DatasetError
from metad2a_plugin.spaces.nasbench201 import NASBench201

from ._benchmark import EPOCHS, SPLITS, Benchmark, Training

MEASURED = ("train", "x-valid", "x-test", "ori-test")
"""Images that accuracies were measured on, as records call them."""
QUANTITIES = (*MEASURED, "seconds", "params", "flops")
DATASETS = frozenset(official for splits in SPLITS.values() for official, _ in splits.values())
_SCHEDULES = {"less": 12, "full": 200, "12": 12, "200": 200}
_COST_SEED = 888
_MANY_CELLS = 1000
_SPACE = NASBench201()


class Key(NamedTuple):
    """What a number of a cell is: one of `QUANTITIES` after one training with one seed."""

    epochs: int
    dataset: str
    seed: int
    quantity: str


class Record:
    """Every training of a cell.

    Args:
        cell: its official index.
        schedules: its trainings as the published files hold them, or the objects of their packages.
        source: where they are from, for messages.

    Raises:
        DatasetError: they are no record of that cell; `numbers` and `curves` raise it too.
    """

    def __init__(self, cell: int, schedules: Any, source: str) -> None:
        self.cell, self.source = cell, source
        self._trainings: dict[tuple[int, str, int], Mapping[str, Any]] = {}
        with self._layout():
            self._require(
                set(schedules) <= set(_SCHEDULES),
                f"has trainings of {', '.join(map(str, schedules))} epochs and not of 12 and 200; "
                "the size space of NATS-Bench is another search space",
            )
            for name, of_schedule in schedules.items():
                results = _fields(of_schedule)
                text = results["arch_str"]
                self._require(_SPACE.index(_SPACE.parse(text)) == cell, f"is of the cell {text!r}")
                for (dataset, seed), training in results["all_results"].items():
                    known = dataset in DATASETS and isinstance(seed, int)
                    self._require(known, f"has a training on {dataset!r} with seed {seed!r}")
                    self._trainings[_SCHEDULES[name], dataset, seed] = _fields(training)

    def numbers(self) -> dict[Key, float]:
        """Accuracies in percent after the last epoch, seconds of training, and millions of costs."""
        found: dict[Key, float] = {}
        with self._layout():
            for training, fields in self._trainings.items():
                epochs, evaluated = fields["epochs"], fields["eval_acc1es"]
                self._require(epochs == training[0], f"has {epochs} epochs and not {training[0]}")
                last = epochs - 1
                values = {"train": fields["train_acc1es"][last], "params": fields["params"], "flops": fields["flop"]}
                values |= {name: evaluated[f"{name}@{last}"] for name in MEASURED if f"{name}@{last}" in evaluated}
                if fields["train_times"]:
                    values["seconds"] = sum(fields["train_times"].values())
                for name, value in values.items():
                    right = 0 <= value <= 100 if name in MEASURED else value >= 0
                    self._require(right, f"has {value!r} as its {name}")
                    found[Key(*training, name)] = float(value)
        return found

    def curves(self) -> dict[Key, np.ndarray]:
        """Accuracies in percent after each epoch, float64 ``[epochs]``, where they were measured so often."""
        found: dict[Key, np.ndarray] = {}
        with self._layout():
            for training, fields in self._trainings.items():
                epochs, evaluated = range(fields["epochs"]), fields["eval_acc1es"]
                values = {"train": [fields["train_acc1es"][epoch] for epoch in epochs]}
                for name in MEASURED:
                    if all(f"{name}@{epoch}" in evaluated for epoch in epochs):
                        values[name] = [evaluated[f"{name}@{epoch}"] for epoch in epochs]
                for name, curve in values.items():
                    self._require(min(curve) >= 0 and max(curve) <= 100, f"has {name} accuracies beyond 0 to 100")
                    found[Key(*training, name)] = np.array(curve, np.float64)
        return found

    @contextmanager
    def _layout(self) -> Iterator[None]:
        try:
            yield
        except DatasetError:
            raise
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            self._require(False, f"has not the published layout ({type(error).__name__}: {error})")

    def _require(self, right: bool, fault: str) -> None:
        if not right:
            raise DatasetError(f"{self.source}: the record of cell {self.cell} {fault}")


def _fields(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else vars(value)


class ColumnBenchmark(Benchmark):
    """Results as columns of numbers, one for each `Key`.

    Args:
        source: what answers, for messages.
        columns: float ``[15625]`` each, NaN where there is nothing.
    """

    def __init__(self, source: str, columns: dict[Key, np.ndarray]) -> None:
        super().__init__(source)
        self._columns = columns

    @property
    def indices(self) -> np.ndarray:
        known = np.zeros(self.space.size, bool)
        for key, column in self._columns.items():
            if key.quantity in MEASURED:
                known |= ~np.isnan(column)
        return known.nonzero()[0]

    def _seeds(self, index: np.ndarray, training: Training) -> tuple[int, ...]:
        self._read(index)
        return tuple(sorted({key.seed for key in self._columns if key[:2] == training}))

    def _values(self, index: np.ndarray, training: Training, quantity: str, seed: int | None) -> np.ndarray:
        self._read(index)
        seeds = self._seeds(index, training) if seed is None else (seed,)
        keys = [Key(*training, s, quantity) for s in seeds]
        values = [self._columns[key][index].astype(np.float64) for key in keys if key in self._columns]
        return _mean(values) if values else np.full(len(index), np.nan)

    def _cost(self, index: int, dataset: str, quantity: str) -> float:
        one = np.array([index])
        for epochs in sorted(EPOCHS, reverse=True):
            training = Training(epochs, dataset)
            found = {seed: self._values(one, training, quantity, seed)[0] for seed in self._seeds(one, training)}
            found = {seed: value for seed, value in found.items() if not np.isnan(value)}
            # Some trainings were recorded with an operation missing; nats_bench believes this seed then.
            if _COST_SEED in found and np.ptp(list(found.values())) > 1e-5:
                return float(found[_COST_SEED])
            if found:
                return float(np.median(list(found.values())))
        return np.nan

    def _read(self, index: np.ndarray) -> None:
        """Enter the cells that the columns do not hold yet."""


def _mean(values: list[np.ndarray]) -> np.ndarray:
    """Of the numbers ``[n]`` that there are; NaN where there is none."""
    stacked = np.stack(values)
    known = ~np.isnan(stacked)
    with np.errstate(invalid="ignore"):
        return np.where(known, stacked, 0).sum(0) / known.sum(0)


class RecordBenchmark(ColumnBenchmark):
    """Results of records that are read when they are asked for.

    Args:
        source: what answers, for messages.
        record: the record of a cell.
        indices: the cells that have one, ascending, int64 ``[n]``.
    """

    def __init__(self, source: str, record: Callable[[int], Record], indices: np.ndarray) -> None:
        super().__init__(source, defaultdict(lambda: np.full(self.space.size, np.nan)))
        self._record = record
        self._indices = indices
        self._unread = np.zeros(self.space.size, bool)
        self._unread[indices] = True

    @property
    def indices(self) -> np.ndarray:
        return self._indices

    def _read(self, index: np.ndarray) -> None:
        unread = index[self._unread[index]]
        if len(unread) > _MANY_CELLS:
            warnings.warn(
                f"{self.source}: {len(unread):,} records are read one by one, which takes minutes; convert them once "
                "with metad2a convert-benchmark",
                stacklevel=5,
            )
        for cell in unread.tolist():
            for key, value in self._record(cell).numbers().items():
                self._columns[key][cell] = value
            self._unread[cell] = False

    def _curve(self, index: int, training: Training, quantity: str, seed: int | None) -> np.ndarray | None:
        curves = self._record(index).curves().items()
        found = [
            curve
            for key, curve in curves
            if key[:2] == training and key.quantity == quantity and seed in (None, key.seed)
        ]
        return np.mean(found, axis=0) if found else None
