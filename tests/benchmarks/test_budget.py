"""Scores of the benchmark of budgets."""

from __future__ import annotations

import dataclasses

import budget
import pytest
import torch
from trainings_toys import toy_trainings

from metad2a_plugin.meta.trainings.database import Trainings


@pytest.fixture(scope="module")
def trainings() -> Trainings:
    """Ten cells in one context, of which the last two are the first two with another seed."""
    made = toy_trainings().rows(torch.arange(10))
    settings = {name: values[:1].expand(10) for name, values in made.settings.items()}
    vertices = made.vertices.clone()
    vertices[8:] = vertices[:2]
    curve = torch.arange(10.0)[:, None].expand(10, 40) + 50
    same = torch.zeros(10, dtype=torch.int64)
    return dataclasses.replace(made, vertices=vertices, settings=settings, curve=curve, context=same, task=same)


def left(score: torch.Tensor) -> dict[str, budget.LeftOut]:
    return {"set": budget.LeftOut(torch.arange(10), score, torch.ones(10))}


def test_the_right_order_has_no_regret(trainings: Trainings) -> None:
    truth = trainings.accuracy.clone()
    truth[[0, 8]], truth[[1, 9]] = truth[[0, 8]].mean(), truth[[1, 9]].mean()
    found = budget.cells(trainings, left(truth), lambda one: one.mean)["set"]
    assert found[0] == pytest.approx(1) and found[2:] == [0, 0, 0, 0]
    worst = budget.cells(trainings, left(-truth), lambda one: one.mean)["set"]
    assert worst[0] == pytest.approx(-1) and worst[2] > 4 and worst[3] < worst[2]


def test_configurations_take_one_row_of_a_context(trainings: Trainings) -> None:
    own = dataclasses.replace(trainings, context=torch.arange(10) // 2)
    score = own.accuracy.clone()
    score[1::2] = 0  # the second row of each
    assert budget.configurations(own, left(score), lambda one: one.mean)["set"][:3] == pytest.approx([1, 1, 0])
    assert budget.configurations(trainings, left(score), lambda one: one.mean) == {}


def test_the_nearest_configuration_stands_for_a_default(trainings: Trainings) -> None:
    size = torch.tensor([16.0, 32, 64, 32, 16, 16, 16, 16, 16, 16]).double()
    other = dataclasses.replace(trainings, settings={**trainings.settings, "input_size": size})
    assert int(budget.default_scores(other, {"input_size": 60})(left(torch.zeros(10))["set"]).argmax()) == 2


def test_groups_hold_every_set_once() -> None:
    parts = budget.groups(["a", "b", "c", "d", "e"], 2)
    assert sorted(one for part in parts for one in part) == ["a", "b", "c", "d", "e"] and len(parts) == 2
