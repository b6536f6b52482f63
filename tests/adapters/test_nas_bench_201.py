from __future__ import annotations

import csv
import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metad2a_plugin.errors import ArchitectureError, ConfigError, DatasetError
from metad2a_plugin.meta.metrics import spearman
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.nasbench201.space import NASBench201

nas_bench_201 = pytest.importorskip(
    "metad2a_plugin.adapters.nas_bench_201", reason="adapters are inside the package once it is installed"
)
NASBench201Table = nas_bench_201.NASBench201Table
SPACE = NASBench201()


@pytest.fixture(scope="module")
def path(data_root: Path) -> Path:
    return data_root / "nas_bench_201" / "nb201.csv.gz"


@pytest.fixture(scope="module")
def table(path: Path) -> Any:
    return NASBench201Table.load(path)


# -- accuracies ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("dataset", "split", "best", "index"),
    [
        ("cifar10", "test", 94.3733, 6111),
        ("cifar10", "valid", 91.6067, 6111),
        ("imagenet16-120", "test", 47.3111, 857),
        ("imagenet16-120", "valid", 46.7333, 10676),
    ],
)
def test_the_best_cells_are_the_published_ones(table: Any, dataset: str, split: str, best: float, index: int) -> None:
    accuracies = table.accuracies(dataset, split)
    assert int(accuracies.argmax()) == index
    assert table.accuracy(index, dataset, split) == accuracies.max() == pytest.approx(best, abs=5e-3)


def test_a_cell_can_be_named_in_every_way(table: Any) -> None:
    indices = [6111, 0, 15_624, 857]
    cells = [list(SPACE.enumerate())[i] for i in indices]
    expected = [table.accuracy(i) for i in indices]
    assert all(isinstance(value, float) for value in expected)
    assert [table.accuracy(cell) for cell in cells] == expected
    for many in (indices, tuple(indices), np.array(indices), torch.tensor(indices), cells, SPACE.encode(cells)):
        assert table.accuracy(many).tolist() == expected
        assert table.index_of(many).tolist() == indices
    assert table.accuracy(SPACE.encode(cells).numpy()).tolist() == expected
    assert table.accuracy([]).shape == table.index_of(np.array([], int)).shape == (0,)


def test_twelve_epochs_are_another_column(table: Any) -> None:
    short, long = (torch.from_numpy(table.accuracies("cifar10", "test", epochs).copy()) for epochs in (12, 200))
    assert 0.5 < spearman(short, long) < 1 and short.mean() < long.mean()


def test_equal_cells_have_one_unique_key(table: Any) -> None:
    keys = [table.unique_key(i) for i in range(SPACE.size)]
    assert len(set(keys)) == 6466
    assert table.unique_key(next(SPACE.enumerate())) == keys[0]


def test_costs_and_seconds(table: Any) -> None:
    for cell in list(SPACE.enumerate())[:50]:
        counted, published = SPACE.cost(cell), table.cost(cell)
        assert published.params == pytest.approx(counted.params, rel=1e-4)
        assert published.flops == pytest.approx(counted.flops, rel=1e-4)
    seconds = table.train_seconds(np.arange(SPACE.size))
    assert (seconds > 0).all() and table.train_seconds(7) == seconds[7]
    assert table.train_seconds(7, "imagenet16-120") != seconds[7]


def test_what_only_other_sources_have_is_refused(table: Any) -> None:
    assert table.seeds([0, 1]) == () and len(table.indices) == SPACE.size
    with pytest.raises(ConfigError, match=r"the table has no seed 777 .*only means over seeds are known"):
        table.accuracy(0, seed=777)
    with pytest.raises(ConfigError, match="the table has no test curve of 200 epochs on cifar10, only the accuracy at"):
        table.curve(0)
    with pytest.raises(ConfigError, match="no seconds of the training of cell 0 on cifar10 for 200 epochs"):
        table.train_seconds(0, split="test")
    with pytest.raises(ConfigError, match="no seconds of the training of cell 0 on cifar10-valid for 12 epochs"):
        table.train_seconds(0, epochs=12)
    with pytest.raises(ConfigError, match="no cost of the training of cell 0 on ImageNet16-120"):
        table.cost(0, "imagenet16-120")


def test_the_table_is_a_benchmark(path: Path, table: Any) -> None:
    for source in (path, str(path), path.parents[1]):
        benchmark = nas_bench_201.open_benchmark(source)
        assert isinstance(benchmark, NASBench201Table) and isinstance(benchmark, nas_bench_201.Benchmark)
        assert benchmark.accuracy(6111) == table.accuracy(6111)
    assert nas_bench_201.open_benchmark(table) is table
    assert table.datasets == ("cifar10", "imagenet16-120") and table.splits("cifar10") == ("valid", "test")
    with pytest.raises(ConfigError, match="is compact already"):
        nas_bench_201.convert(path, "never.npz")


def test_a_column_cannot_be_written(table: Any) -> None:
    for values in (table.column("n_seeds"), table.accuracies()):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1.0
    assert "cifar10_test" in table.columns and not set(table.columns) & {"arch_str", "unique_str"}


@pytest.mark.parametrize("name", ["ImageNet16-120", "imagenet16_120", "ImageNet16_120", "IMAGENET16-120"])
def test_datasets_are_known_in_any_spelling(table: NASBench201Table, name: str) -> None:
    assert table.splits(name) == ("valid", "test") and table.dataset(name) == "imagenet16-120"
    assert table.accuracy(857, name, "test") == table.accuracy(857, "imagenet16-120", "test")
    assert table.train_seconds(7, name) == table.train_seconds(7, "imagenet16-120")
    assert table.cost(7, "CIFAR-10") == table.cost(7, "cifar10")
    assert table.training_table(name).accuracy.equal(table.training_table("imagenet16-120").accuracy)
    with pytest.raises(ConfigError, match=r"unknown dataset 'ImageNet16'.*did you mean 'imagenet16-120'"):
        table.accuracy(857, "ImageNet16")


@pytest.mark.parametrize("dataset", ["cifar10", "imagenet16-120"])
def test_what_meta_training_learns_from(table: Any, dataset: str) -> None:
    found = table.training_table(dataset)
    assert found.accuracy.shape == found.noise.shape == (SPACE.size,)
    assert found.accuracy.dtype == found.noise.dtype == torch.float32
    test = torch.from_numpy(table.accuracies(dataset, "test").copy()).float()
    valid = torch.from_numpy(table.accuracies(dataset, "valid").copy()).float()
    low, high = torch.minimum(test, valid), torch.maximum(test, valid)
    assert ((low - 1e-4 <= found.accuracy) & (found.accuracy <= high + 1e-4)).all()
    assert (found.noise > 0).all() and 0.03 < found.noise.median() < 1.0
    # Noise is far less than the differences between cells, and more seeds make less of it.
    assert found.noise.median() < 0.2 * found.accuracy.std()
    seeds = torch.from_numpy(table.column("n_seeds").copy())
    assert found.noise[seeds == seeds.max()].median() < found.noise[seeds == seeds.min()].median()


# -- wrong cells and names -----------------------------------------------------------------------
@pytest.mark.parametrize(
    "cells",
    [
        -1,
        15_625,
        [0, 15_625],
        True,
        1.5,
        None,
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        np.array([0.5]),
        np.zeros((2, 3, 4), int),
        torch.zeros(2, 8, dtype=torch.int64),
        Architecture("toy", (0,) * 6),
        [Architecture("nasbench201", (9,) * 6)],
    ],
    ids=str,
)
def test_what_is_no_cell_is_refused(table: Any, cells: Any) -> None:
    with pytest.raises(ArchitectureError):
        table.accuracy(cells)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cifer10",), "unknown dataset 'cifer10'.*did you mean 'cifar10'"),
        (("cifar100",), "known are cifar10, imagenet16-120"),
        (("cifar10", "train"), "unknown split 'train'.*valid, test"),
        (("cifar10", "test", 90), "200 or 12 epochs, got 90"),
    ],
)
def test_unknown_names_are_refused(table: Any, arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        table.accuracy(0, *arguments)


def test_unknown_columns_and_tables_are_refused(table: Any) -> None:
    with pytest.raises(ConfigError, match=r"unknown column 'cifar10_tst'.*did you mean 'cifar10_test'"):
        table.column("cifar10_tst")
    with pytest.raises(ConfigError, match="unknown dataset 'svhn'"):
        table.training_table("svhn")
    with pytest.raises(ConfigError, match="unknown dataset"):
        table.train_seconds(0, "svhn")


# -- files ---------------------------------------------------------------------------------------
def test_the_folder_of_the_data_will_do(
    data_root: Path, table: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METAD2A_DATA", str(data_root))
    for found in (NASBench201Table.load(str(data_root)), NASBench201Table.load()):
        assert np.array_equal(found.accuracies(), table.accuracies())


def lines(change: Callable[[list[str]], list[str]]) -> Callable[[Path], Any]:
    """Rewrite the lines of the table."""

    def damage(path: Path) -> None:
        text = gzip.decompress(path.read_bytes()).decode().splitlines()
        path.write_bytes(gzip.compress("\n".join(change(text)).encode()))

    return damage


def keep(path: Path, names: list[str]) -> None:
    """Leave only some columns of the table."""
    rows = list(csv.reader(gzip.decompress(path.read_bytes()).decode().splitlines()))
    places = [rows[0].index(name) for name in names]
    path.write_bytes(gzip.compress("\n".join(",".join(row[i] for i in places) for row in rows).encode(), 1))


def number_in(line: str) -> str:
    return next(cell for cell in line.split(",") if cell.replace(".", "").isdigit() and "." in cell)


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda p: p.unlink(), "no NAS-Bench-201 table at .*nb201.csv.gz.*METAD2A_DATA"),
    "empty": (lambda p: p.write_bytes(b""), "no NAS-Bench-201 table, or a damaged one"),
    "not packed": (lambda p: p.write_bytes(gzip.decompress(p.read_bytes())), "BadGzipFile"),
    "cut": (lambda p: p.write_bytes(p.read_bytes()[:5000]), "EOFError"),
    "damaged": (lambda p: p.write_bytes(p.read_bytes()[:5000] + bytes(200) + p.read_bytes()[5200:]), "damaged"),
    "another table": (lambda p: p.write_bytes(gzip.compress(b"a,b\n1,2\n")), "lacks the columns arch_str, unique_str"),
    "no accuracies": (
        lambda p: keep(p, ["arch_str", "unique_str"]),
        "lacks the columns cifar10_valid, cifar10_test, im",
    ),
    "infinite": (
        lines(lambda t: [t[0], t[1].replace(number_in(t[1]), "inf"), *t[2:]]),
        "out of range in the column cif",
    ),
    "too large": (lambda p: p.write_bytes(gzip.compress(bytes(70_000_000), 1)), "more than 67,108,864 bytes"),
    "text for a number": (lines(lambda t: [t[0], t[1].replace(number_in(t[1]), "many"), *t[2:]]), "'many'"),
    "a short row": (lines(lambda t: [*t[:9], t[9].rsplit(",", 1)[0], *t[10:]]), "damaged one"),
    "a row is missing": (lines(lambda t: t[:-1]), "all 15,625 cells in the official index order"),
    "another order": (lines(lambda t: [t[0], *t[:0:-1]]), "all 15,625 cells in the official index order"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_wrong_file_is_refused_with_a_sentence(kind: str, path: Path, tmp_path: Path) -> None:
    damage, message = BAD[kind]
    copy = tmp_path / "nb201.csv.gz"
    shutil.copyfile(path, copy)
    damage(copy)
    with pytest.raises(DatasetError, match=message):
        NASBench201Table.load(copy)


def test_a_table_may_have_accuracies_only(path: Path, table: Any, tmp_path: Path) -> None:
    copy = Path(shutil.copyfile(path, tmp_path / "table.csv.gz"))
    keep(copy, ["arch_str", "unique_str", *(f"{d}_{s}" for d in ("cifar10", "imagenet16") for s in ("valid", "test"))])
    few = nas_bench_201.open_benchmark(copy)
    assert few.accuracy(857, "imagenet16-120") == table.accuracy(857, "imagenet16-120")
    for ask, message in (
        (lambda: few.accuracy(0, epochs=12), "no ori-test of the training of cell 0 on cifar10 for 12"),
        (lambda: few.train_seconds(0), "no seconds of the training of cell 0 on cifar10-valid"),
        (lambda: few.cost(0), "no cost of the training of cell 0"),
        (lambda: few.training_table("cifar10"), "unknown column 'cifar10_valid_seedstd'"),
    ):
        with pytest.raises(ConfigError, match=message):
            ask()


def test_the_default_is_a_converted_file_or_else_the_table(
    path: Path, table: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("METAD2A_DATA", str(tmp_path))
    with pytest.raises(DatasetError, match=r"convert the published file once, with metad2a convert-benchmark"):
        nas_bench_201.default_benchmark()
    (tmp_path / "nas_bench_201").mkdir()
    shutil.copyfile(path, tmp_path / "nas_bench_201" / "nb201.csv.gz")
    assert nas_bench_201.default_benchmark().accuracy(6111) == table.accuracy(6111)
    with pytest.warns(UserWarning, match="3 of the 15,625 cells"):
        nas_bench_201.convert(path.with_name("nats_raw"), tmp_path / "nas_bench_201" / "nb201.npz")
    for benchmark in (nas_bench_201.default_benchmark(), nas_bench_201.open_benchmark(tmp_path)):
        assert benchmark.indices.tolist() == [0, 11, 284] and benchmark.seeds(284) == (777, 888, 999)
    with pytest.raises(ConfigError, match="is compact already"):
        nas_bench_201.convert(tmp_path, "never.npz")


def test_a_folder_without_the_table(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"pass the path of nb201.csv.gz"):
        NASBench201Table.load(tmp_path)
