"""Trainings at once: with workers of this process, and (slow) those of Ray."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from one_shot_toys import coloured

from metad2a_plugin import get_space, train_search
from metad2a_plugin.errors import ConfigError, MissingExtraError
from metad2a_plugin.strategies import RegularizedEvolution
from metad2a_plugin.strategies.trained_search import Query, search_at_once
from metad2a_plugin.training import at_once
from metad2a_plugin.training.at_once import train_at_once
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import prepare
from metad2a_plugin.training.run import train_many

SPACE = get_space("nasbench201")
CONFIG = TrainConfig(epochs=1, batch_size=16, input_size=8, options={"channels": 4, "cells": 1}, device="cpu")
CELLS = [SPACE.sample(random.Random(seed)) for seed in range(3)]
NO_RAY = importlib.util.find_spec("ray") is None


class Backwards:
    """A pool whose jobs end in the reverse of their order."""

    def __init__(self, worker: Any, count: int) -> None:
        self.worker, self.count, self.given = worker, count, list[list[Any]]()

    def run(self, jobs: Any, send: Any, waiting: Any) -> Iterator[tuple[Any, Any]]:
        self.given.append(list(jobs))
        remote = SimpleNamespace(train=SimpleNamespace(remote=self.worker.train))
        for job in reversed(self.given[-1]):
            yield job, send(remote, job)


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[Backwards]:
    made: list[Backwards] = []

    @contextmanager
    def pool(address: str, kind: Any, given: Any, *, most: int) -> Iterator[Backwards]:
        made.append(Backwards(kind(*given), min(most, 3)))
        yield made[-1]

    monkeypatch.setattr(at_once, "pool", pool)
    return made


@pytest.fixture(scope="module")
def data() -> Any:
    return prepare(coloured(30, 20, 20), CONFIG)


def test_networks_trained_at_once_are_those_of_one_after_another(data: Any, pools: Any, tmp_path: Path) -> None:
    asked = [CELLS[0], CELLS[1], CELLS[0]]
    found = train_at_once("local", SPACE, asked, data, CONFIG, tmp_path)
    alone = train_many(SPACE, asked, data, CONFIG, progress=False)
    assert [(r.architecture, r.accuracy) for r in found] == [(r.architecture, r.accuracy) for r in alone]
    assert pools[0].given == [CELLS[:2]]  # each is trained once
    assert all(result.run_dir is not None and result.run_dir.is_relative_to(tmp_path) for result in found)


def test_a_folder_that_is_not_here_is_said(
    data: Any, pools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = at_once.train_architecture

    def elsewhere(*given: Any, **settings: Any) -> Any:
        result = trained(*given, **settings)
        (result.run_dir / "result.json").unlink()
        return result

    monkeypatch.setattr(at_once, "train_architecture", elsewhere)
    with pytest.raises(ConfigError, match="must see the same folder"):
        train_at_once("local", SPACE, CELLS[:1], data, CONFIG, tmp_path)


def test_a_strategy_is_asked_for_several_at_once_and_told_in_the_order_of_its_asks(data: Any, pools: Any) -> None:
    strategy, queries = RegularizedEvolution(SPACE, seed=1, population_size=3, sample_size=2), list[Query]()
    results = search_at_once("local", strategy, data, CONFIG, 5, report=queries.append)
    assert [query.number for query in queries] == [1, 2, 3, 4, 5]
    assert [(query.architecture, query.accuracy) for query in queries] == strategy.history
    assert [r.accuracy for r in results] == sorted((r.accuracy for r in results), reverse=True)
    again = RegularizedEvolution(SPACE, seed=1, population_size=3, sample_size=2)
    search_at_once("local", again, data, CONFIG, 5)
    assert again.history == strategy.history


def test_what_is_asked_twice_at_once_is_trained_once(
    data: Any, pools: list[Backwards], monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy = RegularizedEvolution(SPACE)
    monkeypatch.setattr(strategy, "_ask", lambda n: [CELLS[0]] * n)
    assert len(search_at_once("local", strategy, data, CONFIG, 5)) == 1
    assert len(strategy.history) == 5 and pools[0].given == [[CELLS[0]], []]


@pytest.mark.skipif(NO_RAY, reason="Ray is not installed (extra ray)")
def test_a_supernet_is_not_trained_at_once() -> None:
    with pytest.raises(ConfigError, match="leave out shared weights, or ray"):
        train_search(SPACE, "random", "photos", CONFIG, shared_weights=True, ray="local")


@pytest.mark.skipif(not NO_RAY, reason="Ray is installed")
def test_training_at_once_names_its_extra() -> None:
    with pytest.raises(MissingExtraError, match=r"metad2a-plugin\[ray\]"):
        train_search(SPACE, "random", "photos", CONFIG, ray="local")


@pytest.mark.slow
@pytest.mark.skipif(NO_RAY, reason="Ray is not installed (extra ray)")
def test_a_ray_cluster_trains_at_once_what_one_process_does(data: Any, tmp_path: Path) -> None:
    search = partial(train_search, SPACE, "random", data, CONFIG, queries=3)
    assert search(ray="local", run_dir=tmp_path).strategy.history == search().strategy.history
