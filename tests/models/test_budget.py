"""The predictor of budgets, on trainings whose truth is known."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from meta_toys import checkpoint
from trainings_toys import SPACE, budget_model, toy_task, toy_tasks, toy_trainings, truth

from metad2a_plugin.data import Task
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.models.budget import BudgetModel
from metad2a_plugin.models.checkpoint import Checkpoint, load_checkpoint
from metad2a_plugin.plugins.budget import Budget

EVERY = SPACE.all_vertices()
LIVE = EVERY[~SPACE.dead_mask(EVERY)]
BUDGET = Budget(epochs=10, batch_size=16, input_size=16, images=1000, options={"channels": 8, "cells": 1})


@pytest.fixture(scope="module")
def model() -> BudgetModel:
    return budget_model()


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.argsort().argsort().double(), b.argsort().argsort().double()]))[0, 1])


def test_the_order_of_architectures_is_recovered(model: BudgetModel) -> None:
    cells = LIVE[::37]
    found = model.predict_task(toy_tasks()[3], cells, BUDGET).mean
    hard = torch.zeros(len(cells)).double()
    assert correlation(found, truth(cells, torch.full((len(cells),), 625.0).double(), hard)) > 0.8


def test_more_steps_and_easier_images_are_predicted_to_help(model: BudgetModel) -> None:
    def level(task: int, epochs: int) -> float:
        return float(
            model.predict_task(toy_tasks()[task], LIVE[::97], Budget(**{**vars(BUDGET), "epochs": epochs})).mean.mean()
        )

    assert level(2, 40) > level(2, 4) + 5
    assert level(5, 10) > level(0, 10) + 5


def test_an_unseen_dataset_is_placed_by_its_features(model: BudgetModel) -> None:
    hard, easy = (toy_task(s, seed=99) for s in (0.4, 1.4))
    levels = [float(model.predict_task(task, LIVE[::97], BUDGET).mean.mean()) for task in (hard, easy)]
    assert levels[1] > levels[0] + 5


def test_where_nothing_is_known_of_images_the_order_is_the_blind_one(model: BudgetModel) -> None:
    blind = budget_model(("dataset",))
    cells = LIVE[::37]
    found = model.predict_task(None, cells, BUDGET)
    assert correlation(found.mean, blind.predict_task(None, cells, BUDGET).mean) > 0.9
    one, other = (blind.predict_task(toy_task(s, seed=7), cells, BUDGET).mean for s in (0.4, 1.4))
    assert torch.allclose(one, other)


def test_less_data_never_narrows_an_interval(model: BudgetModel) -> None:
    task, cells = toy_tasks()[1], LIVE[::97]
    spreads = []
    for images in (20, 50, 70, 200, 300, 1000, 1100, 4000, 64_000):
        found = model.predict_task(task, cells, Budget(**{**vars(BUDGET), "images": images}))
        assert found.std is not None
        spreads.append(found.std)
    for fewer, more in pairwise(spreads):
        assert (fewer >= more - 1e-4).all()


def test_designs_are_predicted_as_their_architectures_in_each_budget(model: BudgetModel) -> None:
    task, cells = toy_tasks()[1], LIVE[::700]
    budgets = [BUDGET, Budget(40, 64, 32, 0.05, images=300, options={"channels": 16, "cells": 3})]
    each = [budgets[number % 2] for number in range(len(cells))]
    found, alone = model.predict_designs(task, cells, each), [model.predict_task(task, cells, b) for b in budgets]
    assert found.std is not None
    for number in range(len(cells)):
        one = alone[number % 2]
        assert one.std is not None
        assert torch.isclose(found.mean[number], one.mean[number], atol=1e-3)
        assert torch.isclose(found.std[number], one.std[number], atol=1e-3)
    with pytest.raises(ConfigError, match="a budget each"):
        model.predict_designs(task, cells, budgets)


def test_an_unknown_dataset_has_wider_intervals_than_a_known_one(model: BudgetModel) -> None:
    known, unknown = (model.predict_task(task, LIVE[::97], BUDGET).std for task in (toy_tasks()[1], None))
    assert known is not None and unknown is not None and (unknown > known).all()


def test_nine_in_ten_measured_values_are_inside_the_interval(model: BudgetModel) -> None:
    fresh, inside = toy_trainings(rows=200, seed=5), []
    for row in range(0, 200, 2):
        values = {name: column[row].item() for name, column in fresh.settings.items()}
        budget = Budget(
            int(values["epochs"]), int(values["batch_size"]), int(values["input_size"]), values["lr"],
            bool(values["flip"]), 1000, {"channels": int(values["channels"]), "cells": int(values["cells"])},
        )  # fmt: skip
        bounds = model.predict_task(toy_tasks()[int(fresh.task[row])], fresh.vertices[row : row + 1], budget).interval()
        assert bounds is not None
        inside.append(bool(bounds[0] <= fresh.accuracy[row] <= bounds[1]))
    assert sum(inside) / len(inside) >= 0.8


def test_what_was_seen_of_a_curve_tells_its_end(model: BudgetModel) -> None:
    task, cells = toy_tasks()[2], LIVE[::997]
    free, _ = model.curve(task, cells, BUDGET)
    low, width = model.curve(task, cells, BUDGET, (free[:, :3] - 8).clamp(1, 99))
    high, _ = model.curve(task, cells, BUDGET, (free[:, :3] + 8).clamp(1, 99))
    assert (low[:, -1] < free[:, -1]).all() and (high[:, -1] > free[:, -1]).all()
    _, before = model.curve(task, cells, BUDGET)
    assert (width[:, -1] < before[:, -1]).all()
    assert free.shape == (len(cells), 10) and torch.equal(low[:, :3], (free[:, :3] - 8).clamp(1, 99))


def test_the_median_orders_as_the_prediction_does(model: BudgetModel) -> None:
    task, cells = toy_tasks()[2], LIVE[::97]
    median, whole = model.median_task(task, cells, BUDGET), model.predict_task(task, cells, BUDGET).mean
    assert torch.corrcoef(torch.stack([median, whole]))[0, 1] > 0.98
    dead = EVERY[SPACE.dead_mask(EVERY)][:3]
    assert torch.allclose(model.median_task(task, dead, BUDGET), torch.tensor(25.0))


def test_the_end_of_a_curve_is_the_prediction(model: BudgetModel) -> None:
    cells = LIVE[::997]
    curve, _ = model.curve(toy_tasks()[2], cells, BUDGET)
    assert torch.allclose(curve[:, -1], model.predict_task(toy_tasks()[2], cells, BUDGET).mean, atol=1.0)


def test_too_long_a_curve_is_refused(model: BudgetModel) -> None:
    with pytest.raises(ConfigError, match=r"at most 10"):
        model.curve(toy_tasks()[2], LIVE[:2], BUDGET, torch.zeros(2, 11))


def test_without_a_budget_long_training_answers(model: BudgetModel) -> None:
    task = toy_tasks()[0]
    assert torch.equal(model.predict_task(task, LIVE[:9]).mean, model.long.predict_task(task, LIVE[:9]).mean)
    assert model.distance(task) == model.long.distance(task)


def test_the_distance_within_a_budget_is_from_the_tasks_that_were_trained(model: BudgetModel) -> None:
    """But for what so many images leave open."""
    known, strange = toy_tasks()[0], toy_task(6.0, classes=60)
    few = Task(known.features[::10], known.labels[::10].unique(return_inverse=True)[1])
    distances = [model.distance(task, BUDGET) for task in (known, few, strange)]
    assert distances[2] > 1 + distances[0] and distances[1] > 2 * distances[0]


@pytest.mark.parametrize("task", [toy_tasks()[0], None], ids=["known", "none"])
def test_intervals_never_widen_with_images_however_few(model: BudgetModel, task: Task | None) -> None:
    images = [1, 2, 3, 8, 12, 30, 50, 51, 400, 60_000, 200_000]
    budgets = [replace(BUDGET, images=n) for n in images]
    std = torch.stack([model.predict_task(task, LIVE[:9], budget).std for budget in budgets])
    assert (std.diff(dim=0) <= 1e-4).all() and (std[0] > std[-1]).all()
    for budget, expected in zip(budgets, std, strict=True):
        each = model.predict_designs(task, LIVE[:9], [budget] * 9)
        assert torch.allclose(each.std, expected, atol=1e-2)
    # A share of two images that were held out is 0, a half or 1.
    assert std[3].min() > 25


def test_a_network_that_cannot_learn_reaches_chance(model: BudgetModel) -> None:
    dead = EVERY[SPACE.dead_mask(EVERY)][:3]
    assert torch.allclose(model.predict_task(toy_tasks()[0], dead, BUDGET).mean, torch.tensor(25.0))


def test_all_architectures_take_a_second(model: BudgetModel) -> None:
    model.predict_task(toy_tasks()[0], EVERY, BUDGET)
    begin = time.process_time()
    model.predict_task(toy_tasks()[4], EVERY, BUDGET)
    assert time.process_time() - begin < 2


def saved(model: BudgetModel, folder: Path) -> Path:
    base = checkpoint()
    Checkpoint("mine", base.space, base.encoder, base.encoder_fingerprint, model, None, {}).save(folder)
    return folder


def test_a_checkpoint_gives_the_model_back(model: BudgetModel, tmp_path: Path) -> None:
    read = load_checkpoint(saved(model, tmp_path / "mine"))
    assert read.kind == "budget" and isinstance(read.predictor, BudgetModel)
    before, after = (m.predict_task(toy_tasks()[0], LIVE[::97], BUDGET) for m in (model, read.predictor))
    assert torch.allclose(before.mean, after.mean, atol=0.05)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: s.pop("wiggle"), r"missing \['wiggle'\]"),
        (lambda s: s.update(more=torch.zeros(1)), r"unknown \['more'\]"),
        (lambda s: s.update(budget_center=torch.zeros(2)), r"\[2\] features of a budget"),
        (lambda s: s.update(context=s["context"] + 10_000), "'context' must hold numbers from 0"),
        (lambda s: s.update(places=s["places"] + 20_000), "'places' must hold numbers from 0"),
    ],
)
def test_a_damaged_state_is_refused(model: BudgetModel, damage: object, message: str) -> None:
    state = model.state_dict()
    damage(state)  # type: ignore[operator]
    with pytest.raises(CheckpointError, match=message):
        BudgetModel.from_state_dict(state, SPACE)
