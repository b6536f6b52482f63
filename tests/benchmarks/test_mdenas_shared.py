from __future__ import annotations

import json
from pathlib import Path

import mdenas_shared as script
import pytest

SPACE = script.common.SPACE


def test_what_is_recommended_along_a_search_is_what_the_search_would_have_said() -> None:
    strategy = script.MDENAS(SPACE, seed=2)
    said = []
    for step in range(8):
        [cell] = strategy.ask()
        strategy.tell(cell, float(cell.choices.count(3)))
        if step + 1 in (2, 4, 8):
            said.append(strategy.recommendation)
    assert script.recommended(strategy.history, "mean") == said


def test_more_than_the_spread_needs_more_than_one_seed() -> None:
    assert script.above([92.0, 94.0, 93.0], 90) == ([2, 4, 3], True)
    assert not script.above([92.0, 98.0, 89.0], 90)[1]
    assert not script.above([92.0], 90)[1]


def test_the_sentence_says_whether_the_gain_is_above_the_spread() -> None:
    def seeds(*values: float) -> list[dict[str, dict[str, object]]]:
        told = [*script.SHARED.values(), *script.TABLE.values()]
        return [
            {"accuracy": {name: [0, 0, value] for name in told}, "ranking": {script.SHARED["mean"]: 0.25}}
            for value in values
        ]

    found = {"cifar10": seeds(92, 93, 94), "imagenet16-120": seeds(30, 35, 38)}
    text = script.sentence(found, {"cifar10": 90.0, "imagenet16-120": 34.0})
    assert "3.00 [0.52, 5.48] points above the mean live cell on CIFAR-10, more than the seeds' spread" in text
    assert "on ImageNet16-120, not more than the seeds' spread" in text and "correlation of 0.25" in text


@pytest.mark.slow
def test_a_tiny_run_writes_everything(toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "NETWORK", {**script.NETWORK, "channels": 2, "input_size": 8, "batch_size": 4})
    folders = ["--data", str(toy_data), "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    command = [*folders, "--seeds", "2", "--steps", "4", "--images", "40", "--cells", "6", "--datasets", "cifar10"]
    script.main(command)
    text = (tmp_path / "out" / "mdenas_shared.md").read_text()
    assert text.startswith("**On shared weights MDENAS") and "| CIFAR-10 | random paths |" in text
    found = json.loads((tmp_path / "out" / "mdenas_shared.json").read_text())["found"]["cifar10"]
    assert len(found) == 2 and len(found[0]["accuracy"]["shared weights, mean"]) == 3
    monkeypatch.setattr(script, "search_by_shared_weights", lambda *_, **__: pytest.fail("searched again"))
    script.main(command)
    assert (tmp_path / "out" / "mdenas_shared.md").read_text() == text
