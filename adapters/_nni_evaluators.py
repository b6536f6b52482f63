"""Evaluators for NNI's experiments: by a benchmark table, by a predictor, and by training."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import nni
import numpy as np
import torch
from nni.nas.evaluator import Evaluator
from nni.nas.space import ExecutableModelSpace

from metad2a_plugin.data import Task
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.predictor import Predictor
from metad2a_plugin.plugins.registry import entry, get_space, predictor_of
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.utils.files import data_folder

from ._nni_bridge import architecture_of

if TYPE_CHECKING:
    from metad2a_plugin.training.fit import Epoch, Training

_Self = TypeVar("_Self", bound="OwnEvaluator")
CHOICES = "metad2a_choices"
"""Key under which the evaluators report the architecture they measured, so that a pair can be checked."""


class OwnEvaluator(Evaluator):
    """What the evaluators of this package share.

    Args:
        **arguments: that make it again. Trials are processes of their own, which may start in another folder.
    """

    def __init__(self, **arguments: Any) -> None:
        self._arguments = arguments

    def check(self, space: SearchSpace) -> None:
        """Whether architectures of the space can be evaluated; the strategies ask before the first trial.

        Raises:
            ConfigError: they cannot.
        """

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self._arguments.items() if value is not None)

    def _dump(self) -> dict[str, Any]:
        return dict(self._arguments)  # NNI writes into it

    @classmethod
    def _load(cls: type[_Self], **arguments: Any) -> _Self:
        return cls(**arguments)


def _report(architecture: Architecture, value: float, **more: float) -> float:
    nni.report_final_result({"default": value, CHOICES: list(architecture.choices), **more})
    return value


def _source(dataset: Any) -> str:
    """The path of a dataset as it means the same in another process, which may start in another folder."""
    if not isinstance(dataset, (str, os.PathLike)):
        raise ConfigError(
            f"trials are processes of their own, so they need the path of a dataset, got {type(dataset).__name__}; "
            "save the images first, for instance as an .npz with 'images' and 'labels'"
        )
    name = os.fspath(dataset)
    return name if name.startswith("sklearn:") else os.path.abspath(name)


def _written(value: Any) -> Any:
    """An option as NNI can send it to another process, which may start in another folder."""
    return os.path.abspath(value) if isinstance(value, os.PathLike) else value


class TableEvaluator(OwnEvaluator):
    """Looks accuracies up in a NAS-Bench-201 table instead of training; about 0.1 ms a trial.

    The reported metric is a dictionary: ``default``, the accuracy in percent; ``metad2a_choices``, of the architecture,
    so that a pair can be checked; where the table has it, ``train_seconds``, what the training took that is looked up.

    Args:
        dataset, split, epochs: see `Benchmark.accuracy`.
        table: path of anything that `open_benchmark` reads, by default of the data folder.

    Raises:
        ConfigError: unknown dataset, split or number of epochs.
        DatasetError: no table there.
    """

    def __init__(
        self,
        dataset: str = "cifar10",
        split: str = "valid",
        epochs: int = 200,
        table: str | os.PathLike[str] | None = None,
    ) -> None:
        from .nas_bench_201 import default_benchmark, open_benchmark

        path = os.path.abspath(data_folder() if table is None else table)
        super().__init__(dataset=dataset, split=split, epochs=epochs, table=path)
        benchmark = default_benchmark() if table is None else open_benchmark(path)
        self._accuracies = benchmark.accuracies(dataset, split, epochs)
        self._seconds: np.ndarray | None = None
        with suppress(ConfigError):  # the compact table has those of 200 epochs only
            self._seconds = benchmark.train_seconds(np.arange(benchmark.space.size), dataset, split, epochs)
        self._index_of, self._space = benchmark.index_of, benchmark.space

    def check(self, space: SearchSpace) -> None:
        if space.name != self._space.name:
            raise ConfigError(
                f"the table is of {self._space.name!r}, the model space of {space.name!r}; "
                "PredictorEvaluator and TrainingEvaluator evaluate both"
            )

    def _execute(self, model: ExecutableModelSpace) -> float:
        architecture = architecture_of(model.sample)
        index = self._index_of(architecture)
        seconds = {} if self._seconds is None else {"train_seconds": float(self._seconds[index])}
        return _report(architecture, float(self._accuracies[index]), **seconds)


class PredictorEvaluator(OwnEvaluator):
    """Scores models by a performance predictor instead of training; milliseconds a trial, on any space.

    A predictor knows the architecture only: not the channels, width or number of labels of the model space.

    Args:
        predictor: registry name, see `available("predictors")`; ``"ofa-imagenet"`` predicts the ImageNet accuracy of
            networks of `ofa_space`.
        dataset: what a predictor predicts for that `needs_task` or looks at images (``"naswot"``, ``"supernet"``): a
            path that `load_dataset` reads, or ``"sklearn:digits"``.
        seed: of the choice of images.
        **options: for the predictor, such as ``resolution=160`` of ``"ofa-imagenet"``.

    Raises:
        ConfigError: no such predictor, it does not take these options, or it needs a dataset and has none; with the
            first model also: it is of another search space.
        DatasetError: there is no dataset.
    """

    def __init__(
        self, predictor: str, dataset: str | os.PathLike[str] | None = None, *, seed: int = 0, **options: Any
    ) -> None:
        from metad2a_plugin.data import load_dataset

        found = entry("predictors", predictor)
        found.bind(**options)
        if dataset is None and (found.load().needs_task or found.takes("dataset")):
            raise ConfigError(f"the predictor {predictor!r} needs the path of a dataset, such as 'sklearn:digits'")
        source = None if dataset is None else _source(dataset)
        self._images = None if source is None else load_dataset(source)
        self._name, self._seed, self._options = predictor, seed, {n: _written(value) for n, value in options.items()}
        super().__init__(dataset=source, predictor=predictor, seed=seed, **self._options)
        self._made: tuple[Predictor, Task | None] | None = None

    def check(self, space: SearchSpace) -> None:
        self._predict(space.sample(random.Random(0)), space)

    def _predict(self, architecture: Architecture, space: SearchSpace) -> float:
        """By the predictor of the space, which is made once, as is what it is shown of the images."""
        from metad2a_plugin.search.scoring import task_of

        if self._made is None or self._made[0].space.name != space.name:
            made = predictor_of(self._name, space, dataset=self._images, **self._options)
            self._made = made, task_of(made, self._images, self._seed)
        predictor, task = self._made
        return float(predictor.predict(task, [architecture]).mean[0])

    def _execute(self, model: ExecutableModelSpace) -> float:
        architecture = architecture_of(model.sample)
        return _report(architecture, self._predict(architecture, get_space(architecture.space)))


class TrainingEvaluator(OwnEvaluator):
    """Trains NNI's own network of a model on images, by the recipe of `train_architecture`.

    The accuracy of each epoch is reported as intermediate, that of the last one as final result, on images held out;
    the metric also holds the ``metad2a_choices`` of the architecture.

    Args:
        dataset: a path that `load_dataset` reads, or ``"sklearn:digits"``; the model space must have as many labels
            as it has classes.
        **config: see `TrainConfig`, but for the `options` of networks, which the model space sets.

    Raises:
        ConfigError: `dataset` is no path, or a value is out of range.
        DatasetError: there is no dataset.
    """

    def __init__(self, dataset: str | os.PathLike[str], **config: Any) -> None:
        from metad2a_plugin.data import load_dataset
        from metad2a_plugin.training.config import TrainConfig

        self._dataset = _source(dataset)
        if given := sorted(config.keys() & {"channels", "cells", "width", "options"}):
            raise ConfigError(f"{given[0]} is a setting of the model space, not of its training; give it there")
        super().__init__(dataset=self._dataset, **config)
        self._config = TrainConfig(**config)
        self._images = load_dataset(self._dataset)

    @cached_property
    def _data(self) -> Any:
        from metad2a_plugin.training.images import prepare

        return prepare(self._images, self._config)

    def _execute(self, model: ExecutableModelSpace) -> float:
        from metad2a_plugin.nn.normalized import NormalizedNetwork
        from metad2a_plugin.training.fit import train_network

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._config.seed)
            network = model.executable_model()
        classifier = NormalizedNetwork(network, self._data.mean, self._data.std)
        classes = len(self._data.class_names)
        with torch.no_grad():
            outputs = classifier.eval()(self._data.images[:1]).shape[1]
        if outputs != classes:
            raise ConfigError(
                f"the model space has {outputs} labels, {self._dataset!r} has {classes} classes; make it with "
                f"NasBench201(num_labels={classes}), or ofa_space(num_classes={classes})"
            )
        history = train_network(classifier, self._data, self._config, [_Intermediate()])
        return _report(architecture_of(model.sample), history[-1].accuracy)


class _Intermediate:
    """Reports to NNI after every epoch."""

    def on_epoch_end(self, epoch: Epoch, training: Training) -> None:
        nni.report_intermediate_result(epoch.accuracy)
