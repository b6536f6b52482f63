from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from one_shot_toys import SMALLEST, SharedChains, coloured
from similarity_toys import build, noise

from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.one_shot.fuse import FuseRound
from metad2a_plugin.plugins.registry import get_space, get_strategy
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.similarity.library import load_library
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.spaces.restricted import RestrictedSpace
from metad2a_plugin.strategies.task_similarity import TaskSimilarityStrategy
from metad2a_plugin.strategies.trained_search import train_search
from metad2a_plugin.testing import StrategyConformance, ToySpace
from metad2a_plugin.training.config import TrainConfig

SPACE = get_space("nasbench201")
IMAGES = coloured(4, 4, 4)
IN_CHAINS: dict[str, Any] = {"epochs": 1, "rounds": 2, "batch_size": 8, "input_size": 8, "device": "cpu"}


def make(space: SearchSpace, **options: Any) -> Any:
    return get_strategy("fuse")(space, **({"dataset": IMAGES} | IN_CHAINS | options))


class TestFUSEInChains(StrategyConformance):
    def make_space(self) -> SearchSpace:
        return SharedChains(length=5)

    def make(self, space: SearchSpace, seed: int) -> Strategy:
        return make(space, seed=seed)


class TestSharedFUSEInChains(TestFUSEInChains):
    def make(self, space: SearchSpace, seed: int) -> Strategy:
        return make(space, seed=seed, shared_weights=True)


@pytest.mark.slow
class TestFUSEInToySpace(TestFUSEInChains):
    def make_space(self) -> SearchSpace:
        return ToySpace(length=5)


@pytest.mark.slow
class TestFUSE(TestFUSEInChains):
    def make_space(self) -> SearchSpace:
        return SPACE

    def make(self, space: SearchSpace, seed: int) -> Strategy:
        return get_strategy("fuse")(space, seed=seed, dataset=IMAGES, rounds=2, **SMALLEST)


# -- what it asks --------------------------------------------------------------------------------
def test_it_asks_for_its_candidates_the_best_first() -> None:
    space = SharedChains(length=6)
    strategy = make(space)
    assert strategy.recommendation is None
    found = strategy.search()
    assert strategy.recommendation == found[0] and len(found) == 5
    strategy.tell(found[1], 50.0)
    assert strategy.recommendation == found[1]
    assert strategy.ask(10) == [found[0], *found[2:]]
    assert strategy.ask() == []


def test_it_reports_each_round_and_searches_once() -> None:
    rounds: list[FuseRound] = []
    strategy = make(SharedChains(length=6))
    found = strategy.search(rounds.append)
    assert [line.round for line in rounds] == [1, 2]
    assert strategy.search(rounds.append) == found and len(rounds) == 2


def test_a_resumed_strategy_does_not_search_again(monkeypatch: pytest.MonkeyPatch) -> None:
    space = SharedChains(length=6)
    strategy = make(space)
    strategy.ask(2)
    resumed = make(space, seed=7)
    resumed.load_state_dict(json.loads(json.dumps(strategy.state_dict())))
    monkeypatch.setattr("metad2a_plugin.strategies.fuse.FUSE", lambda *_: pytest.fail("it searched"))
    assert resumed.ask(9) == strategy.ask(9)


def test_a_state_of_other_settings_is_refused() -> None:
    space = SharedChains(length=6)
    with pytest.raises(CheckpointError, match=r"a search with \{'rounds': 3\}, not \{'rounds': 2\}"):
        make(space).load_state_dict(make(space, rounds=3).state_dict())
    with pytest.raises(CheckpointError, match="on other images"):
        make(space, dataset=IMAGES.subset(range(10))).load_state_dict(make(space).state_dict())


# -- with others ---------------------------------------------------------------------------------
def test_it_searches_the_part_of_the_nearest_known_task(tmp_path: Path) -> None:
    build(tmp_path)
    library = load_library(tmp_path / "library")
    strategy = TaskSimilarityStrategy(
        SPACE, dataset=noise(), library=library, strategy="fuse", rounds=2, **SMALLEST
    )
    stages: list[str] = []
    strategy.prepare(lambda stage, done, total, note: stages.append(f"{stage} {done} of {total}"))
    assert stages == ["search, round 1 of 2", "search, round 2 of 2"]
    part = strategy.part
    assert isinstance(part, RestrictedSpace)
    asked = strategy.ask(9)
    assert len(asked) == 5 and all(one in part for one in asked)


@pytest.mark.parametrize("name", ["fuse", "task-similarity"])
def test_training_hands_its_settings_and_its_folder_on(name: str, tmp_path: Path) -> None:
    build(tmp_path)
    options: dict[str, Any] = {"rounds": 2}
    if name == "task-similarity":
        options |= {"strategy": "fuse", "library": str(tmp_path / "library")}
    config = TrainConfig(
        epochs=1, batch_size=8, input_size=8, options={"channels": 2, "cells": 1}, flip=True, device="cpu"
    )
    found = train_search(SPACE, name, noise(), config, queries=1, options=options, run_dir=tmp_path / "runs")
    search = found.strategy if name == "fuse" else found.strategy._inner  # type: ignore[attr-defined]
    assert search.config.options == {"channels": 2, "cells": 1} and search.config.flip
    assert search.config.batch_size == 8 and search.config.input_size == 8
    assert len(list((tmp_path / "runs").glob("fuse-*/rounds.csv"))) == 1
    assert found.recommended.architecture == search.search()[0]


# -- what it refuses -----------------------------------------------------------------------------
def test_wrong_settings_are_refused_at_once() -> None:
    space = SharedChains(length=6)
    for settings, message in (
        ({"round": 3}, "unknown setting 'round'.*did you mean 'rounds'"),
        ({"rounds": 0}, "rounds must be an integer of 1 or more"),
        ({"second_order": "exact"}, "unknown setting 'second_order'"),
        ({"dataset": None}, "give a dataset"),
    ):
        with pytest.raises(ConfigError, match=message):
            make(space, **settings)
    with pytest.raises(ConfigError, match="'toy' has no supernet"):
        make(ToySpace(), shared_weights=True)


def test_shared_weights_are_an_option_of_its_own() -> None:
    with pytest.raises(ConfigError, match="give its option shared_weights=true instead"):
        train_search(SPACE, "fuse", IMAGES, TrainConfig(epochs=1), queries=1, shared_weights=True)
