from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from one_shot_toys import SMALLEST, coloured, tiny

from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.one_shot.bilevel import draws, halves
from metad2a_plugin.one_shot.config import FORMS, SearchConfig
from metad2a_plugin.one_shot.darts import DARTS
from metad2a_plugin.one_shot.outcome import SearchEpoch, SearchOutcome, best_cell, rank_cells
from metad2a_plugin.one_shot.passing_tests import PassingTests, PassingTestsConfig
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.spaces.nasbench201.cell import OPS

SPACE = get_space("nasbench201")
IMAGES = coloured(8, 8, 8)
METHODS = [(DARTS, SearchConfig), (PassingTests, PassingTestsConfig)]
METHOD = pytest.mark.parametrize(("method", "config"), METHODS, ids=["darts", "lpt"])
NONE = OPS.index("none")


def same(first: SearchOutcome, second: SearchOutcome) -> bool:
    def log(outcome: SearchOutcome) -> list[SearchEpoch]:
        return [epoch._replace(seconds=0) for epoch in outcome.history]

    return first.alpha.equal(second.alpha) and log(first) == log(second)


# -- the ranking ---------------------------------------------------------------------------------
def test_cells_are_ranked_by_the_sum_of_their_log_probabilities() -> None:
    alpha = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    vertices, scores = rank_cells(SPACE, alpha)
    assert scores.diff().max() <= 0 and scores.exp().sum().item() == pytest.approx(1)
    probabilities = alpha.double().softmax(1).tolist()
    for place in random.Random(0).sample(range(15_625), 20):
        [cell] = SPACE.decode(vertices[place : place + 1])
        product = math.prod(row[choice] for row, choice in zip(probabilities, cell.choices, strict=True))
        assert scores[place].exp().item() == pytest.approx(product)
    assert SPACE.decode(vertices[:1])[0].choices == tuple(alpha.argmax(1).tolist())


def test_without_none_it_comes_last() -> None:
    alpha = torch.zeros(6, 5)
    alpha[:, NONE] = 5
    vertices, scores = rank_cells(SPACE, alpha, allow_none=False)
    assert scores.isfinite().sum() == 4**6
    assert not (vertices[: 4**6, 1:-1] == NONE + 2).any()
    assert NONE not in best_cell(SPACE, alpha, allow_none=False).choices


def test_the_best_cell_is_alive_even_if_every_edge_prefers_none() -> None:
    alpha = torch.zeros(6, 5)
    alpha[:, NONE] = 3
    alpha[3, 1] = 2
    assert best_cell(SPACE, alpha).choices == (0, 0, 0, 1, 0, 0)


# -- the search ----------------------------------------------------------------------------------
@METHOD
def test_the_mixture_learns(method: type[DARTS], config: type[SearchConfig]) -> None:
    outcome = method(IMAGES, tiny(config, epochs=8, second_order="none", channels=4, lr=0.1, alpha_lr=0.1)).run()
    first, last = outcome.history[0], outcome.history[-1]
    assert [epoch.epoch for epoch in outcome.history] == list(range(1, 9))
    assert last.loss < 0.7 * first.loss and last.mixture_accuracy > 80
    assert last.entropy < first.entropy < math.log(5)
    # What passes nothing on is of no use to this network.
    assert outcome.alpha.softmax(1)[3, NONE] < 0.2
    assert last.cell == SPACE.format(outcome.cell)
    assert outcome.seconds == pytest.approx(sum(epoch.seconds for epoch in outcome.history))


@METHOD
def test_same_seed_same_search(method: type[DARTS], config: type[SearchConfig]) -> None:
    def search(seed: int) -> SearchOutcome:
        return method(IMAGES, tiny(config, epochs=2, seed=seed)).run()

    torch.manual_seed(1)
    first = search(3)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert same(search(3), first) and not same(search(4), first)
    assert torch.get_rng_state().equal(state)


@METHOD
def test_each_form_of_the_second_order_is_another_search(method: type[DARTS], config: type[SearchConfig]) -> None:
    none, differences, exact = (method(IMAGES, tiny(config, second_order=form)).run().alpha for form in FORMS)
    assert not none.equal(exact) and not differences.equal(exact) and not none.equal(differences)


@METHOD
def test_an_interrupted_search_goes_on(method: type[DARTS], config: type[SearchConfig], tmp_path: Path) -> None:
    settings, whole = tiny(config, epochs=3), method(IMAGES, tiny(config, epochs=3)).run()

    def interrupt(epoch: SearchEpoch) -> None:
        if epoch.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        method(IMAGES, settings, tmp_path).run(interrupt)
    epochs: list[SearchEpoch] = []
    assert same(method(IMAGES, settings, tmp_path).run(epochs.append), whole)
    assert [epoch.epoch for epoch in epochs] == [3]
    assert same(method(IMAGES, settings, tmp_path).run(lambda epoch: pytest.fail("it searched again")), whole)
    [log] = tmp_path.glob("*/epochs.csv")
    assert len(log.read_text().splitlines()) == 4


def test_other_settings_and_images_have_a_folder_of_their_own(tmp_path: Path) -> None:
    for images, settings in ((IMAGES, tiny()), (IMAGES, tiny(lr=0.1)), (coloured(8, 8, 8, seed=1), tiny())):
        DARTS(images, settings, tmp_path).run()
    PassingTests(IMAGES, tiny(PassingTestsConfig), tmp_path).run()
    assert len(list(tmp_path.iterdir())) == 4


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    DARTS(IMAGES, tiny(), tmp_path).run()
    [state] = tmp_path.glob("*/search.pt")
    for damage in (state.read_bytes()[:1000], b"no state"):
        state.write_bytes(damage)
        with pytest.raises(CheckpointError, match="remove it to search from the start"):
            DARTS(IMAGES, tiny(), tmp_path).run()


def test_a_loss_that_is_not_finite_is_said() -> None:
    with pytest.raises(ConfigError, match=r"the supernet's loss became .* in epoch 1 .*lower one"):
        DARTS(IMAGES, tiny(lr=1e30)).run()


def test_halves_can_be_prepared_once() -> None:
    prepared = halves(IMAGES, tiny())
    assert len(prepared.labels) == len(prepared.validation_labels) == 12
    assert same(DARTS(prepared, tiny()).run(), DARTS(IMAGES, tiny()).run())
    with pytest.raises(ConfigError, match=r"call halves\(\) with the same settings"):
        DARTS(prepared, tiny(split_seed=1))


def test_batches_go_through_all_images_before_one_comes_again() -> None:
    batches = draws(10, 5, 4)
    assert [len(batch) for batch in batches] == [4] * 5
    assert torch.cat(batches[:3])[:10].sort().values.tolist() == list(range(10))
    assert [sorted(batch.tolist()) for batch in draws(3, 2, 8)] == [[0, 1, 2]] * 2


# -- the tester ----------------------------------------------------------------------------------
@pytest.mark.parametrize("form", FORMS)
def test_without_a_tester_it_is_darts(form: str) -> None:
    settings = {"epochs": 2, "second_order": form}
    plain = DARTS(IMAGES, tiny(**settings)).run()
    assert same(PassingTests(IMAGES, tiny(PassingTestsConfig, tester=False, **settings)).run(), plain)
    with_tester = PassingTests(IMAGES, tiny(PassingTestsConfig, **settings)).run()
    assert not with_tester.alpha.equal(plain.alpha)


def test_a_selector_without_a_preference_leaves_the_architecture_s_gradient_alone() -> None:
    settings: dict[str, Any] = {"selector_lr": 1e-30}
    search = PassingTests(IMAGES, tiny(PassingTestsConfig, **settings))
    for parameter in search.selector.parameters():
        torch.nn.init.zeros_(parameter)
    torch.testing.assert_close(search.run().alpha, DARTS(IMAGES, tiny()).run().alpha, rtol=1e-2, atol=1e-5)


def test_a_selector_that_picks_nothing_ends_no_search() -> None:
    search = PassingTests(IMAGES, tiny(PassingTestsConfig))
    with torch.no_grad():
        search.selector.bias.copy_(torch.tensor([1e3, -1e3]))
    outcome = search.run()
    assert outcome.history[-1].selected == 0 and outcome.alpha.isfinite().all()


def test_the_log_tells_of_the_tester() -> None:
    epochs = PassingTests(IMAGES, tiny(PassingTestsConfig, epochs=6, second_order="none", tester_lr=0.1)).run().history
    assert all(epoch.selected is not None and 0 < epoch.selected < 1 for epoch in epochs)
    assert epochs[0].tester_loss is not None and epochs[-1].tester_loss is not None
    assert epochs[-1].tester_loss < epochs[0].tester_loss
    assert DARTS(IMAGES, tiny()).run().history[0].selected is None


# -- settings ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "setting", "message"),
    [
        (SearchConfig, {"epochs": 0}, "epochs"),
        (SearchConfig, {"batch_size": 1}, "batch_size"),
        (SearchConfig, {"second_order": "exactly"}, "unknown second_order 'exactly'.*known are none"),
        (SearchConfig, {"second_order": 2}, "unknown second_order 2.*known are none, finite-differences, exact"),
        (SearchConfig, {"allow_none": "no"}, "allow_none"),
        (SearchConfig, {"lr": 0}, "lr must be a positive number"),
        (SearchConfig, {"momentum": 1}, "momentum"),
        (SearchConfig, {"alpha_lr": -1}, "alpha_lr"),
        (SearchConfig, {"input_size": 4}, "input_size"),
        (SearchConfig, {"augment": False, "flip": True}, "flip=True needs augment=True"),
        (PassingTestsConfig, {"epochs": 0}, "epochs"),
        (PassingTestsConfig, {"gamma": -1}, "gamma must be 0 or a positive number"),
        (PassingTestsConfig, {"lambda_": math.nan}, "lambda_"),
        (PassingTestsConfig, {"selector_lr": 0}, "selector_lr"),
        (PassingTestsConfig, {"tester_channels": 0}, "tester_channels"),
    ],
)
def test_a_wrong_setting_is_refused(make: type[SearchConfig], setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make.from_dict(SMALLEST | setting)


def test_the_device_must_be_there() -> None:
    with pytest.raises(ConfigError, match="device 'nowhere'"):
        DARTS(IMAGES, tiny(device="nowhere"))
