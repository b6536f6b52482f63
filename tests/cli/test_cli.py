from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layout_toys import classes, write_tree
from meta_toys import SPACE, FitConfig, checkpoint, class_images, coloured, mobile_toy, toy, write_folder
from PIL import Image

from metad2a_plugin import search
from metad2a_plugin.cli.main import main
from metad2a_plugin.data import load_dataset
from metad2a_plugin.meta import train
from metad2a_plugin.meta.trainings.database import load_trainings
from metad2a_plugin.models.checkpoint import load_checkpoint
from metad2a_plugin.plugins.registry import get_strategy
from metad2a_plugin.predictors.supernet import SupernetPredictor
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
from metad2a_plugin.strategies import RandomSearch, random_search
from metad2a_plugin.training import images as training
from metad2a_plugin.training.files import load_network

CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
MOBILE = "+".join(["k3e3-k5e4"] * 5)
TINY = ["--epochs", "1", "--channels", "4", "--cells", "1", "--input-size", "8", "--device", "cpu"]


@pytest.fixture(scope="session")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("models") / "toy"
    checkpoint().save(folder)
    return str(folder)


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached: Path) -> Path:
    """A working folder with a small dataset in it."""
    monkeypatch.setenv("METAD2A_CACHE", str(cached))
    monkeypatch.delenv("METAD2A_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    images, labels = coloured()
    np.savez("images.npz", images=images, labels=labels)
    return tmp_path


def files(folder: Path) -> dict[str, bytes | None]:
    """Everything in a folder; the content of files."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


# -- search --------------------------------------------------------------------------------------
def test_search_shows_a_table_and_writes_what_it_is_told(model: str, work: Path, capsys: Any) -> None:
    pytest.importorskip("matplotlib")
    arguments = ["search", "images.npz", "--model", model, "--top", "2", "--max-params", "0.5"]
    arguments += ["--max-latency", "pixel3=20", "--space", "nasbench201", "--input-size", "32"]
    assert main([*arguments, "--json", "out/result.json", "--draw", "cells", "--export", "networks"]) == 0
    shown = capsys.readouterr()
    result = json.loads((work / "out" / "result.json").read_text())
    first, second = result["candidates"]
    assert result["bounds"] == {"max_params": 0.5, "max_latency pixel3": 20.0} and result["input_size"] == 32
    shown_first = (first["architecture"], f"{first['accuracy']:.1f}%")
    for part in (*shown_first, second["architecture"], "pixel3 (ms)", "3 classes"):
        assert part in shown.out
    assert sorted(p.name for p in (work / "cells").iterdir()) == ["01.svg", "02.svg"]
    networks = [load_network(work / "networks" / f"{i:02d}.safetensors") for i in (1, 2)]
    assert [SPACE.format(n.architecture) for n in networks] == [c["architecture"] for c in result["candidates"]]
    assert networks[0].cost.params == pytest.approx(first["params_m"])
    assert main([*arguments, "--json", "again.json"]) == 0
    again = json.loads((work / "again.json").read_text())
    assert again | {"seconds": 0} == result | {"seconds": 0}, "the same command gives the same result"


def test_search_with_generated_candidates(model: str, capsys: Any) -> None:
    assert main(["search", "images.npz", "--model", model, "--candidates", "15", "--seed", "2"]) == 0
    assert "15 generated networks ranked by toy" in " ".join(capsys.readouterr().out.split())


def test_search_reads_folders_of_images(model: str, work: Path, capsys: Any) -> None:
    for i in range(8):
        (work / "photos" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 14), (30 * i, 90, 200 - 20 * i)).save(work / "photos" / "ab"[i % 2] / f"{i}.png")
    assert main(["search", "photos", "--model", model, "--top", "1"]) == 0
    assert "photos: 2 classes" in capsys.readouterr().out


# -- train ---------------------------------------------------------------------------------------
@pytest.mark.slow
def test_train_writes_onnx_too(work: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    assert main(["train", "images.npz", "-a", CELL, "--random", "1", "--onnx", "--out", "kept", *TINY]) == 0
    networks = sorted((work / "kept").rglob("network.safetensors"))
    assert len(networks) == 2 and all(n.with_suffix(".onnx").is_file() for n in networks)


def test_train_trains_what_is_given_and_goes_on(work: Path, capsys: Any) -> None:
    arguments = ["train", "images.npz", "-a", CELL, "--random", "1", "--out", "kept", *TINY]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "given 1" in shown and "random 1" in shown and CELL in shown
    networks = sorted((work / "kept").rglob("network.safetensors"))
    assert len(networks) == 2
    times = [n.stat().st_mtime_ns for n in networks]
    assert main(arguments) == 0
    assert [n.stat().st_mtime_ns for n in networks] == times, "finished networks are not trained again"


def test_train_takes_the_best_of_a_result(model: str, work: Path, capsys: Any) -> None:
    assert main(["search", "images.npz", "--model", model, "--top", "3", "--json", "r.json"]) == 0
    assert main(["train", "images.npz", "--result", "r.json", "--top", "1", "--out", "kept", *TINY]) == 0
    best = json.loads((work / "r.json").read_text())["candidates"][0]["architecture"]
    shown = capsys.readouterr().out
    assert "rank 1" in shown and "rank 2" not in shown and best in shown
    assert len(list((work / "kept").rglob("network.safetensors"))) == 1


def test_train_says_when_a_result_is_of_another_dataset_or_too_short(model: str, work: Path, capsys: Any) -> None:
    assert main(["search", "images.npz", "--model", model, "--top", "2", "--json", "r.json"]) == 0
    (work / "images.npz").rename(work / "others.npz")
    assert main(["train", "others.npz", "--result", "r.json", "--out", "kept", *TINY]) == 0
    said = capsys.readouterr().err
    assert "searched for 'images', not for 'others'" in said and "holds 2 architectures, fewer than --top 3" in said


def test_train_shows_its_search_no_image_that_it_validates_on(
    model: str, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Also where broken images are left out, and whatever the seed of the training."""
    images, labels = coloured()
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        (work / "folder" / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(work / "folder" / str(label) / f"{i:03d}.png")
    first = min((work / "folder" / str(labels[0])).iterdir())
    first.write_bytes(first.read_bytes()[:60])
    seen: list[set[str]] = []
    searched, prepared = search.MetaD2A.search, training.prepare

    def watched_search(self: Any, dataset: Any, **options: Any) -> Any:
        seen.append({dataset.key(i) for i in range(len(dataset))})
        return searched(self, dataset, **options)

    def watched_prepare(dataset: Any, config: Any, **options: Any) -> Any:
        data = prepared(dataset, config, **options)
        seen.append({data.validation.key(i) for i in range(len(data.validation))})
        return data

    monkeypatch.setattr(search.MetaD2A, "search", watched_search)
    monkeypatch.setattr(training, "prepare", watched_prepare)
    for seed in ("0", "1"):
        assert main(["train", "folder", "--model", model, "--top", "1", "--seed", seed, *TINY]) == 0
    (shown, held_out), again = seen[:2], seen[2:]
    assert held_out and not shown & held_out
    assert again == [shown, held_out], "the validation images do not depend on the seed"


def test_train_searches_where_nothing_is_given(model: str, work: Path, capsys: Any) -> None:
    assert main(["train", "images.npz", "--model", model, "--top", "1", "--out", "kept", *TINY]) == 0
    shown = capsys.readouterr().out
    assert "rank 1" in shown and "validation" in shown
    (result,) = (work / "kept").rglob("result.json")
    assert json.loads(result.read_text())["architecture"] in shown


def test_train_validates_on_what_it_is_given_or_finds(work: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(work / "pets", classes("train", 4) | classes("val", 2))
    write_tree(work / "more", classes("", 3))
    write_tree(work / "others", classes("", 3, "cat dog bird"))
    seen: list[int] = []
    prepared = training.prepare

    def watched_prepare(dataset: Any, config: Any, **options: Any) -> Any:
        data = prepared(dataset, config, **options)
        seen.append(len(data.validation))
        return data

    monkeypatch.setattr(training, "prepare", watched_prepare)
    arguments = ["train", "pets", "-a", CELL, *TINY]
    for i, options in enumerate(([], ["--validation-data", "more"], ["--validation", "0.25"])):
        assert main([*arguments, *options, "--out", f"kept{i}"]) == 0
    assert seen == [6, 9, 3]
    shown = capsys.readouterr()
    assert "pets: 12 images, 3 classes" in shown.out and "6 validation images" in shown.out
    assert "only 'train' is used" in shown.err
    assert main([*arguments, "--validation-data", "others"]) == 2
    assert "'others' has no 'fish' and 'pets' has no 'bird'" in capsys.readouterr().err
    assert main([*arguments, "--validation-data", "more", "--validation", "0.3"]) == 2
    assert "both say what to validate with" in capsys.readouterr().err


# -- export --------------------------------------------------------------------------------------
def test_export_writes_a_network_that_loads(work: Path, capsys: Any) -> None:
    assert main(["export", CELL, "made/net.safetensors", "--num-classes", "7", "--input-size", "16"]) == 0
    network = load_network(work / "made" / "net.safetensors")
    assert SPACE.format(network.architecture) == CELL and len(network.class_names) == 7
    assert f"{network.cost.params:.3f} M parameters" in capsys.readouterr().out
    assert main(["export", "made/net.safetensors", "copy.safetensors"]) == 0
    assert load_network(work / "copy.safetensors").cost == network.cost


def test_train_asks_a_strategy_what_to_train(work: Path, capsys: Any) -> None:
    given = ["--strategy", "regularized-evolution", "--queries", "3", "--option", "population-size=2"]
    arguments = ["train", "images.npz", *given, "--option", "sample-size=1", "--top", "2", "--out", "kept", *TINY]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "query 3/3" in err and out.count("network.safetensors") == 2
    assert len(list((work / "kept").glob("nasbench201-*"))) == 3


def test_train_shares_weights_and_trains_what_is_recommended(work: Path, capsys: Any) -> None:
    arguments = ["train", "images.npz", "--strategy", "mdenas", "--shared-weights", "--queries", "2", "--out", "kept"]
    assert main([*arguments, *TINY]) == 0
    out, err = capsys.readouterr()
    assert "query 2/2" in err and out.count("network.safetensors") == 1
    assert main([*arguments, *TINY]) == 0
    assert "query" not in capsys.readouterr().err, "a finished search is not repeated"


def test_a_strategy_that_looks_at_images_is_shown_the_training_part(work: Path, monkeypatch: Any) -> None:
    seen = []

    class Looks(RandomSearch):
        def __init__(self, space: Any, *, seed: int = 0, dataset: Any = None) -> None:
            super().__init__(space, seed=seed)
            seen.append(len(dataset))

    monkeypatch.setattr(random_search, "RandomSearch", Looks)
    assert main(["train", "images.npz", "--strategy", "random", "--queries", "1", "--out", "kept", *TINY]) == 0
    assert seen == [len(load_dataset("images.npz").split(0.2)[0])]


def test_a_recommendation_that_is_not_the_best_told_is_shown_as_such(work: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(RandomSearch, "recommendation", property(lambda self: self.space.parse(CELL)))
    given = ["--strategy", "random", "--queries", "2", "--top", "1", "--out", "kept"]
    assert main(["train", "images.npz", *given, *TINY]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("recommended") and CELL in line for line in lines)
    assert any(line.strip().startswith("rank 1") for line in lines) and "rank 2" not in "".join(lines)


def test_networks_of_a_strategy_s_own_are_like_those_that_are_trained(work: Path, monkeypatch: Any) -> None:
    made = []

    class Own(RandomSearch):
        network_settings = ("options", "input_size")

        def __init__(self, space: Any, *, seed: int = 0, **options: Any) -> None:
            super().__init__(space, seed=seed)
            made.append(options)

    monkeypatch.setattr(random_search, "RandomSearch", Own)
    given = ["--strategy", "random", "--queries", "1", "--out", "kept", "--option", "channels=2"]
    assert main(["train", "images.npz", *given, *TINY]) == 0
    assert made[-1] == {"channels": 2, "cells": 1, "input_size": 8}


def test_search_gives_a_predictor_its_options(work: Path, capsys: Any) -> None:
    small = ["--option", "channels=2", "--option", "cells=1", "--option", "batch-size=4", "--input-size", "8"]
    given = ["search", "images.npz", "--predictor", "naswot", "--candidates", "4", "--top", "2"]
    assert main([*given, *small]) == 0
    assert "4 " in capsys.readouterr().out


def test_a_supernet_is_trained_once_and_predicts(work: Path, capsys: Any) -> None:
    assert main(["train-supernet", "images.npz", "s.safetensors", *TINY, "--epochs", "2"]) == 0
    assert "supernet: s.safetensors" in capsys.readouterr().out
    predictor = SupernetPredictor(SPACE, "images.npz", weights="s.safetensors")
    assert 0 <= float(predictor.predict(None, [SPACE.parse(CELL)]).mean[0]) <= 100


def test_other_spaces_are_trained_and_exported(work: Path, capsys: Any) -> None:
    given = ["--space", "mobilenetv3", "--width", "0.1", "--input-size", "16"]
    short = ["--epochs", "1", "--batch-size", "16", "--device", "cpu"]
    assert main(["train", "images.npz", "-a", MOBILE, "--random", "1", "--out", "kept", *given, *short]) == 0
    shown = capsys.readouterr().out
    assert MOBILE in shown and "random 1" in shown
    trained = [load_network(path) for path in (work / "kept").rglob("network.safetensors")]
    assert {n.space.name for n in trained} == {"mobilenetv3"} and [n.options for n in trained] == [{"width": 0.1}] * 2
    assert main(["export", MOBILE, "net.safetensors", *given, "--num-classes", "7"]) == 0
    exported = load_network(work / "net.safetensors")
    assert (exported.input_size, exported.options, len(exported.class_names)) == (16, {"width": 0.1}, 7)


def test_the_size_of_images_is_the_space_s_own(work: Path, capsys: Any) -> None:
    assert main(["export", MOBILE, "net.safetensors", "--space", "mobilenetv3"]) == 0
    assert load_network(work / "net.safetensors").input_size == 224
    assert main(["export", CELL, "cell.safetensors"]) == 0
    assert load_network(work / "cell.safetensors").input_size == 32


# -- build-database ------------------------------------------------------------------------------
BUILD = ["build-database", "made", "--images", "images.npz", "--classes", "2", "--epochs", "1", "--input-size", "32"]
BUILD += ["--tasks", "2", "--valid-tasks", "1", "--rows-per-task", "2", "--width", "0.15", "--teacher", "none"]
BUILD += ["--test-images", "2", "--calibration-images", "2"]


def test_build_database_writes_rows_and_goes_on(work: Path, capsys: Any) -> None:
    images, labels = coloured(8, 5)
    np.savez("images.npz", images=images, labels=labels)
    assert main([*BUILD, "--shard", "1/2"]) == 0
    assert "made/rows.1-of-2.csv" in capsys.readouterr().out
    before = files(work / "made")
    assert main([*BUILD, "--shard", "1/2"]) == 0
    assert files(work / "made") == before
    assert main([*BUILD, "--shard", "2/2"]) == 0
    assert len((work / "made" / "rows.2-of-2.csv").read_text().splitlines()) == 1 + 3


def test_build_database_trains_networks_of_other_spaces(work: Path, capsys: Any) -> None:
    sets = []
    for name in ("reds", "blues"):
        images, labels = coloured(2, 12)
        np.savez(f"{name}.npz", images=images, labels=labels)
        sets += ["--images", f"{name}.npz"]
    command = ["build-database", "made", "--space", "nasbench201", *sets, "--trainings"]
    quick = ["--shortest", "0.01", "--longest", "0.02", "--tasks-per-set", "2"]
    assert main([*command, "1", *quick]) == 0
    before = (work / "made" / "rows.csv").read_text()
    assert main([*command, "2", *quick]) == 0, "more may be asked for"
    assert (work / "made" / "rows.csv").read_text().startswith(before)
    assert len(load_trainings("made")) == 2
    assert "made/rows.csv" in capsys.readouterr().out


# -- meta-train ----------------------------------------------------------------------------------
@pytest.fixture
def quick(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment's work in the recipe, and the images of the classes."""
    monkeypatch.setattr(
        train, "FitConfig", partial(FitConfig, members=2, folds=2, fold_members=1, iterations=3, factors=4)
    )
    monkeypatch.setattr(train, "GENERATOR", replace(train.GENERATOR, epochs=1, images_per_class=2))
    monkeypatch.setattr(train, "generator_metrics", partial(train.generator_metrics, tasks=1, n=20))
    images = class_images()
    pixels = np.stack([images.image(i) for i in range(len(images))])
    np.savez(work / "classes.npz", images=pixels, labels=np.array(images.class_names)[images.labels])


@pytest.fixture
def database(quick: None, work: Path) -> list[str]:
    """Options that name a toy database and its images."""
    write_folder(work / "database", toy(rows=80))
    return ["--database", "database", "--images", "classes.npz"]


def test_meta_train_writes_a_model_that_searches(database: list[str], work: Path, capsys: Any) -> None:
    assert main(["meta-train", "mine", *database, "--no-generator", "--run-dir", "unfinished", "--seed", "1"]) == 0
    shown = capsys.readouterr()
    assert "pearson" in shown.out and "checkpoint: mine" in shown.out and "predictor 6/6" in shown.err
    assert load_checkpoint(work / "mine").training["seed"] == 1
    assert "metad2a" in (work / "mine" / "README.md").read_text() and (work / "unfinished").is_dir()
    assert main(["search", "images.npz", "--model", "mine", "--top", "1"]) == 0


@pytest.fixture
def mobile_database(quick: None, work: Path) -> list[str]:
    """The like for networks of Once-for-All, in two files of rows."""
    folder = write_folder(work / "mobile", mobile_toy(tasks=16))
    header, *lines = (folder / "rows.csv").read_text().splitlines()
    for i in (0, 1):
        rows = [f"{n},{line}" for n, line in enumerate(lines) if n % 2 == i]
        (folder / f"rows.{i + 1}-of-2.csv").write_text("\n".join([f"row,{header}", *rows]) + "\n")
    (folder / "rows.csv").unlink()
    return ["--space", "mobilenetv3", "--database", "mobile", "--images", "classes.npz"]


def test_a_model_of_another_space_is_trained_and_searches(
    mobile_database: list[str], work: Path, capsys: Any
) -> None:
    assert main(["meta-train", "mobilenetv3", *mobile_database]) == 0
    assert "spearman_twin" in capsys.readouterr().out
    made = load_checkpoint(work / "mobilenetv3")
    assert made.space == "mobilenetv3" and made.training["generator_targets"] == "best-of-10"
    search = ["search", "images.npz", "--model", "mobilenetv3", "--candidates", "30", "--top", "3", "--json", "f.json"]
    assert main(search) == 0
    found = json.loads((work / "f.json").read_text())
    space = MobileNetV3Space()
    assert len({space.parse(c["architecture"]) for c in found["candidates"]}) == 3
    strategy = get_strategy("metad2a")(space, dataset=str(work / "images.npz"), candidates=30)
    assert [space.format(a) for a in strategy.ask(3)] == [c["architecture"] for c in found["candidates"]]


def test_an_interruption_is_no_traceback(
    database: list[str], work: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "validate", interrupt)
        status = main(["meta-train", "mine", *database, "--no-generator"])
    assert status == 130 and "the same command goes on" in capsys.readouterr().err
    assert not (work / "mine" / "config.json").exists()
    assert main(["meta-train", "mine", *database, "--no-generator"]) == 0


# -- list, help ----------------------------------------------------------------------------------
def test_list_shows_the_names_that_options_take(capsys: Any) -> None:
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    lists = ("spaces: mobilenetv3, nasbench201", "encoders: default", "metad2a", "pixel3 (ms)", "regularized-evolution")
    for line in lists:
        assert line in shown
    assert main(["list", "devices"]) == 0
    assert capsys.readouterr().out.startswith("devices: ")
    assert main(["list", "devices", "--space", "mobilenetv3"]) == 0
    assert "v100_64 (ms)" in capsys.readouterr().out


def test_version_and_help(capsys: Any) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("metad2a-plugin ")
    for arguments in (["--help"], ["search", "--help"], ["meta-train", "-h"]):
        assert main(arguments) == 0
        assert "Usage: metad2a" in capsys.readouterr().out


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "metad2a_plugin.cli", *arguments], capture_output=True, text=True, check=False
    )


def test_a_real_process_ends_with_status_2_and_one_line(work: Path) -> None:
    done = run("search", "gone", "--top", "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert list(files(work)) == ["images.npz"]


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; from metad2a_plugin.cli.main import main; status = main(['--help']); "
        "sys.exit(status or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


# -- wrong input ---------------------------------------------------------------------------------
def text(name: str, content: str) -> Callable[[Path], Any]:
    return lambda work: (work / name).write_text(content)


def result_with(**changes: Any) -> Callable[[Path], Any]:
    found = {"space": "nasbench201", "candidates": [{"architecture": CELL}]} | changes
    return text("r.json", json.dumps(found))


def bad_row(work: Path) -> None:
    write_folder(work / "database", toy(rows=80))
    with open(work / "database" / "rows.csv", "a") as file:
        file.write(f"0,{CELL},101,train,0\n")


SEARCH, TRAIN = ["search", "images.npz", "--model", "MODEL"], ["train", "images.npz", *TINY]
META = ["meta-train", "mine", "--images", "images.npz"]
nothing: Callable[[Path], Any] = lambda work: None  # noqa: E731 - most mistakes need no file


def enough(work: Path) -> None:
    images, labels = coloured(8, 5)
    np.savez("images.npz", images=images, labels=labels)


BAD: dict[str, tuple[list[str], str, Callable[[Path], Any]]] = {
    "no such command": (["serch"], "No such command 'serch'", nothing),
    "no such option": ([*SEARCH, "--tpo", "3"], "No such option...--tpo", nothing),
    "no dataset": (["train"], "Missing argument", nothing),
    "queries without a strategy": ([*TRAIN, "--queries", "3"], "are for a search with --strategy", nothing),
    "a strategy and an architecture": ([*TRAIN, "--strategy", "random", "-a", CELL], "says what to train", nothing),
    "an unknown strategy": ([*TRAIN, "--strategy", "randon"], "did you mean 'random'", nothing),
    "an option it does not have": ([*TRAIN, "--strategy", "random", "--option", "x=1"], "unexpected", nothing),
    "an option out of range": (
        [*TRAIN, "--strategy", "mdenas", "--option", "learning-rate=-1"], "must be a positive number", nothing,
    ),
    "shared weights of another space": (
        [*TRAIN, "--strategy", "mdenas", "--shared-weights", "--space", "mobilenetv3"],
        "has no supernet",
        nothing,
    ),
    "the seed as an option": (
        [*TRAIN, "--strategy", "random", "--option", "seed=1"], "leave the option 'seed' out", nothing,
    ),
    "a network's option twice": (
        [*TRAIN, "-a", CELL, "--network", "channels=2"], "--channels and --network channels=VALUE", nothing,
    ),
    "a network's option of no space": ([*TRAIN, "-a", CELL, "--network", "depth=2"], "'depth'", nothing),
    "half a network's option": ([*TRAIN, "-a", CELL, "--network", "depth"], "must be NAME=VALUE", nothing),
    "quiet and verbose": (["--quiet", "--verbose", *SEARCH], "contradict each other", nothing),
    "shared weights for what has a supernet": (
        [*TRAIN, "--strategy", "lpt", "--shared-weights"], "trains weights of its own", nothing,
    ),
    "an option of no predictor": ([*SEARCH, "--option", "x=1"], "is for a --predictor", nothing),
    "no queries": ([*TRAIN, "--strategy", "random", "--queries", "0"], "queries must be", nothing),
    "a supernet of another suffix": (["train-supernet", "images.npz", "s.pt"], "must end in .safetensors", nothing),
    "search a missing dataset": (["search", "gone", "--model", "MODEL"], "no file or folder 'gone'", nothing),
    "search a text file": (["search", "a.csv", "--model", "MODEL"], "cannot read a dataset", text("a.csv", "1,2")),
    "search a broken zip": (["search", "a.zip", "--model", "MODEL"], "not a readable zip", text("a.zip", "hello")),
    "unknown model": (["search", "images.npz", "--model", "resnet"], "no checkpoint 'resnet': give one of", nothing),
    "endless model": (["search", "images.npz", "--model", "a" * 5000], "no checkpoint", nothing),
    "model of nobody": (["search", "images.npz", "--model", "~nobody-here/m"], "no checkpoint", nothing),
    "model is no checkpoint": (["search", "images.npz", "--model", "."], "no checkpoint '.'", nothing),
    "damaged model": (["search", "images.npz", "--model", "."], "cannot be read", text("config.json", "{}")),
    "unknown space": ([*SEARCH, "--space", "darts"], "no 'darts' among the spaces", nothing),
    "another space": ([*SEARCH, "--space", "mobilenetv3"], "is of the space 'nasbench201', not 'mobilenetv3'", nothing),
    "unknown device": ([*SEARCH, "--device", "abacus"], "device 'abacus' cannot be used here", nothing),
    "top 0": ([*SEARCH, "--top", "0"], "top must be an integer of 1 or more, got 0", nothing),
    "top is text": ([*SEARCH, "--top", "many"], "Invalid value for '--top'", nothing),
    "candidates -1": ([*SEARCH, "--candidates", "-1"], "candidates must be an integer of 1 or more", nothing),
    "max-params 0": ([*SEARCH, "--max-params", "0"], "max_params must be a positive number of millions", nothing),
    "max-params -1": ([*SEARCH, "--max-params", "-1"], "max_params must be a positive number", nothing),
    "max-params nan": ([*SEARCH, "--max-params", "nan"], "max_params must be a positive number", nothing),
    "max-params text": ([*SEARCH, "--max-params", "few"], "Invalid value for '--max-params'", nothing),
    "max-params in single units": ([*SEARCH, "--max-params", "500000"], "counted in millions", nothing),
    "max-flops inf": ([*SEARCH, "--max-flops", "inf"], "max_flops must be a positive number", nothing),
    "impossible bound": ([*SEARCH, "--max-params", "0.01"], "the least there is: params 0.07", nothing),
    "latency without =": ([*SEARCH, "--max-latency", "pixel3"], "must be DEVICE=MILLISECONDS", nothing),
    "latency without a device": ([*SEARCH, "--max-latency", "=5"], "must be DEVICE=MILLISECONDS", nothing),
    "latency is text": ([*SEARCH, "--max-latency", "pixel3=fast"], "must be DEVICE=MILLISECONDS", nothing),
    "latency 0": ([*SEARCH, "--max-latency", "pixel3=0"], "positive number of ms", nothing),
    "latency of an unknown device": ([*SEARCH, "--max-latency", "pixel33=5"], "did you mean 'pixel3'", nothing),
    "input-size 4": ([*SEARCH, "--input-size", "4"], "input_size must be an integer of 8 or more", nothing),
    "json below a file": ([*SEARCH, "--json", "file/r.json"], "folder 'file'", text("file", "")),
    "json is a folder": ([*SEARCH, "--json", "d"], "cannot write 'd'", lambda work: (work / "d").mkdir()),
    "draw below a file": ([*SEARCH, "--draw", "file/cells"], "folder 'file/cells'", text("file", "")),
    "export below a file": ([*SEARCH, "--export", "file"], "folder 'file'", text("file", "")),
    "mistake before new folders": ([*SEARCH, "--top", "0", "--json", "new/r.json", "--draw", "b"], "top", nothing),
    "train a missing dataset": (["train", "gone", "-a", CELL], "no file or folder 'gone'", nothing),
    "bad architecture": ([*TRAIN, "-a", "|nor_conv_3x3~0|"], "expected 3 nodes", nothing),
    "misspelt operation": ([*TRAIN, "-a", CELL.replace("skip", "slip")], "did you mean 'skip_connect'", nothing),
    "train a network of another space": ([*TRAIN, "-a", MOBILE], "expected 3 nodes joined by '+', got 5", nothing),
    "train with another space's option": ([*TRAIN, "-a", CELL, "--width", "1.2"], "unknown option 'width'", nothing),
    "train in an unknown space": ([*TRAIN, "-a", CELL, "--space", "darts"], "no 'darts' among the spaces", nothing),
    "no such space": (["search", "images.npz", "--space", "darts"], "no 'darts' among the spaces", nothing),
    "result of another space": (
        [*TRAIN, "--result", "r.json", "--space", "mobilenetv3"],
        "is of the space 'nasbench201', not 'mobilenetv3'",
        result_with(),
    ),
    "export with an option of another space": (
        ["export", CELL, "new/net.safetensors", "--width", "1.2"],
        "unknown option 'width'",
        nothing,
    ),
    "both --architecture and --result": ([*TRAIN, "-a", CELL, "--result", "r.json"], "give one of them", nothing),
    "a model without a search": ([*TRAIN, "-a", CELL, "--model", "toy"], "--model searches for what to train", nothing),
    "no result": ([*TRAIN, "--result", "gone.json"], "cannot read a search result from 'gone.json'", nothing),
    "result is text": ([*TRAIN, "--result", "r.json"], "cannot read a search result", text("r.json", "hello")),
    "result is binary": (
        [*TRAIN, "--result", "r.json"],
        "cannot read a search result",
        lambda work: (work / "r.json").write_bytes(b"\xff\xfe\x00"),
    ),
    "result is a list": ([*TRAIN, "--result", "r.json"], "cannot read a search result", text("r.json", "[]")),
    "result of nothing": ([*TRAIN, "--result", "r.json"], "no architecture", result_with(candidates=[])),
    "result of an unknown space": ([*TRAIN, "--result", "r.json"], "'darts'", result_with(space="darts")),
    "result with a bad cell": (
        [*TRAIN, "--result", "r.json"],
        "expected 3 nodes",
        result_with(candidates=[{"architecture": "|none~0|"}]),
    ),
    "train the best 0 of a result": ([*TRAIN, "--result", "r.json", "--top", "0"], "top must be", result_with()),
    "train -2 random ones": ([*TRAIN, "-a", CELL, "--random", "-2"], "Invalid value for '--random'", nothing),
    "epochs 0": (["train", "images.npz", "-a", CELL, "--epochs", "0"], "epochs must be", nothing),
    "validation 1.5": ([*TRAIN, "-a", CELL, "--validation", "1.5"], "validation must be", nothing),
    "lr 0": ([*TRAIN, "-a", CELL, "--lr", "0"], "lr must be", nothing),
    "batch of 1": ([*TRAIN, "-a", CELL, "--batch-size", "1"], "batch_size must be", nothing),
    "no images a class": ([*TRAIN, "-a", CELL, "--max-images-per-class", "0"], "max_images_per_class must", nothing),
    "no channels": ([*TRAIN, "-a", CELL, "--channels", "0"], "channels must be", nothing),
    "train on an unknown device": ([*TRAIN, "-a", CELL, "--device", "abacus"], "device", nothing),
    "train below a file": ([*TRAIN, "-a", CELL, "--out", "file/runs"], "folder 'file/runs'", text("file", "")),
    "export to another suffix": (["export", CELL, "new/net.pt"], "must end in .safetensors or .onnx", nothing),
    "export nothing": (["export", "gone.safetensors", "net.safetensors"], "cannot read a network", nothing),
    "export what is no network": (["export", "a", "net.safetensors"], "cannot read a network", text("a", "hello")),
    "export a bad cell": (["export", "|x~0|+", "new/net.safetensors"], "expected 3 nodes", nothing),
    "export for no classes": (["export", CELL, "new/n.safetensors", "--num-classes", "0"], "num_classes", nothing),
    "unknown recipe": ([*META, "--recipe", "best"], "unknown recipe 'best'; known are default, paper", nothing),
    "no database": ([*META, "--space", "mobilenetv3"], "give --database, the folder of rows, tasks and", nothing),
    "tables of another space": (
        [*META, "--space", "mobilenetv3", "--database", "gone", "--tables", "nb201.csv"],
        "--tables are of 'nasbench201' cells; leave them out for 'mobilenetv3'",
        nothing,
    ),
    "selection of too many": ([*META, "--space", "mobilenetv3", "--selection"], "mobilenetv3 has 2.18e+19", nothing),
    "unknown targets": ([*META, "--targets", "best"], "unknown generator targets 'best'", nothing),
    "missing database": ([*META, "--database", "gone"], "no tasks.csv or tasks.csv.gz in gone", nothing),
    "bad row": ([*META, "--database", "database"], "rows.csv, line 82: accuracy must be 0 to 100", bad_row),
    "an option of a supernet": (
        ["build-database", "a", "--space", "nasbench201", "--teacher", "none"],
        "--teacher has no meaning for 'nasbench201', whose networks are each trained",
        nothing,
    ),
    "an option of trainings": (["build-database", "a", "--longest", "9"], "--longest has no meaning", nothing),
    "two image sets for a supernet": (
        ["build-database", "a", "--images", "images.npz", "--images", "images.npz"],
        "trained on one image set, got 2",
        nothing,
    ),
    "half a shard": ([*BUILD, "--shard", "2"], "--shard '2' must be I/N", nothing),
    "too few classes": (BUILD, "too few for tasks of 2 classes", nothing),
    "no supernet": ([*BUILD, "--supernet", "gone", "--tasks", "1"], "cannot read the supernet", enough),
    "no images for a database": (["build-database", "made"], "give --images, or set METAD2A_DATA", nothing),
    "missing images": (["meta-train", "mine", "--images", "gone"], "no file or folder 'gone'", nothing),
    "images of other classes": (
        [*META, "--database", "database"],
        "class",
        lambda work: write_folder(work / "database", toy(rows=80)),
    ),
    "step 0": ([*META, "--protocol-step", "0", "--database", "."], "protocol_step must be", nothing),
    "missing table": ([*META, "--tables", "gone.csv.gz"], "no NAS-Bench-201 table at 'gone.csv.gz'", nothing),
    "unknown encoder": (
        [*META, "--database", "database", "--encoder", "gone"],
        "unknown image encoder 'gone'",
        lambda work: write_folder(work / "database", toy(rows=80)),
    ),
    "devices of no space": (["list", "devices", "--space", "darts"], "known for the spaces mobilenetv3 and", nothing),
    "a space of no devices": (["list", "models", "--space", "mobilenetv3"], "whose devices to list", nothing),
    "unknown list": (["list", "colours"], "there is no list of 'colours'; the lists are models, devices", nothing),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", BAD)
def test_a_mistake_ends_in_one_sentence_and_leaves_nothing(kind: str, model: str, work: Path, capsys: Any) -> None:
    arguments, message, prepare = BAD[kind]
    prepare(work)
    before = files(work)
    status = main([model if a == "MODEL" else a for a in arguments])
    shown = capsys.readouterr()
    # What stands between the parts of a message is the command line library's, and changes with its release.
    assert status == 2 and re.search(".*".join(map(re.escape, message.split("..."))), shown.err)
    assert "Traceback" not in shown.err
    assert shown.err.startswith("error: ") and shown.err.count("\n") == 1, "one sentence"
    assert files(work) == before, "something was written"


def test_the_table_of_mistakes_is_long_enough() -> None:
    assert len(BAD) >= 25


@pytest.mark.parametrize("seed", ["-1", str(2**70), "x"])
@pytest.mark.parametrize("command", ["search", "train", "export", "meta-train", "build-database"])
def test_odd_seeds_are_refused(seed: str, command: str, capsys: Any) -> None:
    others = {"export": [CELL, "net.safetensors"], "meta-train": ["mine"], "build-database": ["made"]}
    assert main([command, *others.get(command, ["images.npz"]), "--seed", seed]) == 2
    assert "Invalid value for '--seed'" in capsys.readouterr().err


def test_a_folder_that_may_not_be_written(model: str, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))
    assert main(["search", "images.npz", "--model", model, "--json", "r.json"]) == 2
    assert "cannot be written; choose another" in capsys.readouterr().err
