from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from one_shot_toys import SMALLEST, SharedChains, coloured

from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.one_shot.outcome import SearchEpoch, rank_cells
from metad2a_plugin.plugins.registry import get_space, get_strategy
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.spaces.restricted import RestrictedSpace
from metad2a_plugin.testing import StrategyConformance

SPACE = get_space("nasbench201")
IMAGES = coloured(4, 4, 4)
SHORT = SMALLEST | {"second_order": "none"}
NAMES = ("darts", "lpt")


def make(name: str = "darts", **options: Any) -> Any:
    return get_strategy(name)(SPACE, **({"dataset": IMAGES} | SHORT | options))


class TestDARTS(StrategyConformance):
    name = "darts"

    def make_space(self) -> SearchSpace:
        return SPACE

    def make(self, space: SearchSpace, seed: int) -> Strategy:
        return make(self.name, seed=seed)


@pytest.mark.slow
class TestLPT(TestDARTS):
    name = "lpt"


# -- what it asks --------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_cells_come_in_the_order_of_their_probability_live_and_none_twice(name: str) -> None:
    strategy = make(name)
    asked = strategy.ask(300) + strategy.ask(300)
    vertices, scores = rank_cells(SPACE, strategy.search())
    place = dict(zip(SPACE.decode(vertices), scores.tolist(), strict=True))
    assert [place[cell] for cell in asked] == sorted((place[cell] for cell in asked), reverse=True)
    assert not SPACE.dead_mask(SPACE.encode(asked)).any()
    assert len(SPACE.simplify(SPACE.encode(asked)).unique(dim=0)) == 600


def test_in_the_end_every_function_was_asked_for() -> None:
    strategy = make()
    asked = strategy.ask(20_000)
    assert len(asked) == 4929 and strategy.ask() == []
    without = make(allow_none=False).ask(20_000)
    assert 0 < len(without) < 4929
    assert all(0 not in cell.choices for cell in without)


def test_what_was_told_is_not_asked_for() -> None:
    first, second = make().ask(2)
    strategy = make()
    strategy.tell(first, 1.0)
    assert strategy.ask() == [second]


def test_its_recommendation_is_its_first_cell_until_something_was_told() -> None:
    strategy = make()
    assert strategy.recommendation is None
    strategy.search()
    likeliest = strategy.recommendation
    assert [likeliest] == strategy.ask()
    [second] = strategy.ask()
    strategy.tell(second, 1.0)
    assert strategy.recommendation == second and strategy.best == (second, 1.0)
    strategy.tell(likeliest, 2.0)
    assert strategy.recommendation == likeliest


def test_the_tester_changes_the_search_and_its_seed_does() -> None:
    def alpha(name: str, **options: Any) -> torch.Tensor:
        return make(name, **options).search()

    assert alpha("darts").equal(alpha("darts", seed=0))
    assert not alpha("darts").equal(alpha("lpt"))
    assert not alpha("darts").equal(alpha("darts", seed=1))


# -- the search ----------------------------------------------------------------------------------
def test_it_searches_once_and_reports_each_epoch() -> None:
    epochs: list[SearchEpoch] = []
    strategy = make(epochs=2)
    alpha = strategy.search(epochs.append)
    assert [epoch.epoch for epoch in epochs] == [1, 2]
    strategy.ask()
    assert strategy.search(epochs.append) is alpha and len(epochs) == 2


def test_a_resumed_strategy_does_not_search_again(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = make()
    strategy.ask(3)
    state = json.loads(json.dumps(strategy.state_dict()))
    resumed = make(seed=7)
    monkeypatch.setattr(resumed, "method", lambda *_: pytest.fail("it searched"))
    resumed.load_state_dict(state)
    assert resumed.ask(3) == strategy.ask(3)


def test_a_search_in_a_folder_is_not_repeated(tmp_path: Path) -> None:
    alpha = make(run_dir=tmp_path).search()
    assert make(run_dir=tmp_path).search(lambda epoch: pytest.fail("it searched")).equal(alpha)


def test_arrays_will_do_for_a_dataset() -> None:
    arrays = IMAGES.images(range(len(IMAGES)), 8).permute(0, 2, 3, 1).numpy(), np.asarray(IMAGES.labels)
    assert make(dataset=arrays).ask(3) == make().ask(3)


# -- any space with a supernet -------------------------------------------------------------------
CHAINS = SharedChains()


def in_chains(name: str = "darts", space: SearchSpace = CHAINS, **options: Any) -> Any:
    settings = {"epochs": 2, "batch_size": 8, "input_size": 8, "alpha_lr": 0.1, "device": "cpu"}
    return get_strategy(name)(space, **({"dataset": IMAGES} | settings | options))


class TestDARTSInChains(StrategyConformance):
    def make_space(self) -> SearchSpace:
        return SharedChains(length=5)

    def make(self, space: SearchSpace, seed: int) -> Strategy:
        return in_chains(space=space, seed=seed, epochs=1, second_order="none")


@pytest.mark.parametrize("name", NAMES)
def test_a_space_of_somebody_else_is_searched(name: str, tmp_path: Path) -> None:
    epochs: list[SearchEpoch] = []
    strategy = in_chains(name, width=3, run_dir=tmp_path)
    alpha = strategy.search(epochs.append)
    assert alpha.shape == (3, 3) and alpha.ne(0).any() and len(epochs) == 2
    assert not CHAINS.is_dead(CHAINS.parse(epochs[-1].cell)) and epochs[-1].entropy < math.log(3)
    asked = strategy.ask(100)
    # One chain for each number of convolutions, the likeliest of all with that number.
    likeliest: dict[str, Any] = {}
    for chain in CHAINS.decode(rank_cells(CHAINS, alpha)[0]):
        if not CHAINS.is_dead(chain):
            likeliest.setdefault(CHAINS.canonical(chain), chain)
    assert asked == list(likeliest.values()) and len(asked) == 4
    again = in_chains(name, width=3, run_dir=tmp_path)
    assert again.search(lambda epoch: pytest.fail("it searched")).equal(alpha)
    again.load_state_dict(json.loads(json.dumps(strategy.state_dict())))
    assert again.ask() == []


def test_without_none_a_space_that_has_no_such_operation_keeps_all() -> None:
    assert in_chains(allow_none=False).ask(100) == in_chains().ask(100)


def test_its_options_make_another_search(tmp_path: Path) -> None:
    for options in ({}, {"width": 4}, {"width": 3}):  # 4 is the default
        in_chains(run_dir=tmp_path, **options).search()
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(CheckpointError, match=r"a search with \{'width': 4\}, not \{'width': 3\}"):
        in_chains(width=3).load_state_dict(in_chains().state_dict())
    with pytest.raises(ConfigError, match="unknown setting 'channels'"):
        in_chains(channels=2)


def test_of_a_part_of_a_space_only_that_is_asked_for() -> None:
    part = RestrictedSpace(CHAINS, [[1, 2], [2], [1, 2]])
    asked = in_chains(space=part).ask(100)
    assert len(asked) == 3 and all(part.validate(chain) for chain in asked)


# -- what it refuses -----------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_it_needs_a_dataset_and_its_space(name: str) -> None:
    with pytest.raises(ConfigError, match="give a dataset"):
        make(name, dataset=None)
    with pytest.raises(ConfigError, match="'mobilenetv3' has no supernet"):
        get_strategy(name)(get_space("mobilenetv3"), dataset=IMAGES)
    with pytest.raises(ConfigError, match=r"1.6e\+06 architectures; at most 1,000,000 can be ranked"):
        get_strategy(name)(SharedChains(length=13), dataset=IMAGES)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epoch": 3}, "unknown setting 'epoch'.*did you mean 'epochs'"),
        ({"epochs": 0}, "epochs must be an integer of 1 or more"),
        ({"second_order": "third"}, "unknown second_order 'third'"),
        ({"gamma": 1}, "unknown setting 'gamma'"),
    ],
    ids=["unknown", "epochs", "second order", "another's"],
)
def test_wrong_settings_are_refused_at_once(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**settings)


def test_a_state_of_other_settings_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"a search with \{'epochs': 1\}, not \{'epochs': 2\}"):
        make(epochs=2).load_state_dict(make().state_dict())
    make(allow_none=True).load_state_dict(make().state_dict())  # its default
    with pytest.raises(CheckpointError, match="on other images"):
        make(dataset=IMAGES.subset(range(10))).load_state_dict(make().state_dict())
    with pytest.raises(CheckpointError, match="not 'LPTStrategy'"):
        make("lpt").load_state_dict(make().state_dict())
