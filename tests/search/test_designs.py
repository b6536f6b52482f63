"""The search over designs: cell, size, resolution, batch and epochs for a time."""

from __future__ import annotations

import json
import random

import pytest
import torch
from budget_toys import budget_checkpoint
from meta_toys import SPACE, checkpoint, image_dataset

from metad2a_plugin import Limits, MetaD2A
from metad2a_plugin.candidates.speed import Speed, workload_of
from metad2a_plugin.data import Task, extract_task
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.search.designs import BATCHES, EPOCHS, INPUT_SIZES, Designs, find_designs
from metad2a_plugin.spaces.base import random_live
from metad2a_plugin.training.speed import measure_speed

SPEED = Speed(per_step=5e-3, per_flop=5e-11, per_activation=3e-9)


@pytest.fixture(scope="module")
def task() -> Task:
    return extract_task(image_dataset(), cache_dir=False)


@pytest.fixture(scope="module")
def searcher() -> MetaD2A:
    return MetaD2A(budget_checkpoint())


@pytest.fixture(scope="module")
def found(searcher: MetaD2A, task: Task) -> Designs:
    return find_designs(searcher, task, 0.5, SPEED)


def seconds(design_budget: Budget, architecture_str: str) -> float:
    vertices = SPACE.encode([SPACE.parse(architecture_str)])
    work = workload_of(SPACE).of(vertices, design_budget.input_size, design_budget.options)
    return float(SPEED.seconds(work, design_budget))


def test_designs_fit_in_the_time_and_no_more_epochs_would(found: Designs, task: Task) -> None:
    assert len(found.designs) == 10
    for design in found.designs:
        budget = design.budget
        assert budget.images == found.images == round(0.8 * task.images)
        assert design.minutes == pytest.approx(seconds(budget, design.architecture_str) / 60, rel=1e-6)
        assert design.minutes <= 0.5
        if budget.epochs < EPOCHS[-1]:
            longer = EPOCHS[EPOCHS.index(budget.epochs) + 1]
            assert design.minutes * longer / budget.epochs > 0.5


def test_designs_are_the_best_that_the_model_knows(found: Designs, searcher: MetaD2A, task: Task) -> None:
    accuracies = [design.accuracy for design in found.designs]
    assert accuracies == sorted(accuracies, reverse=True)
    for design in found.designs[:3]:
        own = searcher.predict(task, [design.architecture], design.budget)
        assert float(own.mean[0]) == pytest.approx(design.accuracy)
        assert design.interval[0] < design.accuracy < design.interval[1]
    # The toy likes steps: small batches and images, and as many epochs as there are.
    assert found.best.budget.batch_size == BATCHES[0] and found.best.budget.epochs == EPOCHS[-1]
    rng = torch.Generator().manual_seed(0)
    every = workload_of(SPACE)
    for _ in range(200):
        pick = lambda values: values[int(torch.randint(len(values), (1,), generator=rng))]  # noqa: E731
        options = {name: pick(values) for name, values in SPACE.sizes.items()}
        budget = Budget(pick(EPOCHS), pick(BATCHES), pick(INPUT_SIZES), options=options, images=found.images)
        cell = SPACE.all_vertices()[int(torch.randint(SPACE.size, (1,), generator=rng))][None]
        if float(SPEED.seconds(every.of(cell, budget.input_size, options), budget)) <= 30:
            assert float(searcher.predict(task, cell, budget).mean[0]) <= found.best.accuracy + 1e-4


def test_at_most_three_designs_have_one_size_and_batch(found: Designs) -> None:
    settings = [(d.budget.input_size, d.budget.batch_size, tuple(d.budget.options.items())) for d in found.designs]
    assert max(settings.count(setting) for setting in settings) <= 3


def test_costs_and_plain_values_are_those_of_the_design(found: Designs) -> None:
    best = found.best
    cost = SPACE.cost(
        best.architecture, num_classes=found.num_classes, input_size=best.budget.input_size, **best.budget.options
    )
    assert (best.params, best.flops) == (cost.params, cost.flops)
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["designs"][0]["budget"] == best.budget.to_dict()
    assert plain["designs"][0]["architecture"] == best.architecture_str


def test_what_is_decided_is_used_as_it_is_also_off_the_grid(searcher: MetaD2A, task: Task) -> None:
    limits = Limits(SPACE, input_size=20, options={"channels": 12})
    result = find_designs(searcher, task, 0.5, SPEED, limits=limits, epochs=7, batch_size=48, lr=0.03, flip=True, top=2)
    for design in result.designs:
        budget = design.budget
        assert (budget.input_size, budget.options["channels"], budget.epochs) == (20, 12, 7)
        assert (budget.batch_size, budget.lr, budget.flip) == (48, 0.03, True)
        assert list(budget.options) == list(SPACE.sizes)
    assert result.settings == len(SPACE.sizes["cells"])


def test_more_time_never_gives_a_worse_design(searcher: MetaD2A, task: Task, found: Designs) -> None:
    shorter = find_designs(searcher, task, 0.02, SPEED, top=1)
    assert shorter.best.accuracy < found.best.accuracy


def test_limits_hold_at_every_size(searcher: MetaD2A, task: Task) -> None:
    result = find_designs(searcher, task, 0.5, SPEED, limits=Limits(SPACE, max_params=0.03), top=5)
    assert all(design.params <= 0.03 for design in result.designs)


def test_what_cannot_be_trained_in_the_time_is_said(searcher: MetaD2A, task: Task) -> None:
    with pytest.raises(ConfigError, match=r"no training fits in 0\.0001 minutes .* the shortest takes about"):
        find_designs(searcher, task, 0.0001, SPEED)
    with pytest.raises(ConfigError, match="minutes must be a positive number"):
        find_designs(searcher, task, 0, SPEED)
    with pytest.raises(ConfigError, match="knows no budgets"):
        find_designs(MetaD2A(checkpoint()), task, 1, SPEED)


def test_activations_of_any_cell_are_known_from_a_few() -> None:
    rng, workload = random.Random(7), workload_of(SPACE)
    options = {"channels": 24, "cells": 2}
    cells = [random_live(SPACE, rng) for _ in range(5)]
    work = workload.of(SPACE.encode(cells), 32, options)
    for cell, activations in zip(cells, work.activations.tolist(), strict=True):
        assert activations == pytest.approx(workload.count(cell, options), rel=1e-3)
    double = workload.of(SPACE.encode(cells), 64, options)
    assert torch.allclose(double.activations, 4 * work.activations)


def test_the_speed_of_this_machine_tells_long_trainings_from_short_ones() -> None:
    speed, workload = measure_speed(SPACE, "cpu"), workload_of(SPACE)
    assert min(speed.per_step, speed.per_flop, speed.per_activation) >= 0
    cell = SPACE.encode([SPACE.sample(random.Random(3))])
    small = Budget(1, 32, 16, images=320, options={"channels": 8, "cells": 1})
    large = Budget(1, 32, 64, images=320, options={"channels": 32, "cells": 5})
    times = [float(speed.seconds(workload.of(cell, b.input_size, b.options), b)) for b in (small, large)]
    assert 0 < times[0] < times[1] / 10


def test_options_of_designs_are_in_the_order_of_the_space_s_sizes(searcher: MetaD2A, task: Task) -> None:
    limits = Limits(SPACE, input_size=16, options={"cells": 1})
    result = find_designs(searcher, task, 0.5, SPEED, limits=limits, epochs=1, batch_size=32, top=1)
    assert list(result.best.budget.options) == list(SPACE.sizes)
