from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest
import torch
from meta_toys import SPACE, checkpoint, image_dataset

from metad2a_plugin import MetaD2A
from metad2a_plugin.data import Task, extract_task
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.models.checkpoint import shipped
from metad2a_plugin.models.residual import LEARN_FROM
from metad2a_plugin.plugins.predictor import Prediction, Predictor
from metad2a_plugin.plugins.registry import get_strategy
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.spaces.base import Architecture, Architectures, SearchSpace
from metad2a_plugin.spaces.restricted import RestrictedSpace
from metad2a_plugin.strategies.metad2a import MetaD2AStrategy
from metad2a_plugin.testing import StrategyConformance, ToySpace

SEARCHER = MetaD2A(checkpoint())


@pytest.fixture(scope="module")
def task() -> Task:
    return extract_task(image_dataset(), cache_dir=False)


def make(**options: Any) -> MetaD2AStrategy:
    return MetaD2AStrategy(SPACE, model=SEARCHER, **options)


class OnFewNetworks(StrategyConformance):
    """A limit leaves some 200 networks, so that the space can run out."""

    adapt = True

    def make_space(self) -> SearchSpace:
        return SPACE

    def make(self, space: SearchSpace, seed: int) -> Strategy:
        return MetaD2AStrategy(space, seed=seed, model=SEARCHER, max_params=0.11, adapt=self.adapt)


class TestAdapting(OnFewNetworks):
    pass


@pytest.mark.slow
class TestInThePredictedOrder(OnFewNetworks):
    adapt = False


# -- what it asks --------------------------------------------------------------------------------
def test_the_first_asks_are_the_search_s_best(task: Task) -> None:
    strategy = make(dataset=task)
    best = SEARCHER.search(task, top=12).architectures
    assert strategy.ask(5) + strategy.ask() + strategy.ask(6) == best


def test_without_a_dataset_it_ranks_for_the_average_task() -> None:
    ranking = SEARCHER.rank(None)
    assert make().ask(10) == SPACE.decode(ranking.vertices[:10])


@pytest.mark.parametrize("adapt", [True, False])
def test_nothing_is_asked_twice(adapt: bool, task: Task) -> None:
    strategy, asked, rng = make(dataset=task, adapt=adapt, max_params=0.11), [], random.Random(0)
    while batch := strategy.ask(7):
        asked += batch
        for cell in batch:
            strategy.tell(cell, rng.random())
    assert len({SPACE.canonical(cell) for cell in asked}) == len(asked)
    assert len(asked) == len(SEARCHER.rank(task, max_params=0.11).vertices)


def test_what_was_told_is_not_asked_for_even_in_another_form(task: Task) -> None:
    strategy = make(dataset=task)
    best = SEARCHER.search(task, top=3).architectures
    strategy.tell(best[0], 1.0)
    assert strategy.ask() == [best[1]]
    plain = SPACE.parse("|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|")
    useless = SPACE.parse("|nor_conv_1x1~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|")
    strategy = make(dataset=task, max_params=0.32)
    strategy.tell(useless, 50.0)
    asked = strategy.ask(5000)
    assert plain not in asked and len(asked) > 100


def test_limits_hold(task: Task) -> None:
    limits = {"max_params": 0.4, "max_flops": 50.0}
    asked = make(dataset=task, **limits).ask(10_000)
    assert asked
    for cell in asked[::7]:
        cost = SPACE.cost(cell, num_classes=task.num_classes)
        assert cost.params <= 0.4 and cost.flops <= 50
    for tighter in ({"input_size": 64}, {"max_latency": {"pixel3": 8.0}}):
        assert 0 < len(make(dataset=task, **limits, **tighter).ask(10_000)) < len(asked)


def test_generated_candidates_can_be_asked_for(task: Task) -> None:
    strategy = make(dataset=task, candidates=15)
    assert len(strategy.ask(100)) == 15 and strategy.ask(1) == []


PART = RestrictedSpace(SPACE, [[1], [0, 1, 2, 4], [1, 3], [0, 1, 3], [0, 1], [1, 2, 3]])


@pytest.mark.parametrize("options", [{}, {"max_params": 0.3}, {"candidates": 30}, {"candidates": 500}])
def test_of_a_part_of_the_space_it_asks_for_that_part(task: Task, options: dict[str, Any]) -> None:
    asked = MetaD2AStrategy(PART, model=SEARCHER, dataset=task, **options).ask(10_000)
    inside = [cell for cell in PART.enumerate() if not PART.is_dead(cell)]
    if options.get("max_params"):
        inside = [cell for cell in inside if PART.cost(cell, num_classes=task.num_classes).params <= 0.3]
    keys = {PART.canonical(cell) for cell in asked}
    assert set(asked) <= set(inside) and len(keys) == len(asked)
    assert len(asked) == 30 if options.get("candidates") == 30 else keys == {PART.canonical(cell) for cell in inside}
    assert len(make(dataset=task, max_params=0.3).ask(10_000)) > len(asked)  # the model itself is of the whole still


# -- what it learns ------------------------------------------------------------------------------
def small_convolutions(cell: Architecture) -> int:
    return sum(choice == 2 for choice in cell.choices)


def drive(strategy: Strategy, rounds: int, value: Any) -> list[Architecture]:
    asked = []
    for _ in range(rounds):
        (cell,) = strategy.ask()
        strategy.tell(cell, value(cell))
        asked.append(cell)
    return asked


def test_it_turns_to_the_family_that_does_well() -> None:
    """The toy's predictor likes 3x3 convolutions best; here 1x1 convolutions are what counts."""
    adapting, fixed = (drive(make(adapt=adapt), 60, small_convolutions) for adapt in (True, False))
    assert adapting[:LEARN_FROM] == fixed[:LEARN_FROM], "there is nothing to learn from yet"
    later, before = (sum(map(small_convolutions, cells[30:])) / 30 for cells in (adapting, fixed))
    assert later > before + 1
    assert max(map(small_convolutions, adapting)) > max(map(small_convolutions, fixed))


def test_it_stays_where_the_predictor_is_right() -> None:
    ranking = SEARCHER.rank(None)
    accuracy = dict(zip(SPACE.decode(ranking.vertices), ranking.prediction.mean.tolist(), strict=True))
    asked = drive(make(), 40, accuracy.__getitem__)
    rank = {cell: i for i, cell in enumerate(accuracy)}
    assert torch.tensor([rank[cell] for cell in asked]).float().median() < 400


class Opinion(Predictor):
    """Says of a cell what a function of it says."""

    def __init__(self, says: Any) -> None:
        super().__init__(SPACE)
        self._says = says

    def predict(self, task: Any, architectures: Architectures) -> Prediction:
        return Prediction(torch.tensor([float(self._says(cell)) for cell in SPACE.decode(architectures)]))


@pytest.mark.parametrize("sign", [1, -1], ids=["right", "wrong"])
def test_a_wrong_prediction_is_left_after_few_values(sign: int) -> None:
    """After ten queries the best cells are found, whichever way round the prediction is."""
    asked = drive(make(predictor=Opinion(lambda cell: sign * small_convolutions(cell))), 10, small_convolutions)
    assert max(map(small_convolutions, asked)) >= 5


def test_asking_takes_milliseconds() -> None:
    strategy, rng = make(), random.Random(0)
    seconds = []
    for _ in range(100):
        begin = time.process_time()
        (cell,) = strategy.ask()
        seconds.append(time.process_time() - begin)
        strategy.tell(cell, small_convolutions(cell) + rng.random())
    assert sorted(seconds)[50] < 0.1 and max(seconds[10:]) < 1


def test_a_resumed_search_is_the_same_at_any_point() -> None:
    rng = random.Random(1)
    noise = {cell: rng.random() for cell in SPACE.decode(SEARCHER.rank(None, max_params=0.3).vertices)}
    whole = make(max_params=0.3)
    states, asked = [], []
    for _ in range(40):
        states.append(json.loads(json.dumps(whole.state_dict())))
        asked += drive(whole, 1, noise.__getitem__)
    for cut in (0, 2, 3, 4, 15, 16, 17, 25, 33):
        resumed = make(max_params=0.3)
        resumed.load_state_dict(states[cut])
        assert drive(resumed, 40 - cut, noise.__getitem__) == asked[cut:]


def test_without_adapting_the_order_stays() -> None:
    asked = drive(make(adapt=False), 30, lambda cell: -small_convolutions(cell))
    assert asked == SPACE.decode(SEARCHER.rank(None).vertices[:30])


@pytest.mark.parametrize("value", [0.0, 1e-12, 1e12])
def test_equal_and_extreme_values_are_no_trouble(value: float) -> None:
    asked = drive(make(), 12, lambda cell: value)
    assert len(set(asked)) == 12


# -- states --------------------------------------------------------------------------------------
@pytest.mark.parametrize("options", [{}, {"candidates": 60}], ids=["exhaustive", "generated"])
def test_a_state_goes_on_where_it_stopped(options: dict[str, Any], task: Task) -> None:
    whole, first = (make(dataset=task, seed=3, **options) for _ in range(2))
    expected = drive(whole, 20, small_convolutions)
    assert drive(first, 9, small_convolutions) == expected[:9]
    pending = first.ask(2)
    assert pending[0] == expected[9]
    state = json.loads(json.dumps(first.state_dict()))
    again = make(dataset=task, seed=3, **options)
    again.load_state_dict(state)
    assert not set(again.ask(30)) & {*expected[:9], *pending}


def test_a_state_of_another_seed_is_of_the_same_networks(task: Task) -> None:
    """The generated candidates differ, so what was asked for is known by the network, not by its place."""
    first, other = (make(dataset=task, seed=seed, candidates=60) for seed in (0, 1))
    asked = first.ask(20)
    other.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert not set(other.ask(60)) & set(asked)


def test_a_state_of_another_strategy_is_refused() -> None:
    state = get_strategy("random")(SPACE).state_dict()
    with pytest.raises(CheckpointError, match="RandomSearch"):
        make().load_state_dict(state)


# -- wrong input ---------------------------------------------------------------------------------
def test_another_space_is_refused() -> None:
    with pytest.raises(ConfigError, match="model 'toy' is of the space 'nasbench201', not 'toy'"):
        MetaD2AStrategy(ToySpace(), model=SEARCHER)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_params": 0.001}, "no architecture is within the limits"),
        ({"max_flops": -1}, "max_flops"),
        ({"candidates": 0}, "candidates must be an integer of 1 or more"),
        ({"max_latency": {"pixel33": 1}}, "did you mean 'pixel3'"),
        ({"input_size": 1}, "input_size"),
    ],
    ids=str,
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_an_unknown_model() -> None:
    with pytest.raises(CheckpointError, match="no checkpoint 'gone'"):
        MetaD2AStrategy(SPACE, model="gone")


def test_the_default_is_the_model_named_like_the_space() -> None:
    with pytest.raises(CheckpointError, match="no checkpoint 'toy'"):
        MetaD2AStrategy(ToySpace())


@pytest.mark.skipif("nasbench201" not in shipped(), reason="a checkout without the shipped model")
def test_found_by_name_with_the_shipped_model(task: Task) -> None:
    strategy = get_strategy("metad2a")(SPACE, seed=0, dataset=task)
    assert strategy.ask(3) == MetaD2A.from_pretrained().search(task, top=3).architectures
