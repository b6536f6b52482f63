from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from budget_toys import ToyBudgetModel, budget_checkpoint
from meta_toys import SPACE
from one_shot_toys import coloured

from metad2a_plugin import MetaD2A
from metad2a_plugin.errors import ArchitectureError, ConfigError
from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.plugins.task import Task
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.strategies import RandomSearch
from metad2a_plugin.strategies.metad2a import MetaD2AStrategy
from metad2a_plugin.strategies.stopping import CurveModel, CurveReader, Forecast
from metad2a_plugin.strategies.trained_search import Query, search_by_training
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import prepare
from metad2a_plugin.training.run import train_architecture

BUDGET = Budget(epochs=10, images=500)
CONFIG = TrainConfig(epochs=4, batch_size=16, input_size=8, options={"channels": 4, "cells": 1}, device="cpu")


@dataclass(frozen=True)
class ToyCurves(ToyBudgetModel):
    """A training ends where it is; how sure that is grows with what was seen of it."""

    def curve(
        self, task: Task | None, vertices: torch.Tensor, budget: Budget, seen: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        n = len(vertices)
        last = self.predict_task(task, vertices, budget).mean if seen is None else seen[:, -1]
        left = budget.epochs - (0 if seen is None else seen.shape[1])
        return last[:, None].expand(n, budget.epochs), torch.full((n, budget.epochs), float(left))


def searcher(curves: bool = True) -> MetaD2A:
    found = budget_checkpoint()
    return MetaD2A(replace(found, predictor=ToyCurves(found.predictor.feature_dim)) if curves else found)


def make(curves: bool = True, **options: object) -> MetaD2AStrategy:
    return MetaD2AStrategy(SPACE, model=searcher(curves), **({"budget": BUDGET} | options))


# -- the contract --------------------------------------------------------------------------------
def test_a_strategy_stops_nothing_and_ignores_curves_unless_it_says_so() -> None:
    strategy, undisturbed = RandomSearch(SPACE, seed=1), RandomSearch(SPACE, seed=1)
    [cell] = strategy.ask()
    assert undisturbed.ask() == [cell]
    assert not strategy.should_stop(cell, [1.0, 0.5])
    strategy.tell_partial(cell, [1.0, 0.5])
    assert strategy.history == [] and strategy.best is None
    assert strategy.ask(5) == undisturbed.ask(5)


@pytest.mark.parametrize("curve", [[], [float("nan")], [50.0, "high"], [None]], ids=str)
def test_curves_that_are_none_are_refused(curve: list[float]) -> None:
    strategy = RandomSearch(SPACE)
    [cell] = strategy.ask()
    for report in (strategy.should_stop, strategy.tell_partial):
        with pytest.raises(ConfigError, match="curve"):
            report(cell, curve)
        with pytest.raises(ArchitectureError):
            report(Architecture("toy", (0,)), [1.0])


# -- MetaD2A -------------------------------------------------------------------------------------
def test_a_training_is_stopped_that_will_hardly_end_above_the_best() -> None:
    strategy = make()
    first, second = strategy.ask(2)
    assert not strategy.should_stop(first, [1.0] * 5), "there is no best yet"
    strategy.tell(first, 80.0)
    assert not strategy.should_stop(second, [75.0] * 5), "5 below with a deviation of 5 may end above"
    assert strategy.should_stop(second, [75.0] * 8), "5 below with a deviation of 2 hardly can"
    assert not strategy.should_stop(second, [81.0] * 9)
    assert not strategy.should_stop(second, [1.0] * 10), "it is over: nothing is left to stop"


def test_nothing_is_stopped_before_a_tenth_is_seen() -> None:
    reader = CurveReader(ToyCurves(4), None, Budget(epochs=100, images=500))
    [cell] = SPACE.encode([next(SPACE.enumerate())])
    assert not reader.hopeless(cell, [0.0] * 9, 1e4)
    assert reader.hopeless(cell, [0.0] * 10, 1e4)


@pytest.mark.parametrize(
    "options", [{"curves": False}, {"budget": None}, {"stopping": False}], ids=["no curves", "no budget", "not wanted"]
)
def test_without_a_model_of_curves_a_budget_or_the_wish_nothing_is_stopped(options: dict[str, object]) -> None:
    strategy = make(**options)
    first, second = strategy.ask(2)
    strategy.tell(first, 99.0)
    assert not strategy.should_stop(second, [0.0] * 9)


def test_what_has_a_curve_is_a_model_of_curves() -> None:
    assert isinstance(ToyCurves(4), CurveModel) and not isinstance(ToyBudgetModel(4), CurveModel)


def test_chances_are_those_of_a_normal_distribution() -> None:
    assert Forecast(50, 2).chance_above(50) == pytest.approx(0.5)
    assert Forecast(50, 2).chance_above(53.29) == pytest.approx(0.05, abs=1e-4)
    assert Forecast(50, 0).chance_above(49) == 1


def drive(strategy: Strategy, rounds: int) -> list[Architecture]:
    """Told are values or, after nine epochs, what had the training stopped."""
    asked = []
    for _ in range(rounds):
        [cell] = strategy.ask()
        asked.append(cell)
        value = random.Random(SPACE.format(cell)).uniform(40, 90)
        curve = [value] * 9
        if strategy.should_stop(cell, curve):
            strategy.tell_partial(cell, curve)
        else:
            strategy.tell(cell, value)
    return asked


def test_stopped_trainings_are_learned_from() -> None:
    hears, deaf = (make(curves=curves) for curves in (True, False))
    for strategy in (hears, deaf):
        for cell, value in zip(strategy.ask(3), (60.0, 61.0, 62.0), strict=True):
            strategy.tell(cell, value)
    bad = hears.ask(3)
    assert deaf.ask(3) == bad
    for strategy in (hears, deaf):
        for cell in bad:
            strategy.tell_partial(cell, [10.0] * 9)
    assert hears.ask(3) != deaf.ask(3)
    assert len(hears.history) == 3 and hears.best is not None and hears.best[1] == 62


@pytest.mark.parametrize("cut", [1, 3, 7, 12])
def test_a_search_with_stopped_trainings_is_resumed_exactly(cut: int) -> None:
    whole, first, again = make(), make(), make()
    expected = drive(whole, 24)
    assert len(whole.history) < 24, "some were stopped"
    assert drive(first, cut) == expected[:cut]
    again.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    assert again.state_dict() == first.state_dict()
    assert drive(again, 24 - cut) == expected[cut:]
    assert again.history == whole.history


# -- trainings -----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def data():
    return prepare(coloured(60, 40, 40), CONFIG)


class StopsSecond(RandomSearch):
    """Has each training but the first stopped after two epochs."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(SPACE, *args, **options)
        self.partial: list[tuple[Architecture, list[float]]] = []

    def _should_stop(self, architecture: Architecture, curve: list[float]) -> bool:
        return bool(self.history) and len(curve) >= 2

    def _tell_partial(self, architecture: Architecture, curve: list[float]) -> None:
        self.partial.append((architecture, curve))


def test_a_stopped_training_is_told_as_a_partial_one(data, tmp_path: Path) -> None:
    strategy, queries = StopsSecond(seed=1), []
    results = search_by_training(strategy, data, CONFIG, 3, run_dir=tmp_path, report=queries.append)
    assert [query.stopped for query in queries] == [False, True, True]
    assert len(strategy.history) == len(results) == 1 and not results[0].stopped and len(results[0].history) == 4
    whole = train_architecture(SPACE, strategy.partial[0][0], data, CONFIG)
    assert [epoch.accuracy for epoch in whole.history][:2] == strategy.partial[0][1]
    assert len(list(tmp_path.rglob("result.json"))) == 1
    # The same search again trains nothing: stopped trainings are where they were.
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again, repeated = StopsSecond(seed=1), []
    search_by_training(again, data, CONFIG, 3, run_dir=tmp_path, report=repeated.append)
    assert repeated == queries and again.partial == strategy.partial
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == files


def test_a_stopped_training_can_be_completed(data, tmp_path: Path) -> None:
    [cell] = RandomSearch(SPACE, seed=2).ask()
    part = train_architecture(SPACE, cell, data, CONFIG, run_dir=tmp_path, stop=lambda curve: len(curve) == 3)
    assert part.stopped and len(part.history) == 3
    whole = train_architecture(SPACE, cell, data, CONFIG, run_dir=tmp_path)
    assert not whole.stopped and whole.history[:3] == part.history
    assert [e.accuracy for e in whole.history] == [
        e.accuracy for e in train_architecture(SPACE, cell, data, CONFIG).history
    ]
    # What is complete is not stopped.
    assert not train_architecture(SPACE, cell, data, CONFIG, run_dir=tmp_path, stop=lambda curve: True).stopped


def test_queries_say_by_default_that_a_training_was_completed() -> None:
    assert not Query(1, next(SPACE.enumerate()), 50.0).stopped
