from __future__ import annotations

import json
from pathlib import Path

import _common as common
import numpy as np
import pytest
import strategy_priors

from metad2a_plugin import get_strategy


@pytest.mark.slow
def test_a_tiny_run_writes_everything(toy_data: Path, tmp_path: Path) -> None:
    folders = ["--data", str(toy_data), "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    strategy_priors.main([*folders, "--repeats", "2", "--queries", "6"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"strategy_priors.json", "strategy_priors.md"}
    means = json.loads((tmp_path / "out" / "strategy_priors.json").read_text())["mean"]
    assert len(means) == 4
    for found in means.values():
        assert {len(curve) for curve in found.values()} == {6}
        assert {"random search", "fixed order", *strategy_priors.Priors.names} <= set(found)


def test_predictions_are_told_apart(toy_data: Path) -> None:
    priors = strategy_priors.Priors(common.Data(toy_data))
    made = {name: priors.of(name, "cifar10", 0) for name in strategy_priors.Priors.names}
    assert {values.shape for values in made.values()} == {(common.SPACE.size,)}
    assert np.array_equal(made["nasbench201-paper, turned round"], -made["nasbench201-paper"])
    for name in strategy_priors.Priors.names:
        again = priors.of(name, "cifar10", 1)
        assert np.array_equal(again, made[name]) == (name not in strategy_priors.Priors.random)


def test_a_curve_is_the_best_so_far() -> None:
    told = np.arange(common.SPACE.size, dtype=float)
    found = strategy_priors.curve(told, common.SPACE.index, get_strategy("random")(common.SPACE, seed=0), 8)
    asked = get_strategy("random")(common.SPACE, seed=0).ask(8)
    assert found == np.maximum.accumulate([told[common.SPACE.index(cell)] for cell in asked]).tolist()


def test_what_is_behind_random_search_is_bold() -> None:
    text = strategy_priors.table({"random search": np.full((2, 5), 3.0), "bad": np.full((1, 5), 2.0)})
    assert "| bad | **2.00** | **2.00** |" in text and "| random search | 3.00 ± 0.00 |" in text
