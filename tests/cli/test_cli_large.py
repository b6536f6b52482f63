"""The commands on a space too large to list."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from meta_toys import coloured

from metad2a_plugin import get_space
from metad2a_plugin.cli.main import main
from metad2a_plugin.devices.lookup_table import LookUpTable
from metad2a_plugin.training.files import load_network

SPACE = get_space("mobilenetv3")
PLAIN = ["--space", "mobilenetv3", "--predictor", "ofa-imagenet"]


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a small dataset in it."""
    monkeypatch.setenv("METAD2A_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.delenv("METAD2A_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    images, labels = coloured()
    np.savez("images.npz", images=images, labels=labels)
    return tmp_path


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_search_without_a_dataset(work: Path, capsys: Any) -> None:
    arguments = ["search", *PLAIN, "--max-flops", "200", "--candidates", "60", "--refine", "40", "--top", "2"]
    assert main([*arguments, "--json", "r.json"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    result = read(work / "r.json")
    first = result["candidates"][0]
    for part in (
        first["architecture"],
        f"{first['accuracy']:.2f}%",
        "mobilenetv3: 1,000 classes, 224 pixels",
        "60 random networks and 40 more, where these promised most, ranked by ofa-imagenet",
        "ImageNet top-1 of subnets with the weights of OFA's supernet",
    ):
        assert part in shown
    assert first["flops_m"] <= 200 and (result["queries"], result["refined"]) == (100, 40)
    assert SPACE.from_config(first["ofa_config"])[1] == 224


def test_candidates_for_a_dataset_ranked_by_imagenet_accuracy(work: Path, capsys: Any) -> None:
    arguments = ["search", "images.npz", *PLAIN, "--candidates", "10", "--input-size", "160", "--json", "r.json"]
    assert main(arguments) == 0
    result = read(work / "r.json")
    assert (result["model"], result["predictor"], result["num_classes"]) == ("mobilenetv3", "ofa-imagenet", 3)
    assert "images: 3 classes, 160 pixels; 10 generated networks ranked by ofa-imagenet" in capsys.readouterr().out


@pytest.fixture
def table(work: Path) -> str:
    """A made-up look-up table of 48 pixels and width 0.25, in OFA's format."""
    blank = LookUpTable({48: {}}, 0.25)
    names = [*blank._fixed_keys(48), *sorted({k for kinds in blank._keys(48) for k in kinds if k})]
    (work / "mine.json").write_text(json.dumps({name: {"mean": 0.1 + 0.001 * i} for i, name in enumerate(names)}))
    return "mine=mine.json"


def test_a_table_of_yours_and_the_width_reach_costs_files_and_training(work: Path, table: str, capsys: Any) -> None:
    limits = ["--max-latency", "mine=4.5", "--latency-table", table, "--width", "0.25", "--input-size", "48"]
    arguments = ["search", "images.npz", "--space", "mobilenetv3", "--candidates", "30", "--top", "1", *limits]
    assert main([*arguments, "--json", "r.json", "--export", "networks"]) == 0
    shown = capsys.readouterr().out
    result = read(work / "r.json")
    [found] = result["candidates"]
    assert "mine (ms)" in shown and "A limit on a look-up table of yours" in shown
    assert result["options"] == {"width": 0.25} and result["units"] == {"mine": "ms"}
    network = SPACE.parse(found["architecture"])
    assert found["latency"]["mine"] == LookUpTable.read("mine.json", width=0.25).latency(network, 48) <= 4.5
    exported = load_network(work / "networks" / "01.safetensors")
    assert exported.options == {"width": 0.25} and exported.cost.flops == pytest.approx(found["flops_m"])
    short = ["--epochs", "1", "--batch-size", "16", "--device", "cpu", "--out", "kept"]
    assert main(["train", "images.npz", "--result", "r.json", "--top", "1", *short]) == 0
    [path] = (work / "kept").rglob("network.safetensors")
    trained = load_network(path)
    assert (trained.options, trained.input_size, trained.architecture) == ({"width": 0.25}, 48, network)


def test_pareto_writes_tables_and_a_figure(work: Path, capsys: Any) -> None:
    pytest.importorskip("matplotlib")
    arguments = ["pareto", *PLAIN, "--cost", "v100_1", "--points", "4", "--queries", "60", "--max-flops", "300"]
    assert main([*arguments, "--out", "f.csv", "--out", "f.json", "--draw", "new/f.svg"]) == 0
    shown = capsys.readouterr().out
    front = read(work / "f.json")
    rows = list(csv.DictReader((work / "f.csv").open()))
    assert [row["architecture"] for row in rows] == [c["architecture"] for c in front["candidates"]]
    assert all(architecture in shown for architecture in (row["architecture"] for row in rows))
    assert all(c["flops_m"] <= 300 for c in front["candidates"]) and front["cost"] == "v100_1"
    assert "v100_1 (ms)" in shown and "from the smallest network to the largest" in shown
    assert (work / "new" / "f.svg").read_text().startswith("<?xml")


def test_pareto_of_a_dataset_by_the_model(work: Path, capsys: Any) -> None:
    assert main(["pareto", "images.npz", "--points", "5"]) == 0
    assert "different networks, all of the space," in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search"], "give a dataset; only --space with a --predictor that needs none"),
        (["search", "--space", "mobilenetv3"], "give a dataset"),
        (["search", *PLAIN, "--model", "mobilenetv3"], "give a dataset"),
        (["search", "--space", "mobilenetv3", "--predictor", "metad2a"], "'metad2a' needs a dataset"),
        (["search", *PLAIN, "--max-flops", "10"], "the least there is: flops 121.279. Raise a limit"),
        (["search", *PLAIN, "--max-latency", "v100_1"], "must be DEVICE=MILLISECONDS"),
        (["search", *PLAIN, "--latency-table", "mine.json"], "must be NAME=FILE, such as note10="),
        (["search", *PLAIN, "--latency-table", "mine=nowhere.json"], "cannot read the look-up table"),
        (["search", *PLAIN, "--max-latency", "v100_1=5", "--input-size", "100"], "in steps of 4, not of 100"),
        (["search", "--predictor", "ofa-imagenet"], "known for the space 'mobilenetv3', not for 'nasbench201'"),
        (["pareto"], "give a dataset"),
        (["pareto", *PLAIN, "--cost", "speed"], "the cost must be flops, params or a device, got 'speed'"),
        (["pareto", *PLAIN, "--out", "front.txt"], "must end in .json or .csv"),
        (["pareto", *PLAIN, "--draw", "front.pdf"], "must end in .svg or .png"),
        (["pareto", *PLAIN, "--points", "1"], "points must be an integer of 2 or more"),
    ],
    ids=" ".join,
)
def test_what_is_wrong_is_said_in_a_sentence(arguments: list[str], message: str, work: Path, capsys: Any) -> None:
    before = sorted(work.iterdir())
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err and shown.err.startswith("error: ") and "Traceback" not in shown.err
    assert sorted(work.iterdir()) == before
