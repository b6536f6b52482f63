"""From a dataset to ranked architectures: `MetaD2A.search`.

>>> from metad2a_plugin import MetaD2A
>>> result = MetaD2A.from_pretrained("nasbench201").search("sklearn:digits", top=3)  # doctest: +SKIP
>>> result.best.architecture_str  # doctest: +SKIP
'|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|'
"""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from metad2a_plugin._checks import integer, one_of
from metad2a_plugin._device import usable
from metad2a_plugin.candidates.bounds import Bounds, Tables
from metad2a_plugin.candidates.chains import Chains
from metad2a_plugin.candidates.find import Effort, find
from metad2a_plugin.candidates.generate import Draw
from metad2a_plugin.candidates.refine import Score
from metad2a_plugin.data import ImageDataset, Task, extract_task, get_encoder, load_dataset
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.models.checkpoint import Checkpoint, load_checkpoint
from metad2a_plugin.models.ensemble import Prediction
from metad2a_plugin.models.generator import TEMPERATURE
from metad2a_plugin.predictor import Predictor
from metad2a_plugin.registry import get_predictor, get_space
from metad2a_plugin.result import FAR, LEVEL, Candidate, SearchResult, Source
from metad2a_plugin.spaces.base import Architecture, SearchSpace

__all__ = ["FAR", "LEVEL", "Candidate", "MetaD2A", "Ranking", "SearchResult", "search_space"]

SCALE = (
    "Accuracies are on the scale of the meta-training tasks (20 classes, short training): they rank networks; "
    "metad2a train measures them."
)
"""Of the accuracies of checkpoints whose training does not say what its accuracies are, as ``scale``."""


@dataclass(frozen=True)
class Ranker:
    """What ranks networks.

    Attributes:
        name, unit, scale: see `SearchResult`.
        score: the predictor, for one dataset.
    """

    name: str
    unit: str
    scale: str
    score: Score


@dataclass(frozen=True)
class Ranking:
    """Networks, best first.

    Attributes:
        task: features of the dataset; None where none was given.
        vertices: encoded networks, int64 ``[n, vertices]``.
        prediction: their accuracies.
        order: what they are ranked by, float64 ``[n]``: the predicted accuracy; after a refinement the mean of it and
            of what a fit to the first candidates says (`candidates.refine`).
        ranker: what predicted.
        source, queries, rejected, seconds: see `SearchResult`.
        bounds: limits and sizes.
    """

    task: Task | None
    vertices: torch.Tensor
    prediction: Prediction
    order: torch.Tensor
    ranker: Ranker
    source: Source
    queries: int
    rejected: Mapping[str, int]
    bounds: Bounds
    seconds: Mapping[str, float]

    @property
    def num_classes(self) -> int:
        """That costs are counted for: the dataset's, or the space's own number."""
        return self.bounds.space.num_classes if self.task is None else self.task.num_classes


class MetaD2A:
    """A meta-trained generator and predictor, ready for datasets; make one with `from_pretrained`.

    Args:
        checkpoint: the models.
        device: where they run.

    Raises:
        ConfigError: the device cannot be used, or the checkpoint's space is unknown.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu") -> None:
        self.device = str(usable(device))
        self.checkpoint = checkpoint.to(self.device)
        self.space: SearchSpace = get_space(checkpoint.space)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str] = "nasbench201", device: str = "cpu") -> MetaD2A:
        """Load a shipped checkpoint by name, or one that ``metad2a meta-train`` wrote by its folder.

        Raises:
            CheckpointError: no such checkpoint, or its files are damaged.
        """
        return cls(load_checkpoint(name), device)

    # -- dataset -----------------------------------------------------------------------------
    def task(self, dataset: Any, *, seed: int = 0, progress: bool = True, **options: Any) -> Task:
        """Features of a dataset: anything `load_dataset` reads, or a `Task`, which is checked and returned.

        Args:
            dataset: see `load_dataset`.
            seed: of the choice of images where a class has many.
            progress: show a progress bar if stderr is a terminal.
            **options: for `extract_task`, such as ``cache_dir``.

        Raises:
            DatasetError: the dataset cannot be used.
            CheckpointError: the features are of another encoder than the checkpoint was meta-trained with.
        """
        _check_names(options)
        mine = self.checkpoint
        if isinstance(dataset, Task):
            if dataset.encoder != mine.encoder or dataset.features.shape[1] != mine.predictor.feature_dim:
                raise CheckpointError(
                    f"the task's features are of encoder {dataset.encoder!r} ({dataset.features.shape[1]} numbers an "
                    f"image), the model {mine.name!r} reads those of {mine.encoder!r} ({mine.predictor.feature_dim}); "
                    f"make the task with extract_task(dataset, encoder={mine.encoder!r})"
                )
            return dataset
        images = dataset if isinstance(dataset, ImageDataset) else load_dataset(dataset)
        encoder = get_encoder(mine.encoder, self.device)
        if encoder.fingerprint != mine.encoder_fingerprint:
            raise CheckpointError(
                f"the model {mine.name!r} was meta-trained with other weights of the encoder {mine.encoder!r} than "
                "those installed; run metad2a meta-train again, or install the version it was made with"
            )
        return extract_task(images, encoder, seed=seed, progress=progress, device=self.device, **options)

    # -- models ------------------------------------------------------------------------------
    def predict(self, dataset: Any, architectures: Sequence[Architecture] | torch.Tensor) -> Prediction:
        """Accuracies of architectures, or of encoded ones int64 ``[n, vertices]``; see `Prediction`.

        Args:
            dataset: as in `task`; None predicts for the average meta-training task.
            architectures: of the checkpoint's space. Encoded ones are taken as they are.

        Raises:
            ConfigError: `dataset` is None and the model needs one.
            ArchitectureError: an architecture is of another space.
            DatasetError: the dataset cannot be used.
        """
        encoded = architectures if isinstance(architectures, torch.Tensor) else self.space.encode(architectures)
        task = None if dataset is None else self.task(dataset)
        return self.checkpoint.predictor.predict_task(task, encoded)

    def generate(self, task: Task, n: int, *, seed: int = 0, tilt: torch.Tensor | None = None) -> torch.Tensor:
        """Up to `n` different encoded architectures for a dataset, int64 ``[m, vertices]``, likeliest kinds first.

        They are drawn without replacement from the generator's distribution.

        Args:
            task: features of the dataset.
            n: how many.
            seed: the same seed gives the same architectures.
            tilt: added to the generator's scores of each type at each vertex, ``[vertices, types]``; see
                `PaperGenerator.sample`.

        Raises:
            ConfigError: the checkpoint has no generator, or `n` is not positive.
        """
        generator = self.checkpoint.generator
        if generator is None:
            raise ConfigError(f"the model {self.checkpoint.name!r} has no generator; train it with one")
        with torch.inference_mode():
            # One latent per dataset: the mean over several draws of its images.
            z = generator.encode(task.draw(seed=seed).to(self.device))[0].mean(0, keepdim=True)
            rng = torch.Generator(self.device).manual_seed(seed)
            return generator.sample_distinct(z, n, rng, TEMPERATURE, tilt)[0].cpu()

    # -- search ------------------------------------------------------------------------------
    def search(
        self,
        dataset: Any,
        *,
        top: int = 10,
        predictor: str | Predictor | None = None,
        candidates: int | None = None,
        refine: int | None = None,
        max_params: float | None = None,
        max_flops: float | None = None,
        max_latency: Mapping[str, float] | None = None,
        latency_tables: Mapping[str, Tables] | None = None,
        input_size: int | None = None,
        width: float | None = None,
        seed: int = 0,
        progress: bool = True,
        **options: Any,
    ) -> SearchResult:
        """Rank architectures for a dataset, without training any.

        Networks that cannot learn (no path from input to output) and duplicates are left out; of equal networks
        the cheapest is kept.

        Args:
            dataset: a folder, a file, arrays, a torch Dataset (see `load_dataset`), or a `Task`.
            top: how many to return.
            predictor: ranks instead of the checkpoint's own: a name (``metad2a list predictors``), or an object. One
                that takes a ``resolution`` gets `input_size`.
            candidates: different networks to generate and rank; None ranks the whole space where it has at most
                20,000 architectures, and generates 400 elsewhere.
            refine: further queries of the predictor, where those so far promise most; None is 600, or 0 where the space
                is ranked completely or `candidates` are given, as in the paper.
            max_params, max_flops: hard limits in millions, counted for `input_size`, `width` and the dataset's classes.
            max_latency: hard limits by device, in milliseconds (millijoules for energies), which hold with the device's
                error on top.
            latency_tables: files of look-up tables in OFA's format, by the name of your device; see `LookUpTable`.
            input_size: side of the images the network will see, in pixels; None takes the space's own.
            width: multiplier of all channels, of ``mobilenetv3``; None is 1.0.
            seed: of the choice of images and of the generator.
            progress: show progress bars if stderr is a terminal.
            **options: for `extract_task`.

        Raises:
            DatasetError: the dataset cannot be used.
            ConfigError: an option is wrong, or no architecture is within the limits.
        """
        integer("top", top, 1)
        if dataset is None:
            raise ConfigError("search needs a dataset; rank(None) orders networks for the average meta-training task")
        ranking = self.rank(
            dataset,
            predictor=predictor,
            candidates=candidates,
            refine=refine,
            max_params=max_params,
            max_flops=max_flops,
            max_latency=max_latency,
            latency_tables=latency_tables,
            input_size=input_size,
            width=width,
            seed=seed,
            progress=progress,
            **options,
        )
        assert ranking.task is not None  # a dataset was given
        distance = self.checkpoint.predictor.distance(ranking.task) if predictor is None else None
        return _result(ranking, top, self.checkpoint.name, distance)

    def rank(
        self,
        dataset: Any,
        *,
        predictor: str | Predictor | None = None,
        candidates: int | None = None,
        refine: int | None = None,
        max_params: float | None = None,
        max_flops: float | None = None,
        max_latency: Mapping[str, float] | None = None,
        latency_tables: Mapping[str, Tables] | None = None,
        input_size: int | None = None,
        width: float | None = None,
        seed: int = 0,
        progress: bool = True,
        **options: Any,
    ) -> Ranking:
        """All networks that `search` considers, best first, as tensors; arguments and errors as there.

        A `dataset` of None ranks for the average meta-training task; candidates are drawn at random then.
        """
        effort = Effort(candidates, refine, seed)
        bounds = Bounds(
            self.space,
            max_params=max_params,
            max_flops=max_flops,
            max_latency=max_latency,
            latency_tables=latency_tables,
            input_size=input_size,
            width=width,
        )
        other = None if predictor is None else _predictor(predictor, self.space, bounds.input_size)
        _check_names(options)
        begin = time.perf_counter()
        task = None if dataset is None else self.task(dataset, seed=seed, progress=progress, **options)
        features = time.perf_counter() - begin
        ranker = self._ranker(task) if other is None else _ranker(other, predictor, task)
        draw = None if task is None or self.checkpoint.generator is None else self._draw(task, seed)
        return _rank(ranker, draw, task, bounds, effort, features)

    def _ranker(self, task: Task | None) -> Ranker:
        def score(vertices: torch.Tensor) -> Prediction:
            return self.predict(task, vertices)

        checkpoint = self.checkpoint
        return Ranker(checkpoint.name, "%", str(checkpoint.training.get("scale", SCALE)), score)

    def _draw(self, task: Task, seed: int) -> Draw:
        chains = Chains(self.space)

        def draw(n: int, tilt: torch.Tensor | None) -> torch.Tensor:
            return self.generate(task, n, seed=seed, tilt=None if tilt is None else chains.ahead(tilt))

        return draw


def search_space(
    space: SearchSpace | str,
    predictor: Predictor | str,
    *,
    top: int = 10,
    candidates: int | None = None,
    refine: int | None = None,
    seed: int = 0,
    **limits: Any,
) -> SearchResult:
    """Rank architectures by a predictor that needs no dataset, such as ``ofa-imagenet``.

    >>> result = search_space("mobilenetv3", "ofa-imagenet", max_flops=200, seed=0)
    >>> result.best.accuracy > 75 and result.best.flops <= 200 and result.queries
    1000

    Args:
        space: a search space, or its name.
        predictor: a predictor, or its name (``metad2a list predictors``).
        top, candidates, refine, seed: as in `MetaD2A.search`; candidates are drawn at random.
        **limits: limits and sizes; see `Bounds`.

    Raises:
        ConfigError: an option is wrong, the predictor needs a dataset, or no architecture is within the limits.
    """
    integer("top", top, 1)
    of = get_space(space) if isinstance(space, str) else space
    bounds, effort = Bounds.named(of, limits), Effort(candidates, refine, seed)
    ranker = _ranker(_predictor(predictor, of, bounds.input_size), predictor, None)
    return _result(_rank(ranker, None, None, bounds, effort, 0.0), top, None, None)


def _predictor(given: str | Predictor, space: SearchSpace, input_size: int) -> Predictor:
    if isinstance(given, Predictor):
        if given.space.name != space.name:
            raise ConfigError(f"the predictor is of the space {given.space.name!r}, not {space.name!r}")
        return given
    kind = get_predictor(given)
    sized = "resolution" in inspect.signature(kind).parameters
    return kind(space, resolution=input_size) if sized else kind(space)  # type: ignore[call-arg]


def _ranker(predictor: Predictor, given: str | Predictor | None, task: Task | None) -> Ranker:
    name = given if isinstance(given, str) else type(predictor).__name__
    if predictor.needs_task and task is None:
        raise ConfigError(f"the predictor {name!r} needs a dataset; give one")

    def score(vertices: torch.Tensor) -> Prediction:
        return Prediction(predictor.predict_encoded(task, vertices), predictor.spread(vertices))

    return Ranker(name, predictor.unit, predictor.scale or f"Networks are ranked by the predictor {name}.", score)


def _rank(
    ranker: Ranker, draw: Draw | None, task: Task | None, bounds: Bounds, effort: Effort, features: float
) -> Ranking:
    begin = time.perf_counter()
    space, classes = bounds.space, None if task is None else task.num_classes
    found = find(space, ranker.score, draw, bounds.limits(classes), effort)
    source: Source = "exhaustive" if effort.exhaustive(space) else "random" if draw is None else "generated"
    return Ranking(
        task=task,
        vertices=found.scored.vertices,
        prediction=found.scored.prediction,
        order=found.scored.order,
        ranker=ranker,
        source=source,
        queries=found.queries,
        rejected=found.rejected,
        bounds=bounds,
        seconds={"features": features, "search": time.perf_counter() - begin},
    )


def _result(ranking: Ranking, top: int, model: str | None, distance: float | None) -> SearchResult:
    task, bounds, ranker = ranking.task, ranking.bounds, ranking.ranker
    return SearchResult(
        candidates=tuple(candidates_of(ranking, slice(top))),
        dataset=None if task is None else task.name,
        num_classes=ranking.num_classes,
        space=bounds.space.name,
        model=model,
        predictor=ranker.name,
        unit=ranker.unit,
        scale=ranker.scale,
        source=ranking.source,
        considered=len(ranking.vertices),
        queries=ranking.queries,
        rejected=ranking.rejected,
        bounds=bounds.to_dict(),
        units=bounds.units(),
        input_size=bounds.input_size,
        options=bounds.options,
        distance=distance,
        seconds=ranking.seconds,
    )


def candidates_of(ranking: Ranking, chosen: slice | torch.Tensor) -> list[Candidate]:
    """The chosen rows of a ranking, ranked from 1."""
    bounds, vertices = ranking.bounds, ranking.vertices[chosen]
    space = bounds.space
    prediction = Prediction(ranking.prediction.mean[chosen], ranking.prediction.std[chosen])
    lows, highs = (bound.tolist() for bound in prediction.interval(LEVEL))
    accuracy, known = prediction.mean.tolist(), prediction.std.isfinite().tolist()
    params, flops = space.costs(vertices, **bounds.cost_options(ranking.num_classes))
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
    from metad2a_plugin.spaces.mobilenetv3 import RESOLUTIONS, MobileNetV3Space

    if not isinstance(space, MobileNetV3Space) or resolution not in RESOLUTIONS:
        return None
    return space.to_config(architecture, resolution)


_TASK_OPTIONS = ("batch_size", "cache_dir", "max_images_per_class")
"""Of `extract_task`, that are not arguments of `MetaD2A.task` already."""


def _check_names(options: Mapping[str, Any]) -> None:
    """Refuse what would be ignored where there is nothing to extract: a mistyped limit must not be none."""
    for name in options:
        if name not in _TASK_OPTIONS:
            arguments = inspect.signature(MetaD2A.rank).parameters
            known = [argument for argument in arguments if argument not in ("self", "dataset", "options")]
            one_of("option", name, (*known, *_TASK_OPTIONS))
