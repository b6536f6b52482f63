from __future__ import annotations

import pytest
import torch
import trainings_strategies as script

from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.strategies.stopping import CurveReader

CELLS = NASBench201().all_vertices()[::700]
VALUES = (CELLS == 5).sum(1).double() + torch.arange(len(CELLS)) / 100
POOL = script.Pool("toy", CELLS, VALUES, {"right": VALUES})


@pytest.mark.parametrize("name", script.searches(POOL))
def test_every_search_asks_for_each_cell_once_and_finds_the_best(name: str) -> None:
    search = script.searches(POOL)[name](POOL, 3)
    asked = [next(search)]
    while len(asked) < len(CELLS):
        asked.append(search.send(float(VALUES[asked[-1]])))
    assert sorted(asked) == list(range(len(CELLS)))
    curve = POOL.curve(script.searches(POOL)[name], 3, len(CELLS))
    assert torch.equal(curve, VALUES[asked].cummax(0).values) and curve[-1] == VALUES.max()


def test_a_right_prediction_finds_the_best_sooner_than_chance_and_a_wrong_one_is_left() -> None:
    def mean(name: str) -> float:
        runs = [POOL.curve(script.searches(POOL)[name], seed, len(CELLS)) for seed in range(10)]
        return sum(script.queries_needed(curve, POOL) for curve in runs) / len(runs)

    assert mean("MetaD2A, right prior") < 4 < mean("random search")
    assert mean("MetaD2A, wrong right prior") < len(CELLS) - 4, "it is not asked for last"


def test_arrived_is_95_percent_of_the_way_from_the_mean_to_the_best() -> None:
    pool = script.Pool("two", CELLS[:4], torch.tensor([0.0, 0.0, 0.0, 4.0], dtype=torch.float64))  # mean 1
    assert script.queries_needed(torch.tensor([0.0, 3.8, 3.86, 4.0], dtype=torch.float64), pool) == 3
    assert float(script.gain(torch.tensor(1.0), pool)) == 0


class Sure:
    """Knows that a training ends where it is."""

    def curve(self, task, vertices, budget, seen=None):
        return seen[:, -1:].expand(-1, budget.epochs), torch.full((1, budget.epochs), 1e-3)


def test_what_stopping_saves_and_loses() -> None:
    # The second ends below the first and is seen to do so after one epoch; the third would rise late.
    curves = [[50.0, 50.0, 50.0, 50.0], [40.0, 40.0, 40.0, 40.0], [30.0, 30.0, 30.0, 60.0]]
    pool = script.Pool("curves", CELLS[:3], torch.tensor([50.0, 40.0, 60.0], dtype=torch.float64))
    context = script.Context(pool, curves, CurveReader(Sure(), None, Budget(epochs=4, images=100)))
    assert context.stopped(1, 45.0) == 1 and context.stopped(0, 45.0) is None
    outcomes = {context.saved(seed) for seed in range(20)}
    assert (0.5, 10.0) in outcomes, "first the first, then both others are stopped, of which one would have been better"
    assert (0.5, 0.0) in outcomes, "first the third: nothing is lost"
