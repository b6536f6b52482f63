"""Searchers of Optuna, Ray Tune and neps, and ours in each, asked and told as the hosts do it themselves."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.util import find_spec
from itertools import count
from typing import TYPE_CHECKING, Any

import neps
import numpy as np
import optuna
import torch
from metad2a_plugin.adapters import neps as neps_adapter
from metad2a_plugin.adapters.optuna import StrategySampler
from metad2a_plugin.adapters.ray import StrategySearch
from neps.space.neps_spaces.neps_space import NepsCompatConverter, resolve
from neps.space.neps_spaces.sampling import OnlyPredefinedValuesSampler
from ray import tune
from ray.tune.search.hyperopt import HyperOptSearch
from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.variant_generator import generate_variants

from metad2a_plugin import MetaD2A
from metad2a_plugin.data import Task

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

MODEL = "nasbench201-paper"
"""It has not learned from the tables."""
Asked = Generator[Any, float, None]
"""Yields what a host wants to know the value of, and is sent it."""


@dataclass(frozen=True)
class Problem:
    """What is searched.

    Attributes:
        name: as tables and files call it.
        decisions: options by name.
        place: of what was decided, its number among `told` and `test`.
        told: values that searchers hear, ``[n]``; higher is better.
        test: values that they are scored by, ``[n]``.
        task: images of a run, for searchers that look at some.
    """

    name: str
    decisions: Mapping[str, Sequence[Any]]
    place: Callable[[Mapping[str, Any]], int]
    told: np.ndarray
    test: np.ndarray
    task: Callable[[int], Task] | None = None


# -- hosts ---------------------------------------------------------------------------------------
def in_optuna(problem: Problem, sampler: optuna.samplers.BaseSampler) -> Asked:
    study = optuna.create_study(direction="maximize", sampler=sampler)
    while True:
        trial = study.ask()
        value = yield {name: trial.suggest_categorical(name, options) for name, options in problem.decisions.items()}
        study.tell(trial, value)


def in_tune(search: Any, config: Mapping[str, Any]) -> Asked:
    search.set_search_properties("value", "max", config)
    for number in count():
        found = search.suggest(str(number))
        value = yield found if config else common.SPACE.decided(common.SPACE.parse(found["architecture"]))
        search.on_trial_complete(str(number), {"value": value, "training_iteration": 1})


def domains(problem: Problem) -> dict[str, Any]:
    return {name: tune.choice(list(options)) for name, options in problem.decisions.items()}


def tune_at_random(problem: Problem, seed: int) -> Asked:
    """As Tune does where it has no search algorithm."""
    state = np.random.RandomState(seed)
    while True:
        _, spec = next(iter(generate_variants({"config": domains(problem)}, random_state=state)))
        yield spec["config"]


def in_neps(problem: Problem, optimizer: Callable[[Any], Any], seed: int) -> Asked:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    labels = {f"architecture_{name}": name for name in problem.decisions}
    named = {label: neps.Categorical(choices=tuple(problem.decisions[name])) for label, name in labels.items()}
    space = type("Networks", (neps.PipelineSpace,), named)()
    host = neps.AskAndTell(optimizer(space))
    while True:
        trial = host.ask()
        value = yield {labels[label]: option for label, option in decided(space, trial.config).items()}
        host.tell(trial, -value)


def decided(space: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Of a trial of neps, as `neps.run` gives it to the evaluated function."""
    if not any(name.startswith("SAMPLING__") for name in config):
        return dict(config)
    read = NepsCompatConverter.from_neps_config(config)
    found = resolve(space, domain_sampler=OnlyPredefinedValuesSampler(read.predefined_samplings))[0]
    return dict(found.get_attrs())


# -- searchers -----------------------------------------------------------------------------------
@dataclass(frozen=True)
class Searcher:
    """A row of the tables.

    Attributes:
        host: in which it runs.
        name: of the searcher there.
        run: starts a run with a seed.
        ours: a strategy of this package.
            runs, queries: at most, where a proposal takes long.
    """

    host: str
    name: str
    run: Callable[[Problem, int], Asked]
    ours: bool = False
    runs: int = 30
    queries: int = 100


@dataclass(frozen=True)
class Ours:
    """Options of this package's strategies; one model serves all."""

    name: str

    @cached_property
    def model(self) -> MetaD2A:
        return MetaD2A.from_pretrained(MODEL)

    def options(self, problem: Problem, seed: int) -> dict[str, Any]:
        if self.name != "metad2a" or problem.task is None:
            return {"seed": seed}
        return {"seed": seed, "model": self.model, "dataset": problem.task(seed)}

    def in_optuna(self, problem: Problem, seed: int) -> Asked:
        return in_optuna(problem, StrategySampler(self.name, group="", **self.options(problem, seed)))

    def in_tune(self, problem: Problem, seed: int) -> Asked:
        return in_tune(StrategySearch(self.name, **self.options(problem, seed)), {})

    def in_neps(self, problem: Problem, seed: int) -> Asked:
        make = partial(neps_adapter.strategy, name=self.name, **self.options(problem, seed))
        return in_neps(problem, make, seed)


def searchers() -> list[Searcher]:
    samplers, algorithms = optuna.samplers, neps.algorithms
    found = [
        Searcher("Optuna", "random", lambda p, s: in_optuna(p, samplers.RandomSampler(seed=s))),
        Searcher("Optuna", "TPE, its default", lambda p, s: in_optuna(p, samplers.TPESampler(seed=s))),
        Searcher("Optuna", "GP", lambda p, s: in_optuna(p, samplers.GPSampler(seed=s)), runs=10),
        Searcher("Ray Tune", "random, its default", tune_at_random),
        Searcher("Ray Tune", "OptunaSearch", lambda p, s: in_tune(OptunaSearch(seed=s), domains(p))),
    ]
    if find_spec("hyperopt") is not None:
        run = lambda p, s: in_tune(HyperOptSearch(random_state_seed=s), domains(p))  # noqa: E731
        found.append(Searcher("Ray Tune", "HyperOptSearch", run))
    found += [
        Searcher("neps", "random", lambda p, s: in_neps(p, algorithms.neps_random_search, s)),
        Searcher("neps", "regularized evolution", lambda p, s: in_neps(p, algorithms.neps_regularized_evolution, s)),
        Searcher(
            "neps",
            "Bayesian optimization",
            lambda p, s: in_neps(p, algorithms.bayesian_optimization, s),
            runs=5,
            queries=30,
        ),
    ]
    titles = {"metad2a": "MetaD2A", "regularized-evolution": "regularized evolution", "local-search": "local search"}
    for name, title in titles.items():
        ours = Ours(name)
        found += [
            Searcher("Optuna", title, ours.in_optuna, ours=True),
            Searcher("Ray Tune", title, ours.in_tune, ours=True),
            Searcher("neps", title, ours.in_neps, ours=True),
        ]
    return found


def curve(searcher: Searcher, problem: Problem, seed: int, queries: int) -> dict[str, list[float]]:
    """The score of the best so far after each query, and the processor's seconds of each ask with what it was told."""
    told: list[int] = []
    seconds, scores = [], []
    begin = time.process_time()
    asked = searcher.run(problem, seed)
    chosen = next(asked)
    while True:
        seconds.append(time.process_time() - begin)
        told.append(problem.place(chosen))
        scores.append(float(problem.test[max(told, key=lambda place: problem.told[place])]))
        if len(told) == queries:
            return {"scores": scores, "seconds": seconds}
        begin = time.process_time()
        chosen = asked.send(float(problem.told[told[-1]]))


def key(searcher: Searcher) -> str:
    return f"{searcher.host}, {searcher.name}" + (", ours" if searcher.ours else "")
