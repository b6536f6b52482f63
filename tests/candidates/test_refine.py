from __future__ import annotations

from typing import Any

import pytest
import torch

from metad2a_plugin import get_predictor, get_space
from metad2a_plugin.candidates.chains import Chains
from metad2a_plugin.candidates.find import Effort, find
from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.candidates.refine import Scored, price, propose, refine
from metad2a_plugin.candidates.surrogate import additive_fit
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.predictor import Prediction
from metad2a_plugin.testing import ToySpace

SPACE, CELLS = get_space("mobilenetv3"), get_space("nasbench201")
CHAINS = Chains(SPACE)
PREDICTOR = get_predictor("ofa-imagenet")(SPACE)


class Score:
    """The ImageNet predictor, which counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[torch.Tensor] = []

    def __call__(self, vertices: torch.Tensor) -> Prediction:
        self.asked.append(vertices)
        return Prediction(PREDICTOR.predict(None, vertices).mean, torch.zeros(len(vertices)))


def drawn(n: int, seed: int = 0, space: Any = SPACE) -> torch.Tensor:
    plain = torch.zeros(space.num_vertices, len(space.vertex_types), dtype=torch.float64)
    return Chains(space).draw(plain, n, torch.Generator().manual_seed(seed))


# -- the fit -------------------------------------------------------------------------------------
def test_sums_over_parts_are_found_from_few_networks() -> None:
    """180 numbers, of which many are never seen together, from 150 networks."""
    generator = torch.Generator().manual_seed(0)
    parts = [torch.randn(22, 3, generator=generator, dtype=torch.float64) for _ in range(3)]
    vertices = drawn(450)
    layers = vertices[:, 1:-1] - 2
    options = (layers // 9, layers // 3 % 3, layers % 3)
    values = 70 + sum(
        part[1:-1].expand(len(vertices), -1, -1).gather(2, option[:, :, None])[..., 0].sum(1)
        for part, option in zip(parts, options, strict=True)
    )
    fitted = CHAINS.sums(additive_fit(SPACE, vertices[:150], values[:150], 0.01), vertices[150:])
    assert torch.corrcoef(torch.stack([fitted, values[150:]]))[0, 1] > 0.97


@pytest.mark.parametrize("space", [ToySpace(length=3), CELLS], ids=lambda s: s.name)
def test_types_without_parts_are_fitted_one_by_one(space: Any) -> None:
    table = torch.randn(space.num_vertices, len(space.vertex_types), dtype=torch.float64)
    vertices = space.all_vertices()
    sums = Chains(space).sums(table, vertices)
    fitted = additive_fit(space, vertices, sums, 1e-9)
    assert torch.allclose(Chains(space).sums(fitted, vertices), sums, atol=1e-4)


def test_weights_decide_what_is_fitted() -> None:
    vertices = torch.cat([drawn(80), drawn(80, 1)])
    values = torch.cat([torch.zeros(80), torch.full((80,), 9.0)]).double()
    for first, expected in ((1.0, 0.0), (0.0, 9.0)):
        weights = torch.cat([torch.full((80,), first), torch.full((80,), 1 - first)]).double()
        fitted = CHAINS.sums(additive_fit(SPACE, vertices, values, 1.0, weights), vertices)
        assert torch.allclose(fitted, torch.full_like(fitted, expected), atol=1e-6)


# -- prices --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "bounds",
    [
        {"max_flops": 200},
        {"max_flops": 300, "max_params": 5.0},
        {"max_latency": {"v100_64": 20.0}, "max_flops": 250},
        {},
    ],
    ids=str,
)
@pytest.mark.parametrize(("unit", "level"), [(1.0, 0.0), (1e-3, 75.0)])
def test_the_best_sum_at_its_price_is_within_the_limits_and_near_the_best(
    bounds: dict[str, Any], unit: float, level: float
) -> None:
    limits = Limits(SPACE, **bounds).limits()
    sizes = SPACE.vertex_costs()[0].sqrt() + torch.randn(22, 29, generator=torch.Generator().manual_seed(1)) * 0.01
    scores = unit * sizes.double()
    scores[0, 0] += level
    best = CHAINS.best(price(scores, CHAINS, limits), 1)
    assert all(limit.within(best).all() for limit in limits)
    if not limits:
        assert torch.equal(best, CHAINS.best(scores, 1))
    # Not far below the limit that binds, so nothing much is given away.
    elif len(limits) == 1:
        assert limits[0].measure(best).item() > 0.93 * limits[0].most


def test_proposals_are_new_and_within_the_limits() -> None:
    limits, seen = Limits(SPACE, max_flops=300).limits(), drawn(50)
    scores = SPACE.vertex_costs()[0].sqrt()
    first = propose(scores, CHAINS, limits, seen, 40, 0.1, torch.Generator().manual_seed(0))
    again = propose(scores, CHAINS, limits, torch.cat([seen, first]), 40, 0.1, torch.Generator().manual_seed(0))
    both = torch.cat([seen, first, again])
    assert len(both.unique(dim=0)) == 130 and all(limit.within(both[50:]).all() for limit in limits)


# -- the whole -----------------------------------------------------------------------------------
@pytest.mark.parametrize("bound", [200, 300, 400])
def test_a_thousand_queries_find_more_than_evolution_does_with_fifty_thousand(bound: int) -> None:
    """The levels are what OFA's evolution reaches on average after 50,100; see benchmarks/ofa_search.py."""
    score = Score()
    found = find(SPACE, score, None, Limits(SPACE, max_flops=bound).limits(), Effort(seed=1))
    assert len(found.vertices) == sum(map(len, score.asked)) == 1000 and found.refined == 300
    assert len(torch.cat(score.asked).unique(dim=0)) == 1000, "no network is asked about twice"
    assert (SPACE.costs(found.vertices)[1] <= bound).all()
    assert found.prediction.mean[0] > {200: 75.48, 300: 77.03, 400: 77.64}[bound]


def test_the_order_is_that_of_predictions() -> None:
    found = find(SPACE, Score(), None, [], Effort(candidates=60, refine=40))
    assert torch.equal(found.prediction.mean, PREDICTOR.predict(None, found.vertices).mean)
    assert (found.value.diff() <= 0).all()


def test_candidates_alone_are_ranked_as_in_the_paper() -> None:
    score = Score()
    found = find(SPACE, score, None, Limits(SPACE, max_flops=250).limits(), Effort(candidates=70))
    assert len(found.vertices) == 70 and found.refined == 0 and len(score.asked) == 1
    assert (found.value.diff() <= 0).all()


def test_same_seed_same_networks() -> None:
    first, again, other = (
        find(SPACE, Score(), None, [], Effort(candidates=30, refine=20, seed=seed)) for seed in (4, 4, 5)
    )
    assert torch.equal(first.vertices, again.vertices) and not torch.equal(first.vertices, other.vertices)


def test_a_space_that_is_used_up_ends_the_refinement() -> None:
    space = ToySpace(length=3)

    def score(vertices: torch.Tensor) -> Prediction:
        return Prediction(vertices.sum(1).float(), torch.zeros(len(vertices)))

    found = find(space, score, None, [], Effort(candidates=2, refine=100))
    everything = find(space, score, None, [], Effort())
    assert len(found.vertices) == len(everything.vertices)


def test_equal_predictions_are_no_trouble() -> None:
    def score(vertices: torch.Tensor) -> Prediction:
        return Prediction(torch.full((len(vertices),), 50.0), torch.zeros(len(vertices)))

    limits = Limits(SPACE, max_flops=200).limits()
    more = refine(Scored.ask(score, drawn(1, 3)), score, CHAINS, limits, 10, torch.Generator().manual_seed(0))
    assert 1 <= len(more.vertices) <= 11 and all(limit.within(more.vertices[1:]).all() for limit in limits)


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match="gives NaN for 3 of 3 networks"):
        Scored.ask(lambda vertices: Prediction(torch.full((len(vertices),), torch.nan)), drawn(3, 3))


@pytest.mark.parametrize(
    "options", [{"candidates": 0}, {"candidates": 2.5}, {"refine": -1}, {"refine": "5"}, {"seed": -1}], ids=str
)
def test_wrong_efforts(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(options))} must be an integer"):
        Effort(**options)


def test_what_is_ranked_completely() -> None:
    assert Effort().exhaustive(CELLS) and not Effort().exhaustive(SPACE)
    assert not Effort(candidates=5).exhaustive(CELLS) and not Effort(refine=5).exhaustive(CELLS)
    assert Effort().draws == (700, 300) and Effort(200).draws == (200, 0)
    assert Effort(200, 30).draws == (200, 30) and Effort(refine=0).draws == (700, 0)
