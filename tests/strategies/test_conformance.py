from __future__ import annotations

import pytest

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.registry import BUILT_IN, bind_strategy, get_space, get_strategy
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.strategies import MDENAS, LocalSearch, OFAEvolution, RandomSearch, RegularizedEvolution
from metad2a_plugin.testing import StrategyConformance

VARIANTS = {
    "random": lambda space, seed: RandomSearch(space, seed=seed),
    "random-canonical": lambda space, seed: RandomSearch(space, seed=seed, dedupe="canonical"),
    "evolution": lambda space, seed: RegularizedEvolution(space, seed=seed),
    "evolution-small": lambda space, seed: RegularizedEvolution(space, seed=seed, population_size=4, sample_size=2),
    "evolution-encoding": lambda space, seed: RegularizedEvolution(space, seed=seed, dedupe="encoding"),
    "evolution-canonical": lambda space, seed: RegularizedEvolution(
        space, seed=seed, population_size=4, sample_size=2, dedupe="canonical"
    ),
    "mdenas": lambda space, seed: MDENAS(space, seed=seed),
    "ofa-evolution": lambda space, seed: OFAEvolution(space, seed=seed),
    "ofa-evolution-small": lambda space, seed: OFAEvolution(space, seed=seed, population_size=4, parent_ratio=0.5),
    "local-steepest": lambda space, seed: LocalSearch(space, seed=seed),
    "local-first": lambda space, seed: LocalSearch(space, seed=seed, improvement="first"),
    "local-canonical": lambda space, seed: LocalSearch(space, seed=seed, dedupe="canonical"),
}


# Those that differ in what they ask of a space; the others are among the slow tests.
REAL = ["random-canonical", "evolution-small", "evolution-canonical", "mdenas", "ofa-evolution-small", "local-steepest"]
ON_REAL_SPACES = [name if name == "evolution-small" else pytest.param(name, marks=pytest.mark.slow) for name in REAL]


class TestOnToySpace(StrategyConformance):
    variant: str

    @pytest.fixture(autouse=True, params=VARIANTS)
    def _variant(self, request):
        self.variant = request.param

    def make(self, space: SearchSpace, seed: int) -> Strategy:
        return VARIANTS[self.variant](space, seed)


class TestOnNASBench201(TestOnToySpace):
    rounds = 12

    @pytest.fixture(autouse=True, params=ON_REAL_SPACES)
    def _variant(self, request):
        self.variant = request.param

    def make_space(self) -> SearchSpace:
        return get_space("nasbench201")


class TestOnMobileNetV3(TestOnNASBench201):
    def make_space(self) -> SearchSpace:
        return get_space("mobilenetv3")


@pytest.mark.parametrize("name", ["random", "regularized-evolution", "local-search", "ofa-evolution"])
def test_found_by_name(name):
    assert name in BUILT_IN["strategies"]
    assert get_strategy(name)(get_space("nasbench201"), seed=0).ask(2)


def test_a_strategy_takes_its_options_before_it_has_a_space():
    make = bind_strategy("regularized-evolution", seed=3, population_size=4)
    first, second = (make(get_space("nasbench201")) for _ in range(2))
    assert first.population_size == 4 and first is not second
    expected = RegularizedEvolution(get_space("nasbench201"), seed=3, population_size=4)
    assert first.ask(5) == second.ask(5) == expected.ask(5)


def test_options_are_checked_before_there_is_a_space():
    with pytest.raises(ConfigError, match="no 'randon' among the strategies"):
        bind_strategy("randon")
    with pytest.raises(
        ConfigError, match="'random' got an unexpected keyword argument 'population'; its options are dedupe"
    ):
        bind_strategy("random", population=3)
    with pytest.raises(ConfigError, match="multiple values for argument 'space'"):
        bind_strategy("random", space=3)
    bind_strategy("metad2a", max_params=1.0)  # it passes on what it does not name
