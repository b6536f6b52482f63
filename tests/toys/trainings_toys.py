"""A small database of trainings whose truth is known."""

from __future__ import annotations

import math
from functools import cache

import torch
from meta_toys import fitted

from metad2a_plugin.meta.trainings.database import Trainings
from metad2a_plugin.meta.trainings.fit import BudgetFitConfig, fit_budget_model
from metad2a_plugin.models.budget import BudgetModel
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.plugins.task import Task

SPACE = get_space("nasbench201")
SETS, TASKS = 6, 12
QUICK = BudgetFitConfig(learned_from=250, curves_from=120, iterations=8, descriptors=12)


def separation(number: int) -> float:
    """How far apart the classes of a task are; what decides how hard it is."""
    return 0.4 + 1.2 * (number % SETS) / SETS


def toy_task(separated: float, *, classes: int = 4, images: int = 120, seed: int = 0) -> Task:
    generator = torch.Generator().manual_seed(seed)
    dim = fitted()[1].feature_dim
    labels = torch.arange(images) % classes
    centers = separated * torch.randn(classes, dim, generator=generator) / dim**0.5 * 3
    features = centers[labels] + torch.randn(images, dim, generator=generator)
    return Task(features, labels, f"toy {separated:.2f}", images=images)


def truth(vertices: torch.Tensor, steps: torch.Tensor, hard: torch.Tensor) -> torch.Tensor:
    """Logits: easier data, more steps and more convolutions help, convolutions the more the longer the training."""
    convolutions = ((vertices == 4) | (vertices == 5)).sum(1).double()
    return 1.5 * hard + 0.6 * (steps.log() - 5) + 0.25 * (convolutions - 2) * (1 + 0.4 * (steps.log() - 5))


@cache
def toy_trainings(rows: int = 320, seed: int = 0) -> Trainings:
    generator = torch.Generator().manual_seed(seed)
    every = SPACE.all_vertices()
    every = every[~SPACE.dead_mask(every)]

    def draw(values: list[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64)[torch.randint(len(values), (rows,), generator=generator)]

    task = torch.randint(TASKS, (rows,), generator=generator)
    vertices = every[torch.randint(len(every), (rows,), generator=generator)]
    settings = {
        "input_size": draw([16, 32]),
        "epochs": draw([4, 10, 40]),
        "batch_size": draw([16, 64]),
        "lr": draw([0.05, 0.1]),
        "flip": draw([0, 1]),
        "classes": torch.full((rows,), 4.0).double(),
        "train_images": torch.full((rows,), 1000.0).double(),
        "held_out_images": torch.full((rows,), 400.0).double(),
        "channels": draw([8, 16]),
        "cells": draw([1, 3]),
    }
    steps = settings["epochs"] * 1000 / settings["batch_size"]
    hard = torch.tensor([separation(int(t)) - 1 for t in task], dtype=torch.float64)
    end = truth(vertices, steps, hard) + 0.1 * torch.randn(rows, generator=generator).double()
    curve = torch.full((rows, 40), math.nan)
    for row, epochs in enumerate(settings["epochs"].long().tolist()):
        share = torch.arange(1, epochs + 1).double() / epochs
        curve[row, :epochs] = 100 * (end[row] + 0.8 * share.log()).sigmoid().float()
    key = torch.stack([task.double(), *settings.values()], 1)
    return Trainings(
        space=SPACE,
        vertices=vertices,
        task=task,
        sets=tuple(f"set {number % SETS}" for number in range(TASKS)),
        settings=settings,
        seed=torch.arange(rows),
        curve=curve,
        seconds=torch.ones(rows).double(),
        context=key.unique(dim=0, return_inverse=True)[1],
    )


@cache
def toy_tasks() -> dict[int, Task]:
    return {number: toy_task(separation(number), seed=number) for number in range(TASKS)}


@cache
def budget_model(without: tuple[str, ...] = ()) -> BudgetModel:
    config = BudgetFitConfig(**{**vars(QUICK), "without": without})
    return fit_budget_model(toy_trainings(), toy_tasks(), fitted()[1], config=config)
