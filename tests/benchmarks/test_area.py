from __future__ import annotations

import argparse
from pathlib import Path

import area
import naswot
import numpy as np
import pytest

from metad2a_plugin.plugins.predictor import Prediction, Predictor

VALUES = np.arange(15625) % 97.0


class Counted(Predictor):
    """Scores that say on which minibatch they were made, and of which cell."""

    def __init__(self, minibatch: int) -> None:
        super().__init__(area.common.SPACE)
        self.minibatch = minibatch

    def predict(self, task, architectures):
        return Prediction(area.torch.tensor([100.0 * self.minibatch + sum(a.choices) for a in architectures]))


def test_what_area_begins_with_is_the_best_by_score_best_first() -> None:
    scores = {index: float(index) for index in range(0, 15625, 100)}
    begin = area.Start(scores).cells(0, 10)
    assert begin == sorted(begin, reverse=True) and len(set(begin)) == 10 and set(begin) <= set(scores)
    found = area.asked(VALUES, area.Start(scores), (10, 3), 0, 14)
    assert found[:10] == begin and len(found) == 14
    assert len(area.asked(VALUES, area.Start(scores), (10, 3), 0, 4)) == 4
    assert area.Start(scores, drawn=15).cells(1, 10)[0] >= begin[0] - 100


def test_without_scores_the_start_is_random_and_of_the_whole_space() -> None:
    assert area.Start().cells(0, 10) == []
    runs = [area.asked(VALUES, area.Start(), (5, 3), seed, 8) for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_the_best_so_far_is_the_earliest_among_equals() -> None:
    told = np.array([3.0, 5.0, 5.0, 4.0])
    assert area.best_so_far(told, [0, 3, 1, 2]).tolist() == [0, 3, 1, 1]


def test_catching_up_is_counted_by_means_with_an_interval() -> None:
    slow, fast = (np.arange(150)[None] * step + np.arange(40)[:, None] * 0.1 for step in (1.0, 2.0))
    middle, low, high = area.catches_up(fast, slow)
    assert middle == 51 and low <= middle <= high and high - low < 5
    assert area.catches_up(slow / 10, slow)[0] == 151
    assert area.said((151, 140, 151), 150) == "over 150 [140, over 150]"


def test_the_sentence_says_what_the_interval_says() -> None:
    options = argparse.Namespace(seeds=3, queries=150)
    text = area.sentence({"cifar10": (55, 40, 90), "imagenet16-120": (99, 80, 120)}, options)
    assert "55 [40, 90] queries on CIFAR-10 (fewer queries than evolution)" in text and "within the aim" in text
    assert "(no fewer queries that could be told)" in text
    assert "beyond the aim" in area.sentence({"cifar10": (75, 40, 90)}, options)


def test_the_best_setting_is_named_with_what_it_is_worth() -> None:
    options = argparse.Namespace(queries=150)
    grid = {area.PAPER: [(100, 90, 110), (95, 80, 110)], (10, 10): [(57, 51, 63), (54, 48, 62)]}
    text = area.sentence_of_settings(grid, options)
    assert "worth more than the start" in text and "population 10 and tournament 10" in text
    assert "evolution needs 57 [51, 63]" in text and "AREA 54 [48, 62]" in text
    assert "worth not more than the start" in area.sentence_of_settings({area.PAPER: grid[area.PAPER]}, options)


def test_scores_are_made_once(tmp_path: Path) -> None:
    options = argparse.Namespace(runs=tmp_path, cells=3, minibatches=2)
    scores = area.own(options, Counted)
    sums = [sum(cell.choices) for cell in naswot.draws(0, 3)]
    assert scores.tolist() == [sums, [100 + value for value in sums]]
    assert area.own(options, lambda minibatch: pytest.fail("made again")).tolist() == scores.tolist()


@pytest.mark.slow
def test_a_tiny_run_writes_everything(toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = {index: float(index % 50) for index in range(0, 15625, 5)}
    monkeypatch.setattr(naswot, "recorded", lambda data, dataset: recorded)
    monkeypatch.setattr(area, "SETTINGS", ((5, 3), area.PAPER))
    monkeypatch.setattr(area, "NASWOTPredictor", lambda space, images, seed, progress: Counted(seed))
    folders = ["--data", str(toy_data), "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    command = [*folders, "--seeds", "2", "--queries", "12", "--cells", "24", "--minibatches", "2"]
    area.main(command)
    text = (tmp_path / "out" / "area.md").read_text()
    assert text.startswith("**Over 2 seeds AREA") and "mean of 2 minibatches" in text
    monkeypatch.setattr(area, "asked", lambda *_: pytest.fail("searched again"))
    monkeypatch.setattr(area, "protocol", lambda *_: {"valid": [1.0, 2.0], "test": [1.0, 2.0]})
    area.main(command)
