"""Strategies that are told what networks will be trained with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from budget_toys import budget_checkpoint, ship
from meta_toys import SPACE, checkpoint, image_dataset

from metad2a_plugin import MetaD2A, train_search
from metad2a_plugin.data import Task, extract_task
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.strategies import RandomSearch
from metad2a_plugin.strategies.metad2a import MetaD2AStrategy
from metad2a_plugin.training.config import TrainConfig

SHORT, LONG = Budget(epochs=1, batch_size=64), Budget(epochs=100, batch_size=2)
CONFIG = TrainConfig(epochs=1, batch_size=64, input_size=8, options={"channels": 4, "cells": 1}, device="cpu")


@pytest.fixture(scope="module")
def task() -> Task:
    return extract_task(image_dataset(), cache_dir=False)


@pytest.fixture(scope="module")
def searcher() -> MetaD2A:
    return MetaD2A(budget_checkpoint())


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shipped").mkdir()
    ship(tmp_path / "shipped", monkeypatch)


@pytest.mark.parametrize("budget", [SHORT, LONG, SHORT.to_dict(), None])
def test_asks_are_the_best_of_a_search_for_the_budget(searcher: MetaD2A, task: Task, budget: Any) -> None:
    strategy = MetaD2AStrategy(SPACE, model=searcher, dataset=task, budget=budget)
    assert strategy.ask(5) == searcher.search(task, budget=budget, top=5).architectures


def test_a_value_of_a_network_that_is_not_ranked_is_compared_with_its_prediction_for_the_budget(
    searcher: MetaD2A, task: Task
) -> None:
    large = SPACE.parse("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+" + "|".join(
        ["", *(f"nor_conv_3x3~{i}" for i in range(3)), ""]
    ))  # fmt: skip
    asked = []
    for offset in (0.0, 30.0):
        strategy = MetaD2AStrategy(SPACE, model=searcher, dataset=task, budget=SHORT, max_params=0.3)
        for cell in strategy.ask(6):
            strategy.tell(cell, float(searcher.predict(task, [cell], SHORT).mean[0]))
        # As predicted it is no news; much better than predicted, networks like it come first.
        strategy.tell(large, float(searcher.predict(task, [large], SHORT).mean[0]) + offset)
        asked.append(strategy.ask(5))
    assert asked[0] != asked[1]


def test_a_model_that_knows_no_budgets_refuses_one(task: Task) -> None:
    with pytest.raises(ConfigError, match="'toy' knows no budgets"):
        MetaD2AStrategy(SPACE, model=MetaD2A(checkpoint()), dataset=task, budget=SHORT)


def test_a_state_is_of_its_budget(searcher: MetaD2A, task: Task) -> None:
    def made(budget: Budget | None) -> MetaD2AStrategy:
        return MetaD2AStrategy(SPACE, model=searcher, dataset=task, budget=budget)

    first = made(SHORT)
    first.tell(first.ask()[0], 50.0)
    state = json.loads(json.dumps(first.state_dict()))
    for other in (LONG, None, replace(SHORT, options={"cells": 1})):
        with pytest.raises(CheckpointError, match="give that budget"):
            made(other).load_state_dict(state)
    again = made(SHORT)
    again.load_state_dict(state)
    assert again.history == first.history and again.ask(4) == first.ask(4)


def test_a_state_without_a_budget_is_of_long_training(searcher: MetaD2A, task: Task) -> None:
    old = MetaD2AStrategy(SPACE, model=searcher, dataset=task).state_dict()
    del old["budget"]
    MetaD2AStrategy(SPACE, model=searcher, dataset=task).load_state_dict(old)
    with pytest.raises(CheckpointError, match="give that budget"):
        MetaD2AStrategy(SPACE, model=searcher, dataset=task, budget=SHORT).load_state_dict(old)


def budget_of(search: Any) -> Budget | None:
    assert isinstance(search.strategy, MetaD2AStrategy)
    return search.strategy.budget


@pytest.mark.usefixtures("shipped")
def test_a_search_that_trains_hands_its_budget_on() -> None:
    images = image_dataset(per_class=10, size=8)
    search = train_search(SPACE, "metad2a", images, CONFIG, queries=1)
    expected = replace(CONFIG.budget, images=search.recommended.train_images)
    assert budget_of(search) == expected
    assert search.recommended.architecture_str.count("skip_connect") == 6, "there are few steps"


@pytest.mark.usefixtures("shipped")
def test_a_budget_that_is_an_option_comes_first() -> None:
    images = image_dataset(per_class=10, size=8)
    search = train_search(SPACE, "metad2a", images, CONFIG, queries=1, options={"budget": LONG})
    assert budget_of(search) == LONG


def test_a_search_that_trains_by_a_model_without_budgets_is_for_long_training() -> None:
    blind = {"model": MetaD2A(checkpoint())}
    search = train_search(SPACE, "metad2a", image_dataset(per_class=10, size=8), CONFIG, queries=1, options=blind)
    assert budget_of(search) is None


def test_only_a_strategy_that_uses_a_budget_is_given_one(searcher: MetaD2A) -> None:
    assert MetaD2AStrategy.uses_budget(SPACE, {"model": searcher})
    assert not MetaD2AStrategy.uses_budget(SPACE, {"model": MetaD2A(checkpoint())})
    assert not RandomSearch.uses_budget(SPACE, {})
