"""What ranks networks, for what, and how it becomes a result."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from metad2a_plugin.candidates.bounds import Bounds
from metad2a_plugin.candidates.find import Effort, Found, find
from metad2a_plugin.candidates.generate import Draw
from metad2a_plugin.candidates.refine import Score
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.prediction import Prediction
from metad2a_plugin.plugins.predictor import Predictor
from metad2a_plugin.search.result import LEVEL, Candidate, SearchResult, Source
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.mobilenetv3.layout import RESOLUTIONS
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space

if TYPE_CHECKING:
    from metad2a_plugin.data import Task

@dataclass(frozen=True)
class Ranker:
    """What ranks networks.

    Attributes:
        name, unit, scale: see `SearchResult`.
        score: the predictor, for one dataset.
        candidates: see `Predictor`.
    """

    name: str
    unit: str
    scale: str
    score: Score
    candidates: int | None = None

    @classmethod
    def of(cls, predictor: Predictor, name: str, task: Task | None) -> Ranker:
        """A predictor of that name, for a task.

        Raises:
            ConfigError: it needs a task and there is none.
        """
        if predictor.needs_task and task is None:
            raise ConfigError(f"the predictor {name!r} needs a dataset; give one")

        def score(vertices: torch.Tensor) -> Prediction:
            return Prediction(predictor.predict_encoded(task, vertices), predictor.spread(vertices))

        scale = predictor.scale or f"Networks are ranked by the predictor {name}."
        return cls(name, predictor.unit, scale, score, predictor.candidates)


@dataclass(frozen=True)
class Job:
    """What to search for.

    Attributes:
        bounds: the space, limits and sizes.
        ranker: what ranks.
        draw: where candidates come from; None draws them at random.
        task: features of the dataset; None where none was given.
        model: name of the checkpoint; None where there is none.
        distance: of the dataset from those of meta-training, where known.
        features: seconds that reading the dataset took.
    """

    bounds: Bounds
    ranker: Ranker
    draw: Draw | None = None
    task: Task | None = None
    model: str | None = None
    distance: float | None = None
    features: float = 0.0

    @property
    def num_classes(self) -> int:
        """That costs are counted for: the dataset's, or the space's own number."""
        return self.bounds.space.num_classes if self.task is None else self.task.num_classes

    def rank(self, effort: Effort) -> Ranking:
        """Find candidates and rank them.

        Raises:
            ConfigError: no architecture is within the limits.
        """
        begin = time.perf_counter()
        space = self.bounds.space
        effort = effort.unless_told(self.ranker.candidates)
        found = find(space, self.ranker.score, self.draw, self.bounds.limits(self.num_classes), effort)
        source: Source = "exhaustive" if effort.exhaustive(space) else "random" if self.draw is None else "generated"
        return self.ranking(found, source, time.perf_counter() - begin)

    def ranking(self, found: Found, source: Source, seconds: float) -> Ranking:
        """From what was found in so many seconds."""
        return Ranking(
            job=self,
            vertices=found.scored.vertices,
            prediction=found.scored.prediction,
            source=source,
            queries=found.queries,
            refined=found.refined,
            rejected=found.rejected,
            seconds={"features": self.features, "search": seconds},
        )


@dataclass(frozen=True)
class Ranking:
    """Networks, best first.

    Attributes:
        job: what was searched for.
        vertices: encoded networks, int64 ``[n, vertices]``.
        prediction: their accuracies, in the same order.
        source, queries, refined, rejected, seconds: see `SearchResult`.
    """

    job: Job
    vertices: torch.Tensor
    prediction: Prediction
    source: Source
    queries: int
    refined: int
    rejected: Mapping[str, int]
    seconds: Mapping[str, float]

    @property
    def task(self) -> Task | None:
        """Features of the dataset; None where none was given."""
        return self.job.task

    def result(self, chosen: slice | torch.Tensor) -> SearchResult:
        """With the chosen rows as candidates, ranked from 1."""
        job, bounds = self.job, self.job.bounds
        return SearchResult(
            candidates=tuple(self._candidates(chosen)),
            dataset=None if job.task is None else job.task.name,
            num_classes=job.num_classes,
            space=bounds.space.name,
            model=job.model,
            predictor=job.ranker.name,
            unit=job.ranker.unit,
            scale=job.ranker.scale,
            source=self.source,
            considered=len(self.vertices),
            queries=self.queries,
            refined=self.refined,
            rejected=self.rejected,
            bounds=bounds.to_dict(),
            units=bounds.units(),
            notes=bounds.notes(),
            input_size=bounds.input_size,
            options=bounds.options,
            distance=job.distance,
            seconds=self.seconds,
        )

    def _candidates(self, chosen: slice | torch.Tensor) -> list[Candidate]:
        bounds, vertices = self.job.bounds, self.vertices[chosen]
        space = bounds.space
        prediction = Prediction(self.prediction.mean[chosen], self.prediction.std[chosen])
        lows, highs = (bound.tolist() for bound in prediction.interval(LEVEL))
        accuracy, known = prediction.mean.tolist(), prediction.std.isfinite().tolist()
        params, flops = space.costs(vertices, **bounds.cost_options(self.job.num_classes))
        latency = {name: device.predict(vertices).tolist() for name, device in bounds.devices.items()}
        return [
            Candidate(
                rank=i + 1,
                architecture=architecture,
                architecture_str=space.format(architecture),
                accuracy=accuracy[i],
                interval=(lows[i], highs[i]) if known[i] else None,
                params=float(params[i]),
                flops=float(flops[i]),
                latency={device: values[i] for device, values in latency.items()},
                ofa_config=_ofa_config(space, architecture, bounds.input_size),
            )
            for i, architecture in enumerate(space.decode(vertices))
        ]


def _ofa_config(space: SearchSpace, architecture: Architecture, resolution: int) -> Mapping[str, Any] | None:
    if not isinstance(space, MobileNetV3Space) or resolution not in RESOLUTIONS:
        return None
    return space.to_config(architecture, resolution)
