"""What a network is trained with."""

from __future__ import annotations

import json
import pickle

import pytest

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.training import TrainConfig


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"epochs": 0}, "epochs must be an integer of 1 or more, got 0"),
        ({"epochs": True}, "epochs must be an integer"),
        ({"epochs": 2.5}, "epochs must be an integer"),
        ({"batch_size": 1}, "batch_size must be an integer of 2 or more"),
        ({"input_size": 7}, "input_size must be an integer of 8 or more"),
        ({"lr": 0}, "lr must be a positive number"),
        ({"lr": float("nan")}, "lr must be a positive number"),
        ({"flip": 1}, "flip must be true or false"),
        ({"images": 0}, "images must be an integer of 1 or more"),
        ({"options": {"epochs": 3}}, "epochs is a setting of the budget"),
        ({"options": 3}, "options must be options of the network by name"),
    ],
)
def test_a_value_out_of_range_is_refused(wrong, says):
    with pytest.raises(ConfigError, match=says):
        Budget(**wrong)


def test_equal_budgets_are_one_key():
    first = Budget(options={"channels": 8, "cells": 1})
    second = Budget(options={"cells": 1, "channels": 8})
    assert first == second and len({first, second, Budget()}) == 2


def test_a_budget_is_what_its_plain_values_say():
    budget = Budget(epochs=3, flip=True, images=100, options={"channels": 8})
    plain = json.loads(json.dumps(budget.to_dict()))
    assert plain["channels"] == 8 and "options" not in plain
    assert Budget.from_dict(plain) == Budget.of(plain) == Budget.of(budget) == budget
    assert pickle.loads(pickle.dumps(budget)) == budget
    assert Budget.of(None) is None


def test_what_is_no_budget_is_refused():
    with pytest.raises(ConfigError, match="budget must be a Budget or settings by name"):
        Budget.of(30)


def test_images_are_those_of_the_dataset_less_the_held_out_ones():
    assert Budget().resolved(1000).images == 800
    assert Budget().resolved(1000, validation=0.5).images == 500
    assert Budget().resolved(1).images == 1
    assert Budget(images=7).resolved(1000).images == 7
    with pytest.raises(ConfigError, match="give the budget's images"):
        Budget().resolved(None)


def test_steps_are_those_of_the_training():
    budget = Budget(epochs=3, batch_size=32, images=65)
    assert (budget.steps_per_epoch, budget.steps, budget.seen) == (3, 9, 195)
    with pytest.raises(ConfigError, match="without images has no steps"):
        Budget().steps  # noqa: B018 - the property raises


def test_a_training_says_its_budget():
    config = TrainConfig(epochs=5, batch_size=16, lr=0.2, flip=True, input_size=16, options={"cells": 1})
    assert config.budget == Budget(epochs=5, batch_size=16, lr=0.2, flip=True, input_size=16, options={"cells": 1})
    assert TrainConfig().resolved(10_000).budget == Budget()
    with pytest.raises(ConfigError, match="a budget needs a batch size"):
        _ = TrainConfig().budget
