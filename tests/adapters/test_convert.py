from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import os
import pickle
import shutil
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from metad2a_plugin.cli.main import main
from metad2a_plugin.errors import ConfigError, DatasetError
from metad2a_plugin.spaces.nasbench201.space import NASBench201

nas_bench_201 = pytest.importorskip(
    "metad2a_plugin.adapters.nas_bench_201", reason="adapters are inside the package once it is installed"
)
convert, open_benchmark = nas_bench_201.convert, nas_bench_201.open_benchmark
SPACE = NASBench201()
NAMES = [SPACE.format(cell) for cell in SPACE.enumerate()]
IMAGES = {
    "cifar10-valid": ("x-valid", "ori-test"),
    "cifar10": ("ori-test",),
    "cifar100": ("x-valid", "x-test", "ori-test"),
    "ImageNet16-120": ("x-valid", "x-test", "ori-test"),
}
ONCE = {("cifar10-valid", "ori-test"), *((d, s) for d in ("cifar100", "ImageNet16-120") for s in ("x-valid", "x-test"))}
"""What was measured once, after the last of 200 epochs."""
CELLS = (0, 11, 284)
PARTIAL = "ignore:.*has 3 of the 15,625 cells"


def training(cell: int, epochs: int, dataset: str, seed: int) -> dict[str, Any]:
    """Made-up numbers in the published layout."""
    rng = np.random.default_rng([cell, epochs, len(dataset), seed])
    numbers = iter(rng.uniform(1, 100, 10 * epochs).tolist())
    measured = {
        f"{images}@{epoch}": next(numbers)
        for images in IMAGES[dataset]
        for epoch in ([epochs - 1] if epochs == 200 and (dataset, images) in ONCE else range(epochs))
    }
    return {
        "name": dataset,
        "train_acc1es": {epoch: next(numbers) for epoch in range(epochs)},
        "train_acc5es": None,
        "train_losses": {epoch: next(numbers) for epoch in range(epochs)},
        "train_times": OrderedDict((epoch, next(numbers)) for epoch in range(epochs)),
        "arch_config": {"channel": 16, "num_cells": 5, "arch_str": NAMES[cell], "class_num": 10},
        "params": np.float64(0.1 + cell + len(dataset)),
        "flop": 10.0 + cell + len(dataset),
        "seed": f"{seed:04d}",
        "epochs": epochs,
        "latency": [np.float64(0.01)],
        "eval_names": list(IMAGES[dataset]),
        "eval_acc1es": measured,
        "eval_times": dict.fromkeys(measured, 0.5),
        "eval_losses": dict.fromkeys(measured, 1.5),
        "net_state_dict": None,
    }


def schedule(cell: int, epochs: int) -> dict[str, Any]:
    seeds = {"cifar10-valid": (777, 111)} if epochs == 12 else dict.fromkeys(IMAGES, (999, 777, 888)[: 1 + cell % 3])
    trained = [(dataset, seed) for dataset in IMAGES for seed in seeds.get(dataset, (111,))]
    return {
        "arch_index": cell,
        "arch_str": NAMES[cell],
        "all_results": {key: training(cell, epochs, *key) for key in trained},
        "dataset_seed": {dataset: sorted(seed for d, seed in trained if d == dataset) for dataset in IMAGES},
        "clear_net_done": True,
    }


schedule_once = cache(schedule)


def record(cell: int, names: tuple[str, str] = ("less", "full")) -> dict[str, Any]:
    return OrderedDict((name, schedule(cell, epochs)) for name, epochs in zip(names, (12, 200), strict=True))


def published(cells: tuple[int, ...] = CELLS, names: tuple[str, str] = ("less", "full")) -> dict[str, Any]:
    infos = {cell: record(cell, names) for cell in cells}
    return {"meta_archs": NAMES, "arch2infos": infos, "evaluated_indexes": set(cells)}


# -- forms of the same results -------------------------------------------------------------------
def old_torch(path: Path) -> Path:
    torch.save(published(), path / "old.pth", _use_new_zipfile_serialization=False)
    return path / "old.pth"


def new_torch(path: Path) -> Path:
    torch.save(published(), path / "new.pth")
    return path / "new.pth"


def plain_pickle(path: Path) -> Path:
    (path / "plain.pickle").write_bytes(pickle.dumps(published(), 3))
    return path / "plain.pickle"


def nats_file(path: Path) -> Path:
    data = pickle.dumps(published(names=("12", "200")), 4)
    (path / "nats.pickle.pbz2").write_bytes(bz2.compress(data, 1))
    return path / "nats.pickle.pbz2"


def nats_folder(path: Path) -> Path:
    folder = path / "nats-simple"
    folder.mkdir()
    for cell in CELLS:
        name = f"{cell:06d}" if cell else str(cell)  # both are in use
        (folder / f"{name}.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps(record(cell, ("12", "200")), 4), 1))
    (folder / "meta.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps({"meta_archs": NAMES}, 4), 1))
    return folder


FORMS = (old_torch, new_torch, plain_pickle, nats_file, nats_folder)


def api(module: str = "nats_bench.api_topology", **changes: Any) -> Any:
    """What a package's object looks like."""
    infos = {cell: {name: to_object(of) for name, of in record(cell, ("12", "200")).items()} for cell in CELLS}
    fields = {"meta_archs": NAMES, "arch2infos_dict": infos, "query_meta_info_by_index": lambda index, hp: None}
    return type("API", (SimpleNamespace,), {"__module__": module})(**fields | changes)


def to_object(results: dict[str, Any]) -> SimpleNamespace:
    trainings = {key: SimpleNamespace(**fields) for key, fields in results["all_results"].items()}
    return SimpleNamespace(**results | {"all_results": trainings})


BOTH = {"train": "train", "valid": "x-valid", "test": "x-test", "valtest": "ori-test"}
PUBLISHED = {
    "cifar10": {"train": "cifar10 train", "valid": "cifar10-valid x-valid", "test": "cifar10 ori-test"},
    "cifar10-valid": {name: f"cifar10-valid {of}" for name, of in BOTH.items() if name != "test"},
    "cifar100": {name: f"cifar100 {of}" for name, of in BOTH.items()},
    "imagenet16-120": {name: f"ImageNet16-120 {of}" for name, of in BOTH.items()},
}
PUBLISHED["cifar10-valid"]["test"] = PUBLISHED["cifar10-valid"].pop("valtest")


def exact(cell: int, dataset: str, split: str, epochs: int, quantity: str = "accuracy") -> dict[int, Any]:
    """By seed, from the made-up numbers themselves."""
    key, images = PUBLISHED[dataset][split].split()
    found = {}
    for (of, seed), fields in schedule_once(cell, epochs)["all_results"].items():
        if of == key:
            measured = fields["eval_acc1es"] | {f"train@{e}": v for e, v in fields["train_acc1es"].items()}
            curve = [measured.get(f"{images}@{epoch}") for epoch in range(epochs)]
            found[seed] = {"accuracy": curve[-1], "curve": curve, "seconds": sum(fields["train_times"].values())}
    return {seed: values[quantity] for seed, values in found.items()}


def everything(benchmark: Any) -> list[tuple[str, str, int]]:
    return [(d, s, epochs) for d in benchmark.datasets for s in benchmark.splits(d) for epochs in (12, 200)]


FLOAT32, FLOAT64 = 6e-8, 1e-12
"""Half of the last place, relative; and room for another order of sums."""


def check(benchmark: Any, tolerance: float) -> None:
    assert benchmark.indices.tolist() == list(CELLS)
    assert len(everything(benchmark)) == 2 * (3 + 3 + 4 + 4)
    for dataset, split, epochs in everything(benchmark):
        where = (dataset, split, epochs)
        for quantity, answer in (("accuracy", benchmark.accuracy), ("seconds", benchmark.train_seconds)):
            expected = [exact(cell, *where, quantity) for cell in CELLS]
            means = [np.mean(list(by_seed.values())) for by_seed in expected]
            np.testing.assert_allclose(answer(CELLS, *where), means, rtol=tolerance)
            for cell, by_seed in zip(CELLS, expected, strict=True):
                assert benchmark.seeds(cell, *where) == tuple(sorted(by_seed))
                for seed, value in by_seed.items():
                    assert answer(cell, *where, seed) == pytest.approx(value, rel=tolerance)


def check_curves(benchmark: Any, tolerance: float) -> None:
    for dataset, split, epochs in everything(benchmark):
        by_seed = exact(11, dataset, split, epochs, "curve")
        if any(None in curve for curve in by_seed.values()):
            with pytest.raises(ConfigError, match=f"no {split} curve of 200 epochs on {dataset}, only the accuracy"):
                benchmark.curve(11, dataset, split, epochs)
            continue
        found = benchmark.curve(11, dataset, split, epochs)
        assert found.shape == (epochs,) and found.dtype == np.float64
        np.testing.assert_allclose(found, np.mean(list(by_seed.values()), 0), rtol=0, atol=tolerance)
        for seed, curve in by_seed.items():
            np.testing.assert_allclose(benchmark.curve(11, dataset, split, epochs, seed), curve, rtol=0, atol=tolerance)


# -- every form answers alike --------------------------------------------------------------------
@pytest.mark.filterwarnings(PARTIAL)
@pytest.mark.parametrize("form", FORMS)
def test_a_converted_file_answers_as_the_published_one(form: Callable[[Path], Path], tmp_path: Path) -> None:
    out = convert(form(tmp_path), tmp_path / "new" / "nb201.npz", curves=form is old_torch)
    benchmark = open_benchmark(out)
    check(benchmark, FLOAT32)
    if form is old_torch:
        check_curves(benchmark, 0.0010001)
    else:
        with pytest.raises(ConfigError, match="has no train curve of 12 epochs on cifar10"):
            benchmark.curve(11, split="train", epochs=12)


def test_a_folder_is_read_when_it_is_asked(tmp_path: Path) -> None:
    folder = nats_folder(tmp_path)
    benchmark = open_benchmark(str(folder))
    assert benchmark.accuracy(0) > 0
    (folder / "0.pickle.pbz2").unlink()
    assert benchmark.accuracy(0) > 0  # read once
    (folder / "0.pickle.pbz2").write_bytes(b"")
    check(benchmark, FLOAT64)
    check_curves(benchmark, 1e-9)


def test_an_object_of_a_package(tmp_path: Path) -> None:
    benchmark = open_benchmark(api())
    check(benchmark, FLOAT64)
    check_curves(benchmark, 1e-9)
    assert open_benchmark(benchmark) is benchmark


def test_an_object_without_records() -> None:
    benchmark = open_benchmark(api(arch2infos_dict={}))
    assert len(benchmark.indices) == 0
    with pytest.raises(ConfigError, match="has 0 of the 15,625 cells; cell 3 is none of them"):
        benchmark.accuracy(3)


def test_an_object_that_reads_when_it_is_asked() -> None:
    full = api().arch2infos_dict
    lazy = api(arch2infos_dict={}, fast_mode=True)

    def query(index: int, hp: str) -> None:
        assert index in full, "invalid data path"
        lazy.arch2infos_dict[index] = full[index]

    lazy.query_meta_info_by_index = query
    benchmark = open_benchmark(lazy)
    assert len(benchmark.indices) == SPACE.size
    assert benchmark.accuracy(11) == open_benchmark(api()).accuracy(11) and list(lazy.arch2infos_dict) == [11]
    with pytest.raises(ConfigError, match=r"has no record of cell 5 .invalid data path"):
        benchmark.accuracy(5)


def test_many_records_are_worth_a_conversion(tmp_path: Path) -> None:
    folder = nats_folder(tmp_path)
    for cell in range(1500):
        (folder / f"{cell:06d}.pickle.pbz2").touch()
    benchmark = open_benchmark(folder)
    with (
        pytest.warns(UserWarning, match=r"1,500 records are read one by one.*convert-benchmark") as caught,
        pytest.raises(DatasetError, match=r"000000.pickle.pbz2"),
    ):
        benchmark.accuracy(np.arange(1500))
    assert caught[0].filename == __file__


def test_costs_are_of_the_dataset_and_of_the_seed_to_believe() -> None:
    benchmark = open_benchmark(api())
    assert benchmark.cost(11).params == pytest.approx(0.1 + 11 + len("cifar10"))
    assert benchmark.cost(11, "imagenet16-120").flops == pytest.approx(10 + 11 + len("ImageNet16-120"))
    changed = api()
    results = changed.arch2infos_dict[11]["200"].all_results
    results["cifar10", 777].flop -= 1  # recorded with an operation missing
    assert open_benchmark(changed).cost(11) == benchmark.cost(11)
    del results["cifar10", 888]
    assert open_benchmark(changed).cost(11).flops == pytest.approx(benchmark.cost(11).flops - 0.5)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = plain_pickle(tmp_path), tmp_path / "nb201.npz"
    assert main(["convert-benchmark", str(source), str(out), "--curves"]) == 0
    printed = capsys.readouterr()
    assert "nb201.npz: 3 cells, " in printed.out and "has 3 of the 15,625 cells" in printed.err
    assert open_benchmark(out).curve(11).shape == (200,)
    assert main(["convert-benchmark", str(out), str(out)]) == 2
    assert "is compact already" in capsys.readouterr().err


@pytest.mark.filterwarnings(PARTIAL)
@pytest.mark.parametrize("form", [old_torch, nats_folder])
def test_progress_reaches_the_end(form: Callable[[Path], Path], tmp_path: Path) -> None:
    told: list[tuple[str, int, int, str]] = []
    convert(form(tmp_path), tmp_path / "out", progress=lambda *said: told.append(said))
    stage, done, total, _ = told[-1]
    assert stage == ("cells" if form is nats_folder else "MB") and done == total


# -- what is not there ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((5,), "has 3 of the 15,625 cells; cell 5 is none of them"),
        (([0, 5],), "cell 5 is none of them"),
        ((0, "cifar"), "unknown dataset 'cifar'.*known are cifar10, cifar10-valid, cifar100, imagenet16-120"),
        ((0, "cifar10", "valtest"), "unknown split 'valtest'.*known are train, valid, test"),
        ((0, "cifar100", "x-test"), "unknown split 'x-test'.*known are train, valid, test, valtest"),
        ((0, "cifar10", "test", 90), "200 or 12 epochs, got 90"),
        ((0, "cifar10", "test", 200, 5), "no seed 5 of the training of cell 0 on cifar10 .*; its seeds are 999$"),
        ((11, "cifar10", "valid", 12, 888), "no seed 888 .*cell 11 on cifar10-valid for 12 .*; its seeds are 111, 777"),
        ((0, "cifar10", "test", 200, "777"), "seed must be an integer of 0 or more, got '777'"),
        ((0, "cifar10", "test", 200, True), "seed must be an integer"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_benchmark(api()).accuracy(*arguments)


def test_a_quantity_that_a_record_lacks() -> None:
    lacking = api()
    for fields in lacking.arch2infos_dict[0]["200"].all_results.values():
        fields.train_times = None
        fields.eval_acc1es = {}
    benchmark = open_benchmark(lacking)
    with pytest.raises(ConfigError, match="has no seconds of the training of cell 0 on cifar10-valid for 200 epochs"):
        benchmark.train_seconds(0)
    with pytest.raises(ConfigError, match="has no ori-test of the training of cell 0"):
        benchmark.accuracy(0)
    assert benchmark.accuracy(0, split="train") > 0 and benchmark.seeds(0) == ()


def test_seeds_of_many_cells_are_those_they_share() -> None:
    benchmark = open_benchmark(api())
    assert [benchmark.seeds(cell) for cell in CELLS] == [(999,), (777, 888, 999), (777, 888, 999)]
    assert benchmark.seeds(CELLS) == (999,)
    with pytest.raises(ConfigError, match="no seed 777 of the training of cell 0"):
        benchmark.accuracy(CELLS, seed=777)


# -- sources that are refused --------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"meta_archs": ["8:8:8:8:8"]}, "size space is another search space"),
        ({"meta_archs": NAMES[::-1]}, "in their official order"),
        ({"arch2infos_full": {}}, "old version; use nas-bench-201 2.0 or later"),
    ],
)
def test_objects_of_something_else(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_benchmark(api(**change))
    for nothing in (3, None, {}, object()):
        with pytest.raises(ConfigError, match=r"expected a path, a nas_201_api.NASBench201API or a nats_bench"):
            open_benchmark(nothing)


@pytest.mark.parametrize("form", FORMS[:-1])
def test_a_published_file_is_to_be_converted_first(form: Callable[[Path], Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="takes minutes to read; convert it once, with metad2a convert-benchmark"):
        open_benchmark(form(tmp_path))


def change_record(**changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(root: dict[str, Any]) -> None:
        fields = root["arch2infos"][11]["full"]["all_results"]["cifar10", 777]
        fields.update(changes)

    return change


def move(root: dict[str, Any], cell: Any) -> None:
    root["arch2infos"][cell] = root["arch2infos"].pop(11)


def retrain(root: dict[str, Any], seed: Any) -> None:
    trainings = root["arch2infos"][11]["full"]["all_results"]
    trainings["cifar10", seed] = trainings.pop(("cifar10", 777))


def rename(old: str, new: str) -> Callable[[dict[str, Any]], None]:
    return lambda root: root["arch2infos"][11].update({new: root["arch2infos"][11].pop(old)})


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no cell": (lambda r: r["arch2infos"].clear(), "holds the record of no cell"),
    "no records": (lambda r: r.pop("arch2infos"), "no published file of NAS-Bench-201: it has no dictionary"),
    "one cell's file": (lambda r: (r.update(r["arch2infos"][11]), r.pop("arch2infos")), "give the folder"),
    "no dictionary": (lambda r: r.update(arch2infos=[1, 2]), "no dictionary 'arch2infos'"),
    "cells by name": (lambda r: move(r, "a"), "a record of cell 'a'"),
    "another cell": (lambda r: move(r, 12), r"record of cell 12 is of the cell '\|"),
    "a cell too many": (lambda r: move(r, -1), "record of cell -1 is of"),
    "size space": (rename("full", "90"), "has trainings of less, 90 epochs.*size space of NATS-Bench is another"),
    "size cell": (lambda r: r["arch2infos"][11]["full"].update(arch_str="8:8:8:8:8"), "has not the published layout"),
    "swapped schedules": (lambda r: r["arch2infos"][11].update(less=schedule(11, 200)), "has 200 epochs and not 12"),
    "another dataset": (
        lambda r: r["arch2infos"][11]["full"]["all_results"].update({("svhn", 777): training(11, 200, "cifar10", 777)}),
        "has a training on 'svhn' with seed 777",
    ),
    "no accuracies": (change_record(train_acc1es=None), r"has not the published layout .TypeError"),
    "an accuracy of nan": (change_record(train_acc1es={199: float("nan")}), "has nan as its train"),
    "an accuracy of 101": (change_record(eval_acc1es={"ori-test@199": 101.0}), "has 101.0 as its ori-test"),
    "text for a number": (change_record(flop="many"), "has 'many' as its flops"),
    "a cell of True": (
        lambda r: (r["arch2infos"].pop(0), move(r, True)),
        "a record of cell True; expected an official",
    ),
    "a seed of True": (lambda r: retrain(r, True), "has a training on 'cifar10' with seed True"),
    "a seed of five digits": (lambda r: retrain(r, 10_000), "seeds integers of 0 to 9999"),
    "more than is finite": (change_record(params=2**1500), "an integer of 188 bytes"),
    "infinite params": (change_record(params=float("inf")), "has inf as its params"),
    "infinite seconds": (change_record(train_times={0: float("inf")}), "has inf as its seconds"),
    "texts for seconds": (change_record(train_times={0: "long"}), "seconds that are no numbers"),
    "a list of results": (lambda r: r["arch2infos"].update({11: [1, 2]}), "trainings of 1, 2 epochs"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_file_of_another_layout_is_refused_with_a_sentence(kind: str, tmp_path: Path) -> None:
    change, message = CHANGES[kind]
    root = published()
    change(root)
    torch.save(root, tmp_path / "file.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(DatasetError, match=rf"file\.pth'.*({message})"):
        convert(tmp_path / "file.pth", tmp_path / "out.npz")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file.pth"]


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_curve_beyond_percent(tmp_path: Path, value: float) -> None:
    root = published()
    root["arch2infos"][11]["full"]["all_results"]["cifar10", 777]["train_acc1es"][5] = value
    torch.save(root, tmp_path / "file.pth")
    with pytest.raises(DatasetError, match="record of cell 11 has train accuracies beyond 0 to 100"):
        convert(tmp_path / "file.pth", tmp_path / "out.npz", curves=True)


def doubling(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value, value]
    return value


HUGE = {
    "epochs": (change_record(epochs=doubling(30)), "has an object of type list epochs"),
    "accuracies": (change_record(train_acc1es=dict.fromkeys(range(200), doubling(30))), "type list as its"),
    "params": (change_record(params=doubling(30)), "has an object of type list as its params"),
    "seconds": (change_record(train_times={0: doubling(30)}), "seconds that are no numbers"),
    "architecture": (lambda r: r["arch2infos"][11]["full"].update(arch_str=doubling(30)), "type list"),
}


@pytest.mark.parametrize("kind", HUGE)
def test_values_that_would_take_all_memory_are_named_and_not_written_out(kind: str, tmp_path: Path) -> None:
    change, message = HUGE[kind]
    root = published()
    change(root)
    (tmp_path / "file").write_bytes(pickle.dumps(root, 4))
    with pytest.raises(DatasetError, match=message) as refused:
        convert(tmp_path / "file", tmp_path / "out.npz", curves=True)
    assert len(str(refused.value)) < 1000


def test_curves_of_lists_are_not_compared(tmp_path: Path) -> None:
    root = published()
    curve = root["arch2infos"][11]["full"]["all_results"]["cifar10", 777]["train_acc1es"]
    curve.update({0: doubling(30), 1: doubling(30)})
    (tmp_path / "file").write_bytes(pickle.dumps(root, 4))
    with pytest.raises(DatasetError, match="train accuracies that are no numbers"):
        convert(tmp_path / "file", tmp_path / "out.npz", curves=True)


def test_numbers_beyond_float_are_refused() -> None:
    lacking = api()
    lacking.arch2infos_dict[11]["200"].all_results["cifar10", 777].params = 2**1500
    with pytest.raises(DatasetError, match="as its params") as refused:
        open_benchmark(lacking).accuracy(11)
    assert len(str(refused.value)) < 1000


def test_one_schedule_and_one_training_a_record(tmp_path: Path) -> None:
    def one(cell: int) -> dict[str, Any]:
        return {"200": schedule(cell, 200) | {"all_results": {("cifar10", 777): training(cell, 200, "cifar10", 777)}}}

    for protocol in (2, 3, 4, 5):
        (tmp_path / "file").write_bytes(pickle.dumps({"arch2infos": {cell: one(cell) for cell in CELLS}}, protocol))
        with pytest.warns(UserWarning, match="3 of the 15,625 cells"):
            out = convert(tmp_path / "file", tmp_path / "out.npz")
        expected = [one(cell)["200"]["all_results"]["cifar10", 777]["eval_acc1es"]["ori-test@199"] for cell in CELLS]
        np.testing.assert_allclose(open_benchmark(out).accuracy(CELLS), expected, rtol=FLOAT32)


def test_a_cell_has_one_record(tmp_path: Path) -> None:
    entries = [pickle.dumps(cell, 2)[2:-1] + unremembered(record(cell)) for cell in (11, 11)]
    data = b"\x80\x04}" + unremembered("arch2infos") + b"}(" + b"".join(entries) + b"us."
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(DatasetError, match="has two records of cell 11"):
        convert(tmp_path / "file", tmp_path / "out.npz")


def unremembered(value: Any) -> bytes:
    """The opcodes that push a value, without references."""
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, 3)
    pickler.fast = True
    pickler.dump(value)
    return buffer.getvalue()[2:-1]


@pytest.mark.filterwarnings("ignore:.*of the 15,625 cells")
def test_results_of_many_seeds(tmp_path: Path) -> None:
    root = published()
    trainings = root["arch2infos"][11]["full"]["all_results"]
    trainings |= {("cifar10", seed): trainings["cifar10", 777] for seed in range(20)}
    (tmp_path / "file").write_bytes(pickle.dumps(root, 4))
    with pytest.raises(DatasetError, match="results of more than 16 seeds"):
        convert(tmp_path / "file", tmp_path / "out.npz")


@pytest.mark.slow
def test_a_small_file_that_unpacks_to_much(tmp_path: Path) -> None:
    for name, data in {
        "none": b"\x80\x02" + pickle.NONE * 100_000_000,
        "lists": b"\x80\x02" + pickle.EMPTY_LIST * 100_000_000,
        "references": b"\x80\x04]" + pickle.MEMOIZE * 100_000_000,
    }.items():
        bomb = tmp_path / f"{name}.pickle.pbz2"
        bomb.write_bytes(bz2.compress(data))
        assert bomb.stat().st_size < 1000
        with pytest.raises(DatasetError, match=r"a record of more than .* of NAS-Bench-201") as refused:
            convert(bomb, tmp_path / "out.npz")
        assert len(str(refused.value)) < 500


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_archive_is_to_be_unpacked(mode: Any, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "raw.tar", mode) as archive:
        archive.add(plain_pickle(tmp_path), "plain.pickle")
    for use in (open_benchmark, lambda path: convert(path, tmp_path / "out")):
        with pytest.raises(DatasetError, match="is a tar archive; unpack it"):
            use(tmp_path / "raw.tar")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("form", "damage"),
    [(old_torch, cut), (plain_pickle, cut), (new_torch, cut), (nats_file, cut), (new_torch, flip), (nats_file, flip)],
)
def test_a_damaged_file_is_refused_with_a_sentence(
    form: Callable[[Path], Path], damage: Callable[[Path], None], tmp_path: Path
) -> None:
    path = form(tmp_path)
    damage(path)
    with pytest.raises(DatasetError, match=f"{path.name}.*(cut short|damaged|missing)"):
        convert(path, tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("damage", [cut, flip, lambda path: path.write_bytes(b"BZ")])
def test_a_damaged_record_is_refused_with_a_sentence(damage: Callable[[Path], None], tmp_path: Path) -> None:
    folder = nats_folder(tmp_path)
    damage(folder / "000011.pickle.pbz2")
    with pytest.raises(DatasetError, match="000011"):
        open_benchmark(folder).accuracy(11)
    assert open_benchmark(folder).accuracy(284) > 0


OTHER: dict[str, tuple[Callable[[Path], Any], str]] = {
    "missing": (lambda p: None, "no file or folder .*expected nb201.csv.gz"),
    "empty": (lambda p: p.write_bytes(b""), "holds no NAS-Bench-201 results; expected"),
    "text": (lambda p: p.write_text("hello"), "holds no NAS-Bench-201 results"),
    "another zip": (lambda p: zipfile.ZipFile(p, "w").writestr("a.txt", "a"), "holds no NAS-Bench-201 results"),
    "something packed": (lambda p: p.write_bytes(gzip.compress(b"hello")), "holds no NAS-Bench-201 results"),
    "damaged packed": (lambda p: p.write_bytes(b"\x1f\x8bhello"), "is damaged"),
    "half a zip": (lambda p: p.write_bytes(b"PK\x03\x04"), "is damaged"),
    "an empty folder": (lambda p: p.mkdir(), "the folder .* holds no NAS-Bench-201 results"),
}


def test_a_folder_of_the_size_space(tmp_path: Path) -> None:
    (tmp_path / "032767.pickle.pbz2").touch()
    for use in (open_benchmark, lambda path: convert(path, tmp_path / "out")):
        with pytest.raises(DatasetError, match=r"holds a file of cell 32767 .*size space of NATS-Bench is another"):
            use(tmp_path)


@pytest.mark.parametrize("kind", OTHER)
def test_what_is_no_benchmark_is_refused_with_what_is(kind: str, tmp_path: Path) -> None:
    make, message = OTHER[kind]
    make(tmp_path / "file")
    for use in (open_benchmark, lambda path: convert(path, tmp_path / "out")):
        with pytest.raises(DatasetError, match=message):
            use(tmp_path / "file")


def test_a_malicious_file_is_refused_before_it_acts(tmp_path: Path) -> None:
    victim = tmp_path / "harm"

    class Malicious:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {victim}",)

    root = published()
    root["arch2infos"][11]["full"]["all_results"]["cifar10", 777]["latency"] = Malicious()
    torch.save(root, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save(root, tmp_path / "new.pth")
    folder = nats_folder(tmp_path)
    (folder / "000011.pickle.pbz2").write_bytes(bz2.compress(pickle.dumps(root["arch2infos"][11])))
    for source in (tmp_path / "old.pth", tmp_path / "new.pth", folder):
        with pytest.raises(DatasetError, match=r"a call of \w+\.system"):
            convert(source, tmp_path / "out.npz")
    with pytest.raises(DatasetError, match=r"a call of \w+\.system"):
        open_benchmark(folder).accuracy(11)
    assert not victim.exists()


def test_weights_are_not_read(tmp_path: Path) -> None:
    root = published()
    root["arch2infos"][11]["full"]["all_results"]["cifar10", 777]["net_state_dict"] = {"w": torch.zeros(2)}
    torch.save(root, tmp_path / "file.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(DatasetError, match="weights of networks, which the results of NAS-Bench-201 have not"):
        convert(tmp_path / "file.pth", tmp_path / "out.npz")


# -- destinations --------------------------------------------------------------------------------
def test_destinations_that_cannot_be(tmp_path: Path) -> None:
    source = plain_pickle(tmp_path)
    before = source.read_bytes()
    for destination in (source, tmp_path, tmp_path / "link"):
        if destination.name == "link":
            destination.symlink_to(source)
        with pytest.raises(ConfigError, match="is the source or a folder; give a file to write"):
            convert(source, destination)
    with pytest.raises(ConfigError, match=r"cannot write .*choose a file in a folder that can be written"):
        convert(source, source / "out.npz")
    assert source.read_bytes() == before


@pytest.mark.parametrize("form", [old_torch, nats_folder])
def test_an_interruption_leaves_nothing_and_spoils_nothing(form: Callable[[Path], Path], tmp_path: Path) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    source, folder = form(tmp_path), tmp_path / "out"
    folder.mkdir()
    (folder / "nb201.npz").write_text("what was there")
    with pytest.raises(KeyboardInterrupt):
        convert(source, folder / "nb201.npz", progress=interrupt)
    assert [(p.name, p.read_text()) for p in folder.iterdir()] == [("nb201.npz", "what was there")]


# -- converted files that are refused ------------------------------------------------------------
def rewrite(**changes: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with np.load(path) as file:
            columns = {name: file[name] for name in file.files} | changes
        buffer = io.BytesIO()
        np.savez(buffer, **columns)
        path.write_bytes(buffer.getvalue())

    return change


def falsify(path: Path, shape: tuple[int, ...]) -> None:
    """Add a column whose header says another shape than it has."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("12/cifar10/778/train.npy", header.getvalue())


BAD_CONVERTED: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut": (cut, "is damaged"),
    "another version": (rewrite(format=np.array("version 9")), "is 'version 9', not .*convert it anew"),
    "objects": (rewrite(format=np.array([{}], dtype=object)), r"shape \[1\] and type object, expected \[\] and U"),
    "another shape": (rewrite(**{"12/cifar10/777/train": np.zeros(3, np.float32)}), r"of shape \[3\]"),
    "another type": (rewrite(**{"12/cifar10/777/train": np.zeros(15_625)}), "and type float64"),
    "another column": (rewrite(**{"12/cifar10/777/loss": np.zeros(15_625, np.float32)}), "a column '12/cifar10/777/"),
    "another dataset": (rewrite(**{"12/svhn/777/train": np.zeros(15_625, np.float32)}), "a column '12/svhn/777/train'"),
    "a name written otherwise": (
        rewrite(**{"12/cifar10/0777/train": np.zeros(15_625, np.float32)}),
        "a column '12/cif",
    ),
    "infinite seconds": (rewrite(**{"12/cifar10/777/seconds": np.full(15_625, np.inf, np.float32)}), "out of range"),
    "an accuracy of 101": (rewrite(**{"12/cifar10/777/train": np.full(15_625, 101, np.float32)}), "out of range"),
    "a false header": (lambda p: falsify(p, (10**13,)), r"of shape \[10000000000000\]"),
    "many seeds": (
        rewrite(**{f"12/cifar10/{seed}/train": np.zeros(15_625, np.float32) for seed in range(20)}),
        "results of more than 16 seeds",
    ),
    "another name": (rewrite(loss=np.zeros(15_625, np.float32)), "ValueError"),
}


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    with pytest.warns(UserWarning, match=r"plain.pickle' has 3 of the 15,625 cells"):
        return convert(plain_pickle(folder), folder / "nb201.npz")


@pytest.mark.parametrize("kind", BAD_CONVERTED)
def test_a_damaged_converted_file_is_refused_with_a_sentence(kind: str, converted: Path, tmp_path: Path) -> None:
    damage, message = BAD_CONVERTED[kind]
    copy = shutil.copy(converted, tmp_path / "nb201.npz")
    damage(copy)
    with pytest.raises(DatasetError, match=message):
        open_benchmark(copy)


@pytest.mark.filterwarnings(PARTIAL)
def test_damaged_curves_are_found_when_they_are_read(tmp_path: Path) -> None:
    copy = convert(plain_pickle(tmp_path), tmp_path / "nb201.npz", curves=True)
    flip(copy)
    with pytest.raises(DatasetError, match="is a damaged file of metad2a convert-benchmark"):  # noqa: PT012
        benchmark = open_benchmark(copy)
        for dataset, split, epochs in everything(benchmark):
            with contextlib.suppress(ConfigError):
                benchmark.curve(11, dataset, split, epochs)


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        (np.zeros((15_625, 3), np.uint16), r"of shape \[15625, 3\] .*expected \[15625, 12\]"),
        (np.zeros(15_625, np.uint16), r"of shape \[15625\]"),
        (np.full((15_625, 12), 60_000, np.uint16), "accuracies out of range"),
        (
            np.pad(np.zeros((15_625, 11), np.uint16), ((0, 0), (0, 1)), constant_values=65_535),
            "accuracies out of range",
        ),
    ],
)
@pytest.mark.filterwarnings(PARTIAL)
def test_curves_of_another_layout(curve: np.ndarray, message: str, converted: Path, tmp_path: Path) -> None:
    copy = shutil.copy(converted, tmp_path / "nb201.npz")
    rewrite(**{"12/cifar10-valid/777/train/curve": curve})(copy)
    benchmark = open_benchmark(copy)
    with pytest.raises(DatasetError, match=message):
        benchmark.curve(11, "cifar10-valid", "train", 12)


@pytest.mark.filterwarnings(PARTIAL)
def test_a_curve_that_is_gone(tmp_path: Path) -> None:
    copy = convert(plain_pickle(tmp_path), tmp_path / "nb201.npz", curves=True)
    benchmark = open_benchmark(copy)
    copy.unlink()
    assert benchmark.accuracy(11) > 0
    with pytest.raises(DatasetError, match="convert it anew"):
        benchmark.curve(11)
