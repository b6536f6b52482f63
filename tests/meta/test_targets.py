from __future__ import annotations

import dataclasses

import pytest
import torch
from meta_toys import MOBILE, QUICK, Toy, mobile_quality, mobile_toy, task_of

from metad2a_plugin.meta.config import population
from metad2a_plugin.meta.fit import fit_ensemble
from metad2a_plugin.meta.targets import best_predicted
from metad2a_plugin.models.ensemble import SubspaceEnsemble


@pytest.fixture(scope="module")
def made() -> Toy:
    return mobile_toy(tasks=40)


@pytest.fixture(scope="module")
def model(made: Toy) -> SubspaceEnsemble:
    config = dataclasses.replace(QUICK, selection=False, task_level=True)
    return fit_ensemble(made.database, made.classes, population(MOBILE), config)


def test_targets_are_better_than_the_rows(made: Toy, model: SubspaceEnsemble) -> None:
    steps: list[tuple[int, int]] = []
    targets = best_predicted(made.database, made.classes, model, on_task=lambda *step: steps.append(step))
    assert targets.vertices.shape == made.database.vertices.shape
    gain = mobile_quality(targets.vertices).mean() - mobile_quality(made.database.vertices).mean()
    assert gain > mobile_quality(made.database.vertices).std()
    assert torch.equal(MOBILE.encode(MOBILE.decode(targets.vertices)), targets.vertices)
    assert torch.equal(targets.task, made.database.task) and torch.equal(targets.valid, made.database.valid)
    assert steps == [(i, 40) for i in range(1, 41)]
    again, other = (best_predicted(made.database, made.classes, model, seed=s).vertices for s in (0, 1))
    assert torch.equal(again, targets.vertices) and not torch.equal(other, targets.vertices)


def test_one_draw_leaves_nothing_to_choose(made: Toy, model: SubspaceEnsemble) -> None:
    one = best_predicted(made.database, made.classes, model, draws=1).vertices
    before, after = (float(mobile_quality(v).mean()) for v in (made.database.vertices, one))
    assert after == pytest.approx(before, abs=0.6)


def test_the_dataset_of_a_task_has_all_images_of_its_classes(made: Toy) -> None:
    ours = made.classes.task(made.database.task_classes[3], "task 3")
    theirs = task_of(made, 3)
    assert torch.equal(ours.features, theirs.features) and torch.equal(ours.labels, theirs.labels)
    assert ours.name == "task 3" and ours.encoder == made.classes.encoder
