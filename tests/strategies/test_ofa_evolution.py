from __future__ import annotations

import random
from typing import Any

import pytest

from metad2a_plugin import get_predictor, get_space
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.strategy import maximize
from metad2a_plugin.strategies import OFAEvolution, RandomSearch
from metad2a_plugin.testing import ToySpace

SPACE = get_space("mobilenetv3")
PREDICTOR = get_predictor("ofa-imagenet")(SPACE)


def values(networks: Any) -> list[float]:
    return PREDICTOR.predict(None, networks).mean.tolist()


def test_it_finds_better_networks_within_its_limits() -> None:
    search = OFAEvolution(SPACE, population_size=40, max_flops=220)
    maximize(search, values, 40)
    first = search.best
    maximize(search, values, 400)
    assert len(search.history) == 440
    assert all(SPACE.cost(network).flops <= 220 for network, _ in search.history)
    assert search.best[1] > first[1] + 0.4


def test_it_starts_with_random_networks_of_each_depth() -> None:
    asked = OFAEvolution(SPACE).ask(300)
    depths = [len(stage) for network in asked for stage in SPACE.layers(network)]
    assert [depths.count(d) / len(depths) for d in (2, 3, 4)] == pytest.approx([1 / 3] * 3, abs=0.05)


def test_the_best_quarter_become_parents_of_mutants_and_of_mixtures() -> None:
    search = OFAEvolution(SPACE, population_size=20, mutation_probability=0.05, parent_ratio=0.1, mutation_ratio=0.5)
    first = search.ask(20)
    for i, network in enumerate(first):
        search.tell(network, float(i))
    parents = first[-2:]
    children = search.ask(20)
    # Few decisions of a mutant are new; those of a mixture are all of either parent.
    for child in children[:10]:
        new = [sum(a != b for a, b in zip(child.choices, parent.choices, strict=True)) for parent in parents]
        assert min(new) <= 12
    for child in children[10:]:
        depths = [{parent.choices[-5 + s] for parent in parents} for s in range(5)]
        assert all(child.choices[-5 + s] in depths[s] for s in range(5))
    # A parent that no child beats stays one.
    for network in children:
        search.tell(network, -1.0)
    assert {network for network, _ in search._parents} == set(parents)


def test_mutants_draw_each_decision_anew_with_the_probability() -> None:
    rng = random.Random(0)
    network = SPACE.parse("+".join(["k3e3-k3e3-k3e3-k3e3"] * 5))
    assert all(SPACE.resample(network, 0.0, rng) == network for _ in range(5))
    mutants = [SPACE.resample(network, 0.3, rng) for _ in range(1500)]
    first = [SPACE.layers(mutant)[2][0] for mutant in mutants]
    # One of three draws is the old option.
    assert sum(kernel != 3 for kernel, _ in first) / 1500 == pytest.approx(0.2, abs=0.04)
    assert sum(expand != 3 for _, expand in first) / 1500 == pytest.approx(0.2, abs=0.04)
    depths = [len(SPACE.layers(mutant)[3]) for mutant in mutants]
    assert [depths.count(d) / 1500 for d in (2, 3)] == pytest.approx([0.1, 0.1], abs=0.03)


def test_layers_that_come_with_a_depth_are_drawn() -> None:
    rng = random.Random(0)
    network = SPACE.parse("+".join(["k3e3-k3e3"] * 5))
    grown = [SPACE.resample(network, 0.5, rng) for _ in range(200)]
    third = {SPACE.layers(g)[0][2] for g in grown if len(SPACE.layers(g)[0]) > 2}
    assert len(third) == 9


def test_other_spaces_draw_decisions_anew_too() -> None:
    space, rng = ToySpace(length=6), random.Random(0)
    chain = space.parse(">".join(["conv"] * 6))
    assert space.resample(chain, 0.0, rng) == chain
    changed = [sum(c != 2 for c in space.resample(chain, 0.5, rng).choices) for _ in range(500)]
    assert sum(changed) / 3000 == pytest.approx(1 / 3, abs=0.04)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"population_size": 0}, "population_size must be an integer of 1 or more"),
        ({"mutation_probability": 0}, "mutation_probability must be a probability above 0"),
        ({"mutation_probability": 1.5}, "mutation_probability"),
        ({"mutation_ratio": -0.1}, "mutation_ratio must be a share, from 0 to 1"),
        ({"parent_ratio": 1.0}, "parent_ratio must be a share between 0 and 1"),
        ({"max_flop": 300}, "unknown limit 'max_flop'"),
        ({"max_flops": -3}, "max_flops must be a positive number"),
        ({"max_latency": {"abacus": 3}}, "unknown device 'abacus'"),
    ],
    ids=str,
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OFAEvolution(SPACE, **options)


def test_limits_that_random_networks_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metad2a_plugin.strategies.ofa_evolution.MAX_DRAWS", 800)
    with pytest.raises(ConfigError, match=r"none of 800 random networks is within the limits.*raise a limit"):
        OFAEvolution(SPACE, max_flops=122).ask(3)


def test_maximize_ends_where_a_strategy_does_and_asks_no_more_than_it_may() -> None:
    space = ToySpace(length=2)
    search, batches = RandomSearch(space), []

    def value(networks: Any) -> list[float]:
        batches.append(len(networks))
        return [1.0] * len(networks)

    maximize(search, value, 7, batch=3)
    assert batches == [3, 3, 1] and len(search.history) == 7
    maximize(search, value, 50, batch=3)
    assert len(search.history) == space.size
