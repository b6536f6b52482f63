"""Published records, read by us and by the packages that were made for them."""

from __future__ import annotations

import bz2
import pickle
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metad2a_plugin.errors import ConfigError, DatasetError

nas_bench_201 = pytest.importorskip(
    "metad2a_plugin.adapters.nas_bench_201", reason="adapters are inside the package once it is installed"
)
CELLS = (0, 11, 284)
OFFICIAL = {
    ("cifar10", "train"): ("cifar10", "train-accuracy"),
    ("cifar10", "valid"): ("cifar10-valid", "valid-accuracy"),
    ("cifar10", "test"): ("cifar10", "test-accuracy"),
    ("cifar10-valid", "train"): ("cifar10-valid", "train-accuracy"),
    ("cifar10-valid", "valid"): ("cifar10-valid", "valid-accuracy"),
    ("cifar10-valid", "test"): ("cifar10-valid", "test-accuracy"),
}
for ours, theirs in (("cifar100", "cifar100"), ("imagenet16-120", "ImageNet16-120")):
    OFFICIAL |= {(ours, split): (theirs, f"{split}-accuracy") for split in ("train", "valid", "test", "valtest")}


@pytest.fixture(scope="module")
def raw(data_root: Path) -> Path:
    return data_root / "nas_bench_201" / "nats_raw"


@pytest.fixture(scope="module")
def published(raw: Path) -> dict[str, Any]:
    """The records in the form of NAS-Bench-201-v1_1."""
    records = {cell: pickle.loads(bz2.decompress((raw / f"{cell:06d}.pickle.pbz2").read_bytes())) for cell in CELLS}
    names = pickle.loads(bz2.decompress((raw / "meta.pickle.pbz2").read_bytes()))["meta_archs"]
    infos = {cell: {"less": record["12"], "full": record["200"]} for cell, record in records.items()}
    return {"meta_archs": names, "arch2infos": infos, "evaluated_indexes": list(CELLS)}


@pytest.fixture(scope="module")
def folder(raw: Path) -> Any:
    return nas_bench_201.open_benchmark(raw)


def everything(benchmark: Any) -> list[tuple[str, str, int]]:
    assert {(d, s) for d in benchmark.datasets for s in benchmark.splits(d)} == set(OFFICIAL)
    return [(*name, epochs) for name, epochs in product(OFFICIAL, (12, 200))]


def agree(benchmark: Any, api: Any) -> None:
    """Every number, against what the package says."""
    for cell, (dataset, split, epochs) in product(CELLS, everything(benchmark)):
        official, quantity = OFFICIAL[dataset, split]
        assert benchmark.seeds(cell, dataset, split, epochs) == tuple(
            api.query_meta_info_by_index(cell, str(epochs)).get_dataset_seeds(official)
        )
        for seed in (None, *benchmark.seeds(cell, dataset, split, epochs)):
            theirs = api.get_more_info(cell, official, hp=str(epochs), is_random=False if seed is None else seed)
            answer = (benchmark.accuracy(cell, dataset, split, epochs, seed), theirs[quantity])
            seconds = (benchmark.train_seconds(cell, dataset, split, epochs, seed), theirs["train-all-time"])
            assert answer[0] == pytest.approx(answer[1], rel=1e-12)
            assert seconds[0] == pytest.approx(seconds[1], rel=1e-12)
            try:
                curve = benchmark.curve(cell, dataset, split, epochs, seed)
            except ConfigError:
                assert epochs == 200 and split != "train"
                continue
            for epoch in (0, epochs // 2, epochs - 1):
                there = api.get_more_info(cell, official, epoch, str(epochs), False if seed is None else seed)
                assert curve[epoch] == pytest.approx(there[quantity], rel=1e-12)
    for cell, dataset in product(CELLS, benchmark.datasets):
        cost, official = benchmark.cost(cell, dataset), OFFICIAL[dataset, "train"][0]
        theirs = api.get_cost_info(cell, official, "200")
        assert (cost.params, cost.flops) == pytest.approx((theirs["params"], theirs["flops"]), rel=1e-12)


@pytest.mark.slow
def test_nats_bench_reads_the_same_numbers(raw: Path, folder: Any) -> None:
    nats_bench = pytest.importorskip("nats_bench", reason="nats_bench is not installed (pip install nats_bench)")
    api = nats_bench.create(str(raw), "tss", fast_mode=True, verbose=False)
    benchmark = nas_bench_201.open_benchmark(api)
    agree(benchmark, api)
    agree(folder, api)
    with pytest.raises(ConfigError, match="has no record of cell 5"):
        benchmark.accuracy(5)


def test_nats_bench_reads_the_same_numbers_from_one_file(published: Any, folder: Any) -> None:
    nats_bench = pytest.importorskip("nats_bench", reason="nats_bench is not installed (pip install nats_bench)")
    infos = {cell: {"12": of["less"], "200": of["full"]} for cell, of in published["arch2infos"].items()}
    api = nats_bench.create(published | {"arch2infos": infos}, "tss", fast_mode=False, verbose=False)
    benchmark = nas_bench_201.open_benchmark(api)
    assert benchmark.indices.tolist() == list(CELLS)
    agree(benchmark, api)


@pytest.mark.slow
def test_nas_bench_201_reads_the_same_numbers(published: Any, folder: Any) -> None:
    package = pytest.importorskip("nas_201_api", reason="nas_201_api is not installed (pip install nas-bench-201)")
    api = package.NASBench201API(published, verbose=False)
    agree(nas_bench_201.open_benchmark(api), api)
    agree(folder, api)


def test_the_size_space_of_nats_bench_is_refused(published: Any) -> None:
    nats_bench = pytest.importorskip("nats_bench", reason="nats_bench is not installed (pip install nats_bench)")
    names = [":".join(map(str, c)) for c in product((8, 16, 24, 32, 40, 48, 56, 64), repeat=5)]
    api = nats_bench.create(published | {"meta_archs": names, "arch2infos": {}}, "sss", verbose=False)
    with pytest.raises(ConfigError, match=r"api_size.NATSsize is not of the 15,625 cells .*size space is another"):
        nas_bench_201.open_benchmark(api)


@pytest.mark.filterwarnings("ignore:.*has 3 of the 15,625 cells")
def test_a_conversion_rounds_to_float32_and_curves_to_a_thousandth(published: Any, folder: Any, tmp_path: Path) -> None:
    torch.save(published, tmp_path / "v1_1.pth", _use_new_zipfile_serialization=False)
    out = nas_bench_201.convert(tmp_path / "v1_1.pth", tmp_path / "nb201.npz", curves=True)
    converted = nas_bench_201.open_benchmark(out)
    for dataset, split, epochs in everything(folder):
        where = (CELLS, dataset, split, epochs)
        np.testing.assert_allclose(converted.accuracy(*where), folder.accuracy(*where), rtol=6e-8)
        np.testing.assert_allclose(converted.train_seconds(*where), folder.train_seconds(*where), rtol=6e-8)
    for split in ("train", "valid", "test"):
        assert np.abs(converted.curve(284, split=split) - folder.curve(284, split=split)).max() <= 0.0010001


def test_the_table_holds_the_means_of_the_records(data_root: Path, folder: Any) -> None:
    table = nas_bench_201.open_benchmark(data_root / "nas_bench_201" / "nb201.csv.gz")
    for dataset, epochs in product(table.datasets, (12, 200)):
        for split in table.splits(dataset):
            where = (CELLS, dataset, split, epochs)
            np.testing.assert_allclose(table.accuracy(*where), folder.accuracy(*where), atol=5e-5)
        if epochs == 200:
            seconds = (table.train_seconds(CELLS, dataset), folder.train_seconds(CELLS, dataset))
            np.testing.assert_allclose(*seconds, rtol=5e-6)
    for cell in CELLS:
        table_cost, cost = table.cost(cell), folder.cost(cell)
        assert (table_cost.params, table_cost.flops) == pytest.approx((cost.params, cost.flops), rel=1e-5)


def test_training_on_all_images_takes_twice_as_long(folder: Any) -> None:
    half, whole = folder.train_seconds(CELLS), folder.train_seconds(CELLS, split="test")
    np.testing.assert_allclose(whole, 2 * half, rtol=1e-6)
    # One half of the test images each, so their mean is the accuracy on both.
    for dataset in ("cifar100", "imagenet16-120"):
        valid, test, both = (folder.accuracy(CELLS, dataset, split) for split in ("valid", "test", "valtest"))
        np.testing.assert_allclose((valid + test) / 2, both, atol=1e-5)


def test_a_cell_without_a_file(folder: Any) -> None:
    with pytest.raises(ConfigError, match="nats_raw' has 3 of the 15,625 cells; cell 5 is none of them"):
        folder.accuracy(5)
    with pytest.raises(DatasetError, match=r"is no published file of NAS-Bench-201.*give the folder"):
        nas_bench_201.convert(folder.source.strip("'") + "/000011.pickle.pbz2", "never.npz")
