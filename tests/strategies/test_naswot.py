from __future__ import annotations

import json
from typing import Any

import pytest
from naswot_toys import TINY, Sum, noise

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.registry import get_strategy
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.predictors.cost import ParamsPredictor
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.strategies import AREA, NASWOTStrategy, RandomSearch, RegularizedEvolution
from metad2a_plugin.testing import StrategyConformance, ToySpace

SPACE = NASBench201()
VARIANTS: dict[str, Any] = {
    "naswot": lambda space, seed: NASWOTStrategy(space, seed=seed, predictor=Sum(space), candidates=7),
    "area": lambda space, seed: AREA(space, seed=seed, predictor=Sum(space)),
    "area-encoding": lambda space, seed: AREA(space, seed=seed, predictor=Sum(space), dedupe="encoding"),
    "area-children": lambda space, seed: AREA(space, seed=seed, predictor=Sum(space), children=3),
    "area-children-canonical": lambda space, seed: AREA(
        space, seed=seed, predictor=Sum(space), children=3, dedupe="canonical"
    ),
    "area-small": lambda space, seed: AREA(
        space, seed=seed, predictor=Sum(space), candidates=5, population_size=3, sample_size=2
    ),
}


@pytest.fixture(params=list(VARIANTS))
def variant(request: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TestOnToySpace, "variant", request.param, raising=False)


@pytest.mark.usefixtures("variant")
class TestOnToySpace(StrategyConformance):
    variant: str

    def make(self, space: SearchSpace, seed: int) -> Strategy:
        return VARIANTS[self.variant](space, seed)


class OnImages(StrategyConformance):
    """With real scores of tiny networks."""

    rounds = 8
    kind: type[NASWOTStrategy] | type[AREA]

    def make_space(self) -> SearchSpace:
        return SPACE

    def make(self, space: SearchSpace, seed: int) -> Strategy:
        sizes = {"candidates": 20, "batch_size": 4, "input_size": 8, "channels": 2, "cells": 1}
        return self.kind(space, seed=seed, dataset=noise(), **sizes)


class TestNASWOTOnImages(OnImages):
    kind = NASWOTStrategy

    def test_a_space_can_run_out(self) -> None:
        """Hundreds of networks; the toy space shows it."""


@pytest.mark.slow
class TestAREAOnImages(OnImages):
    kind = AREA


# -- NASWOT --------------------------------------------------------------------------------------
def test_batches_are_proposed_best_first() -> None:
    drawn = RandomSearch(SPACE, seed=3).ask(30)
    asked = NASWOTStrategy(SPACE, seed=3, predictor=Sum(SPACE), candidates=15).ask(30)
    for batch, proposed in ((drawn[:15], asked[:15]), (drawn[15:], asked[15:])):
        assert proposed == sorted(batch, key=lambda a: -sum(a.choices)), "of equal scores the first drawn comes first"


def test_told_architectures_are_not_proposed() -> None:
    strategy = NASWOTStrategy(SPACE, predictor=Sum(SPACE), candidates=10)
    first = strategy.ask(1)
    rest = NASWOTStrategy(SPACE, predictor=Sum(SPACE), candidates=10).ask(10)[1:]
    strategy.tell(rest[0], 90.0)
    assert strategy.ask(8) == rest[1:] and first[0] not in rest


def test_all_of_a_small_space_is_proposed_once() -> None:
    space = ToySpace(length=3)
    strategy = NASWOTStrategy(space, predictor=Sum(space), candidates=space.size + 5)
    asked = strategy.ask(space.size + 5)
    assert len(asked) == len(set(asked)) == space.size and strategy.ask(1) == []


# -- AREA ----------------------------------------------------------------------------------------
def test_the_first_population_is_the_best_by_score() -> None:
    drawn = RandomSearch(SPACE, seed=2).ask(20)
    strategy = AREA(SPACE, seed=2, predictor=Sum(SPACE))
    first = strategy.ask(10)
    assert first == sorted(drawn, key=lambda a: -sum(a.choices))[:10]
    for cell in first:
        strategy.tell(cell, float(sum(cell.choices)))
    for child in strategy.ask(5):
        distances = [sum(x != y for x, y in zip(child.choices, a.choices, strict=True)) for a in first]
        assert min(distances) <= 1, "evolution goes on from there"
    assert isinstance(strategy, RegularizedEvolution)


def test_the_best_of_several_mutations_is_proposed() -> None:
    def mean_score(children: int) -> float:
        predictor = Sum(SPACE)
        strategy = AREA(SPACE, predictor=predictor, children=children)
        for cell in strategy.ask(10):
            strategy.tell(cell, 50.0)
        asked = strategy.ask(40)
        assert predictor.scored <= 20 + 40 * children and (children > 1 or predictor.scored == 20)
        return sum(sum(a.choices) for a in asked) / 40

    assert mean_score(5) > mean_score(1) + 1
    with pytest.raises(ConfigError, match="children must be"):
        AREA(SPACE, predictor=Sum(SPACE), children=0)


# -- both ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [NASWOTStrategy, AREA])
def test_scores_are_made_when_asked_for_and_not_again_after_a_restart(kind: Any) -> None:
    predictor, other = Sum(SPACE), Sum(SPACE)
    strategy = kind(SPACE, predictor=predictor, candidates=20)
    assert predictor.scored == 0, "making it scores nothing"
    strategy.ask(3)
    assert predictor.scored == 20
    resumed = kind(SPACE, predictor=other, candidates=20)
    resumed.load_state_dict(json.loads(json.dumps(strategy.state_dict())))
    assert resumed.ask(5) == strategy.ask(5) and other.scored == 0


@pytest.mark.parametrize(("name", "kind"), [("naswot", NASWOTStrategy), ("area", AREA)])
def test_found_by_name_and_scores_images(name: str, kind: Any) -> None:
    assert get_strategy(name) is kind
    options = TINY | {"candidates": 10}
    first, again, other = (kind(SPACE, seed=seed, dataset=noise(), **options).ask(3) for seed in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("kind", [NASWOTStrategy, AREA])
def test_mistakes_are_refused_when_it_is_made(kind: Any) -> None:
    for options, message in (
        ({}, "NASWOT needs images"),
        ({"predictor": "naswt"}, "did you mean 'naswot'"),
        ({"predictor": "flops", "depth": 1}, "unexpected keyword argument 'depth'"),
        ({"predictor": Sum(SPACE), "depth": 1}, "takes no options, got depth"),
        ({"predictor": Sum(ToySpace())}, "is of the space"),
        ({"predictor": "flops", "candidates": 0}, "candidates must be"),
        ({"predictor": "metad2a"}, "features of a dataset"),
    ):
        with pytest.raises(ConfigError, match=message):
            kind(SPACE, **options)


def test_a_population_needs_enough_candidates() -> None:
    with pytest.raises(ConfigError, match="at least population_size"):
        AREA(SPACE, predictor="flops", candidates=9)


def test_area_asks_for_no_network_twice_where_it_is_told_to() -> None:
    space = ToySpace(length=4)
    for seed in range(20):
        strategy = AREA(space, seed=seed, predictor=ParamsPredictor(space), dedupe="canonical")
        first = RegularizedEvolution(space, seed=seed).ask(1)[0]
        strategy.tell(first, 50.0)
        keys = [space.canonical(a) for a in (first, *strategy.ask(10))]
        assert len(set(keys)) == len(keys)
