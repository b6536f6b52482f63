"""The published records of NAS-Bench-201: one a cell, with every training of it."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from metad2a_plugin.errors import DatasetError, shortened
from metad2a_plugin.spaces.nasbench201.space import NASBench201

from ._benchmark import EPOCHS, SPLITS, Benchmark, Training
from ._pickle_objects import UNREADABLE, brief

MEASURED = ("train", "x-valid", "x-test", "ori-test")
"""Images that accuracies were measured on, as records call them."""
QUANTITIES = (*MEASURED, "seconds", "params", "flops")
DATASETS = frozenset(official for splits in SPLITS.values() for official, _ in splits.values())
_SCHEDULES = {"less": 12, "full": 200, "12": 12, "200": 200}
_COST_SEED = 888
_HIGHEST_SEED = 9999
"""The published files write seeds with four digits."""
_MOST_SEEDS = 16
_MOST_TRAININGS = 64
"""Of a cell; published ones have 24."""
_LONGEST_CELL = 200
HIGHEST = float(np.finfo(np.float32).max)
"""Of seconds and costs; columns are of this type."""
_NUMBERS = (int, float, np.integer, np.floating)
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
            if not set(schedules) <= set(_SCHEDULES):
                names = shortened(", ".join(item if isinstance(item, str) else brief(item) for item in schedules))
                raise self._fault(
                    f"has trainings of {names} epochs and not of 12 and 200; "
                    "the size space of NATS-Bench is another search space"
                )
            for name, of_schedule in schedules.items():
                results, epochs = _fields(of_schedule), _SCHEDULES[name]
                text = results["arch_str"]
                if not isinstance(text, str) or len(text) > _LONGEST_CELL:
                    raise TypeError(f"the cell is {brief(text)}")
                if _SPACE.index(_SPACE.parse(text)) != cell:
                    raise self._fault(f"is of the cell {text!r}")
                for (dataset, seed), training in results["all_results"].items():
                    if dataset not in DATASETS or type(seed) is not int or not 0 <= seed <= _HIGHEST_SEED:
                        raise self._fault(
                            f"has a training on {brief(dataset)} with seed {brief(seed)}; datasets are "
                            f"{', '.join(sorted(DATASETS))}, seeds integers of 0 to {_HIGHEST_SEED}"
                        )
                    fields = _fields(training)
                    if not _numeric([fields["epochs"]]) or fields["epochs"] != epochs:
                        raise self._fault(f"has {brief(fields['epochs'])} epochs and not {epochs}")
                    self._trainings[epochs, dataset, seed] = fields
                    if len(self._trainings) > _MOST_TRAININGS:
                        raise self._fault(f"has more than {_MOST_TRAININGS} trainings")
            if not self._trainings:
                raise self._fault("has no training")

    def numbers(self) -> dict[Key, float]:
        """Accuracies in percent after the last epoch, seconds of training, and millions of costs."""
        found: dict[Key, float] = {}
        with self._layout():
            for training, fields in self._trainings.items():
                evaluated, last = fields["eval_acc1es"], training[0] - 1
                values = {"train": fields["train_acc1es"][last], "params": fields["params"], "flops": fields["flop"]}
                values |= {name: evaluated[f"{name}@{last}"] for name in MEASURED if f"{name}@{last}" in evaluated}
                if fields["train_times"]:
                    seconds = fields["train_times"].values()
                    if len(seconds) > training[0] or not _numeric(seconds):
                        raise TypeError("seconds that are no numbers, one an epoch")
                    values["seconds"] = sum(seconds)
                for name, value in values.items():
                    if not _numeric([value]) or not 0 <= value <= (100 if name in MEASURED else HIGHEST):
                        raise self._fault(f"has {brief(value)} as its {name}")
                    found[Key(*training, name)] = float(value)
        return found

    def curves(self) -> dict[Key, np.ndarray]:
        """Accuracies in percent after each epoch, float64 ``[epochs]``, where they were measured so often."""
        found: dict[Key, np.ndarray] = {}
        with self._layout():
            for training, fields in self._trainings.items():
                epochs, evaluated = range(training[0]), fields["eval_acc1es"]
                values = {"train": [fields["train_acc1es"][epoch] for epoch in epochs]}
                for name in MEASURED:
                    if all(f"{name}@{epoch}" in evaluated for epoch in epochs):
                        values[name] = [evaluated[f"{name}@{epoch}"] for epoch in epochs]
                for name, measured in values.items():
                    if not _numeric(measured):
                        raise TypeError(f"{name} accuracies that are no numbers")
                    curve = np.array(measured, np.float64)
                    if not (curve.min() >= 0 and curve.max() <= 100):
                        raise self._fault(f"has {name} accuracies beyond 0 to 100")
                    found[Key(*training, name)] = curve
        return found

    @contextmanager
    def _layout(self) -> Iterator[None]:
        try:
            yield
        except DatasetError:
            raise
        except UNREADABLE as error:
            why = f"{type(error).__name__}: {shortened(str(error))}"
            raise self._fault(f"has not the published layout ({why})") from error

    def _fault(self, fault: str) -> DatasetError:
        return DatasetError(f"{self.source}: the record of cell {brief(self.cell)} {fault}")


def _fields(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else vars(value)


def _numeric(values: Iterable[Any]) -> bool:
    """Whether all are numbers, without comparing them: containers could hold more than memory does."""
    return all(issubclass(kind, _NUMBERS) and kind is not bool for kind in set(map(type, values)))


def check_seeds(keys: Iterable[Key], source: str) -> None:
    """Refuse results of so many seeds that the columns would take all memory.

    Raises:
        DatasetError: says so.
    """
    if len({key.seed for key in keys}) > _MOST_SEEDS:
        raise DatasetError(f"{source} has results of more than {_MOST_SEEDS} seeds; NAS-Bench-201 has 4")


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
            columns = len(self._columns)
            for key, value in self._record(cell).numbers().items():
                self._columns[key][cell] = value
            if len(self._columns) > columns:
                check_seeds(self._columns, self.source)
            self._unread[cell] = False

    def _curve(self, index: int, training: Training, quantity: str, seed: int | None) -> np.ndarray | None:
        curves = self._record(index).curves().items()
        found = [
            curve
            for key, curve in curves
            if key[:2] == training and key.quantity == quantity and seed in (None, key.seed)
        ]
        return np.mean(found, axis=0) if found else None
