from __future__ import annotations

import importlib.util
import json
import random
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metad2a_plugin.analysis import Analysis, LandscapeConfig, Studied, analyze
from metad2a_plugin.analysis import run as module
from metad2a_plugin.analysis.page import write_page
from metad2a_plugin.analysis.topology import counterpart, describe
from metad2a_plugin.cli.main import main
from metad2a_plugin.data import DatasetWarning, ImageDataset, load_dataset
from metad2a_plugin.errors import CheckpointError, ConfigError, DatasetError, MetaD2AError
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.training.config import TrainConfig

SPACE, MOBILE = NASBench201(), get_space("mobilenetv3")
WIDE = "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|none~0|skip_connect~1|nor_conv_3x3~2|"
DEAD = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|"
CHAIN = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_3x3~2|"
SINGLE = "|none~0|+|none~0|none~1|+|nor_conv_1x1~0|none~1|none~2|"
CONFIG = TrainConfig(epochs=2, batch_size=8, input_size=8, options={"channels": 4, "cells": 1}, lr=0.05, device="cpu")
SURFACE = LandscapeConfig(points=5, images=16, batch_size=8, device="cpu")


def coloured(name: str = "colours") -> ImageDataset:
    rng = np.random.default_rng(0)
    labels = np.arange(30) % 3
    images = rng.integers(0, 120, (30, 8, 8, 3)) + 60 * labels[:, None, None, None]
    return load_dataset((images.astype(np.uint8), labels), name=name)


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    folder = tmp_path_factory.mktemp("runs")
    return analyze(
        SPACE, SPACE.parse(WIDE), coloured("<b>&co"), CONFIG, surface=SURFACE, run_dir=folder, progress=False
    )


class Page(HTMLParser):
    """Tags that are left open, links and images of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.tags: list[str] = []
        self.alts: list[str | None] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "img"):
            self.open.append(tag)
        found = dict(attrs)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag == "img":
            self.alts.append(found.get("alt"))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_references_are_the_same_operations_wired_otherwise_and_random_cells(analysis: Analysis) -> None:
    assert [n.name for n in analysis.networks] == ["this network", "same operations", "random 1"]
    subject, other, drawn = (n.trained for n in analysis.networks)
    assert subject.architecture_str == WIDE
    assert sorted(subject.architecture.choices) == sorted(other.architecture.choices)
    assert subject.params == other.params and subject.flops == other.flops
    assert len({SPACE.canonical(t.architecture) for t in (subject, other, drawn)}) == 3
    places = [n.topology for n in analysis.networks]
    assert places[0] is not None and (places[0].width, places[0].depth) == (2, 2)
    assert places[1] is not None and (places[1].width, places[1].depth) == (1, 3)


def test_all_is_plain_json_and_the_same_again(analysis: Analysis) -> None:
    found = json.loads(json.dumps(analysis.to_dict()))
    assert [len(n["training"]["history"]) for n in found["networks"]] == [2, 2, 2]
    assert len(found["epochs_to_common_loss"]) == 3 and found["dataset"] == "<b>&co"
    again = analyze(SPACE, SPACE.parse(WIDE), coloured(), CONFIG, surface=SURFACE, progress=False)
    for first, second in zip(analysis.networks, again.networks, strict=True):
        assert first.landscape == second.landscape and first.trained.accuracy == second.trained.accuracy


def test_the_page_stands_alone_and_escapes_what_users_wrote(analysis: Analysis, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    write_page(analysis, tmp_path / "pages" / "page.html")
    text = (tmp_path / "pages" / "page.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == [] and not {"script", "link", "iframe", "b"} & set(page.tags)
    assert page.sources and all(source.startswith("data:image/") for source in page.sources)
    assert len(page.alts) == 6 and all(page.alts)
    assert "&lt;b&gt;&amp;co" in text and "width=device-width" in text
    assert "width 2.00c, depth 2" in text and "may place this cell too high" in text
    assert f"{analysis.subject.trained.accuracy:.1f}%" in text
    write_page(analysis, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == text


def test_what_was_computed_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments: dict[str, Any] = {"references": 0, "surface": SURFACE, "run_dir": tmp_path, "progress": False}
    first = analyze(SPACE, SPACE.parse(WIDE), coloured(), CONFIG, **arguments)
    assert len(first.networks) == 1 and "fast" not in " ".join(first.warnings)
    monkeypatch.setattr(module, "landscape", None)
    assert analyze(SPACE, SPACE.parse(WIDE), coloured(), CONFIG, **arguments).to_dict() == first.to_dict()
    [kept] = tmp_path.rglob("landscape-*.json")
    kept.write_text("{}")
    with pytest.raises(CheckpointError, match="remove it"):
        analyze(SPACE, SPACE.parse(WIDE), coloured(), CONFIG, **arguments)


def test_several_networks_chosen_references_and_seeds(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    asked, chosen = [WIDE, CHAIN], [SPACE.parse(SINGLE)]
    settings: dict[str, Any] = {"references": chosen, "seeds": 2, "surface": SURFACE, "progress": False}
    found = analyze(SPACE, asked, coloured(), CONFIG, run_dir=tmp_path, **settings)
    assert [n.name for n in found.networks] == ["network 1", "network 2", "reference 1"]
    assert [n.trained.architecture_str for n in found.networks] == [WIDE, CHAIN, SINGLE]
    assert found.seeds == 2 and [n.name for n in found.subjects] == ["network 1", "network 2"]
    for network in found.networks:
        first, second = network.runs
        assert (first.trained.seed, second.trained.seed) == (0, 1) and first.landscape != second.landscape
        assert network.accuracy == pytest.approx((first.trained.accuracy + second.trained.accuracy) / 2)
    assert [len(epochs) for epochs in found.epochs] == [2, 2, 2]
    assert any(text.startswith("network 1: A ranking") for text in found.warnings)
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["seeds"] == 2 and [len(n["repeats"]) for n in plain["networks"]] == [1, 1, 1]
    write_page(found, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert Page(text).open == [] and len(Page(text).alts) == 7  # a drawing of each
    assert "network 2 has width 1.00c and depth 3" in text and "seeds 0 to 1" in text and " ± " in text


def test_lists_that_are_notations_of_one_network_are_one() -> None:
    cell = SPACE.parse(WIDE)
    assert module._listed(SPACE, list(cell.choices)) == [list(cell.choices)]
    assert module._listed(SPACE, [WIDE, CHAIN]) == [WIDE, CHAIN] and module._listed(SPACE, WIDE) == [WIDE]


@pytest.mark.parametrize(
    ("asked", "references", "said"),
    [
        ([], None, "empty"),
        ([WIDE, WIDE], None, "network 2 computes the same as network 1"),
        (WIDE, [WIDE], "reference 1 computes the same as this network"),
        (WIDE, "two", "number or a list"),
        (WIDE, 6, "6 networks or fewer"),
        ([WIDE, "|none~0|"], None, "3 nodes"),
    ],
)
def test_networks_that_cannot_be_compared_are_refused(asked: Any, references: Any, said: str) -> None:
    with pytest.raises(MetaD2AError, match=said):
        analyze(SPACE, asked, coloured(), CONFIG, references=references, progress=False)
    with pytest.raises(ConfigError, match="seeds"):
        analyze(SPACE, WIDE, coloured(), CONFIG, seeds=0, progress=False)


@pytest.mark.slow
def test_a_dead_cell_and_a_space_without_cells_have_pages_too(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    dead = analyze(SPACE, SPACE.parse(DEAD), coloured(), CONFIG, references=1, surface=SURFACE, progress=False)
    assert [n.name for n in dead.networks] == ["this network", "random 1"]
    write_page(dead, tmp_path / "dead.html")
    assert "No path leads" in (tmp_path / "dead.html").read_text()
    config = TrainConfig(epochs=1, input_size=32, options={"width": 0.1}, lr=0.05, device="cpu")
    cell = MOBILE.parse("+".join(["k3e3-k3e3"] * 5))
    mobile = analyze(MOBILE, cell, coloured(), config, references=0, surface=SURFACE, progress=False)
    write_page(mobile, tmp_path / "mobile.html")
    text = (tmp_path / "mobile.html").read_text()
    assert "this part is left out" in text and mobile.subject.topology is None and "Loss surface" in text


@pytest.mark.parametrize(("accuracy", "said"), [(95.0, ["overlap"]), (99.0, []), (80.0, None)])
def test_fast_but_not_best_is_said(analysis: Analysis, accuracy: float, said: list[str] | None) -> None:
    def network(studied: Studied, losses: tuple[float, float], last: float) -> Studied:
        pairs = zip(studied.trained.history, losses, strict=True)
        history = tuple(epoch._replace(loss=loss, accuracy=last) for epoch, loss in pairs)
        return replace(studied, topology=None, trained=replace(
            studied.trained, history=history, interval=(last - 4, last + 4)
        ))  # fmt: skip

    first, second = analysis.networks[:2]
    found = replace(analysis, networks=(network(first, (1.0, 0.5), 90.0), network(second, (2.0, 1.0), accuracy)))
    assert found.convergence == (1.0, [1, 2])
    assert ["overlap" for text in found.warnings if "overlap" in text] == (said or [])
    assert any("'same operations' has the higher" in text for text in found.warnings) == (said is not None)


@pytest.mark.parametrize("seed", range(5))
def test_a_counterpart_has_the_same_operations_and_is_farthest_in_depth(seed: int) -> None:
    rng = random.Random(seed)
    cell = SPACE.sample(rng)
    other = counterpart(SPACE, cell)
    if other is None:
        return
    first, second = describe(SPACE, cell), describe(SPACE, other)
    assert (first.width, first.depth) != (second.width, second.depth)
    assert sum(map(bool, other.choices)) == sum(len(sources) for sources in first.sources.values())


def test_a_cell_whose_operations_allow_one_wiring_has_no_counterpart() -> None:
    single = SPACE.parse("|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|")
    assert counterpart(SPACE, single) is None and counterpart(SPACE, SPACE.parse(DEAD)) is None


def test_wrong_input_is_refused_before_any_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "train_many", None)
    for references in (-1, 1.5, 99):
        with pytest.raises(ConfigError, match="references"):
            analyze(SPACE, SPACE.parse(WIDE), coloured(), CONFIG, references=references)  # type: ignore[arg-type]
    with pytest.warns(DatasetWarning):
        single = load_dataset((np.zeros((2, 8, 8, 3), np.uint8), np.arange(2)))
    with pytest.raises(DatasetError, match="two images"):
        analyze(SPACE, SPACE.parse(WIDE), single, CONFIG)


# -- the command -----------------------------------------------------------------------------------
TINY = ["--epochs", "1", "--channels", "4", "--input-size", "8", "--device", "cpu"]


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    np.savez("images.npz", images=pixels, labels=np.arange(24) % 3)
    return "images.npz"


def test_the_command_prints_a_table_and_writes_the_page(images: str, capsys: Any) -> None:
    pytest.importorskip("matplotlib")
    command = ["analyze", WIDE, "--dataset", images, "--out", "out/page.html", "--json", "out/numbers.json", *TINY]
    assert main([*command, "--references", "1"]) == 0
    shown = capsys.readouterr()
    assert "2.00c" in shown.out and "same operations" in shown.out and "may place this cell too high" in shown.out
    assert "surface of this network" in shown.err
    numbers = json.loads(Path("out/numbers.json").read_text())
    assert numbers["networks"][0]["training"]["architecture"] == WIDE and numbers["config"]["cells"] == 1
    assert Path("out/page.html").read_text().startswith("<!DOCTYPE html>")
    assert len(list(Path("runs/analyze").iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["|none~0|", "--dataset", "images.npz"], "3 nodes"),
        ([WIDE, "--dataset", "nowhere.zip"], "nowhere.zip"),
        ([WIDE, "--dataset", "images.npz", "--out", "page.pdf"], r"must end in \.html"),
        ([WIDE, "--dataset", "images.npz", "--out", "images.npz/page.html"], "is a file"),
        ([WIDE, "--dataset", "images.npz", "--references", "-1"], "references"),
        ([WIDE, "--dataset", "images.npz", "--reference", CHAIN, "--references", "1"], "not both"),
        ([WIDE, WIDE, "--dataset", "images.npz"], "computes the same"),
        ([WIDE, "--dataset", "images.npz", "--seeds", "0"], "seeds"),
        ([WIDE, "--dataset", "images.npz", "--width", "0.5"], "width"),
        ([WIDE, "--dataset", "images.npz", "--epochs", "0"], "epochs"),
        ([WIDE, "--dataset", "images.npz", "--device", "abacus"], "abacus"),
        ([WIDE, "--dataset", "images.npz", "--space", "nasbench301"], "nasbench301"),
        (["+".join(["k3e3-k3e3"] * 5), "--dataset", "images.npz", "--space", "mobilenetv3", "--cells", "2"], "cells"),
    ],
)
def test_a_wrong_command_ends_in_one_sentence(images: str, arguments: list[str], said: str, capsys: Any) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        pytest.skip("matplotlib is not installed (extra draw)")
    assert main(["analyze", *arguments]) != 0
    assert re.search(said, capsys.readouterr().err)
    assert not Path("runs").exists()
