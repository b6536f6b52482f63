from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from one_shot_toys import coloured

from metad2a_plugin import get_space, get_strategy
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.strategies import MDENAS, RandomSearch, RegularizedEvolution
from metad2a_plugin.strategies.trained_search import Query, search_by_shared_weights, search_by_training
from metad2a_plugin.testing import ToySpace
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import prepare
from metad2a_plugin.training.run import train_architecture

SPACE = get_space("nasbench201")
CONFIG = TrainConfig(epochs=1, batch_size=16, input_size=8, options={"channels": 4, "cells": 1}, device="cpu")
DATASET = coloured(60, 40, 40)


@pytest.fixture(scope="module")
def data():
    return prepare(DATASET, CONFIG)


def test_stand_alone_training_tells_what_it_measures(data) -> None:
    strategy, queries = RandomSearch(SPACE, seed=1), []
    results = search_by_training(strategy, data, CONFIG, 4, report=queries.append)
    assert [query.number for query in queries] == [1, 2, 3, 4]
    assert [(query.architecture, query.accuracy) for query in queries] == strategy.history
    assert sorted((r.accuracy for r in results), reverse=True) == [r.accuracy for r in results]
    alone = train_architecture(SPACE, strategy.history[2][0], data, CONFIG)
    assert alone.accuracy == strategy.history[2][1]


def test_what_is_asked_twice_is_trained_once(data, monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = RandomSearch(SPACE)
    cell = strategy.ask()[0]
    monkeypatch.setattr(strategy, "_ask", lambda n: [cell])
    assert len(search_by_training(strategy, data, CONFIG, 3)) == 1 and len(strategy.history) == 3


def test_finished_trainings_are_not_repeated(data, tmp_path: Path) -> None:
    first, second = (RegularizedEvolution(SPACE, seed=2, population_size=2, sample_size=1) for _ in range(2))
    search_by_training(first, data, CONFIG, 3, run_dir=tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("result.json")}
    search_by_training(second, data, CONFIG, 4, run_dir=tmp_path)
    assert second.history[:3] == first.history
    assert all(path.stat().st_mtime_ns == time for path, time in files.items())


def test_a_search_ends_with_its_strategy(data) -> None:
    class Twice(RandomSearch):
        def _ask(self, n: int):
            return super()._ask(n) if len(self.history) < 2 else []

    strategy = Twice(SPACE)
    assert len(search_by_training(strategy, data, CONFIG, 5)) == 2
    strategy = Twice(SPACE)
    search_by_shared_weights(strategy, data, CONFIG, 5)
    assert len(strategy.history) == 2


@pytest.mark.parametrize("name", ["mdenas", "regularized-evolution", "random"])
def test_shared_weights_with_any_strategy(data, name: str) -> None:
    strategy = get_strategy(name)(SPACE, seed=0)
    shared = search_by_shared_weights(strategy, data, CONFIG, 6)
    assert len(strategy.history) == len(shared.history) == 6
    assert [value for _, value in strategy.history] == [epoch.accuracy for epoch in shared.history]
    assert strategy.recommendation is not None


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(data, tmp_path: Path) -> None:
    whole = MDENAS(SPACE, seed=4)
    search_by_shared_weights(whole, data, CONFIG, 6)

    class StopError(Exception):
        pass

    def stop(query: Query) -> None:
        if query.number == 3:
            raise StopError

    with pytest.raises(StopError):
        search_by_shared_weights(MDENAS(SPACE, seed=4), data, CONFIG, 6, run_dir=tmp_path, report=stop)
    [folder] = tmp_path.iterdir()
    # Killed after the weights were written and before they counted.
    (folder / "supernet-4.pt").write_bytes(b"half")
    resumed, numbers = MDENAS(SPACE, seed=4), []
    search_by_shared_weights(resumed, data, CONFIG, 6, run_dir=tmp_path, report=lambda q: numbers.append(q.number))
    assert numbers == [4, 5, 6]
    assert resumed.history == whole.history and resumed.probabilities.equal(whole.probabilities)
    # Another seed is another search.
    search_by_shared_weights(MDENAS(SPACE, seed=5), data, CONFIG, 1, run_dir=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_state_says_which_folder_to_remove(data, tmp_path: Path) -> None:
    search_by_shared_weights(MDENAS(SPACE), data, CONFIG, 2, run_dir=tmp_path)
    [folder] = tmp_path.iterdir()
    for name, text in (("supernet-2.pt", "x"), ("search.json", "{")):
        (folder / name).write_text(text)
        with pytest.raises(CheckpointError, match="remove the folder"):
            search_by_shared_weights(MDENAS(SPACE), data, CONFIG, 2, run_dir=tmp_path)


def test_wrong_arguments(data) -> None:
    with pytest.raises(ConfigError, match="'toy' has no supernet"):
        search_by_shared_weights(RandomSearch(ToySpace()), data, CONFIG, 1)
    for search in (search_by_training, search_by_shared_weights):
        with pytest.raises(ConfigError, match="queries must be"):
            search(RandomSearch(SPACE), data, CONFIG, 0)


def test_two_at_once_in_one_folder_are_refused(data, tmp_path: Path) -> None:
    said: list[str] = []

    def again(query: Query) -> None:
        """As another process would, while the first goes on."""
        with pytest.raises(ConfigError, match="another process is writing") as refused:
            search_by_shared_weights(MDENAS(SPACE, seed=4), data, CONFIG, 3, run_dir=tmp_path)
        said.append(str(refused.value))
        search_by_shared_weights(MDENAS(SPACE, seed=5), data, CONFIG, 1, run_dir=tmp_path)  # another search may

    search_by_shared_weights(MDENAS(SPACE, seed=4), data, CONFIG, 3, run_dir=tmp_path, report=again)
    assert len(said) == 3 and "shared-" in said[0]


def test_a_search_killed_between_its_two_files_keeps_the_newer_one(data, tmp_path: Path) -> None:
    whole, killed = MDENAS(SPACE, seed=4), MDENAS(SPACE, seed=4)
    search_by_shared_weights(whole, data, CONFIG, 3, run_dir=tmp_path / "whole")

    class Killed(BaseException):
        pass

    def stop(query: Query) -> None:
        if query.number == 1:
            raise Killed

    with pytest.raises(Killed):
        search_by_shared_weights(killed, data, CONFIG, 3, run_dir=tmp_path, report=stop)
    [weights] = tmp_path.glob("shared-*/supernet-1.pt")
    (weights.parent / "supernet-2.pt").write_bytes(b"of the query that was not saved")
    resumed = MDENAS(SPACE, seed=4)
    search_by_shared_weights(resumed, data, CONFIG, 3, run_dir=tmp_path)
    assert resumed.history == whole.history and [p.name for p in weights.parent.glob("*.pt")] == ["supernet-3.pt"]
    again = MDENAS(SPACE, seed=4)
    search_by_shared_weights(again, data, CONFIG, 3, run_dir=tmp_path)
    assert again.history == whole.history


def test_a_search_of_shared_weights_is_resumed_with_its_own_settings_only(data, tmp_path: Path) -> None:
    search_by_shared_weights(MDENAS(SPACE), data, CONFIG, 2, run_dir=tmp_path)
    strategy = MDENAS(SPACE)
    search_by_shared_weights(strategy, data, replace(CONFIG, lr=0.05), 1, run_dir=tmp_path)
    assert len(strategy.history) == 1
    assert json.loads(next(tmp_path.rglob("search.json")).read_text())["strategy"] == "MDENAS"


def test_a_search_of_another_strategy_s_settings_is_another_search(data, tmp_path: Path) -> None:
    for strategy in (MDENAS(SPACE), MDENAS(SPACE, learning_rate=0.3), RegularizedEvolution(SPACE, sample_size=2)):
        search_by_shared_weights(strategy, data, CONFIG, 1, run_dir=tmp_path)
        assert len(strategy.history) == 1
    search_by_shared_weights(MDENAS(SPACE), data, CONFIG, 1, run_dir=tmp_path, settings={"what": "it does not show"})
    assert len(list(tmp_path.iterdir())) == 4
