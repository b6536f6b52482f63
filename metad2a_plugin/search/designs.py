"""The search over designs: architecture, size of network and images, epochs and batch for the time there is.

A setting is all of it but architecture and epochs: options of the space's `sizes`, the side of the images, the batch.
In each, every network is trained for as many epochs as fit. A few networks stand for all until the settings that
promise most are known, all for as many epochs as one that is slower than most; then, in these, all are ranked.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, cast

import torch

from metad2a_plugin.candidates.chains import Chains
from metad2a_plugin.candidates.find import CANDIDATES, EXHAUSTIVE, random_draw
from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.candidates.pool import Pool
from metad2a_plugin.candidates.speed import Speed, workload_of
from metad2a_plugin.errors import ConfigError, said
from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.plugins.predictor import Prediction
from metad2a_plugin.plugins.task import Task
from metad2a_plugin.search.metad2a import MetaD2A
from metad2a_plugin.search.predictor import FAR, BudgetedModel, CheckpointPredictor
from metad2a_plugin.search.result import LEVEL
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.utils.checks import integer
from metad2a_plugin.utils.files import write_json
from metad2a_plugin.utils.progress import Progress

INPUT_SIZES = (16, 24, 32, 48, 64)
"""Sides of the images to choose from, in pixels."""
BATCHES = (32, 64, 128)
"""Batches to choose from."""
EPOCHS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120, 150, 200)
"""Numbers of epochs to choose from; more than the last are never proposed."""
_REPRESENTATIVES, _SLOW, _SETTINGS = 32, 0.75, 12
_OF_A_SETTING = 3


class NothingFitsError(ConfigError):
    """No training fits in the time within the limits."""


_FIELDS = {"params_m": "params", "flops_m": "flops"}
"""Of a design, by the names that are written."""


@dataclass(frozen=True)
class Design:
    """An architecture with what it is trained with.

    Attributes:
        rank: from 1.
        architecture, architecture_str: the same, as an object and in the field's string.
        budget: what to train it with, with its number of training images.
        accuracy, interval: predicted, in percent; 90% of measured values are expected inside the interval.
        minutes: that the training will take, about.
        params, flops: millions, for this dataset's number of classes.
    """

    rank: int
    architecture: Architecture
    architecture_str: str
    budget: Budget
    accuracy: float
    interval: tuple[float, float] | None
    minutes: float
    params: float
    flops: float

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], space: SearchSpace) -> Design:
        """Inverse of `to_dict`, of a network of this space.

        Raises:
            KeyError, TypeError: something is missing.
            ArchitectureError, ConfigError: a value is out of range.
        """
        text, interval = plain["architecture"], plain["interval"]
        plain = {_FIELDS.get(name, name): value for name, value in plain.items()}
        objects = {
            "architecture": space.parse(text),
            "architecture_str": text,
            "budget": Budget.of(plain["budget"]),
            "interval": None if interval is None else tuple(interval),
        }
        return cls(**{**plain, **objects})

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)} | {"budget": self.budget.to_dict()}
        plain |= {written: plain.pop(name) for written, name in _FIELDS.items()}
        plain["architecture"] = plain.pop("architecture_str")
        return plain | {"interval": None if self.interval is None else list(self.interval)}


@dataclass(frozen=True)
class Designs:
    """What a search over designs has found.

    Attributes:
        designs: best first, at most three of one size and batch.
        dataset: its name.
        num_classes: of the networks.
        images: that networks are trained on.
        space, model: names.
        scale: a sentence on what accuracies are.
        minutes: that there are for a training.
        settings: that were compared.
        queries: designs that were predicted.
        distance, level_unknown: see `SearchResult`; a design keeps its accuracy, which orders.
        seconds: of the search.
    """

    designs: tuple[Design, ...]
    dataset: str
    num_classes: int
    images: int
    space: str
    model: str
    scale: str
    minutes: float
    settings: int
    queries: int
    distance: float | None
    level_unknown: str | None
    seconds: float

    @property
    def best(self) -> Design:
        return self.designs[0]

    @property
    def far(self) -> bool:
        """As in `SearchResult`."""
        return self.distance is not None and self.distance > FAR

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        unknown = {} if self.level_unknown is None else {"accuracy": None}
        designs = [design.to_dict() | unknown for design in self.designs]
        return {**vars(self), "interval_level": LEVEL, "designs": designs}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_dict` as JSON.

        Raises:
            ConfigError: the file cannot be written.
        """
        write_json(path, self.to_dict())


def find_designs(
    searcher: MetaD2A,
    dataset: Any,
    minutes: float,
    speed: Speed,
    *,
    limits: Limits | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float = Budget.lr,
    flip: bool = Budget.flip,
    top: int = 10,
    seed: int = 0,
    progress: Progress = lambda stage, done, total, note: None,
) -> Designs:
    """The designs that are predicted to be most accurate, of those whose training fits in the time.

    Args:
        searcher: with a model that knows budgets.
        dataset: as in `MetaD2A.search`; one that says how many images it has.
        minutes: for one training.
        speed: of the machine, such as `training.speed.measure_speed` finds.
        limits: hard limits; their ``input_size`` and options are decided and not searched. Any value can be.
        epochs, batch_size: decided ones; None searches.
        lr, flip: as in `Budget`; these are never searched.
        top: how many to return.
        seed: of the choice of images and networks.
        progress: called after each setting.

    Raises:
        ConfigError: the model knows no budgets, an argument is out of range, or nothing can be trained in the time.
        DatasetError: the dataset cannot be used.
    """
    begin = time.perf_counter()
    integer("top", top, 1)
    if not isinstance(minutes, (int, float)) or not 0 < minutes < float("inf"):
        raise ConfigError(f"minutes must be a positive number, such as 20, got {said(minutes)}")
    space, limits = searcher.space, limits or Limits(searcher.space)
    given: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size}
    decided = Budget(lr=lr, flip=flip, **{name: value for name, value in given.items() if value is not None})
    predictor = CheckpointPredictor(space, searcher.checkpoint, decided)  # refuses a model that knows no budgets
    task = searcher.task(dataset, seed=seed)
    decided = decided.resolved(task.images)
    search = _Search(searcher, task, limits, 60 * minutes, speed, EPOCHS if epochs is None else (epochs,), seed)
    settings = list(_settings(limits, decided, batch_size))
    best = search.promising(settings, progress)
    designs = search.ranked([found for setting in best for found in search.best_of(setting)], top)
    return Designs(
        designs=designs,
        dataset=task.name,
        num_classes=task.num_classes,
        images=decided.images or 0,
        space=space.name,
        model=searcher.checkpoint.name,
        scale=predictor.scale,
        minutes=float(minutes),
        settings=len(settings),
        queries=search.queries,
        distance=predictor.distance(task),
        level_unknown=predictor.level_unknown(task),
        seconds=time.perf_counter() - begin,
    )


def _settings(limits: Limits, decided: Budget, batch_size: int | None) -> Iterator[Budget]:
    """Budgets of one epoch, of all sizes and batches that are open."""
    sizes = {name: values for name, values in limits.space.sizes.items() if name not in limits.options}
    sides = INPUT_SIZES if limits.input_size is None else (limits.input_size,)
    fitting = [batch for batch in BATCHES if batch <= (decided.images or 0)] or [BATCHES[0]]
    batches = fitting if batch_size is None else [batch_size]
    refused: ConfigError | None = None
    told = False
    for *values, side in itertools.product(*sizes.values(), sides):
        found = {**limits.options, **dict(zip(sizes, values, strict=True))}
        # Always in the same order, that of the space's sizes.
        options = {name: found[name] for name in dict.fromkeys([*limits.space.sizes, *found])}
        try:
            replace(limits, input_size=side, options=options)
        except ConfigError as error:
            # Latencies are known of some sizes only; of others no limit can be kept.
            refused = error
            continue
        told = True
        for batch in batches:
            yield replace(decided, epochs=1, batch_size=batch, input_size=side, options=options)
    if refused is not None and not told:
        raise refused


class _Found(NamedTuple):
    """A network of a setting, int64 ``[vertices]``: its budget, seconds of its training, and the median accuracy."""

    vertices: torch.Tensor
    budget: Budget
    seconds: float
    median: float


class _Search:
    """Designs for one dataset within a time, in seconds, each of the most of some numbers of epochs that fit."""

    def __init__(
        self,
        searcher: MetaD2A,
        task: Task,
        limits: Limits,
        time: float,
        speed: Speed,
        epochs: Sequence[int],
        seed: int,
    ) -> None:
        self.searcher, self.task, self.limits, self.time, self.speed = searcher, task, limits, time, speed
        self.epochs = torch.tensor(epochs, dtype=torch.float64)
        self.seed, self.queries, self.fastest = seed, 0, float("inf")
        self.workload, space = workload_of(searcher.space), searcher.space
        self.model = cast(BudgetedModel, searcher.checkpoint.predictor)
        pool = Pool(space, ())
        if space.size <= EXHAUSTIVE:
            self.vertices = pool.select(space.all_vertices())
        else:
            self.vertices = pool.select(random_draw(Chains(space), seed)(CANDIDATES, None))
        # The best after long training stand for all, together with random ones.
        self.order = searcher.predict(task, self.vertices).mean.argsort(descending=True)

    def promising(self, settings: list[Budget], progress: Progress) -> list[Budget]:
        """The settings in which the best of a few networks are best."""
        scores = []
        for number, setting in enumerate(settings, 1):
            scores.append(self._promise(setting))
            progress("designs", number, len(settings), "")
        order = torch.tensor(scores).argsort(descending=True, stable=True).tolist()
        best = [settings[i] for i in order[:_SETTINGS] if scores[i] > -torch.inf]
        if not best:
            raise NothingFitsError(
                f"no training fits in {self.time / 60:g} minutes within the limits: the shortest takes about "
                f"{self.fastest / 60:.2g} minutes; give more time, smaller sizes or fewer epochs"
            )
        return best

    def best_of(self, setting: Budget) -> list[_Found]:
        """The best of all networks, in one setting."""
        order, seconds = self._fitting(setting)
        vertices, seconds = self.vertices[order], seconds[order]
        epochs, median = self._most_epochs(seconds), torch.zeros(len(order))
        for number in epochs.unique().tolist():
            rows = epochs == number
            median[rows] = self._median(vertices[rows], replace(setting, epochs=number))
        best = median.argsort(descending=True, stable=True)[:_OF_A_SETTING].tolist()
        return [
            _Found(
                vertices[i],
                replace(setting, epochs=int(epochs[i])),
                float(seconds[i] * epochs[i]),
                float(median[i]),
            )
            for i in best
        ]

    def _promise(self, setting: Budget) -> float:
        """The best accuracy of a few networks in a setting."""
        order, seconds = self._fitting(setting)
        if not len(order):
            return -torch.inf
        if len(order) > _REPRESENTATIVES:
            rng, half = torch.Generator().manual_seed(self.seed), _REPRESENTATIVES // 2
            others = order[half:]
            order = torch.cat([order[:half], others[torch.randperm(len(others), generator=rng)[:half]]])
        [epochs] = self._most_epochs(seconds[order].quantile(_SLOW)[None]).tolist()
        return float(self._median(self.vertices[order], replace(setting, epochs=epochs)).max())

    def ranked(self, found: list[_Found], top: int) -> tuple[Design, ...]:
        """The best of all settings together, with how sure that is."""
        best = sorted(found, key=lambda one: -one.median)[:top]
        vertices = torch.stack([one.vertices for one in best])
        prediction = self.model.predict_designs(self.task, vertices, [one.budget for one in best])
        order = prediction.mean.argsort(descending=True, stable=True).tolist()
        return tuple(self._design(rank, best[i], prediction[[i]]) for rank, i in enumerate(order, 1))

    def _fitting(self, setting: Budget) -> tuple[torch.Tensor, torch.Tensor]:
        """Places of the networks that are within the limits and the time, and seconds of an epoch of every network."""
        limits = replace(self.limits, input_size=setting.input_size, options=setting.options)
        work = self.workload.of(self.vertices, setting.input_size, setting.options)
        seconds = self.speed.seconds(work, setting)
        self.fastest = min(self.fastest, float(seconds.min() * self.epochs[0]))
        fits = seconds * self.epochs[0] <= self.time
        for limit in limits.limits(self.task.num_classes):
            fits &= limit.within(self.vertices)
        return self.order[fits[self.order]], seconds

    def _most_epochs(self, seconds: torch.Tensor) -> torch.Tensor:
        """That fit into the time, of networks of which an epoch takes so long, int64 ``[n]``."""
        return self.epochs[(self.epochs[None] * seconds[:, None] <= self.time).sum(1) - 1].long()

    def _median(self, vertices: torch.Tensor, budget: Budget) -> torch.Tensor:
        self.queries += len(vertices)
        return self.model.median_task(self.task, vertices, budget)

    def _design(self, rank: int, found: _Found, prediction: Prediction) -> Design:
        space, budget = self.searcher.space, found.budget
        [architecture] = space.decode(found.vertices[None])
        interval = prediction.interval(LEVEL)
        sizes: Mapping[str, Any] = {"input_size": budget.input_size, **budget.options}
        cost = space.cost(architecture, num_classes=self.task.num_classes, **sizes)
        return Design(
            rank=rank,
            architecture=architecture,
            architecture_str=space.format(architecture),
            budget=budget,
            accuracy=float(prediction.mean),
            interval=None if interval is None else (float(interval[0]), float(interval[1])),
            minutes=found.seconds / 60,
            params=cost.params,
            flops=cost.flops,
        )
