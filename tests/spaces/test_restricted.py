from __future__ import annotations

import copy
import random

import pytest
import torch

from metad2a_plugin.errors import ArchitectureError, ConfigError
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.spaces.restricted import RestrictedSpace, options_of
from metad2a_plugin.testing import SearchSpaceConformance, ToySpace

ALLOWED = ((1, 3), (0, 2, 4), (3,), (1, 2), (0, 3), (0, 1, 3))


class TestPartOfNASBench201(SearchSpaceConformance):
    def make_space(self) -> SearchSpace:
        return RestrictedSpace(NASBench201(), ALLOWED)


class TestPartOfToySpace(SearchSpaceConformance):
    def make_space(self) -> SearchSpace:
        return RestrictedSpace(ToySpace(length=4), [(1, 2), (0, 1, 2), (2,), (1, 2)])


@pytest.fixture
def part() -> RestrictedSpace:
    return RestrictedSpace(NASBench201(), ALLOWED)


def test_everything_stays_inside(part):
    rng = random.Random(0)
    a, b = part.sample(rng), part.sample_balanced(rng)
    for found in (a, b, part.mutate(a, rng), part.crossover(a, b, rng), part.resample(a, 0.5, rng), *part.neighbors(a)):
        assert all(choice in options for choice, options in zip(found.choices, ALLOWED, strict=True))


def test_what_is_outside_is_refused(part):
    outside = NASBench201().parse("|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|")
    for method in (part.validate, part.format, part.cost, part.neighbors):
        with pytest.raises(ArchitectureError, match=r"none~0.* is outside the part of 'nasbench201'"):
            method(outside)
    with pytest.raises(ArchitectureError, match="outside"):
        part.decode(NASBench201().encode([outside]))


def test_the_order_is_that_of_the_whole(part):
    cells = list(part.enumerate())
    assert len(cells) == part.size == 72
    assert [part.index(a) for a in cells] == sorted(part.index(a) for a in cells)


def test_architectures_and_numbers_are_those_of_the_whole(part):
    whole, cell = NASBench201(), part.sample(random.Random(1))
    assert whole.validate(cell) == cell and part.format(cell) == whole.format(cell)
    assert part.cost(cell) == whole.cost(cell) and part.canonical(cell) == whole.canonical(cell)
    assert copy.deepcopy(part).allowed == part.allowed


def test_options_of_cells(part):
    cells = [part.sample(random.Random(seed)) for seed in range(50)]
    assert options_of(cells) == ALLOWED


@pytest.mark.parametrize(
    ("allowed", "message"),
    [
        ([[1]] * 5, "6 decisions"),
        ([[1, 2], [], [1], [1], [1], [1]], "one or more options"),
        ([[1, 5], [1], [1], [1], [1], [1]], "decision 0 of 'nasbench201' has no option 5"),
        ([[1]] * 6, "nothing to search"),
    ],
)
def test_wrong_options(allowed, message):
    with pytest.raises(ConfigError, match=message):
        RestrictedSpace(NASBench201(), allowed)


def test_a_space_of_dependent_decisions_is_refused():
    with pytest.raises(ConfigError, match="depends on the others"):
        RestrictedSpace(get_space("mobilenetv3"), [])


def test_types_outside_of_a_part_are_those_that_no_architecture_has(part: RestrictedSpace) -> None:
    seen = torch.zeros(part.num_vertices, len(part.vertex_types), dtype=torch.bool)
    for row in part.all_vertices():
        seen[torch.arange(len(row)), row] = True
    assert (part.outside()[1:-1] == ~seen[1:-1]).all() and not part.outside()[[0, -1]].any()
