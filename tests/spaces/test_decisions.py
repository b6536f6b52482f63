from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metad2a_plugin import get_space
from metad2a_plugin.errors import ArchitectureError, ConfigError
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.spaces.restricted import RestrictedSpace
from metad2a_plugin.testing import ToySpace

CELLS = get_space("nasbench201")
PART = RestrictedSpace(CELLS, [[1, 3], [0], [3], [3, 4], [0, 1], [3]])
SPACES = {"cells": CELLS, "mobilenetv3": get_space("mobilenetv3"), "toy": ToySpace(), "part": PART}
BY_NAME = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


@BY_NAME
@given(seed=st.integers(0, 2**32))
def test_an_architecture_is_what_its_decisions_say(space: SearchSpace, seed: int) -> None:
    architecture = space.sample_balanced(random.Random(seed))
    decided = space.decided(architecture)
    assert space.decide(decided.__getitem__) == architecture
    assert all(value in space.decisions[name] for name, value in decided.items())


@BY_NAME
@given(seed=st.integers(0, 2**32))
def test_any_options_are_an_architecture(space: SearchSpace, seed: int) -> None:
    rng, asked = random.Random(seed), {}

    def choose(name: str) -> Any:
        asked[name] = rng.choice(space.decisions[name])
        return asked[name]

    assert space.decided(space.decide(choose)) == asked


@BY_NAME
@pytest.mark.parametrize("value", ["noise", 99, None, True, 1.5, []], ids=repr)
def test_what_is_no_option_is_refused_by_the_name_of_its_decision(space: SearchSpace, value: Any) -> None:
    first = next(iter(space.decisions))
    with pytest.raises(ArchitectureError, match=f"^{first} must be one of"):
        space.decide(lambda name: value)


def test_names_are_those_of_the_space() -> None:
    assert list(CELLS.decisions) == ["0_1", "0_2", "1_2", "0_3", "1_3", "2_3"]
    assert PART.decisions["0_1"] == ("skip_connect", "nor_conv_3x3")
    assert SPACES["mobilenetv3"].decisions["stage1/layer1/kernel"] == (3, 5, 7)


def test_a_space_without_names_says_so() -> None:
    class Bare(ToySpace):
        decisions, decide, decided = SearchSpace.decisions, SearchSpace.decide, SearchSpace.decided

    space = Bare()
    chain = space.sample(random.Random(0))
    for ask in (lambda: space.decisions, lambda: space.decide(str), lambda: space.decided(chain)):
        with pytest.raises(ConfigError, match="have no names"):
            ask()
