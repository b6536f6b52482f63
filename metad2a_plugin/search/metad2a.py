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
from typing import Any

import torch

from metad2a_plugin.candidates.bounds import Bounds, Tables
from metad2a_plugin.candidates.chains import Chains
from metad2a_plugin.candidates.find import Effort
from metad2a_plugin.candidates.generate import Draw
from metad2a_plugin.data import ImageDataset, Task, extract_task, get_encoder, load_dataset
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.models.checkpoint import Checkpoint, load_checkpoint
from metad2a_plugin.models.generator import TEMPERATURE
from metad2a_plugin.plugins.prediction import Prediction
from metad2a_plugin.plugins.predictor import Predictor
from metad2a_plugin.plugins.registry import get_space, name_of, predictor_of
from metad2a_plugin.search.pareto import POINTS, QUERIES, Front, Sweep, costed, front
from metad2a_plugin.search.ranking import Job, Ranker, Ranking
from metad2a_plugin.search.result import FAR, LEVEL, Candidate, SearchResult
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.utils.checks import integer, one_of
from metad2a_plugin.utils.torch_device import usable

__all__ = [
    "FAR", "LEVEL", "Candidate", "Front", "MetaD2A", "Ranking", "SearchResult", "pareto_space", "search_space",
]  # fmt: skip

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
        return self._distinct(self._latent(task, seed), n, seed, tilt)

    @torch.inference_mode()
    def _latent(self, task: Task, seed: int) -> torch.Tensor:
        """Of a dataset, ``[1, latent]``: the mean over several draws of its images."""
        generator = self.checkpoint.generator
        if generator is None:
            raise ConfigError(f"the model {self.checkpoint.name!r} has no generator; train it with one")
        return generator.encode(task.draw(seed=seed).to(self.device))[0].mean(0, keepdim=True)

    @torch.inference_mode()
    def _distinct(self, z: torch.Tensor, n: int, seed: int, tilt: torch.Tensor | None) -> torch.Tensor:
        assert self.checkpoint.generator is not None
        rng = torch.Generator(self.device).manual_seed(seed)
        return self.checkpoint.generator.sample_distinct(z, n, rng, TEMPERATURE, tilt)[0].cpu()

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
                20,000 architectures, and generates 700 elsewhere, unless the predictor has a number of its own.
            refine: further queries of the predictor, where those so far promise most; None is 300, or 0 where the space
                is ranked completely or `candidates` are given, as in the paper.
            max_params, max_flops: hard limits in millions, counted for `input_size`, `width` and the dataset's classes.
            max_latency: hard limits by device, in milliseconds (millijoules for energies), which hold with the device's
                error on top.
            latency_tables: files of look-up tables in OFA's format, by the name of your device; see `LookUpTable`.
            input_size: side of the images the network will see, in pixels; None takes the space's own.
            width: multiplier of all channels, of ``mobilenetv3``; None is 1.0.
            seed: of the choice of images, of the generator and of a predictor that draws.
            progress: show progress bars if stderr is a terminal.
            **options: for `extract_task`.

        Raises:
            DatasetError: the dataset cannot be used.
            ConfigError: an option is wrong, or no architecture is within the limits.
        """
        integer("top", top, 1)
        if dataset is None and predictor is None:
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
        return ranking.result(slice(top))

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
        return self._job(dataset, bounds, predictor, seed, progress, options).rank(effort)

    def pareto(
        self,
        dataset: Any,
        cost: str = "flops",
        *,
        predictor: str | Predictor | None = None,
        points: int = POINTS,
        queries: int = QUERIES,
        seed: int = 0,
        progress: bool = True,
        **options: Any,
    ) -> Front:
        """The best networks for a dataset from the smallest to the largest.

        Args:
            dataset, predictor, seed, progress: as in `search`.
            cost: ``flops``, ``params`` or a device.
            points: levels of the cost, in equal ratios; the best network within each is on the front.
            queries: of the predictor, for all of the front; spaces of at most 20,000 architectures are ranked
                completely.
            **options: limits and sizes, as in `search`, and options of `extract_task`.

        Raises:
            DatasetError: the dataset cannot be used.
            ConfigError: an option is wrong, or no architecture is within the limits.
        """
        limits = {name: value for name, value in options.items() if name not in _TASK_OPTIONS}
        images = {name: value for name, value in options.items() if name in _TASK_OPTIONS}
        if dataset is None and predictor is None:
            raise ConfigError("a front needs a dataset, or a predictor that needs none")
        bounds = costed(self.space, cost, limits)
        sweep = Sweep(points, queries, seed)
        return front(self._job(dataset, bounds, predictor, seed, progress, images), cost, sweep)

    def _job(
        self,
        dataset: Any,
        bounds: Bounds,
        predictor: str | Predictor | None,
        seed: int,
        progress: bool,
        options: Mapping[str, Any],
    ) -> Job:
        """With everything checked before the dataset is read."""
        images = None if isinstance(dataset, Task) else dataset
        other = None if predictor is None else predictor_of(predictor, self.space, bounds.input_size, images, seed)
        _check_names(options)
        begin = time.perf_counter()
        task = None if dataset is None else self.task(dataset, seed=seed, progress=progress, **options)
        features = time.perf_counter() - begin
        mine, draw = self.checkpoint, None
        if task is not None and mine.generator is not None:
            draw = self.source(task, seed)
        if predictor is not None and other is not None:
            return Job(bounds, Ranker.of(other, name_of(predictor), task), draw, task, mine.name, None, features)
        ranker = Ranker(mine.name, "%", _scale(mine), lambda vertices: self.predict(task, vertices))
        distance = None if task is None else mine.predictor.distance(task)
        return Job(bounds, ranker, draw, task, mine.name, distance, features)

    def source(self, task: Task, seed: int = 0) -> Draw:
        """The generator's draws for a dataset, which limits can steer; see `candidates.generate`.

        Raises:
            ConfigError: the checkpoint has no generator.
        """
        chains, z = Chains(self.space), self._latent(task, seed)

        def draw(n: int, tilt: torch.Tensor | None) -> torch.Tensor:
            return self._distinct(z, n, seed, None if tilt is None else chains.ahead(tilt))

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

    >>> result = search_space("mobilenetv3", "ofa-imagenet", max_flops=200, candidates=100, refine=100)
    >>> result.best.accuracy > 75, result.best.flops <= 200, result.queries
    (True, True, 200)

    Args:
        space: a search space, or its name.
        predictor: a predictor, or its name (``metad2a list predictors``).
        top, candidates, refine, seed: as in `MetaD2A.search`; candidates are drawn at random.
        **limits: limits and sizes; see `Bounds`.

    Raises:
        ConfigError: an option is wrong, the predictor needs a dataset, or no architecture is within the limits.
    """
    integer("top", top, 1)
    effort = Effort(candidates, refine, seed)
    return _plain_job(predictor, Bounds.named(_space(space), limits), seed).rank(effort).result(slice(top))


def pareto_space(
    space: SearchSpace | str,
    predictor: Predictor | str,
    cost: str = "flops",
    *,
    points: int = POINTS,
    queries: int = QUERIES,
    seed: int = 0,
    **limits: Any,
) -> Front:
    """The best networks from the smallest to the largest, by a predictor that needs no dataset.

    Args:
        space, predictor, limits: as in `search_space`.
        cost, points, queries, seed: as in `MetaD2A.pareto`.

    Raises:
        ConfigError: as in `search_space`.
    """
    return front(_plain_job(predictor, costed(_space(space), cost, limits), seed), cost, Sweep(points, queries, seed))


def _space(space: SearchSpace | str) -> SearchSpace:
    return get_space(space) if isinstance(space, str) else space


def _plain_job(predictor: Predictor | str, bounds: Bounds, seed: int) -> Job:
    made = predictor_of(predictor, bounds.space, bounds.input_size, seed=seed)
    return Job(bounds, Ranker.of(made, name_of(predictor), None))


def _scale(checkpoint: Checkpoint) -> str:
    """What its accuracies are, if its training says so as ``scale``; else what is true of any."""
    if "scale" in checkpoint.training:
        return str(checkpoint.training["scale"])
    tasks = f"{checkpoint.training.get('classes', 20)} classes"
    if checkpoint.space == "nasbench201":
        tasks += ", short training"
    quality = checkpoint.training.get("quality")
    order = f" Their order is that of the predictor {quality}." if quality else ""
    return (
        f"Accuracies are on the scale of the meta-training tasks ({tasks}): they rank networks; metad2a train measures "
        f"them.{order}"
    )


_TASK_OPTIONS = ("batch_size", "cache_dir", "max_images_per_class")
"""Of `extract_task`, that are not arguments of `MetaD2A.task` already."""


def _check_names(options: Mapping[str, Any]) -> None:
    """Refuse what would be ignored where there is nothing to extract: a mistyped limit must not be none."""
    for name in options:
        if name not in _TASK_OPTIONS:
            arguments = inspect.signature(MetaD2A.rank).parameters
            known = [argument for argument in arguments if argument not in ("self", "dataset", "options")]
            one_of("option", name, (*known, *_TASK_OPTIONS))
