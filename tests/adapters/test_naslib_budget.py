"""In NASLib, what networks are trained with is told to what knows budgets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from budget_toys import budget_checkpoint, ship
from meta_toys import checkpoint, image_dataset
from naslib_toys import SPACE, naslib_adapter, toy_benchmark

from metad2a_plugin import MetaD2A, get_space, get_strategy
from metad2a_plugin.data import extract_task
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.plugins.budget import Budget

pytest.importorskip("metad2a_plugin.adapters", reason="adapters are inside the package once it is installed")

SEARCHER = MetaD2A(budget_checkpoint())
SHORT = {"epochs": 1, "batch_size": 64, "images": 50}
LONG = {"epochs": 100, "batch_size": 2, "images": 50}
SKIPS, CONVS = (
    SPACE.parse(f"|{op}~0|+|{op}~0|{op}~1|+|{op}~0|{op}~1|{op}~2|") for op in ("skip_connect", "nor_conv_3x3")
)


@pytest.fixture(scope="module")
def naslib() -> Iterator[Any]:
    with naslib_adapter() as adapter:
        yield adapter


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shipped").mkdir()
    ship(tmp_path / "shipped", monkeypatch)


def first(naslib: Any, folder: Path, settings: dict[str, Any] | None = None, **options: Any) -> Any:
    """An optimizer after one query, whose settings under ``search`` and options are given."""
    config = naslib.make_config("cifar10", epochs=3, save=str(folder), **settings or {})
    optimizer = naslib.MetaD2AOptimizer(config, **options)
    optimizer.adapt_search_space(naslib.TableSpace(), dataset_api=naslib.dataset_api(toy_benchmark()))
    optimizer.new_epoch(0)
    return optimizer


@pytest.mark.parametrize(("budget", "expected"), [(SHORT, SKIPS), (LONG, CONVS), (None, CONVS)])
def test_the_first_query_is_the_best_for_the_budget(naslib: Any, tmp_path: Path, budget: Any, expected: Any) -> None:
    by_option = first(naslib, tmp_path / "a", model=SEARCHER, budget=budget)
    in_config = first(naslib, tmp_path / "b", {} if budget is None else {"budget": budget}, model=SEARCHER)
    assert by_option.history[0][0] == in_config.history[0][0] == expected
    assert in_config.strategy.budget == Budget.of(budget)


def test_an_option_comes_before_the_configuration(naslib: Any, tmp_path: Path) -> None:
    assert first(naslib, tmp_path, {"budget": LONG}, model=SEARCHER, budget=SHORT).history[0][0] == SKIPS


@pytest.mark.usefixtures("shipped")
def test_by_default_a_budget_takes_the_model_that_knows_budgets(naslib: Any, tmp_path: Path) -> None:
    assert first(naslib, tmp_path, budget=SHORT).history[0][0] == SKIPS
    assert naslib.MetaD2APredictor(budget=SHORT).query([SKIPS.choices, CONVS.choices]).argmax() == 0


def test_a_model_that_knows_no_budgets_refuses_one(naslib: Any, tmp_path: Path) -> None:
    blind = MetaD2A(checkpoint())
    with pytest.raises(ConfigError, match="'toy' knows no budgets"):
        first(naslib, tmp_path, model=blind, budget=SHORT)
    with pytest.raises(ConfigError, match="'toy' knows no budgets"):
        naslib.MetaD2APredictor(model=blind, budget=SHORT)


def test_a_checkpoint_is_of_its_budget(naslib: Any, tmp_path: Path) -> None:
    state = first(naslib, tmp_path / "a", model=SEARCHER, budget=SHORT).state_dict()
    with pytest.raises(CheckpointError, match="give that budget"):
        first(naslib, tmp_path / "b", model=SEARCHER, budget=LONG).load_state_dict(state)
    again = first(naslib, tmp_path / "c", model=SEARCHER, budget=SHORT)
    again.load_state_dict(state)
    assert len(again.history) == 1


def test_predictors_score_for_the_budget(naslib: Any) -> None:
    task = extract_task(image_dataset(), cache_dir=False)
    cells = list(SPACE.enumerate())[::500]
    forms = naslib.to_one_hot(cells)
    for budget in (SHORT, LONG, None):
        expected = SEARCHER.predict(task, SPACE.simplify(SPACE.encode(cells)), budget).mean.double().numpy()
        found = naslib.MetaD2APredictor(dataset=task, model=SEARCHER, budget=budget)
        assert np.allclose(found.query(forms), expected, rtol=1e-5)
    named = naslib.NamedPredictor("metad2a", image_dataset(), model=SEARCHER, budget=SHORT)
    expected = SEARCHER.predict(image_dataset(), cells, SHORT).mean.double().numpy()
    assert np.allclose(named.query(forms), expected, rtol=1e-5)
    with pytest.raises(ConfigError, match="'flops' knows no budgets"):
        naslib.NamedPredictor("flops", budget=SHORT)


def test_an_optimizer_asks_as_the_strategy_does_outside(naslib: Any, tmp_path: Path) -> None:
    optimizer = first(naslib, tmp_path, model=SEARCHER, budget=SHORT)
    alone = get_strategy("metad2a")(get_space("nasbench201"), model=SEARCHER, budget=SHORT)
    [cell] = alone.ask()
    assert optimizer.history[0][0] == cell
    alone.tell(*optimizer.history[0])
    assert optimizer.strategy.ask(4) == alone.ask(4)
