"""Scores of given architectures by any predictor."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.data import ImageDataset, Task, extract_task, load_dataset
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.budget import AnyBudget, Budget
from metad2a_plugin.plugins.predictor import Predictor
from metad2a_plugin.plugins.registry import predictor_of
from metad2a_plugin.search.options import sized
from metad2a_plugin.spaces.base import Notation, SearchSpace
from metad2a_plugin.utils.files import write_json


@dataclass(frozen=True)
class Score:
    """One architecture.

    Attributes:
        rank: 1 is best.
        architecture: in its space's format.
        score: higher is better.
        params_m, flops_m: parameters and multiply-accumulates, in millions.
    """

    rank: int
    architecture: str
    score: float
    params_m: float
    flops_m: float


@dataclass(frozen=True)
class Scores:
    """Architectures, best first.

    Attributes:
        space, predictor: their names.
        quantity, unit, scale, notes: of the scores; see `Predictor`.
        dataset: name of the images; None where none were given.
        num_classes, input_size: that costs are counted for; classes, and pixels.
        budget: that scores are for; None is long training.
        level_unknown: why scores are of use for their order only; None where they are not.
        scores: one each, best first, the earlier among equals first.
    """

    space: str
    predictor: str
    quantity: str
    unit: str
    scale: str
    notes: tuple[str, ...]
    dataset: str | None
    num_classes: int
    input_size: int
    budget: Budget | None
    level_unknown: str | None
    scores: tuple[Score, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"budget": None if self.budget is None else self.budget.to_dict()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_dict` as JSON.

        Raises:
            ConfigError: the file cannot be written.
        """
        write_json(path, self.to_dict())


def score_architectures(
    space: SearchSpace,
    architectures: Sequence[Notation],
    predictor: str | Predictor = "metad2a",
    dataset: Any = None,
    *,
    input_size: int | None = None,
    budget: AnyBudget = None,
    seed: int = 0,
    **options: Any,
) -> Scores:
    """Score architectures; each once, however often it is given.

    Args:
        space: their search space.
        architectures: what to score, each as `SearchSpace.parse` reads it.
        predictor: a predictor, or its name (``metad2a list predictors``).
        dataset: anything that `load_dataset` reads; None where the predictor needs none.
        input_size: side of the images the networks see, in pixels; None takes the space's own.
        budget: that scores are to be for; None is long training.
        seed: of the choice of images, and of a predictor that draws.
        **options: for the predictor's class.

    Raises:
        ArchitectureError: one is none of the space.
        ConfigError: no architecture, a wrong option, or the predictor needs a dataset.
        DatasetError: the dataset cannot be used.
    """
    if not architectures:
        raise ConfigError("there is no architecture to score")
    wanted = list(dict.fromkeys(space.parse(a) for a in architectures))
    limits, budget = sized(Limits(space, input_size=input_size), budget)
    size = limits.size
    images = None if dataset is None else load_dataset(dataset)
    classes = space.num_classes if images is None else images.num_classes
    made = predictor_of(predictor, space, size, images, seed, budget=budget, **options)
    task = task_of(made, images, seed)
    # Costs are those of the predictor's own networks, where it builds some.
    params, flops = space.costs(space.encode(wanted), **limits.cost_options(classes) | dict(made.network or {}))
    values = made.predict(task, wanted).mean.tolist()
    order = sorted(range(len(wanted)), key=lambda i: -values[i])
    return Scores(
        space=space.name,
        predictor=made.name,
        quantity=made.quantity,
        unit=made.unit,
        scale=made.scale,
        notes=made.notes,
        dataset=None if images is None else images.name,
        num_classes=classes,
        input_size=size,
        budget=made.training(task),
        level_unknown=None if task is None else made.level_unknown(task),
        scores=tuple(
            Score(rank, space.format(wanted[i]), values[i], float(params[i]), float(flops[i]))
            for rank, i in enumerate(order, 1)
        ),
    )


def task_of(
    predictor: Predictor, images: ImageDataset | None, seed: int, encoder: str = "default"
) -> Task | None:
    """The images as the predictor wants to see them, else features of an encoder; None where it needs no task.

    Raises:
        ConfigError: it needs a task, and there are no images.
    """
    if not predictor.needs_task:
        return None
    if images is None:
        raise ConfigError(f"the predictor {predictor.name!r} needs a dataset; give one")
    task = predictor.read(images, seed)
    return extract_task(images, encoder, seed=seed) if task is None else task
