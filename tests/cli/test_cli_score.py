from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from naswot_toys import noise

from metad2a_plugin.cli.main import main
from metad2a_plugin.errors import ArchitectureError, ConfigError
from metad2a_plugin.search.scoring import score_architectures
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.nasbench201.space import NASBench201

SMALL = "|none~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
LARGE = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
TINY = [part for text in ("batch-size=8", "channels=4", "cells=1") for part in ("--option", text)]


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    images, labels = noise()
    np.savez("images.npz", images=images, labels=labels)
    return tmp_path


def test_the_best_comes_first(work: Path, capsys: Any) -> None:
    assert main(["score", SMALL, LARGE, "--predictor", "flops", "--json", "out/scores.json"]) == 0
    shown = capsys.readouterr().out
    assert shown.index(LARGE) < shown.index(SMALL) and "0.344 M" in shown and "47.1 M" in shown
    found = json.loads((work / "out" / "scores.json").read_text())
    assert (found["predictor"], found["dataset"], found["num_classes"]) == ("flops", None, 10)
    first, second = found["scores"]
    assert (first["rank"], first["architecture"], second["architecture"]) == (1, LARGE, SMALL)
    assert first["score"] == pytest.approx(first["flops_m"]) and first["params_m"] > second["params_m"]


def test_images_are_looked_at(work: Path) -> None:
    command = ["score", LARGE, "--dataset", "images.npz", "--predictor", "naswot", "--input-size", "8", *TINY]
    for name, more in {"a": [], "b": ["--random", "2"], "c": ["--random", "2"], "d": ["--seed", "1"]}.items():
        assert main([*command, *more, "--json", f"{name}.json"]) == 0
    a, b, c, d = (json.loads((work / f"{name}.json").read_text()) for name in "abcd")
    assert b == c and len(b["scores"]) == 3 and (a["dataset"], a["num_classes"], a["input_size"]) == ("images", 2, 8)
    [alone] = a["scores"]
    assert alone["score"] in [s["score"] for s in b["scores"]] and alone["score"] != d["scores"][0]["score"]
    assert alone["params_m"] < 0.02, "costs are those of the small networks"
    assert "log-determinants" in a["scale"]


def test_a_predictor_that_reads_features_gets_them(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAD2A_CACHE", str(work / "cache"))
    assert main(["score", SMALL, LARGE, "-d", "images.npz", "--json", "s.json"]) == 0
    found = json.loads((work / "s.json").read_text())
    assert found["predictor"] == "metad2a" and all(0 < s["score"] < 100 for s in found["scores"])


def test_networks_are_given_in_any_notation(work: Path) -> None:
    space = NASBench201()
    number = space.index(space.parse(SMALL))
    (work / "cell.txt").write_text(f"Structure(4 nodes with {SMALL})\n")
    for written in (SMALL, str(number), "cell.txt", repr(SMALL)):
        assert main(["score", written, "--predictor", "flops", "--json", "s.json"]) == 0
        [found] = json.loads((work / "s.json").read_text())["scores"]
        assert found["architecture"] == SMALL


@pytest.mark.filterwarnings("always")
def test_networks_of_other_systems_are_read_from_files(work: Path, capsys: Any) -> None:
    config = {"ks": [3] * 20, "e": [4] * 20, "d": [2] * 5, "r": [192], "wid": None}
    (work / "net.json").write_text(json.dumps(config))
    (work / "net.subnet").write_text(json.dumps({"ks": [3] * 10, "e": [4] * 10, "d": [2] * 5, "r": 224, "w": 1.0}))
    mobile = ["--space", "mobilenetv3"]
    command = ["score", "net.json", "net.subnet", "+".join(["k3e4-k3e4"] * 5), str(config), "--predictor", "flops"]
    assert main([*command, *mobile, "--json", "s.json"]) == 0
    assert "warning: of the configuration only the architecture is read; give input_size=192" in capsys.readouterr().err
    assert len(json.loads((work / "s.json").read_text())["scores"]) == 1
    assert main(["score", "net.json", "--predictor", "flops", "--space", "nasbench201"]) == 2
    assert "no cell is dict" in capsys.readouterr().err
    for command in ("score net.json", "export net.json n.safetensors", "train images.npz -a net.json"):
        assert main(command.split()) == 2
        assert "this is a network of the space mobilenetv3: give --space mobilenetv3" in capsys.readouterr().err
    command = ["export", "net.json", "net.safetensors", *mobile, "--input-size", "32", "--width", "0.1"]
    assert main(command) == 0 and main(["export", "net.safetensors", "again.safetensors"]) == 0
    (work / "weights").write_bytes((work / "net.safetensors").read_bytes())
    assert main(["export", "weights", "again.safetensors"]) == 0, "weights are known by what is in them"


BAD: dict[str, tuple[list[str], str]] = {
    "nothing to score": ([], "give architectures to score, or --random"),
    "a network of the size space": (["64:32:16:8:8", "--predictor", "flops"], "NATS-Bench's size space"),
    "no such file": (["net.json", "--predictor", "flops"], "there is no file 'net.json'"),
    "a folder": ([".", "--predictor", "flops"], "cannot read a network from '.', a folder"),
    "an index beyond the last": (["15625", "--predictor", "flops"], "indices of cells run from 0 to 15624"),
    "a bad cell": (["|x~0|+", "--predictor", "flops"], "expected 3 nodes"),
    "unknown predictor": ([SMALL, "--predictor", "flop"], "did you mean 'flops'"),
    "no images": ([SMALL, "--predictor", "naswot"], "NASWOT needs images"),
    "no dataset": ([SMALL], "the predictor 'metad2a' needs a dataset"),
    "a missing dataset": ([SMALL, "-d", "gone"], "no file or folder 'gone'"),
    "half an option": ([SMALL, "--predictor", "flops", "--option", "x"], "must be NAME=VALUE"),
    "an option of nobody": ([SMALL, "--predictor", "flops", "--option", "x=1"], "unexpected keyword argument 'x'"),
    "an argument as option": ([SMALL, "--option", "seed=1"], "'seed' is no --option"),
    "a wrong value": (
        [SMALL, "--predictor", "naswot", "-d", "images.npz", "--option", "batch-size=many"],
        "batch_size must be an integer",
    ),
    "tiny images": ([SMALL, "--predictor", "flops", "--input-size", "2"], "input_size must be"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_mistake_ends_in_one_sentence(kind: str, work: Path, capsys: Any) -> None:
    arguments, message = BAD[kind]
    assert main(["score", *arguments, "--json", "scores.json"]) == 2
    shown = capsys.readouterr().err
    assert message in shown and shown.startswith("error: ") and shown.count("\n") == 1
    assert not (work / "scores.json").exists()


def test_from_python() -> None:
    space = NASBench201()
    cells = [space.parse(SMALL), space.parse(LARGE), space.parse(SMALL)]
    assert [s.architecture for s in score_architectures(space, cells, "params").scores] == [LARGE, SMALL]
    with pytest.raises(ConfigError, match="no architecture"):
        score_architectures(space, [], "params")
    with pytest.raises(ArchitectureError):
        score_architectures(space, [Architecture("other", (0,))], "params")
