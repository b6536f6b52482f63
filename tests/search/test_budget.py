"""A search for a budget, and what knows none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from budget_toys import ToyBudgetModel, budget_checkpoint, ship
from meta_toys import SPACE, checkpoint, image_dataset

from metad2a_plugin import MetaD2A
from metad2a_plugin.data import Task, extract_task
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.budget import Budget, default_model
from metad2a_plugin.plugins.registry import predictor_of
from metad2a_plugin.search.metad2a import search_space
from metad2a_plugin.search.scoring import score_architectures

SHORT, LONG = Budget(epochs=1, batch_size=64), Budget(epochs=100, batch_size=2)
CONVS = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"


@pytest.fixture(scope="module")
def task() -> Task:
    return extract_task(image_dataset(), cache_dir=False)


@pytest.fixture(scope="module")
def searcher() -> MetaD2A:
    return MetaD2A(budget_checkpoint())


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ship(tmp_path, monkeypatch)


def test_a_task_knows_how_many_images_its_dataset_has() -> None:
    images = image_dataset()
    assert extract_task(images, cache_dir=False, max_images_per_class=3).images == len(images) > 3 * images.num_classes


def test_networks_are_ranked_for_the_budget(searcher: MetaD2A, task: Task) -> None:
    long, short = (searcher.search(task, budget=budget, top=1) for budget in (LONG, SHORT))
    assert long.best.architecture_str.count("nor_conv_3x3") == 6
    assert short.best.architecture_str.count("skip_connect") == 6
    assert long.budget == LONG.resolved(task.images) and long.notes == ()
    assert "held out of that training" in long.scale and "of a toy" in searcher.search(task, top=1).scale
    assert json.loads(json.dumps(long.to_dict()))["budget"]["images"] == round(0.8 * task.images)


def test_without_a_budget_the_search_says_that_it_is_for_long_training(searcher: MetaD2A, task: Task) -> None:
    result = searcher.search(task, top=1)
    assert result.budget is None and result.to_dict()["budget"] is None
    assert "ranked for long training; give a budget (--epochs" in " ".join(result.notes)


def test_costs_are_counted_in_the_size_of_the_budget(searcher: MetaD2A, task: Task) -> None:
    budget = Budget(epochs=100, batch_size=2, input_size=16, options={"channels": 8, "cells": 1})
    result = searcher.search(task, budget=budget, top=1)
    own = SPACE.cost(result.best.architecture, num_classes=task.num_classes, input_size=16, channels=8, cells=1)
    assert (result.best.params, result.best.flops) == (own.params, own.flops)
    assert (result.input_size, result.options) == (16, {"channels": 8, "cells": 1})
    by_name = searcher.search(task, budget=budget.to_dict(), top=1)
    assert by_name.candidates == result.candidates


def test_options_beside_a_budget_are_those_of_its_networks(searcher: MetaD2A, task: Task) -> None:
    result = searcher.search(task, budget=LONG, cells=1, top=1)
    assert result.budget.options == {"cells": 1}
    with pytest.raises(ConfigError, match="cells is 2 in the budget and 1 in the limits"):
        searcher.search(task, budget=Budget(options={"cells": 2}), cells=1)
    with pytest.raises(ConfigError, match="input_size"):
        searcher.search(task, budget=Budget(input_size=16), input_size=24)


def test_a_front_is_for_the_budget(searcher: MetaD2A, task: Task) -> None:
    front = searcher.pareto(task, budget=SHORT, points=3)
    assert front.result.budget == SHORT.resolved(task.images)
    assert front.candidates[-1].architecture_str.count("skip_connect") == 6


def test_predictions_are_for_the_budget(searcher: MetaD2A, task: Task) -> None:
    cells = SPACE.encode([SPACE.parse(CONVS)])
    model = searcher.checkpoint.predictor
    expected = model.predict_task(task, cells, LONG.resolved(task.images)).mean
    assert torch.equal(searcher.predict(task, cells, LONG).mean, expected)
    assert torch.equal(searcher.predict(task, cells).mean, model.predict_task(task, cells).mean)
    assert not torch.equal(searcher.predict(task, cells).mean, expected)


def test_without_a_dataset_the_budget_says_how_many_images(searcher: MetaD2A) -> None:
    with pytest.raises(ConfigError, match="give the budget's images"):
        searcher.rank(None, budget=LONG)
    assert len(searcher.rank(None, budget=Budget(images=500)).vertices) > 1000


@pytest.mark.usefixtures("shipped")
def test_what_knows_no_budgets_names_the_model_that_does(task: Task) -> None:
    blind = MetaD2A(checkpoint())
    for search in (blind.search, blind.pareto):
        with pytest.raises(ConfigError, match=r"knows no budgets; leave the budget out, or .* 'nasbench201-budget'"):
            search(task, budget=LONG)
    with pytest.raises(ConfigError, match=r"'params' knows no budgets; .*'nasbench201-budget'"):
        search_space("nasbench201", "params", budget=LONG)
    made = predictor_of("params", SPACE)
    with pytest.raises(ConfigError, match=r"'params' knows no budgets; .*'nasbench201-budget'"):
        predictor_of(made, SPACE, budget=LONG)
    with pytest.raises(ConfigError, match="no shipped model of the space 'mobilenetv3' knows budgets"):
        default_model("mobilenetv3", budgeted=True)


@pytest.mark.usefixtures("shipped")
def test_by_default_a_budget_takes_the_model_that_knows_budgets(task: Task) -> None:
    made = predictor_of("metad2a", SPACE, budget=LONG)
    assert made.knows_budgets and made.budget == LONG
    assert isinstance(made.checkpoint.predictor, ToyBudgetModel)
    assert not predictor_of("metad2a", SPACE).knows_budgets
    assert predictor_of(made, SPACE, budget=LONG) is made
    with pytest.raises(ConfigError, match="has its budget already"):
        predictor_of(made, SPACE, budget=SHORT)
    assert search_space(SPACE, "metad2a", task, budget=LONG, top=1).budget == LONG.resolved(task.images)


@pytest.mark.usefixtures("shipped")
def test_architectures_are_scored_for_the_budget() -> None:
    given = [SPACE.parse(CONVS), SPACE.parse(CONVS.replace("nor_conv_3x3", "skip_connect"))]
    images = image_dataset()
    budget = Budget(epochs=1, batch_size=64, input_size=16, options={"cells": 1})
    short = score_architectures(SPACE, given, dataset=images, budget=budget)
    long = score_architectures(SPACE, given, dataset=images, budget=LONG)
    assert [s.architecture for s in short.scores] == [s.architecture for s in long.scores][::-1]
    assert short.to_dict()["budget"] == budget.resolved(len(images)).to_dict()
    classes = images.num_classes
    assert short.scores[1].params_m == SPACE.cost(given[0], num_classes=classes, input_size=16, cells=1).params


def test_an_option_that_the_space_has_not_is_refused(searcher: MetaD2A, task: Task) -> None:
    with pytest.raises(ConfigError, match="unknown option 'epoch'"):
        searcher.search(task, budget={"epoch": 3})
