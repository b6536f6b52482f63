from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from metad2a_plugin import get_predictor, get_space
from metad2a_plugin.candidates.chains import Chains
from metad2a_plugin.candidates.find import Effort
from metad2a_plugin.candidates.front import best_within, ratios, spaced, sweep
from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.predictor import Prediction

SPACE = get_space("mobilenetv3")
PREDICTOR = get_predictor("ofa-imagenet")(SPACE)


def score(vertices: torch.Tensor) -> Prediction:
    return Prediction(PREDICTOR.predict(None, vertices).mean, torch.zeros(len(vertices)))


def beaten(order: list[float], cost: list[float], row: int) -> bool:
    pairs = zip(order, cost, strict=True)
    mine = order[row], cost[row]
    return any(o >= mine[0] and c <= mine[1] and (o, c) != mine for o, c in pairs)


@pytest.mark.parametrize("seed", range(5))
def test_no_network_of_a_front_is_beaten(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    # Few values, so that many are equal.
    order = torch.randint(8, (40,), generator=generator).double()
    cost = torch.randint(8, (40,), generator=generator).double()
    values, costs = order.tolist(), cost.tolist()
    left = {(values[r], costs[r]) for r in range(40) if not beaten(values, costs, r)}
    # One within each level, all of them on the front.
    levels = ratios(1.0, 7.0, 5)
    chosen = best_within(order, cost, levels).tolist()
    assert {(values[r], costs[r]) for r in chosen} <= left
    assert max(values[r] for r in chosen) == max(values)


def test_nothing_within_the_lowest_levels_is_left_out() -> None:
    assert best_within(torch.tensor([1.0, 2.0]), torch.tensor([5.0, 9.0]), [1.0, 6.0, 10.0]).tolist() == [0, 1]


def test_levels_go_from_the_smallest_network_to_the_largest() -> None:
    chains, cost = Chains(SPACE), Limits(SPACE).cost("flops", math.inf)
    levels = spaced(chains, cost, 6)
    smallest, largest = ("+".join(["-".join([layer] * n)] * 5) for layer, n in (("k3e3", 2), ("k7e6", 4)))
    assert levels[0] == SPACE.cost(SPACE.parse(smallest)).flops
    assert levels[-1] == SPACE.cost(SPACE.parse(largest)).flops
    assert [b / a for a, b in pairwise(levels)] == pytest.approx([levels[1] / levels[0]] * 5)
    assert spaced(chains, Limits(SPACE).cost("flops", 300.0), 4)[-1] == 300.0
    with pytest.raises(ConfigError, match="the least there is: flops 121"):
        spaced(chains, Limits(SPACE).cost("flops", 50.0), 4)


@pytest.mark.parametrize("cost", ["flops", "params", "v100_64"])
def test_a_front_is_filled_from_the_smallest_to_the_largest(cost: str) -> None:
    chains = Chains(SPACE)
    bounds = Limits(SPACE, devices=["v100_64"])
    on = bounds.latency(cost, math.inf) if cost == "v100_64" else bounds.cost(cost, math.inf)
    levels = spaced(chains, on, 8)
    found = sweep(SPACE, score, None, [], on, levels, Effort(points=8, queries=400))
    vertices = found.vertices
    assert 380 < len(vertices) == len(vertices.unique(dim=0)) <= 400
    costs = on.measure(vertices).double()
    assert costs.min().item() == pytest.approx(levels[0], rel=1e-6)
    rows = best_within(found.value, costs, levels)
    assert len(rows) >= 6 and costs[rows[0]] < 1.01 * levels[0]
    gaps = costs[rows][1:] / costs[rows][:-1]
    assert gaps.max() < (levels[1] / levels[0]) ** 2, "no level is skipped"
    # Far better than random networks of the same cost.
    drawn = chains.draw(torch.zeros(22, 29, dtype=torch.float64), 400, torch.Generator().manual_seed(1))
    random = score(drawn).mean
    for row in rows[2:]:
        alike = on.measure(drawn) <= costs[row]
        if alike.any():
            assert found.value[row] > random[alike].max()


def test_a_front_keeps_to_further_limits() -> None:
    bounds = Limits(SPACE, max_params=4.5)
    on = bounds.cost("flops", 320.0)
    found = sweep(SPACE, score, None, bounds.limits(), on, spaced(Chains(SPACE), on, 4), Effort(points=4, queries=80))
    params, flops = SPACE.costs(found.vertices)
    assert params.max() <= 4.5 and flops.max() <= 320
    limits, effort = Limits(SPACE, max_params=3.0).limits(), Effort(points=2, queries=60)
    with pytest.raises(ConfigError, match="no architecture is within the limits"):
        sweep(SPACE, score, None, limits, on, [150.0, 200.0], effort)
