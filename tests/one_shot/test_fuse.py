from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from one_shot_toys import SMALLEST, SharedChains, coloured

from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.one_shot import fuse
from metad2a_plugin.one_shot.fuse import FUSE, FuseConfig, FuseRound
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.spaces.restricted import RestrictedSpace
from metad2a_plugin.testing import ToySpace

IMAGES = coloured(8, 8, 8)
CHAINS = SharedChains(length=3)
SHARED = pytest.mark.parametrize("shared_weights", [False, True], ids=["alone", "shared"])


def config(**options: Any) -> FuseConfig:
    small = {"epochs": 1, "rounds": 3, "batch_size": 8, "input_size": 8, "device": "cpu"}
    return FuseConfig.from_dict(small | options)


def history(space: Any = CHAINS, run_dir: Path | None = None, **options: Any) -> list[FuseRound]:
    search = FUSE(IMAGES, config(**options), run_dir, space)
    search.run()
    return [line._replace(seconds=0) for line in search.history]


@SHARED
def test_the_best_of_a_round_meets_new_ones_in_the_next(shared_weights: bool) -> None:
    search = FUSE(IMAGES, config(shared_weights=shared_weights, candidates=2), space=CHAINS)
    ranked = search.run()
    lines = search.history
    assert [line.round for line in lines] == [1, 2, 3]
    for before, line in pairwise(lines):
        assert line.candidates[0] == before.best and len(line.candidates) == 2
    for line in lines:
        assert sum(line.weights) == pytest.approx(1)
        assert line.best == line.candidates[line.weights.index(max(line.weights))]
    seen = [text for line in lines for text in line.candidates]
    assert CHAINS.format(ranked[0]) == lines[-1].best
    assert {CHAINS.format(one) for one in ranked} == set(seen) and len(ranked) == len(set(seen)) == 4
    assert len({CHAINS.canonical(one) for one in ranked}) == 4, "the same network twice"


def test_no_candidate_is_dead_and_a_space_runs_out() -> None:
    lines = history(rounds=50)
    assert not any("none" in text for line in lines for text in line.candidates)
    # Chains of 0 to 3 convolutions: four networks.
    assert [len(line.candidates) for line in lines] == [3, 2]


def test_of_a_part_of_a_space_only_that_is_mixed() -> None:
    part = RestrictedSpace(CHAINS, [[1, 2], [2], [1]])
    lines = history(part)
    assert len(lines) == 1 and all(CHAINS.parse(text) in part for text in lines[0].candidates)


def test_what_learns_outweighs_what_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two networks, one of which answers the same for all images."""
    good, constant = CHAINS.parse("conv>skip>skip"), CHAINS.parse("none>conv>conv")
    monkeypatch.setattr(FUSE, "_drawn", lambda self, most: [] if self.history else [constant, good])
    [line] = history(epochs=15, lr=0.1, alpha_lr=0.1, width=8)
    assert line.best == "conv>skip>skip" and line.weights[1] > 0.6
    assert line.mixture_loss < math.log(3)


@SHARED
def test_same_seed_same_search(shared_weights: bool) -> None:
    torch.manual_seed(1)
    first = history(shared_weights=shared_weights)
    torch.manual_seed(2)
    assert history(shared_weights=shared_weights) == first
    assert history(shared_weights=shared_weights, seed=1) != first


@SHARED
def test_an_interrupted_search_goes_on(shared_weights: bool, tmp_path: Path) -> None:
    space = SharedChains(length=6)  # seven networks

    def interrupt(line: FuseRound) -> None:
        if line.round == 2:
            raise KeyboardInterrupt

    settings = config(shared_weights=shared_weights)
    with pytest.raises(KeyboardInterrupt):
        FUSE(IMAGES, settings, tmp_path, space).run(interrupt)
    rounds: list[FuseRound] = []
    search = FUSE(IMAGES, settings, tmp_path, space)
    search.run(rounds.append)
    assert [line.round for line in rounds] == [3]
    assert [line._replace(seconds=0) for line in search.history] == history(space, shared_weights=shared_weights)
    FUSE(IMAGES, settings, tmp_path, space).run(lambda line: pytest.fail("it searched again"))
    [log] = tmp_path.glob("*/rounds.csv")
    assert len(log.read_text().splitlines()) == 4
    [state] = tmp_path.glob("*/search.pt")
    state.write_bytes(b"torn")
    with pytest.raises(CheckpointError, match="remove it to search from the start"):
        FUSE(IMAGES, settings, tmp_path, space).run()


def test_parts_and_settings_have_folders_of_their_own(tmp_path: Path) -> None:
    for space, options in (
        (CHAINS, {}),
        (CHAINS, {"lr": 0.1}),
        (RestrictedSpace(CHAINS, [[1, 2], [2], [2]]), {}),
        (RestrictedSpace(CHAINS, [[1, 2], [1, 2], [2]]), {}),
    ):
        history(space, tmp_path, rounds=1, **options)
    assert len(list(tmp_path.iterdir())) == 4


def test_no_round_begins_after_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuse.FUSE, "seconds", 40.0)
    search = FUSE(IMAGES, config(minutes=1, candidates=2, rounds=9), space=SharedChains(length=6))
    search.run()
    assert len(search.history) == 2


def test_a_space_without_a_supernet_is_searched_by_stand_alone_networks() -> None:
    search = FUSE(IMAGES, config(), space=ToySpace())
    assert len(search.run()) == 4
    with pytest.raises(ConfigError, match="'toy' has no supernet"):
        FUSE(IMAGES, config(shared_weights=True), space=ToySpace())


@SHARED
def test_cells_of_nasbench201(shared_weights: bool) -> None:
    search = FUSE(IMAGES, FuseConfig.from_dict(SMALLEST | {"rounds": 2, "shared_weights": shared_weights}))
    assert len(search.run()) == 5
    assert search.space is not None and search.space.name == get_space("nasbench201").name


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"rounds": 0}, "rounds must be an integer of 1 or more"),
        ({"candidates": 1}, "candidates must be an integer of 2 or more"),
        ({"minutes": 0}, "minutes must be a positive number"),
        ({"minutes": math.nan}, "minutes must be a positive number"),
        ({"shared_weights": "yes"}, "shared_weights"),
        ({"epochs": 0}, "epochs"),
        ({"alpha_lr": -1}, "alpha_lr"),
        ({"depth": 3}, "unknown option 'depth' of the network; those of the space 'shared-chains' are width"),
    ],
)
def test_a_wrong_setting_is_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FUSE(IMAGES, config(**setting), space=CHAINS)


def test_a_part_of_dead_ones_has_nothing_to_mix() -> None:
    with pytest.raises(ConfigError, match="that may be searched can learn; allow others"):
        history(RestrictedSpace(CHAINS, [[0], [1, 2], [2]]))


def test_a_loss_that_is_not_finite_ends_it() -> None:
    with pytest.raises(ConfigError, match="the mixture's loss became nan"):
        history(lr=1e30, epochs=3)
