"""In NNI, what trials train networks with is told to what knows budgets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from budget_toys import budget_checkpoint, ship
from meta_toys import checkpoint

from metad2a_plugin import MetaD2A, get_space
from metad2a_plugin.errors import CheckpointError, ConfigError

nni = pytest.importorskip("nni", reason="NNI is not installed; see the extra 'nni'")

from metad2a_plugin.adapters import nni as adapter  # noqa: E402
from nni.nas.evaluator import FunctionalEvaluator  # noqa: E402
from nni.nas.hub.pytorch import NasBench201  # noqa: E402
from nni_toys import run  # noqa: E402

SPACE = get_space("nasbench201")
SEARCHER = MetaD2A(budget_checkpoint())
SHORT = {"epochs": 1, "batch_size": 64, "images": 50}
LONG = {"epochs": 100, "batch_size": 2, "images": 50}
SKIPS, CONVS = (
    SPACE.parse(f"|{op}~0|+|{op}~0|{op}~1|+|{op}~0|{op}~1|{op}~2|") for op in ("skip_connect", "nor_conv_3x3")
)

pytestmark = pytest.mark.usefixtures("home")


def asked(strategy: Any, folder: Path) -> list[Any]:
    def one(model: Any) -> None:
        nni.report_final_result(1.0)

    run(NasBench201(num_modules_per_stack=1), FunctionalEvaluator(one), strategy, folder, trials=1)
    return [cell for cell, _ in strategy.measured]


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shipped").mkdir()
    ship(tmp_path / "shipped", monkeypatch)


@pytest.mark.parametrize(("budget", "expected"), [(SHORT, SKIPS), (LONG, CONVS), (None, CONVS)])
def test_the_first_trial_is_the_best_for_the_budget(tmp_path: Path, budget: Any, expected: Any) -> None:
    assert asked(adapter.MetaD2AStrategy(None, model=SEARCHER, budget=budget), tmp_path) == [expected]


@pytest.mark.usefixtures("shipped")
def test_by_default_a_budget_takes_the_model_that_knows_budgets(tmp_path: Path) -> None:
    assert asked(adapter.MetaD2AStrategy(None, budget=SHORT), tmp_path) == [SKIPS]


@pytest.mark.usefixtures("shipped")
@pytest.mark.parametrize(("budget", "expected"), [(SHORT, SKIPS), (LONG, CONVS)])
def test_a_tuner_is_given_a_budget_by_its_settings(budget: dict[str, Any], expected: Any) -> None:
    ops = ["none", "skip_connect", "conv_1x1", "conv_3x3", "avg_pool_3x3"]
    labels = ("0_1", "0_2", "1_2", "0_3", "1_3", "2_3")
    tuner = adapter.MetaD2ATuner(None, budget=budget)
    tuner.update_search_space({f"cell/{label}": {"_type": "choice", "_value": ops} for label in labels})
    assert adapter.architecture_of(tuner.generate_parameters(0)) == expected


def test_a_model_that_knows_no_budgets_refuses_one() -> None:
    with pytest.raises(ConfigError, match="'toy' knows no budgets"):
        adapter.MetaD2AStrategy(None, model=MetaD2A(checkpoint()), budget=SHORT)


def test_a_state_file_is_of_its_budget(tmp_path: Path) -> None:
    def search(budget: Any) -> Any:
        strategy = adapter.MetaD2AStrategy(None, model=SEARCHER, budget=budget, state_file=tmp_path / "search.json")
        return asked(strategy, tmp_path)

    search(SHORT)
    for other in (LONG, None):
        with pytest.raises(CheckpointError, match="is of another search"):
            search(other)
    assert len(search(SHORT)) == 2, "it goes on"
