"""From a dataset to ranked architectures: `MetaD2A.search`.

>>> result = MetaD2A.from_pretrained("nasbench201").search("sklearn:digits", top=3)  # doctest: +SKIP
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from copy import copy
from functools import cache, partial
from typing import Any

import torch

from metad2a_plugin.candidates.chains import Chains
from metad2a_plugin.candidates.find import Effort
from metad2a_plugin.candidates.generate import Draw, of_part
from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.data import ImageDataset, Task, extract_task, get_encoder, load_dataset
from metad2a_plugin.data.checks import check_scale
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.models.checkpoint import Checkpoint, load_checkpoint
from metad2a_plugin.models.generator import TEMPERATURE
from metad2a_plugin.plugins.budget import AnyBudget, Budget, default_model
from metad2a_plugin.plugins.predictor import Prediction, Predictor
from metad2a_plugin.plugins.registry import entry, get_space, predictor_of
from metad2a_plugin.search.options import requested, sized
from metad2a_plugin.search.pareto import Front, costed, front
from metad2a_plugin.search.predictor import CheckpointPredictor
from metad2a_plugin.search.ranking import Origin, Ranking, rank
from metad2a_plugin.search.result import SearchResult
from metad2a_plugin.search.scoring import task_of
from metad2a_plugin.search.sharing import SharedModel
from metad2a_plugin.spaces.base import Architectures, SearchSpace
from metad2a_plugin.spaces.restricted import RestrictedSpace
from metad2a_plugin.utils.checks import instance, integer, one_of
from metad2a_plugin.utils.last_use import LastUse
from metad2a_plugin.utils.torch_device import refuse_other_dtypes, usable

TASK_OPTIONS = ("batch_size", "cache_dir", "max_images_per_class")
"""Of `extract_task`, that are not arguments of `MetaD2A.task` already."""


class MetaD2A(SharedModel):
    """A meta-trained generator and predictor, ready for datasets; make one with `from_pretrained`.

    A dataset that cannot be used is a `DatasetError`, wherever one is given; limits that leave no architecture, and
    any other argument that is wrong, are a `ConfigError`.

    Args:
        checkpoint: the models.
        device: where they run.

    Attributes:
        predictor: of the checkpoint, for long training.
    """

    def __init__(self, checkpoint: Checkpoint, device: str = "cpu") -> None:
        refuse_other_dtypes()
        self.device = str(usable(device))
        instance("checkpoint", checkpoint, Checkpoint, "a Checkpoint; MetaD2A.from_pretrained(name) reads one")
        self.checkpoint = checkpoint.to(self.device)
        self.space: SearchSpace = get_space(checkpoint.space)
        self.predictor = CheckpointPredictor(self.space, self.checkpoint)
        self._checked: LastUse[Task, None] = LastUse()

    @classmethod
    def from_pretrained(
        cls, name: str | os.PathLike[str] = "nasbench201", device: str = "cpu", *, local_files_only: bool = False
    ) -> MetaD2A:
        """Load a shipped checkpoint by name, one by its folder, or one of the hub; see `load_checkpoint`.

        Raises:
            CheckpointError: no such checkpoint, or its files are damaged.
        """
        return cls(load_checkpoint(name, local_files_only=local_files_only), device)

    @classmethod
    def of_space(cls, space: SearchSpace, model: str | MetaD2A | None = None, *, budgeted: bool = False) -> MetaD2A:
        """A model that must be of that space: itself, by name or folder, or the one of `default_model`.

        Of a `RestrictedSpace` it ranks that part only.

        Raises:
            CheckpointError: it cannot be read.
        """
        model = default_model(space.name, budgeted) if model is None else model
        made = model if isinstance(model, MetaD2A) else cls.from_pretrained(model)
        if made.space.name != space.name:
            raise ConfigError(
                f"the model {made.checkpoint.name!r} is of the space {made.space.name!r}, not {space.name!r}; give a "
                f"model of {space.name!r}"
            )
        if isinstance(space, RestrictedSpace):
            made = copy(made)
            made.space = space
        return made

    # -- dataset -----------------------------------------------------------------------------
    def task(self, dataset: Any, *, seed: int = 0, progress: bool = True, **options: Any) -> Task:
        """Features of a dataset: anything `load_dataset` reads, or a `Task`, which is checked and returned.

        Args:
            dataset: see `load_dataset`.
            seed: of the choice of images where a class has many.
            progress: show a progress bar if stderr is a terminal.
            **options: for `extract_task`, such as ``cache_dir``.

        Raises:
            CheckpointError: the features are of another encoder than the checkpoint was meta-trained with.
        """
        for name in options:
            one_of("option", name, TASK_OPTIONS)
        refuse_other_dtypes()
        checkpoint, dim = self.checkpoint, self.checkpoint.predictor.feature_dim
        if isinstance(dataset, Task):
            if dataset.encoder != checkpoint.encoder or dataset.dim != dim:
                raise CheckpointError(
                    f"the task's features are of encoder {dataset.encoder!r} ({dataset.dim} numbers an "
                    f"image), the model {checkpoint.name!r} reads those of {checkpoint.encoder!r} ({dim}); "
                    f"make the task with extract_task(dataset, encoder={checkpoint.encoder!r})"
                )
            model = getattr(checkpoint.predictor, "long", checkpoint.predictor)
            self._checked.get(dataset, lambda: check_scale(dataset, getattr(model, "anchors", None)))
            return dataset
        images = dataset if isinstance(dataset, ImageDataset) else load_dataset(dataset)
        encoder = get_encoder(checkpoint.encoder, self.device)
        if encoder.fingerprint != checkpoint.encoder_fingerprint:
            raise CheckpointError(
                f"the model {checkpoint.name!r} was meta-trained with other weights of the encoder "
                f"{checkpoint.encoder!r} than those installed; "
                "run metad2a meta-train again, or install the version it was made with"
            )
        return extract_task(images, encoder, seed=seed, progress=progress, device=self.device, **options)

    # -- models ------------------------------------------------------------------------------
    def predict(self, dataset: Any, architectures: Architectures, budget: AnyBudget = None) -> Prediction:
        """Accuracies of architectures, or of encoded ones int64 ``[n, vertices]``; see `Prediction`.

        Args:
            dataset: as in `task`; None predicts for the average meta-training task.
            architectures: of the checkpoint's space. Encoded ones are taken as they are.
            budget: that accuracies are for; None is long training.
        """
        return self._budgeted(budget).predict(None if dataset is None else self.task(dataset), architectures)

    def _budgeted(self, budget: AnyBudget) -> CheckpointPredictor:
        """The checkpoint's predictor for a budget; a `ConfigError` where it knows none."""
        return self.predictor if budget is None else CheckpointPredictor(self.predictor.space, self.checkpoint, budget)

    def generate(self, task: Task, n: int, *, seed: int = 0, tilt: torch.Tensor | None = None) -> torch.Tensor:
        """Up to `n` different encoded architectures for a dataset, int64 ``[m, vertices]``, likeliest kinds first.

        They are drawn without replacement from the generator's distribution.

        Args:
            task: features of the dataset.
            n: how many.
            seed: the same seed gives the same architectures.
            tilt: added to the generator's scores of each type at each vertex, ``[vertices, types]``; see
                `DagDecoder.sample`.
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
        return self.checkpoint.generator.decoder.sample_distinct(z, n, rng, TEMPERATURE, tilt)[0].cpu()

    # -- search ------------------------------------------------------------------------------
    def search(
        self,
        dataset: Any,
        *,
        top: int = 10,
        predictor: str | Predictor | None = None,
        budget: AnyBudget = None,
        limits: Limits | None = None,
        effort: Effort | None = None,
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
                made by name is told the budget, and the size of images and networks.
            budget: what networks will be trained with, in which size; None ranks for long training.
            limits: hard limits, and the size of the networks.
            effort: how much is searched, and the seed.
            progress: show progress bars if stderr is a terminal.
            **options: in place of `limits` and `effort`, their attributes by name, such as ``max_params=0.5`` and
                ``seed=1``, and options of the space's networks, such as ``width=1.2``; also options of `extract_task`.
        """
        integer("top", top, 1)
        if dataset is None and predictor is None:
            raise ConfigError("search needs a dataset; rank(None) orders networks for the average meta-training task")
        settings: dict[str, Any] = {"predictor": predictor, "budget": budget, "limits": limits, "effort": effort}
        return self.rank(dataset, **settings, progress=progress, **options).result(slice(top))

    def rank(
        self,
        dataset: Any,
        *,
        predictor: str | Predictor | None = None,
        budget: AnyBudget = None,
        limits: Limits | None = None,
        effort: Effort | None = None,
        progress: bool = True,
        **options: Any,
    ) -> Ranking:
        """All networks that `search` considers, best first, as tensors; arguments and errors as there.

        A `dataset` of None ranks for the average meta-training task; candidates are drawn at random then.
        """
        limits, effort, left = requested(self.space, limits, effort, options, TASK_OPTIONS)
        limits, budget = sized(limits, budget)
        ranker, origin = self._origin(dataset, predictor, budget, limits, effort, progress, left)
        return rank(limits, ranker, effort, origin)

    def pareto(
        self,
        dataset: Any,
        cost: str = "flops",
        *,
        predictor: str | Predictor | None = None,
        budget: AnyBudget = None,
        limits: Limits | None = None,
        effort: Effort | None = None,
        progress: bool = True,
        **options: Any,
    ) -> Front:
        """The best networks for a dataset from the smallest to the largest.

        Spaces of at most 20,000 architectures are ranked completely.

        Args:
            dataset, predictor, budget, limits, progress, options: as in `search`.
            cost: ``flops``, ``params`` or a device.
            effort: its `points` are levels of the cost, in equal ratios: the best network within each is on the front;
                its `queries` are for all of the front.
        """
        if dataset is None and predictor is None:
            raise ConfigError("a front needs a dataset, or a predictor that needs none")
        limits, effort, left = requested(self.space, limits, effort, options, TASK_OPTIONS)
        limits, budget = sized(limits, budget)
        limits = costed(limits, cost)
        ranker, origin = self._origin(dataset, predictor, budget, limits, effort, progress, left)
        return front(limits, ranker, cost, effort, origin)

    def _origin(
        self,
        dataset: Any,
        predictor: str | Predictor | None,
        budget: Budget | None,
        limits: Limits,
        effort: Effort,
        progress: bool,
        options: Mapping[str, Any],
    ) -> tuple[Predictor, Origin]:
        """What ranks, and for what; the dataset is read once."""
        begin, task = time.perf_counter(), None
        if predictor is None:
            ranker: Predictor = self._budgeted(budget)
        else:
            ranker, dataset = _ranker(predictor, budget, limits, effort, dataset)
        if dataset is None:
            task_of(ranker, None, effort.seed)  # refuses a predictor that needs one
        else:
            task = self.task(dataset, seed=effort.seed, progress=progress, **options)
            ranker.distance(task)  # encodes the images that the answer rests on, which is no time of the search
        features = time.perf_counter() - begin
        draw = None if task is None or self.checkpoint.generator is None else self.source(task, effort.seed)
        return ranker, Origin(task, draw, self.checkpoint.name, features)

    def source(self, task: Task, seed: int = 0) -> Draw:
        """The generator's draws for a dataset, which limits can steer; see `candidates.generate`."""
        chains = Chains(self.space)
        latent = cache(partial(self._latent, task, seed))  # its images are encoded only where draws are wanted

        def draw(n: int, tilt: torch.Tensor | None) -> torch.Tensor:
            return self._distinct(latent(), n, seed, None if tilt is None else chains.ahead(tilt))

        return of_part(draw, self.space)


def search_space(
    space: SearchSpace | str,
    predictor: Predictor | str,
    dataset: Any = None,
    *,
    top: int = 10,
    budget: AnyBudget = None,
    limits: Limits | None = None,
    effort: Effort | None = None,
    encoder: str = "default",
    **options: Any,
) -> SearchResult:
    """Rank architectures by a predictor, without a generator.

    >>> result = search_space("mobilenetv3", "ofa-imagenet", max_flops=200, candidates=100, refine=100)
    >>> result.best.accuracy > 75, result.best.flops <= 200, result.queries
    (True, True, 200)

    Args:
        space: a search space, or its name.
        predictor: a predictor, or its name (``metad2a list predictors``).
        dataset: as in `MetaD2A.search`; None for a predictor that needs none, such as ``ofa-imagenet``.
        top, budget, limits, effort: as in `MetaD2A.search`; candidates are drawn at random.
        encoder: name of the image encoder (``metad2a list encoders``) whose features a predictor sees that needs
            some, and has no encoder of its own.
        **options: in place of `limits` and `effort`, as there.

    Raises:
        ConfigError: an option is wrong, the predictor needs a dataset, or no architecture is within the limits.
        DatasetError: the dataset cannot be used.
    """
    integer("top", top, 1)
    limits, effort, _ = requested(_space(space), limits, effort, options)
    limits, budget = sized(limits, budget)
    ranker, origin = _origin(predictor, budget, limits, effort, dataset, encoder)
    return rank(limits, ranker, effort, origin).result(slice(top))


def pareto_space(
    space: SearchSpace | str,
    predictor: Predictor | str,
    cost: str = "flops",
    dataset: Any = None,
    *,
    budget: AnyBudget = None,
    limits: Limits | None = None,
    effort: Effort | None = None,
    **options: Any,
) -> Front:
    """The best networks from the smallest to the largest, by a predictor, without a generator.

    Args:
        space, predictor, dataset, budget, limits, effort, options: as in `search_space`.
        cost: as in `MetaD2A.pareto`.
    """
    limits, effort, _ = requested(_space(space), limits, effort, options)
    limits, budget = sized(limits, budget)
    limits = costed(limits, cost)
    ranker, origin = _origin(predictor, budget, limits, effort, dataset)
    return front(limits, ranker, cost, effort, origin)


def _space(space: SearchSpace | str) -> SearchSpace:
    instance("space", space, (str, SearchSpace), "a search space or its name, such as 'nasbench201'")
    return get_space(space) if isinstance(space, str) else space


def _ranker(
    predictor: Predictor | str, budget: Budget | None, limits: Limits, effort: Effort, dataset: Any
) -> tuple[Predictor, Any]:
    """The predictor, and the dataset, read once: what can be refused without images is, before that."""
    looks = isinstance(predictor, str) and entry("predictors", predictor).takes("dataset")
    about: dict[str, Any] = {"input_size": limits.size, "seed": effort.seed, "network": limits.options}
    about["budget"] = budget
    if not looks:
        ranker = predictor_of(predictor, limits.space, **about)
    if dataset is not None and not isinstance(dataset, Task):
        dataset = load_dataset(dataset)
    if looks:
        images = None if isinstance(dataset, Task) else dataset
        ranker = predictor_of(predictor, limits.space, dataset=images, **about)
    return ranker, dataset


def _origin(
    predictor: Predictor | str,
    budget: Budget | None,
    limits: Limits,
    effort: Effort,
    dataset: Any,
    encoder: str = "default",
) -> tuple[Predictor, Origin]:
    begin = time.perf_counter()
    ranker, dataset = _ranker(predictor, budget, limits, effort, dataset)
    if isinstance(dataset, Task):
        return ranker, Origin(dataset)
    task = task_of(ranker, dataset, effort.seed, encoder)
    return ranker, Origin(task, images=dataset, features=time.perf_counter() - begin)
