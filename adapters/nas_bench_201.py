"""The NAS-Bench-201 benchmark: what the cells of the search space reached when they were trained.

`NASBench201Table` reads ``nb201.csv.gz``, a compact table of the published results (Dong and Yang, ICLR 2020,
and NATS-Bench, TPAMI 2021), with one row per cell in the official index order. The table is not part of this
package: pass its path, or the folder that holds ``nas_bench_201/``, or set METAD2A_DATA to that folder.
"""

from __future__ import annotations

import csv
import difflib
import gzip
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from metad2a_plugin._files import data_folder
from metad2a_plugin.errors import ArchitectureError, ConfigError, DatasetError
from metad2a_plugin.spaces.base import Architecture, Cost
from metad2a_plugin.spaces.nasbench201 import NASBench201

if TYPE_CHECKING:
    import torch

    from metad2a_plugin.meta.fit import BenchmarkTable

    Cell = Architecture | int
    Cells = Sequence[Architecture] | Sequence[int] | np.ndarray | torch.Tensor

DATASETS = {"cifar10": "cifar10", "imagenet16-120": "imagenet16"}
"""Names of the datasets, and how the table abbreviates them."""
_SECONDS = {"cifar10": "cifar10valid_train_s_200ep", "imagenet16-120": "imagenet16_train_s_200ep"}
_TEXT = ("arch_str", "unique_str")


class NASBench201Table:
    """Accuracies and costs of all 15,625 cells; `NASBench201Table.load` reads the file.

    A cell is given as an `Architecture` or as its official index. Many cells at once are a sequence of either,
    or their encoding ``[n, 8]``; the answer is then an array ``[n]``.

    Args:
        columns: the numeric columns of the file, float64 ``[15625]`` each.
        unique: the isomorphism class of each cell.
    """

    def __init__(self, columns: Mapping[str, np.ndarray], unique: Sequence[str]) -> None:
        self.space = NASBench201()
        self._columns = dict(columns)
        self._unique = tuple(unique)

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> NASBench201Table:
        """Read the table.

        Args:
            path: ``nb201.csv.gz``, or the folder that holds ``nas_bench_201/nb201.csv.gz``; by default the
                environment variable METAD2A_DATA, else ``../shared/data``.

        Raises:
            DatasetError: the file is missing, damaged, or another table.
        """
        root = data_folder() if path is None else Path(path)
        file = root / "nas_bench_201" / "nb201.csv.gz" if root.is_dir() else root
        try:
            with gzip.open(file, "rt", encoding="utf-8", newline="") as stream:
                header, *rows = csv.reader(stream)
            text = dict(zip(header, zip(*rows, strict=True), strict=True))
            columns = {name: np.array(text[name], dtype=np.float64) for name in header if name not in _TEXT}
            cells, unique = (text[name] for name in _TEXT)
        except FileNotFoundError:
            raise DatasetError(
                f"no NAS-Bench-201 table at {str(file)!r}; pass the path of nb201.csv.gz, or set METAD2A_DATA to "
                "the folder that holds nas_bench_201/nb201.csv.gz"
            ) from None
        except (OSError, EOFError, ValueError, KeyError, csv.Error, zlib.error) as error:
            raise DatasetError(
                f"{str(file)!r} is no NAS-Bench-201 table, or a damaged one ({type(error).__name__}: {error}); "
                "expected a gzipped CSV file with the columns arch_str, unique_str and numbers"
            ) from error
        space = NASBench201()
        if list(cells) != [space.format(a) for a in space.enumerate()]:
            raise DatasetError(
                f"{str(file)!r} must list all {space.size:,} cells in the official index order, "
                f"got {len(cells):,} rows in another order"
            )
        return cls(columns, unique)

    # -- one quantity of all cells -----------------------------------------------------------
    @property
    def columns(self) -> tuple[str, ...]:
        """Names that `column` knows."""
        return tuple(self._columns)

    def column(self, name: str) -> np.ndarray:
        """A column of the file in the official index order, float64 ``[15625]``, read-only.

        Raises:
            ConfigError: no such column.
        """
        values = self._columns[_one_of("column", name, self._columns)].view()
        values.flags.writeable = False
        return values

    def accuracies(self, dataset: str = "cifar10", split: str = "test", epochs: int = 200) -> np.ndarray:
        """`accuracy` of every cell, float64 ``[15625]``, read-only.

        Raises:
            ConfigError: unknown dataset, split or number of epochs.
        """
        short = DATASETS[_one_of("dataset", dataset, DATASETS)]
        _one_of("split", split, ("valid", "test"))
        if epochs not in (200, 12):
            raise ConfigError(f"the benchmark trained for 200 or 12 epochs, got {epochs!r}")
        return self.column(f"{short}_{split}" + ("_ep12" if epochs == 12 else ""))

    # -- of the cells asked for --------------------------------------------------------------
    @overload
    def index_of(self, cells: Cell) -> int: ...
    @overload
    def index_of(self, cells: Cells) -> np.ndarray: ...
    def index_of(self, cells: Cell | Cells) -> int | np.ndarray:
        """Official index of a cell, or int64 ``[n]`` of many.

        Raises:
            ArchitectureError: not a cell of NAS-Bench-201.
        """
        if isinstance(cells, Architecture):
            return self.space.index(cells)
        if isinstance(cells, (int, np.integer)) and not isinstance(cells, bool):
            return int(self._in_range(np.array([cells]))[0])
        if hasattr(cells, "ndim"):
            array = np.asarray(cells)
            if array.ndim == 2:
                import torch

                decoded = self.space.decode(torch.as_tensor(array))
                return self._in_range(np.array([self.space.index(a) for a in decoded]))
            return self._in_range(array)
        if isinstance(cells, (list, tuple)):
            return self._in_range(np.array([self.index_of(cell) for cell in cells], dtype=np.int64))
        raise ArchitectureError(
            f"expected an Architecture, an official index, or many of them, got {cells!r}; read strings with "
            "NASBench201().parse()"
        )

    @overload
    def accuracy(self, cells: Cell, dataset: str = ..., split: str = ..., epochs: int = ...) -> float: ...
    @overload
    def accuracy(self, cells: Cells, dataset: str = ..., split: str = ..., epochs: int = ...) -> np.ndarray: ...
    def accuracy(
        self, cells: Cell | Cells, dataset: str = "cifar10", split: str = "test", epochs: int = 200
    ) -> float | np.ndarray:
        """Top-1 accuracy in percent, the mean over the benchmark's seeds.

        Args:
            cells: one cell, or many.
            dataset: ``cifar10`` or ``imagenet16-120``.
            split: ``valid`` or ``test``. On CIFAR-10 ``valid`` was trained on half of the training images and
                measured on the other half; ``test`` was trained on all of them.
            epochs: 200, or 12 for the short schedule.

        Raises:
            ArchitectureError: not a cell of NAS-Bench-201.
            ConfigError: unknown dataset, split or number of epochs.
        """
        return _pick(self.accuracies(dataset, split, epochs), self.index_of(cells))

    @overload
    def train_seconds(self, cells: Cell, dataset: str = ...) -> float: ...
    @overload
    def train_seconds(self, cells: Cells, dataset: str = ...) -> np.ndarray: ...
    def train_seconds(self, cells: Cell | Cells, dataset: str = "cifar10") -> float | np.ndarray:
        """Simulated seconds of training for 200 epochs; on CIFAR-10 of the run on half of the training images.

        Raises:
            ArchitectureError: not a cell of NAS-Bench-201.
            ConfigError: unknown dataset.
        """
        return _pick(self.column(_SECONDS[_one_of("dataset", dataset, _SECONDS)]), self.index_of(cells))

    def cost(self, cell: Cell) -> Cost:
        """Published parameters and multiply-accumulates of the CIFAR-10 network, in millions."""
        index = self.index_of(cell)
        return Cost(float(self._columns["params_m"][index]), float(self._columns["flops_m"][index]))

    def unique_key(self, cell: Cell) -> str:
        """The benchmark's own isomorphism string: equal for cells whose networks are equal."""
        return self._unique[self.index_of(cell)]

    def training_table(self, dataset: str) -> BenchmarkTable:
        """What meta-training can learn from a dataset of the benchmark: mean of both splits, and its noise.

        The noise is the recorded deviation between seeds, at least its median, over the root of the number of
        trainings that the mean is made of (on CIFAR-10 the splits were trained apart, so those count twice).

        Raises:
            ConfigError: unknown dataset.
        """
        import torch

        from metad2a_plugin.meta.fit import BenchmarkTable

        short = DATASETS[_one_of("dataset", dataset, DATASETS)]
        column, trainings = {
            "cifar10": ("cifar10_valid_seedstd", 2),
            "imagenet16": ("imagenet16_valtest_seedstd", 1),
        }[short]
        deviation = self.column(column)
        deviation = np.maximum(deviation, np.median(deviation))
        noise = deviation / np.sqrt(trainings * self.column("n_seeds"))
        accuracy = (self.accuracies(dataset, "valid") + self.accuracies(dataset, "test")) / 2
        return BenchmarkTable(torch.from_numpy(accuracy).float(), torch.from_numpy(noise).float())

    # -- private -----------------------------------------------------------------------------
    def _in_range(self, index: np.ndarray) -> np.ndarray:
        if index.ndim != 1 or not (np.issubdtype(index.dtype, np.integer) or len(index) == 0):
            raise ArchitectureError(
                f"expected integer indices [n] or encoded cells [n, {self.space.num_vertices}], "
                f"got {index.dtype} of shape {list(index.shape)}"
            )
        wrong = (index < 0) | (index >= self.space.size)
        if wrong.any():
            raise ArchitectureError(f"indices run from 0 to {self.space.size - 1}, got {index[wrong][0]}")
        return index.astype(np.int64)


def _pick(values: np.ndarray, index: int | np.ndarray) -> float | np.ndarray:
    return float(values[index]) if isinstance(index, int) else values[index]


def _one_of(what: str, name: str, known: Mapping[str, object] | Sequence[str]) -> str:
    if name not in known:
        near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ConfigError(f"unknown {what} {name!r}{hint}; known are {', '.join(known)}")
    return name
