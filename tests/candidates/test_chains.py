from __future__ import annotations

import heapq
import math
import random
from itertools import product

import pytest
import torch

from metad2a_plugin import get_space
from metad2a_plugin.candidates.chains import Chains
from metad2a_plugin.testing import ToySpace

TOY, MOBILE = ToySpace(length=4), get_space("mobilenetv3")


def table(space, seed: int = 0) -> torch.Tensor:
    shape = (space.num_vertices, len(space.vertex_types))
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", ["toy", "nasbench201"])
@pytest.mark.parametrize("wanted", [1, 10, 10**6])
def test_the_best_of_a_small_space_are_those_of_the_list(name: str, wanted: int) -> None:
    space = TOY if name == "toy" else get_space(name)
    chains, scores = Chains(space), table(space)
    everything = space.all_vertices()
    ranked = everything[chains.sums(scores, everything).argsort(descending=True)][:wanted]
    assert torch.equal(chains.best(scores, wanted), ranked)


def stage_sums(scores: torch.Tensor, stage: int, most: int) -> list[float]:
    """The largest sums of a stage of MobileNetV3, by listing its 7,371 forms."""
    first, sums = 1 + 4 * stage, []
    for depth in range(3):
        layers = [scores[first + i, 2 + 9 * depth : 11 + 9 * depth].tolist() for i in range(4)]
        beyond = sum(layer[0] for layer in layers[depth + 2 :])
        sums += [sum(kinds) + beyond for kinds in product(*layers[: depth + 2])]
    return heapq.nlargest(most, sums)


def test_the_best_of_2e19_networks_are_found_exactly() -> None:
    chains, scores, wanted = Chains(MOBILE), table(MOBILE), 200
    best = chains.best(scores, wanted)
    sums = [float(scores[0, 0] + scores[21, 1])]
    for stage in range(5):
        mine = stage_sums(scores, stage, wanted)
        sums = heapq.nlargest(wanted, (a + b for a in sums for b in mine))
    # The output has one type only, whose score is that of every network.
    assert chains.sums(scores, best).tolist() == pytest.approx(sums)
    assert len(best.unique(dim=0)) == wanted and torch.equal(MOBILE.simplify(best), best)


@pytest.mark.parametrize("name", ["toy", "nasbench201", "mobilenetv3"])
def test_the_best_of_several_tables_at_once(name: str) -> None:
    space = TOY if name == "toy" else get_space(name)
    tables = torch.stack([table(space, seed) for seed in range(5)])
    chains = Chains(space)
    assert torch.equal(chains.top(tables), torch.cat([chains.best(scores, 1) for scores in tables]))


@pytest.mark.parametrize("space", [TOY, MOBILE], ids=lambda s: s.name)
def test_draws_are_different_networks_of_the_space(space) -> None:
    drawn = Chains(space).draw(table(space), 50, rng())
    assert len(drawn.unique(dim=0)) == 50 and torch.equal(space.encode(space.decode(drawn)), drawn)
    assert torch.equal(space.simplify(drawn), drawn)


def test_more_draws_than_there_are_give_all_there_are() -> None:
    drawn = Chains(TOY).draw(table(TOY), 10**6, rng())
    assert len(drawn) == TOY.size == len(drawn.unique(dim=0))


def test_the_first_draw_has_the_probability_that_the_tilt_gives() -> None:
    chains, tilt = Chains(ToySpace(length=2)), table(ToySpace(length=2))
    everything = chains.space.all_vertices()
    expected = chains.sums(tilt, everything).softmax(0)
    firsts = [tuple(chains.draw(tilt, 1, rng(seed))[0].tolist()) for seed in range(400)]
    for vertices, p in zip(everything.tolist(), expected.tolist(), strict=True):
        assert firsts.count(tuple(vertices)) / 400 == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / 400) + 1e-3)


def test_without_a_tilt_each_depth_kernel_and_expand_ratio_is_alike() -> None:
    drawn = Chains(MOBILE).draw(torch.zeros(22, 29, dtype=torch.float64), 3000, rng())
    layers = drawn[:, 1:-1:4] - 2
    for option in (layers // 9, layers // 3 % 3, layers % 3):
        shares = torch.stack([(option == i).double().mean(0) for i in range(3)])
        assert (shares - 1 / 3).abs().max() < 0.04


@pytest.mark.parametrize("seed", range(3))
def test_types_drawn_one_by_one_with_what_lies_ahead_have_the_same_distribution(seed: int) -> None:
    """So that a generator that draws one by one can be steered like the draws at random."""
    chains, tilt = Chains(MOBILE), table(MOBILE, seed)
    steered, source = chains.ahead(tilt), random.Random(seed)
    networks = MOBILE.encode([MOBILE.sample_balanced(source) for _ in range(20)])
    log_p, base = torch.zeros(20, dtype=torch.float64), torch.zeros(20, dtype=torch.float64)
    for v in range(1, 21):
        mask = MOBILE.type_mask(networks[:, :v])
        log_p += steered[v].masked_fill(~mask, -torch.inf).log_softmax(1).gather(1, networks[:, v, None])[:, 0]
        base -= mask.sum(1).log()
    # Up to one constant, the logarithm of the normaliser.
    assert (log_p - base - chains.sums(tilt, networks)).std() < 1e-9


def test_same_numbers_same_draws_whatever_the_global_state() -> None:
    chains, state = Chains(MOBILE), torch.get_rng_state()
    first = chains.draw(table(MOBILE), 20, rng(3))
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(3)
    assert torch.equal(first, chains.draw(table(MOBILE), 20, rng(3)))
    assert not torch.equal(first, chains.draw(table(MOBILE), 20, rng(4)))
