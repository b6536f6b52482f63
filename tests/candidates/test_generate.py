from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from metad2a_plugin import get_space
from metad2a_plugin.candidates.chains import Chains
from metad2a_plugin.candidates.find import random_draw
from metad2a_plugin.candidates.generate import generate, least_multiple, steer
from metad2a_plugin.candidates.limits import Limit, Limits
from metad2a_plugin.candidates.pool import Pool
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.models.generator import PaperGenerator

SPACE, CELLS = get_space("mobilenetv3"), get_space("nasbench201")
CHAINS = Chains(SPACE)
LEAST = SPACE.cost(SPACE.parse("+".join(["k3e3-k3e3"] * 5)))
BOUNDS: list[dict[str, Any]] = [
    {"max_flops": 200},
    {"max_flops": 135},
    {"max_params": 4.0},
    {"max_flops": 160, "max_params": 3.9},
    {"max_latency": {"v100_64": 18.0}},
    {"max_flops": 200, "max_latency": {"2080ti_64": 27.0, "v100_1": 10.5}, "input_size": 192},
]


def generator_draw(seed: int = 0):
    """Of an untrained generator."""
    torch.manual_seed(seed)
    generator = PaperGenerator.of_space(SPACE, feature_dim=8, hidden=16, latent=16)
    z = torch.randn(1, 16)

    def draw(n, tilt):
        steered = None if tilt is None else CHAINS.ahead(tilt)
        return generator.decoder.sample_distinct(z, n, torch.Generator().manual_seed(seed), 1.2, steered)[0]

    return draw


@pytest.mark.parametrize("source", ["random", "generator"])
@pytest.mark.parametrize("bounds", BOUNDS, ids=str)
def test_draws_are_steered_within_the_limits(source: str, bounds: dict[str, Any]) -> None:
    draw = random_draw(CHAINS, 0) if source == "random" else generator_draw()
    limits = Limits(SPACE, **bounds).limits()

    def share(tilt: torch.Tensor | None) -> float:
        drawn = draw(300, tilt)
        return torch.stack([limit.within(drawn) for limit in limits]).all(0).double().mean().item()

    tilt = steer(draw, CHAINS, limits)
    assert share(tilt) >= 0.38, "about half or more"
    assert share(None) < 0.3 or tilt is None
    found = generate(draw, CHAINS, Pool(SPACE, limits), 100)
    assert len(found) == 100 == len(found.unique(dim=0))
    assert all(limit.within(found).all() for limit in limits), "a limit is never broken"


def test_loose_limits_leave_draws_as_they_are() -> None:
    limits = Limits(SPACE, max_flops=10_000).limits()
    assert steer(random_draw(CHAINS, 0), CHAINS, limits) is None
    assert steer(random_draw(CHAINS, 0), CHAINS, []) is None


def test_draws_at_a_limit_keep_their_variety() -> None:
    """The multiple is about the least: networks are not pushed far below the limit."""
    limits = Limits(SPACE, max_flops=200).limits()
    found = generate(random_draw(CHAINS, 0), CHAINS, Pool(SPACE, limits), 200)
    assert SPACE.costs(found)[1].mean() > 170
    assert len((found[:, 1::4] - 2).div(9, rounding_mode="floor").unique(dim=0)) > 30, "depths"


def test_the_smallest_network_can_be_had_alone() -> None:
    pool = Pool(SPACE, Limits(SPACE, max_flops=LEAST.flops, max_params=LEAST.params).limits())
    [only] = SPACE.decode(generate(random_draw(CHAINS, 0), CHAINS, pool, 50))
    assert SPACE.format(only) == "+".join(["k3e3-k3e3"] * 5)


def test_few_networks_within_a_limit_are_all_found() -> None:
    limit = LEAST.flops + 1.0
    pool = Pool(SPACE, Limits(SPACE, max_flops=limit).limits())
    found = generate(random_draw(CHAINS, 0), CHAINS, pool, 500)
    everything = CHAINS.best(-SPACE.vertex_costs()[1], 2000)
    expected = everything[SPACE.costs(everything)[1] <= limit]
    assert 1 < len(expected) < 500
    assert torch.equal(found.unique(dim=0), expected.unique(dim=0))


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"max_flops": 100}, r"the least there is: flops 121\.279\. Raise a limit"),
        ({"max_flops": 100, "max_params": 9}, r"the least there is: flops 121\.279|params 3\.411"),
        ({"max_latency": {"v100_64": 1}}, r"the least there is: v100_64 14\.7"),
        ({"max_params": 3.42, "max_flops": 121.3, "max_latency": {"v100_1": 1}}, "the least there is"),
    ],
    ids=str,
)
def test_an_impossible_limit_says_the_least_there_is(bounds: dict[str, Any], message: str) -> None:
    pool = Pool(SPACE, Limits(SPACE, **bounds).limits())
    with pytest.raises(ConfigError, match=f"no architecture is within the limits.*{message}"):
        generate(random_draw(CHAINS, 0), CHAINS, pool, 10)


def test_limits_that_only_together_are_too_much_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metad2a_plugin.candidates.generate.MAX_DRAWS", 2_000)
    # Few parameters and many multiply-accumulates at once: no network has that.
    def measure(vertices: torch.Tensor) -> torch.Tensor:
        return -SPACE.costs(vertices)[1]

    many = Limit("min_flops", "-flops", -500.0, measure, -SPACE.vertex_costs()[1])
    pool = Pool(SPACE, [*Limits(SPACE, max_params=3.5).limits(), many])
    with pytest.raises(ConfigError, match=r"within all limits together.*the least of each: params 3\.411"):
        generate(random_draw(CHAINS, 0), CHAINS, pool, 10)


def test_a_space_whose_costs_are_no_sums_is_kept_to_by_rejection() -> None:
    chains, limits = Chains(CELLS), Limits(CELLS, max_params=0.2).limits()
    found = generate(random_draw(chains, 0), chains, Pool(CELLS, limits), 60)
    assert len(found) == 60 and (CELLS.costs(found)[0] <= 0.2).all()


@pytest.mark.parametrize("least", [0.03, 1.0, 77.0, 1e5])
def test_the_least_multiple(least: float) -> None:
    found = least_multiple(lambda m: m >= least, 0.0, steps=8)
    assert least <= found <= least + max(0.25, least) / 2**7


def test_the_least_multiple_ends_where_nothing_is_enough() -> None:
    assert math.isfinite(least_multiple(lambda _: False, 0.0, steps=3))
