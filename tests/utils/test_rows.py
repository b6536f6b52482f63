"""Results as data frames, and as tables of notebooks."""

from __future__ import annotations

import importlib.util
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from metad2a_plugin import MetaD2AError, TrainConfig, load_dataset, search_space, train_architecture
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.training.predict import ImagePredictions
from metad2a_plugin.utils.rows import html_table

SPACE = NASBench201()
CELL = SPACE.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|")


class Cells(HTMLParser):
    """Texts of the cells of a table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_data(self, data: str) -> None:
        self.found.append(data)


@pytest.fixture(scope="module")
def searched():
    return search_space(SPACE, "params", top=3, max_latency={"pixel3": 20})


@pytest.fixture(scope="module")
def trained():
    rng = np.random.default_rng(0)
    images = load_dataset((rng.integers(0, 255, (20, 8, 8, 3)).astype(np.uint8), np.arange(20) % 2))
    config = TrainConfig(epochs=2, input_size=8, options={"channels": 4, "cells": 1}, device="cpu")
    return train_architecture(SPACE, CELL, images, config, progress=False)


PREDICTED = ImagePredictions(
    ("a.png", "b.png"), ("cat", "dog"), torch.tensor([[0.75, 0.25], [0.5, 0.5]]), torch.tensor([0, -1])
)


def test_results_become_data_frames(searched, trained) -> None:
    pytest.importorskip("pandas")
    frame = searched.to_dataframe()
    assert list(frame["architecture"]) == [c.architecture_str for c in searched.candidates]
    assert list(frame["params_m"]) == [c.params for c in searched.candidates] and list(frame["rank"]) == [1, 2, 3]
    assert list(frame["pixel3_ms"]) == [c.latency["pixel3"] for c in searched.candidates]
    epochs = trained.to_dataframe()
    assert list(epochs["accuracy"]) == [epoch.accuracy for epoch in trained.history] and len(epochs) == 2
    answers = PREDICTED.to_dataframe(top=1)
    assert answers.to_dict("records")[0] == {
        "image": "a.png", "label": "cat", "class_1": "cat", "probability_1": 0.75
    }  # fmt: skip


def test_without_pandas_the_extra_is_named(searched, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "pandas" else find(name, *a))
    with pytest.raises(MetaD2AError, match=r"pip install 'metad2a-plugin\[pandas\]'"):
        searched.to_dataframe()


def test_notebooks_show_tables(searched, trained) -> None:
    shown = Cells(searched._repr_html_()).found
    assert all(c.architecture_str in shown and f"{c.params:.3f} M" in shown for c in searched.candidates)
    shown = Cells(trained._repr_html_()).found
    assert f"{trained.accuracy:.1f}%" in shown and trained.architecture_str in shown


def test_what_names_hold_is_no_markup() -> None:
    text = html_table("<script>", ["<b>"], [["a & b"]], ["<i>"])
    assert re.findall(r"<(?:script|b|i)>", text) == [] and "a &amp; b" in text
