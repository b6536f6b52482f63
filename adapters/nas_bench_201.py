"""The NAS-Bench-201 benchmark: what the cells of the search space reached when they were trained.

`open_benchmark` takes any form of the published results (Dong and Yang, ICLR 2020; NATS-Bench, TPAMI 2021) and answers
as a `Benchmark`:

- a file that `convert` has made of the published ones, with every seed;
- a folder of NATS-Bench with one file per cell;
- a loaded object of the package ``nas-bench-201`` or ``nats_bench``;
- ``nb201.csv.gz``, a compact table of means over seeds (`NASBench201Table`), which is not published.

Files are read without those packages and without executing anything in them. None is part of this package.
`default_benchmark` finds a converted file or the table in the folder that METAD2A_DATA names.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metad2a_plugin.errors import ConfigError, DatasetError
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.utils.checks import one_of
from metad2a_plugin.utils.files import data_folder, data_lacks

from ._benchmark import Benchmark, Training
from ._convert import CONVERTED, FOLDER, TABLE, ConvertedBenchmark, compact_in, convert, folder_cells, kind_of
from ._records import Record, RecordBenchmark

if TYPE_CHECKING:
    from metad2a_plugin.meta.fit import BenchmarkTable

    from ._benchmark import Cell

__all__ = ["Benchmark", "NASBench201Table", "convert", "default_benchmark", "open_benchmark"]

_COLUMNS = {
    ("cifar10-valid", "x-valid"): "cifar10_valid",
    ("cifar10", "ori-test"): "cifar10_test",
    ("ImageNet16-120", "x-valid"): "imagenet16_valid",
    ("ImageNet16-120", "x-test"): "imagenet16_test",
}
"""Columns of accuracies, by what the published records call them."""
_SECONDS = {"cifar10-valid": "cifar10valid_train_s_200ep", "ImageNet16-120": "imagenet16_train_s_200ep"}
_TEXT = ("arch_str", "unique_str")
_KNOWN = frozenset(
    (
        *(f"{name}{epochs}" for name in _COLUMNS.values() for epochs in ("", "_ep12")),
        *(*_SECONDS.values(), "params_m", "flops_m", "n_seeds", "cifar10_valid_seedstd", "imagenet16_valtest_seedstd"),
    )
)
"""Columns of numbers whose meaning is known."""
_LARGEST = 1 << 26
"""Bytes of an unpacked table; with all columns it has 4 MB."""


class NASBench201Table(Benchmark):
    """Mean accuracies over seeds, and costs, of all 15,625 cells; `NASBench201Table.load` reads the file.

    It has the splits ``valid`` and ``test`` of ``cifar10`` and ``imagenet16-120``; seconds of the trainings for 200
    epochs whose ``valid`` it has (on CIFAR-10 on 25,000 images); costs of the CIFAR-10 network.

    The file is a gzipped CSV file with a header and a row for every cell, in the official order. Required columns:

    - ``arch_str``: the cell, as `NASBench201.format` writes it; ``unique_str``: equal for cells whose networks are
      equal, such as the published packages' ``to_unique_str`` or `NASBench201.canonical`;
    - ``cifar10_valid``, ``cifar10_test``, ``imagenet16_valid``, ``imagenet16_test``: percent after 200 epochs, mean
      over seeds; the published x-valid of cifar10-valid, ori-test of cifar10, x-valid and x-test of ImageNet16-120.

    Without these, what needs them is refused, and other columns of numbers are kept as they are:

    - the four accuracies with ``_ep12``: after 12 epochs;
    - ``cifar10valid_train_s_200ep``, ``imagenet16_train_s_200ep``: seconds of training;
    - ``params_m``, ``flops_m``: millions, of the CIFAR-10 network;
    - ``n_seeds``: trainings of the cell; ``cifar10_valid_seedstd``, ``imagenet16_valtest_seedstd``: the deviation
      between seeds of these accuracies. Meta-training needs these three.

    Args:
        columns: the numeric columns of the file, float64 ``[15625]`` each.
        unique: the isomorphism class of each cell.
    """

    def __init__(self, columns: Mapping[str, np.ndarray], unique: Sequence[str]) -> None:
        super().__init__("the table", dict.fromkeys(("cifar10", "imagenet16-120"), ("valid", "test")))
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
            with gzip.open(file) as stream:
                data = stream.read(_LARGEST + 1)
            if len(data) > _LARGEST:
                raise ValueError(f"more than {_LARGEST:,} bytes")
            header, *rows = csv.reader(io.StringIO(data.decode(), newline=""))
            text = dict(zip(header, zip(*rows, strict=True), strict=True))
            columns = {name: np.array(text[name], dtype=np.float64) for name in header if name not in _TEXT}
            cells, unique = (text.get(name, ()) for name in _TEXT)
        except FileNotFoundError:
            where = f": {data_lacks('nas_bench_201/nb201.csv.gz')}" if path is None else f" at {str(file)!r}"
            raise DatasetError(
                f"no NAS-Bench-201 table{where}; pass the path of nb201.csv.gz, or set METAD2A_DATA to "
                "the folder that holds nas_bench_201/nb201.csv.gz"
            ) from None
        except (OSError, EOFError, ValueError, KeyError, csv.Error, zlib.error) as error:
            raise DatasetError(
                f"{str(file)!r} is no NAS-Bench-201 table, or a damaged one ({type(error).__name__}: {error}); "
                "expected a gzipped CSV file with the columns arch_str, unique_str and numbers"
            ) from error
        if missing := [name for name in (*_TEXT, *_COLUMNS.values()) if name not in header]:
            raise DatasetError(
                f"{str(file)!r} is no NAS-Bench-201 table: it lacks the columns {', '.join(missing)}; "
                "the documentation of NASBench201Table lists them"
            )
        for name in columns:
            values, most = columns[name], 100 if name.removesuffix("_ep12") in _COLUMNS.values() else math.inf
            if name in _KNOWN and not (np.isfinite(values) & (values >= 0) & (values <= most)).all():
                raise DatasetError(f"{str(file)!r} has numbers out of range in the column {name}")
        space = NASBench201()
        if list(cells) != [space.format(a) for a in space.enumerate()]:
            raise DatasetError(
                f"{str(file)!r} must list all {space.size:,} cells in the official index order, "
                f"got {len(cells):,} rows in another order"
            )
        return cls(columns, unique)

    # -- what only the table has -------------------------------------------------------------
    @property
    def columns(self) -> tuple[str, ...]:
        """Names that `column` knows."""
        return tuple(self._columns)

    def column(self, name: str) -> np.ndarray:
        """A column of the file in the official index order, float64 ``[15625]``, read-only.

        Raises:
            ConfigError: no such column.
        """
        values = self._columns[one_of("column", name, self._columns)].view()
        values.flags.writeable = False
        return values

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

        column, trainings = {
            "cifar10": ("cifar10_valid_seedstd", 2),
            "imagenet16-120": ("imagenet16_valtest_seedstd", 1),
        }[self.dataset(dataset)]
        deviation = self.column(column)
        deviation = np.maximum(deviation, np.median(deviation))
        noise = deviation / np.sqrt(trainings * self.column("n_seeds"))
        accuracy = (self.accuracies(dataset, "valid") + self.accuracies(dataset, "test")) / 2
        return BenchmarkTable(torch.from_numpy(accuracy).float(), torch.from_numpy(noise).float())

    # -- of a benchmark ----------------------------------------------------------------------
    def _values(self, index: np.ndarray, training: Training, quantity: str, seed: int | None) -> np.ndarray:
        epochs, dataset = training
        if quantity == "seconds":
            name = _SECONDS.get(dataset) if epochs == 200 else None
        else:
            name = _COLUMNS[dataset, quantity] + ("_ep12" if epochs == 12 else "")
        if seed is not None or name not in self._columns:
            return np.full(len(index), np.nan)
        return self._columns[name][index]

    def _cost(self, index: int, dataset: str, quantity: str) -> float:
        column = self._columns.get(f"{quantity}_m") if dataset == "cifar10" else None
        return np.nan if column is None else float(column[index])


def default_benchmark() -> Benchmark:
    """The results in the folder that METAD2A_DATA names, by default ``../shared/data``.

    They are ``nas_bench_201/nb201.npz`` there, a file of `convert`, or else ``nas_bench_201/nb201.csv.gz``.

    Raises:
        DatasetError: there is neither, or the file is damaged.
    """
    folder = data_folder()
    if (file := compact_in(folder)) is None:
        raise DatasetError(
            f"no NAS-Bench-201 results: {data_lacks('nas_bench_201/nb201.npz')}; convert the "
            "published file once, with metad2a convert-benchmark NAS-Bench-201-v1_1-096897.pth "
            "FOLDER/nas_bench_201/nb201.npz, and set METAD2A_DATA to FOLDER; or give the results themselves"
        )
    return open_benchmark(file)


def open_benchmark(source: str | os.PathLike[str] | Any) -> Benchmark:
    """Results of NAS-Bench-201 in any of their forms.

    Args:
        source: the path of a file of `convert`, of ``nb201.csv.gz``, of a folder that holds
            ``nas_bench_201/nb201.npz`` or ``nas_bench_201/nb201.csv.gz``, or of a NATS-Bench folder of one file per
            cell; or an object of ``nas_201_api.NASBench201API`` or of ``nats_bench.create`` for the topology space.

    Raises:
        ConfigError: a published file that is to be converted first; an object of something else, of another search
            space, or of a package that is too old.
        DatasetError: the file is missing, damaged, or something else.
    """
    if isinstance(source, Benchmark):
        return source
    if not isinstance(source, (str, os.PathLike)):
        return _packaged(source)
    path = Path(source)
    kind = kind_of(path)
    if kind in (TABLE, CONVERTED):
        path = compact_in(path) or path
    if kind == TABLE:
        return NASBench201Table.load(path)
    if kind == CONVERTED:
        return ConvertedBenchmark.load(path)
    if kind == FOLDER:
        cells, record = folder_cells(path)
        return RecordBenchmark(repr(str(path)), record, cells)
    raise ConfigError(
        f"{str(path)!r} takes minutes to read; convert it once, with metad2a convert-benchmark {path} nb201.npz, "
        "and open nb201.npz"
    )


def _packaged(api: Any) -> RecordBenchmark:
    kind = f"{type(api).__module__}.{type(api).__name__}"
    if hasattr(api, "arch2infos_full"):
        raise ConfigError(f"{kind} is of an old version; use nas-bench-201 2.0 or later, or NATS-Bench's nats_bench")
    if not all(hasattr(api, name) for name in ("arch2infos_dict", "meta_archs", "query_meta_info_by_index")):
        raise ConfigError(
            f"expected a path, a nas_201_api.NASBench201API or a nats_bench topology benchmark, got {kind}"
        )
    space = NASBench201()
    cells = [space.format(cell) for cell in space.enumerate()]
    if list(api.meta_archs) != cells:
        raise ConfigError(
            f"{kind} is not of the {len(cells):,} cells of NAS-Bench-201 in their official order; "
            "NATS-Bench's size space is another search space: use nats_bench.create(path, 'tss')"
        )

    def record(cell: int) -> Record:
        if cell not in api.arch2infos_dict:
            try:
                api.query_meta_info_by_index(cell, "200")  # reads the cell's file in fast mode
            except (AssertionError, OSError, ValueError) as error:
                raise ConfigError(f"{kind} has no record of cell {cell} ({error})") from error
        return Record(cell, api.arch2infos_dict[cell], kind)

    lazy = getattr(api, "fast_mode", False)
    known = sorted(range(len(cells)) if lazy else api.arch2infos_dict)
    return RecordBenchmark(kind, record, np.array(known, np.int64))
