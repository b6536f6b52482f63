"""The fit of the predictor of budgets."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from meta_toys import fitted
from trainings_toys import QUICK, SPACE, budget_model, toy_task, toy_tasks, toy_trainings

from metad2a_plugin.errors import DatasetError
from metad2a_plugin.meta.trainings.database import Trainings
from metad2a_plugin.meta.trainings.fit import TableContext, fit_budget_model
from metad2a_plugin.models.budget import BudgetModel
from metad2a_plugin.plugins.budget import Budget

EVERY = SPACE.all_vertices()
LIVE = ~SPACE.dead_mask(EVERY)
FAST = dataclasses.replace(QUICK, curves_from=0)


def noisy(spread: float) -> Trainings:
    """Trainings, each twice, with so much more noise of the last accuracies."""
    made = toy_trainings().rows(torch.arange(130).repeat(2))
    last = made.settings["epochs"].long()[:, None] - 1
    jitter = spread * torch.randn(len(made), 1, generator=torch.Generator().manual_seed(3))
    values = (made.curve.gather(1, last) / 100).logit() + jitter
    return dataclasses.replace(made, curve=made.curve.scatter(1, last, 100 * values.sigmoid()))


def learned_noise(model: BudgetModel) -> float:
    return float(model.heads[0].hyper.noise.exp())


def test_the_noise_of_a_training_is_learned() -> None:
    config = dataclasses.replace(FAST, iterations=30)
    quiet, loud = (fit_budget_model(noisy(s), toy_tasks(), fitted()[1], config=config) for s in (0.0, 0.6))
    assert learned_noise(quiet) < 0.2 and 0.4 < learned_noise(loud) < 0.8


def test_variances_may_be_given_and_are_kept() -> None:
    start = [head.hyper for head in budget_model().heads]
    config = dataclasses.replace(FAST, iterations=0)
    again = fit_budget_model(toy_trainings(), toy_tasks(), fitted()[1], config=config, start=start)
    assert torch.equal(again.heads[0].hyper.context, start[0].context)


def test_a_table_tells_the_order_where_it_is_of_use() -> None:
    order = torch.rand(len(EVERY), generator=torch.Generator().manual_seed(5))
    accuracy = torch.where(LIVE, 40 + 40 * order, torch.tensor(10.0))
    far = Budget(200, 64, 32, 0.1, images=20_000, options={"channels": 16, "cells": 5})
    tables = [
        TableContext(source, source, toy_task(1.0, seed=seed), far, accuracy, 5000, "200")
        for seed, source in enumerate(("one", "other"))
    ]
    model = fit_budget_model(toy_trainings(), toy_tasks(), fitted()[1], tables=tables, config=FAST)
    cells = EVERY[LIVE][::50]
    found = model.predict_task(toy_task(1.0, seed=9), cells, far).mean
    assert torch.corrcoef(torch.stack([found, accuracy[LIVE][::50]]))[0, 1] > 0.8


def test_networks_that_cannot_learn_are_no_evidence() -> None:
    made = toy_trainings()
    vertices = made.vertices.clone()
    vertices[::4] = EVERY[~LIVE][0]
    model = fit_budget_model(dataclasses.replace(made, vertices=vertices), toy_tasks(), fitted()[1], config=FAST)
    assert len(model.evidence.places) == len(made) - len(vertices[::4])


@pytest.mark.parametrize(
    ("rows", "tasks", "message"), [(10, toy_tasks, "10 trainings .* too few"), (300, dict, "no images of task 0")]
)
def test_what_cannot_be_fitted_is_refused(rows: int, tasks: object, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        fit_budget_model(toy_trainings().rows(torch.arange(rows)), tasks(), fitted()[1], config=FAST)  # type: ignore[operator]
