"""Whatever a command writes goes through links and into pipes and devices, which stay what they are."""

from __future__ import annotations

import os
import pickle
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from meta_toys import coloured
from similarity_toys import build

from metad2a_plugin.cli import options as opt
from metad2a_plugin.cli.main import main
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.training import ImageClassifier, export_network

CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
TINY = ["--epochs", "1", "--channels", "4", "--cells", "1", "--input-size", "8", "--device", "cpu"]
OUT = "OUT"
COMMANDS: dict[str, list[str]] = {
    "search.json": ["search", "--predictor", "params", "--top", "2", "--json", OUT],
    "score.json": ["score", CELL, "--predictor", "flops", "--json", OUT],
    "pareto.json": ["pareto", "--predictor", "flops", "--points", "2", "--json", OUT],
    "networks.json": ["pareto", "--predictor", "flops", "--points", "2", "--out", OUT],
    "networks.csv": ["pareto", "--predictor", "flops", "--points", "2", "--out", OUT],
    "front.svg": ["pareto", "--predictor", "flops", "--points", "2", "--draw", OUT],
    "similar.json": ["similar", "images.npz", "--library", "library", "--json", OUT],
    "similar.png": ["similar", "images.npz", "--library", "library", "--draw", OUT],
    "predict.json": ["predict", "mine.safetensors", "images.npz", "--json", OUT],
    "predict.csv": ["predict", "mine.safetensors", "images.npz", "--csv", OUT],
    "network.safetensors": ["export", CELL, OUT],
    "supernet.safetensors": ["train-supernet", "images.npz", OUT, *TINY],
    "train.json": ["train", "images.npz", "-a", CELL, *TINY, "--json", OUT],
    "page.html": ["analyze", CELL, "--dataset", "images.npz", "--references", "0", *TINY, "--out", OUT],
    "analysis.json": ["analyze", CELL, "--dataset", "images.npz", "--references", "0", *TINY, "--json", OUT],
    "benchmark.npz": ["convert-benchmark", "benchmark.pickle", OUT],
}
SLOW = {"page.html", "analysis.json"}
NAMES = [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in COMMANDS]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two known tasks, to which a distance is soon measured."""
    folder = tmp_path_factory.mktemp("known")
    build(folder)
    return folder / "library"


@pytest.fixture(autouse=True)
def work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, library: Path
) -> Path:
    monkeypatch.setenv("METAD2A_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("library").symlink_to(library)
    images, labels = coloured()
    np.savez("images.npz", images=images, labels=labels)
    space = get_space("nasbench201")
    options = {"channels": 4, "cells": 1}
    made = ImageClassifier(
        space, space.parse(CELL), 3, class_names=("0", "1", "2"), input_size=8, options=options
    )
    export_network("mine.safetensors", made)
    curve = dict.fromkeys(range(12), 1.5)
    measured = {f"ori-test@{epoch}": value for epoch, value in curve.items()}
    fields = {"epochs": 12, "params": 0.1, "flop": 1.0, "train_acc1es": curve, "train_times": {}}
    results = {("cifar10", 777): fields | {"eval_acc1es": measured}}
    index = space.index(space.parse(CELL))
    root = {"arch2infos": {index: {"12": {"arch_str": CELL, "all_results": results}}}}
    Path("benchmark.pickle").write_bytes(pickle.dumps(root, 2))
    return tmp_path


def run(name: str, out: str) -> None:
    assert main([out if part == OUT else part for part in COMMANDS[name]]) == 0


@pytest.mark.filterwarnings("ignore:.*has 1 of the 15,625 cells", "ignore::metad2a_plugin.data.DatasetWarning")
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes that have names")
@pytest.mark.parametrize("name", NAMES)
def test_an_output_goes_through_a_link_and_into_a_pipe(name: str, work: Path) -> None:
    (work / "real").mkdir()
    (work / name).symlink_to(Path("real", f"the-{name}"))
    run(name, name)
    assert (work / name).is_symlink() and (work / "real" / f"the-{name}").stat().st_size > 20
    (work / "pipes").mkdir()
    os.mkfifo(work / "pipes" / name)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((work / "pipes" / name).read_bytes()), daemon=True)
    reader.start()
    run(name, f"pipes/{name}")
    reader.join(30)
    assert len(read[0]) > 20 and stat.S_ISFIFO((work / "pipes" / name).lstat().st_mode)
    assert list((work / "pipes").iterdir()) == [work / "pipes" / name]
    assert not list(work.rglob(".partial-*"))


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no /dev")
def test_what_has_one_format_goes_to_standard_output_and_to_nowhere(work: Path) -> None:
    kinds = [os.lstat(path).st_mode for path in ("/dev/stdout", "/dev/null")]
    command = [sys.executable, "-m", "metad2a_plugin.cli", "-q", "predict", "mine.safetensors", "images.npz"]
    command += ["--csv", "/dev/stdout", "--json", "/dev/null"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "image,label,class_1" in done.stdout
    assert kinds == [os.lstat(path).st_mode for path in ("/dev/stdout", "/dev/null")]


def test_a_file_needs_its_suffix_and_so_does_a_pipe_of_more_than_one_format(work: Path) -> None:
    os.mkfifo("pipe")
    opt.check_outputs(Path("pipe"), suffixes=(".csv",), one_format=True)
    several: list[dict[str, Any]] = [{"suffixes": (".svg", ".png")}, {"suffixes": (".csv",), "one_format": True}]
    for path, settings in zip(("pipe", "file"), several, strict=True):
        with pytest.raises(ConfigError, match="must end in"):
            opt.check_outputs(Path(path), **settings)
