"""Evaluators for NNI's experiments: of a benchmark table, and by training."""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

import nni
import numpy as np
import torch
from metad2a_plugin.adapters._nni_bridge import architecture_of
from nni.nas.evaluator import Evaluator
from nni.nas.space import ExecutableModelSpace

from metad2a_plugin._files import data_folder
from metad2a_plugin.errors import ConfigError

CHOICES = "metad2a_choices"
"""Key under which the evaluators report the architecture they measured, so that a pair can be checked."""


class TableEvaluator(Evaluator):
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
        from metad2a_plugin.adapters.nas_bench_201 import default_benchmark, open_benchmark

        self._arguments = {"dataset": dataset, "split": split, "epochs": epochs}
        # Trials may start in another folder.
        self._path = os.path.abspath(data_folder() if table is None else table)
        benchmark = default_benchmark() if table is None else open_benchmark(self._path)
        self._accuracies = benchmark.accuracies(dataset, split, epochs)
        try:
            self._seconds = benchmark.train_seconds(np.arange(benchmark.space.size), dataset, split, epochs)
        except ConfigError:  # the compact table has those of 200 epochs only
            self._seconds = None
        self._index_of = benchmark.index_of

    def _execute(self, model: ExecutableModelSpace) -> float:
        architecture = architecture_of(model.sample)
        index = self._index_of(architecture)
        accuracy = float(self._accuracies[index])
        metric = {"default": accuracy, CHOICES: list(architecture.choices)}
        if self._seconds is not None:
            metric["train_seconds"] = float(self._seconds[index])
        nni.report_final_result(metric)
        return accuracy

    # Trials are processes of their own; each makes the evaluator again.
    def _dump(self) -> dict[str, Any]:
        return {**self._arguments, "table": self._path}

    @classmethod
    def _load(cls, **arguments: Any) -> TableEvaluator:
        return cls(**arguments)


class TrainingEvaluator(Evaluator):
    """Trains NNI's own network of a model on images, by the recipe of `train_architecture`.

    The accuracy of each epoch is reported as intermediate, that of the last one as final result, on images held out;
    the metric also holds the ``metad2a_choices`` of the architecture.

    Args:
        dataset: a path that `load_dataset` reads, or ``"sklearn:digits"``; the model space must have as many labels
            as it has classes.
        **config: see `TrainConfig`, but for `channels` and `cells`, which the model space sets.

    Raises:
        ConfigError: `dataset` is no path, or a value is out of range.
        DatasetError: there is no dataset.
    """

    def __init__(self, dataset: str | os.PathLike[str], **config: Any) -> None:
        from metad2a_plugin.data import load_dataset
        from metad2a_plugin.training import TrainConfig

        if not isinstance(dataset, (str, os.PathLike)):
            raise ConfigError(
                f"trials are processes of their own, so they need the path of a dataset, got {type(dataset).__name__}; "
                "save the images first, for instance as an .npz with 'images' and 'labels'"
            )
        name = os.fspath(dataset)
        # Trials may start in another folder.
        self._dataset = name if name.startswith("sklearn:") else os.path.abspath(name)
        self._arguments = config
        try:
            self._config = TrainConfig(**config)
        except TypeError as error:
            raise ConfigError(f"TrainingEvaluator: {error}") from None
        self._images = load_dataset(self._dataset)

    @cached_property
    def _data(self) -> Any:
        from metad2a_plugin.training import prepare

        return prepare(self._images, self._config)

    def _execute(self, model: ExecutableModelSpace) -> float:
        from metad2a_plugin.export import NormalizedNetwork
        from metad2a_plugin.training import train_network

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._config.seed)
            network = model.executable_model()
        classes, outputs = len(self._data.class_names), getattr(network, "num_labels", None)
        if outputs not in (None, classes):
            raise ConfigError(
                f"the model space has {outputs} labels, {self._dataset!r} has {classes} classes; make it with "
                f"NasBench201(num_labels={classes})"
            )
        history = train_network(
            NormalizedNetwork(network, self._data.mean, self._data.std),
            self._data,
            self._config,
            lambda epoch: nni.report_intermediate_result(epoch.accuracy),
        )
        choices = list(architecture_of(model.sample).choices)
        nni.report_final_result({"default": history[-1].accuracy, CHOICES: choices})
        return history[-1].accuracy

    def _dump(self) -> dict[str, Any]:
        return {"dataset": self._dataset, **self._arguments}

    @classmethod
    def _load(cls, **arguments: Any) -> TrainingEvaluator:
        return cls(**arguments)
