"""What a generator learns to propose, where a meta-database holds networks that nobody chose for being good."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import torch

from metad2a_plugin.meta.database import ClassFeatures, MetaDatabase
from metad2a_plugin.models.checkpoint import AccuracyModel

DRAWS = 10
"""Random networks of which the best predicted one is a target, as in the paper (Lee et al., ICLR 2021, Sec. 4.2)."""


def best_predicted(
    database: MetaDatabase,
    classes: ClassFeatures,
    predictor: AccuracyModel,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    on_task: Callable[[int, int], None] = lambda done, total: None,
) -> MetaDatabase:
    """The database with each row's network replaced by the best predicted one, for its task, of some random ones.

    Networks are drawn by `SearchSpace.sample_balanced`, so that small ones are among them.

    Args:
        database, classes: from `load_database` and `ClassFeatures.group`.
        predictor: of the database's space.
        draws: networks for each row.
        seed: of the draws.
        on_task: called with the number of tasks done, and of all.
    """
    rng, space = random.Random(seed), database.space
    drawn = space.encode([space.sample_balanced(rng) for _ in range(draws * len(database.task))])
    drawn = drawn.unflatten(0, (-1, draws))
    vertices = torch.empty_like(database.vertices)
    used = database.task.unique()
    for done, task in enumerate(used.tolist(), 1):
        rows = torch.nonzero(database.task == task).squeeze(1)
        dataset = classes.task(database.task_classes[task], f"task {task}")
        predicted = predictor.predict_task(dataset, drawn[rows].flatten(0, 1)).mean.unflatten(0, (-1, draws))
        vertices[rows] = drawn[rows, predicted.argmax(1)]
        on_task(done, len(used))
    return replace(database, vertices=vertices)
