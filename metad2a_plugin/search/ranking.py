"""What a predictor has ranked, and how it becomes a result."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch

from metad2a_plugin.candidates.find import Effort, find
from metad2a_plugin.candidates.generate import Draw
from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.candidates.refine import Scored
from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.plugins.predictor import Prediction, Predictor
from metad2a_plugin.plugins.task import Task
from metad2a_plugin.search.result import LEVEL, Candidate, SearchResult, Source
from metad2a_plugin.spaces.base import SearchSpace


class Origin(NamedTuple):
    """What a search is for, and where its candidates come from.

    Attributes:
        task: features of the dataset; None where the predictor needs none.
        draw: of candidates; None draws them at random.
        model: name of the checkpoint whose generator draws.
        features: seconds that reading the dataset took.
        images: the dataset, where it has no task.
    """

    task: Task | None = None
    draw: Draw | None = None
    model: str | None = None
    features: float = 0.0
    images: ImageDataset | None = None

    @property
    def dataset(self) -> Task | ImageDataset | None:
        """In either form."""
        return self.images if self.task is None else self.task

    def classes(self, space: SearchSpace) -> int:
        """That costs are counted for: the dataset's, or the space's own number."""
        return space.num_classes if self.dataset is None else self.dataset.num_classes


@dataclass(frozen=True)
class Ranking:
    """Networks, best first.

    Attributes:
        limits: the space, limits and sizes.
        predictor: what ranked.
        origin: what for, and of which candidates.
        scored: the networks, best first, and what was left out.
        source, seconds: see `SearchResult`.
    """

    limits: Limits
    predictor: Predictor
    origin: Origin
    scored: Scored
    source: Source
    seconds: Mapping[str, float]

    @property
    def task(self) -> Task | None:
        """Features of the dataset; None where none was given."""
        return self.origin.task

    @property
    def vertices(self) -> torch.Tensor:
        """Encoded networks, best first, int64 ``[n, vertices]``."""
        return self.scored.vertices

    @property
    def prediction(self) -> Prediction:
        """Of the networks, in the same order."""
        return self.scored.prediction

    def result(self, chosen: slice | torch.Tensor) -> SearchResult:
        """With the chosen rows as candidates, ranked from 1."""
        limits, predictor, task = self.limits, self.predictor, self.task
        unknown = None if task is None else predictor.level_unknown(task)
        return SearchResult(
            candidates=tuple(self._candidates(chosen, unknown is None)),
            dataset=None if self.origin.dataset is None else self.origin.dataset.name,
            num_classes=limits.num_classes or self.origin.classes(limits.space),
            space=limits.space.name,
            model=self.origin.model,
            predictor=predictor.name,
            quantity=predictor.quantity,
            unit=predictor.unit,
            scale=predictor.scale or f"Networks are ranked by the predictor {predictor.name}.",
            source=self.source,
            considered=len(self.vertices),
            queries=len(self.vertices),
            refined=self.scored.refined,
            rejected=self.scored.rejected,
            bounds=limits.to_dict(),
            units=limits.units(),
            notes=(*limits.notes(), *predictor.notes),
            input_size=limits.size,
            options=limits.options,
            budget=predictor.training(task),
            distance=None if task is None else predictor.distance(task),
            level_unknown=unknown,
            seconds=self.seconds,
        )

    def _candidates(self, chosen: slice | torch.Tensor, known: bool) -> list[Candidate]:
        """With accuracies where their level is known."""
        limits, vertices, prediction = self.limits, self.vertices[chosen], self.prediction[chosen]
        space = limits.space
        params, flops = space.costs(vertices, **limits.cost_options(self.origin.classes(space)))
        latency = {name: device.predict(vertices).tolist() for name, device in limits.measured.items()}
        ends = prediction.interval(LEVEL)
        intervals = [None] * len(vertices) if ends is None else torch.stack(ends, dim=1).tolist()
        return [
            Candidate(
                rank=i + 1,
                architecture=architecture,
                architecture_str=space.format(architecture),
                score=score,
                accuracy=score if known and self.predictor.quantity == "accuracy" else None,
                interval=None if interval is None else (interval[0], interval[1]),
                params=float(params[i]),
                flops=float(flops[i]),
                latency={device: values[i] for device, values in latency.items()},
                ofa_config=space.host_config(architecture, limits.size),
            )
            for i, (architecture, score, interval) in enumerate(
                zip(space.decode(vertices), prediction.mean.tolist(), intervals, strict=True)
            )
        ]


def rank(limits: Limits, predictor: Predictor, effort: Effort, origin: Origin) -> Ranking:
    """Find candidates and rank them.

    Raises:
        ConfigError: no architecture is within the limits, or the predictor needs a task.
    """
    begin, effort, space = time.perf_counter(), effort.unless_told(predictor.candidates), limits.space
    hard = limits.limits(origin.classes(space))
    scored = find(space, partial(predictor.predict, origin.task), origin.draw, hard, effort)
    source: Source = "exhaustive" if effort.exhaustive(space) else "random" if origin.draw is None else "generated"
    seconds = {"features": origin.features, "search": time.perf_counter() - begin}
    return Ranking(limits, predictor, origin, scored, source, seconds)
