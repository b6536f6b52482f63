"""Searches of a benchmark table by NNI's own experiments, on its sequential engine."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import nni
import nni.nas.strategy as nni_strategies
from metad2a_plugin.adapters.nni import SearchStrategy, architecture_of
from metad2a_plugin.adapters.trace import Trace
from nni.nas.evaluator import Evaluator
from nni.nas.experiment import NasExperiment, NasExperimentConfig
from nni.nas.hub.pytorch import NasBench201

if TYPE_CHECKING:
    from metad2a_plugin.adapters.nas_bench_201 import Benchmark


class LookUp(Evaluator):
    """Reports validation accuracies after 200 epochs, and notes what was asked for and when."""

    def __init__(self, benchmark: Benchmark, dataset: str) -> None:
        self.accuracies = benchmark.accuracies(dataset, "valid")
        self.index_of = benchmark.index_of
        self.asked: list[int] = []
        self.own_seconds: list[float] = []
        self.idle_since = time.perf_counter()

    def _execute(self, model: Any) -> None:
        self.own_seconds.append(time.perf_counter() - self.idle_since)
        self.asked.append(self.index_of(architecture_of(model.sample)))
        nni.report_final_result(float(self.accuracies[self.asked[-1]]))
        self.idle_since = time.perf_counter()


def make(name: str, seed: int, **options: Any) -> Any:
    """One of NNI's own strategies by the name of its class, or one of this package by its registry name."""
    if name == "TPE":
        # NNI's default is to minimise, in a search for accuracy too.
        return nni_strategies.TPE(optimize_mode="maximize", seed=seed, **options)
    kind = getattr(nni_strategies, name, None)
    return SearchStrategy(name, seed=seed, **options) if kind is None else kind(seed=seed, **options)


@contextmanager
def hurried() -> Iterator[None]:
    """Without the second that NNI sleeps between two samples of a tuner, which changes nothing they propose."""
    with mock.patch.object(nni_strategies.hpo, "time", SimpleNamespace(sleep=lambda seconds: None)):
        yield


def search(name: str, benchmark: Benchmark, dataset: str, *, trials: int, seed: int, **options: Any) -> Trace:
    """Search a benchmark in a `NasExperiment`; `name` and `options` are those of `make`."""
    begin = time.perf_counter()
    strategy = make(name, seed, **options)
    setup = time.perf_counter() - begin
    config = NasExperimentConfig("sequential", "simplified")
    config.max_trial_number = trials
    logging.disable(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory() as config.experiment_working_directory, hurried():
            evaluator = LookUp(benchmark, dataset)
            experiment = NasExperiment(NasBench201(num_modules_per_stack=1), evaluator, strategy, config)
            experiment.run()
            experiment.stop()
    finally:
        logging.disable(logging.NOTSET)
    space, asked = benchmark.space, evaluator.asked
    cells = list(space.enumerate())
    return Trace(
        method=name,
        dataset=dataset,
        seed=seed,
        cells=[space.format(cells[index]) for index in asked],
        told=benchmark.accuracy(asked, dataset, "valid").tolist(),
        test=benchmark.accuracy(asked, dataset, "test").tolist(),
        train_seconds=benchmark.train_seconds(asked, dataset).tolist(),
        own_seconds=evaluator.own_seconds,
        setup_seconds=setup,
    )
