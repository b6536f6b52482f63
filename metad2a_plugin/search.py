"""From a dataset to ranked architectures: `MetaD2A.search`.

>>> from metad2a_plugin import MetaD2A
>>> result = MetaD2A.from_pretrained("nasbench201").search("sklearn:digits", top=3)  # doctest: +SKIP
>>> result.best.architecture_str  # doctest: +SKIP
'|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|'
"""

from __future__ import annotations

import inspect
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from metad2a_plugin._checks import integer, one_of
from metad2a_plugin._device import usable
from metad2a_plugin._files import write_atomically
from metad2a_plugin.data import ImageDataset, Task, extract_task, get_encoder, load_dataset
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.models.checkpoint import Checkpoint, load_checkpoint
from metad2a_plugin.models.ensemble import Prediction
from metad2a_plugin.models.generator import TEMPERATURE
from metad2a_plugin.registry import get_space
from metad2a_plugin.spaces.base import Architecture, SearchSpace

EXHAUSTIVE = 20_000
"""Spaces of at most this size are ranked completely unless a number of candidates is asked for."""
CANDIDATES = 500
"""Generated candidates where a space is larger, as in the paper."""
MAX_DRAWS = 50_000
"""Draws after which the generator is taken to have no more networks within the bounds."""
LEVEL = 0.9
"""Probability of the intervals that are reported."""
FAR = 1.2
"""Datasets at more than this distance, where half of what was learned of datasets counts, are reported as unlike those
of meta-training."""


@dataclass(frozen=True)
class Candidate:
    """One ranked architecture.

    Attributes:
        rank: from 1.
        architecture, architecture_str: the same, as an object and in the field's string.
        accuracy: expected accuracy in percent, as the meta-training tasks measure it.
        interval: 90% of measured accuracies are expected inside, percent.
        params, flops: millions, of the network for this dataset's number of classes.
        latency: predicted milliseconds (or millijoules) by device, for the devices that were bounded.
    """

    rank: int
    architecture: Architecture
    architecture_str: str
    accuracy: float
    interval: tuple[float, float]
    params: float
    flops: float
    latency: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "rank": self.rank,
            "architecture": self.architecture_str,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "params_m": self.params,
            "flops_m": self.flops,
            "latency": dict(self.latency),
        }


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        candidates: the best ones, best first.
        dataset: name of the dataset.
        num_classes: its classes.
        space: search space.
        model: name of the checkpoint.
        source: ``exhaustive`` (every network of the space was ranked) or ``generated``.
        considered: different networks that were ranked.
        rejected: how many networks were left out, by reason: ``dead``, ``duplicate``, ``bound``.
        bounds: the limits that were asked for.
        units: of the devices' latencies or energies.
        input_size: side of the images that costs are counted for, in pixels.
        distance: of the dataset from those of meta-training, where known; 99% of those lie within 1.
        seconds: wall-clock time, by part: ``features`` (reading and encoding images), ``search``.
    """

    candidates: tuple[Candidate, ...]
    dataset: str
    num_classes: int
    space: str
    model: str
    source: Literal["exhaustive", "generated"]
    considered: int
    rejected: Mapping[str, int]
    bounds: Mapping[str, float]
    units: Mapping[str, str]
    input_size: int
    distance: float | None
    seconds: Mapping[str, float]

    @property
    def best(self) -> Candidate:
        return self.candidates[0]

    @property
    def architectures(self) -> list[Architecture]:
        """Of the candidates, best first."""
        return [candidate.architecture for candidate in self.candidates]

    @property
    def far(self) -> bool:
        """Whether the dataset is unlike those of meta-training, so that accuracies are a guess of the order only."""
        return self.distance is not None and self.distance > FAR

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "dataset": self.dataset,
            "num_classes": self.num_classes,
            "space": self.space,
            "model": self.model,
            "source": self.source,
            "considered": self.considered,
            "rejected": dict(self.rejected),
            "bounds": dict(self.bounds),
            "units": dict(self.units),
            "input_size": self.input_size,
            "distance": self.distance,
            "interval_level": LEVEL,
            "seconds": dict(self.seconds),
            "candidates": [candidate.to_dict() for candidate in self.candidates],
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_dict` as JSON.

        Raises:
            ConfigError: the file cannot be written.
        """
        write_atomically(path, (json.dumps(self.to_dict(), indent=1) + "\n").encode())

    def draw(self, directory: str | os.PathLike[str], suffix: str = ".svg") -> list[Path]:
        """Draw each candidate as ``01.svg``, ``02.svg``, ...; returns the files.

        Raises:
            ConfigError: the space cannot be drawn, or a file cannot be written.
            MissingExtraError: matplotlib is not installed (extra ``draw``).
        """
        space, files = get_space(self.space), []
        draw = getattr(space, "draw", None)
        if draw is None:
            raise ConfigError(f"architectures of {self.space!r} cannot be drawn")
        for c in self.candidates:
            files.append(Path(directory) / f"{c.rank:02d}{suffix}")
            files[-1].parent.mkdir(parents=True, exist_ok=True)
            draw(c.architecture, files[-1], f"{self.dataset}, rank {c.rank}: {c.accuracy:.1f}% predicted")
        return files


@dataclass(frozen=True)
class Ranking:
    """Networks in the order of their predicted accuracy.

    Attributes:
        task: features of the dataset; None where none was given.
        vertices: encoded networks, best first, int64 ``[n, vertices]``.
        prediction: their accuracies, in the same order.
        source: see `SearchResult`.
        pool: limits and counts.
        seconds: see `SearchResult`.
    """

    task: Task | None
    vertices: torch.Tensor
    prediction: Prediction
    source: Literal["exhaustive", "generated"]
    pool: _Pool
    seconds: Mapping[str, float]


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

    def generate(self, task: Task, n: int, *, seed: int = 0) -> torch.Tensor:
        """Up to `n` different encoded architectures for a dataset, int64 ``[m, vertices]``, likeliest kinds first.

        They are drawn without replacement from the generator's distribution.

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
            return generator.sample_distinct(z, n, rng, TEMPERATURE)[0].cpu()

    # -- search ------------------------------------------------------------------------------
    def search(
        self,
        dataset: Any,
        *,
        top: int = 10,
        candidates: int | None = None,
        max_params: float | None = None,
        max_flops: float | None = None,
        max_latency: Mapping[str, float] | None = None,
        input_size: int | None = None,
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
            candidates: different networks to generate and rank; None ranks the whole space where it has at most
                20,000 architectures, and generates 500 elsewhere.
            max_params, max_flops: hard limits in millions, counted for `input_size` and the dataset's classes.
            max_latency: hard limits by device, in milliseconds (millijoules for energies); see `LatencyModel`.
            input_size: side of the images the network will see, in pixels; None takes the space's own.
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
            candidates=candidates,
            max_params=max_params,
            max_flops=max_flops,
            max_latency=max_latency,
            input_size=input_size,
            seed=seed,
            progress=progress,
            **options,
        )
        task = ranking.task
        assert task is not None  # a dataset was given
        return SearchResult(
            candidates=tuple(self._candidates(ranking, top)),
            dataset=task.name,
            num_classes=task.num_classes,
            space=self.space.name,
            model=self.checkpoint.name,
            source=ranking.source,
            considered=len(ranking.vertices),
            rejected=ranking.pool.rejected,
            bounds=ranking.pool.bounds.to_dict(),
            units=ranking.pool.bounds.units(),
            input_size=ranking.pool.bounds.input_size,
            distance=self.checkpoint.predictor.distance(task),
            seconds=ranking.seconds,
        )

    def rank(
        self,
        dataset: Any,
        *,
        candidates: int | None = None,
        max_params: float | None = None,
        max_flops: float | None = None,
        max_latency: Mapping[str, float] | None = None,
        input_size: int | None = None,
        seed: int = 0,
        progress: bool = True,
        **options: Any,
    ) -> Ranking:
        """All networks that `search` considers, best first, as tensors; arguments and errors as there.

        A `dataset` of None ranks the whole space for the average meta-training task.
        """
        if candidates is not None:
            integer("candidates", candidates, 1)
        integer("seed", seed, 0)
        size = self.space.input_size if input_size is None else input_size
        bounds = _Bounds(self.space, max_params, max_flops, max_latency or {}, size)
        begin = time.perf_counter()
        _check_names(options)
        task = None if dataset is None else self.task(dataset, seed=seed, progress=progress, **options)
        middle = time.perf_counter()
        classes = {} if task is None else {"num_classes": task.num_classes}
        pool = _Pool(self.space, bounds, {"input_size": size} | classes)
        exhaustive = candidates is None and self.space.size <= EXHAUSTIVE
        if exhaustive:
            vertices = pool.select(self.space.all_vertices())
        elif task is None:
            raise ConfigError("generating candidates needs a dataset; give one, or leave candidates out")
        else:
            vertices = self._generated(task, candidates or CANDIDATES, pool, seed)
        if not len(vertices):
            raise ConfigError(bounds.explain(pool))
        prediction = self.predict(task, vertices)
        order = prediction.mean.argsort(descending=True, stable=True)
        return Ranking(
            task=task,
            vertices=vertices[order],
            prediction=Prediction(prediction.mean[order], prediction.std[order]),
            source="exhaustive" if exhaustive else "generated",
            pool=pool,
            seconds={"features": middle - begin, "search": time.perf_counter() - middle},
        )

    def _generated(self, task: Task, wanted: int, pool: _Pool, seed: int) -> torch.Tensor:
        """`wanted` different networks within the bounds, or fewer if the generator has no more."""
        draws = 2 * wanted
        while True:
            drawn = self.generate(task, draws, seed=seed)
            found = pool.select(drawn)
            if len(found) >= wanted or len(drawn) < draws or draws > MAX_DRAWS:
                return found[:wanted]
            draws *= 4

    def _candidates(self, ranking: Ranking, top: int) -> list[Candidate]:
        vertices, bounds = ranking.vertices[:top], ranking.pool.bounds
        accuracy = ranking.prediction.mean.tolist()
        intervals = zip(*(bound.tolist() for bound in ranking.prediction.interval(LEVEL)), strict=True)
        params, flops = self.space.costs(vertices, **ranking.pool.cost_options)
        latency = {device: bounds.latency(device, vertices).tolist() for device in bounds.max_latency}
        return [
            Candidate(
                rank=i + 1,
                architecture=architecture,
                architecture_str=self.space.format(architecture),
                accuracy=accuracy[i],
                interval=interval,
                params=float(params[i]),
                flops=float(flops[i]),
                latency={device: values[i] for device, values in latency.items()},
            )
            for i, (architecture, interval) in enumerate(zip(self.space.decode(vertices), intervals, strict=False))
        ]


_TASK_OPTIONS = ("batch_size", "cache_dir", "max_images_per_class")
"""Of `extract_task`, that are not arguments of `MetaD2A.task` already."""


def _check_names(options: Mapping[str, Any]) -> None:
    """Refuse what would be ignored where there is nothing to extract: a mistyped limit must not be none."""
    for name in options:
        if name not in _TASK_OPTIONS:
            arguments = inspect.signature(MetaD2A.rank).parameters
            known = [argument for argument in arguments if argument not in ("self", "dataset", "options")]
            one_of("option", name, (*known, *_TASK_OPTIONS))


class _Bounds:
    """Hard limits, checked before any long work."""

    def __init__(
        self,
        space: SearchSpace,
        max_params: float | None,
        max_flops: float | None,
        max_latency: Mapping[str, float],
        input_size: int,
    ) -> None:
        integer("input_size", input_size, 8)
        self.input_size = input_size
        for name, value in (("max_params", max_params), ("max_flops", max_flops)):
            if value is None:
                continue
            if not isinstance(value, (int, float)) or not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} must be a positive number of millions, such as 0.5, got {value!r}")
            if value > 1e5:
                raise ConfigError(f"{name} is counted in millions, and {value:g} million is more than any network here")
        self.max_params, self.max_flops, self.max_latency = max_params, max_flops, dict(max_latency)
        self._model = None
        if max_latency:
            if space.name != "nasbench201":
                raise ConfigError(f"latencies are known for the space 'nasbench201', not for {space.name!r}")
            from metad2a_plugin.predictors.latency import LatencyModel

            self._model = LatencyModel.load()
            for device, limit in max_latency.items():
                self._model.bound_mask(device, limit, space.encode([]))  # refuses unknown devices and limits
                side = self._model.input_size(device)
                if input_size != side:
                    raise ConfigError(
                        f"the latency of {device!r} is known for images of {side} pixels, not of {input_size}; "
                        f"set input_size to {side}, or limit max_flops instead"
                    )

    def latency(self, device: str, vertices: torch.Tensor) -> torch.Tensor:
        assert self._model is not None
        return self._model.predict(device, vertices)

    def units(self) -> dict[str, str]:
        return {device: self._model.unit(device) for device in self.max_latency} if self._model else {}

    def least_limit(self, device: str, vertices: torch.Tensor) -> float:
        """The lowest limit that some network passes, safety margin included; infinite if the device runs none."""
        assert self._model is not None
        runs = self._model.supported_mask(device, vertices)
        margin = 1 + self._model.error(device)["p95"]
        return float((self.latency(device, vertices[runs]) * margin).min()) if runs.any() else math.inf

    def mask(self, vertices: torch.Tensor, params: torch.Tensor, flops: torch.Tensor) -> torch.Tensor:
        within = torch.ones(len(vertices), dtype=torch.bool)
        if self.max_params is not None:
            within &= params <= self.max_params
        if self.max_flops is not None:
            within &= flops <= self.max_flops
        for device, limit in self.max_latency.items():
            assert self._model is not None
            within &= self._model.bound_mask(device, limit, vertices)
        return within

    def explain(self, pool: _Pool) -> str:
        if not self.to_dict():
            return "no architecture is left after dead ones and duplicates; ask for more candidates"
        # Rounded up, so that the number shown is one that passes.
        least = ", ".join(f"{name} {math.ceil(1000 * value) / 1000:g}" for name, value in pool.least.items())
        limits = ", ".join(f"{name} {value:g}" for name, value in self.to_dict().items())
        return f"no architecture is within the limits ({limits}); the least there is: {least}. Raise a limit"

    def to_dict(self) -> dict[str, float]:
        given = {"max_params": self.max_params, "max_flops": self.max_flops}
        limits = {name: float(value) for name, value in given.items() if value is not None}
        return limits | {f"max_latency {device}": float(value) for device, value in self.max_latency.items()}


class _Pool:
    """Different live networks within the bounds, and counts of what was left out."""

    def __init__(self, space: SearchSpace, bounds: _Bounds, cost_options: Mapping[str, int]) -> None:
        self.space, self.bounds, self.cost_options = space, bounds, cost_options
        self.rejected: dict[str, int] = {}
        self.least: dict[str, float] = {}

    def select(self, vertices: torch.Tensor) -> torch.Tensor:
        """In the order given, each network in its cheapest form."""
        alive = self.space.simplify(vertices[~self.space.dead_mask(vertices)])
        _, inverse = self.space.canonical_ids(alive).unique(return_inverse=True)
        first = torch.full((int(inverse.max()) + 1 if len(inverse) else 0,), len(alive))
        first = first.scatter_reduce(0, inverse, torch.arange(len(alive)), "amin")
        unique = alive[first.sort().values]
        params, flops = self.space.costs(unique, **self.cost_options)
        within = self.bounds.mask(unique, params, flops)
        self.rejected = {
            "dead": len(vertices) - len(alive),
            "duplicate": len(alive) - len(unique),
            "bound": len(unique) - int(within.sum()),
        }
        if len(unique):
            self.least = {"params": float(params.min()), "flops": float(flops.min())}
            self.least |= {d: self.bounds.least_limit(d, unique) for d in self.bounds.max_latency}
        return unique[within]
