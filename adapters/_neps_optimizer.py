"""Strategies as optimizers of neps; what they know is in the trials, so that any process can go on with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from neps import PipelineSpace
from neps.optimizers.optimizer import ImportedConfig, SampledConfig
from neps.space.neps_spaces.neps_space import NepsCompatConverter, resolve
from neps.space.neps_spaces.sampling import RandomSampler

from metad2a_plugin.errors import ConfigError, said
from metad2a_plugin.plugins.registry import DEFAULT_SPACE, bind_strategy
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.spaces.base import Architecture, SearchSpace

from ._neps_space import GROUP, Group, group_of

_SAMPLED = "SAMPLING__"  # what names of drawn values begin with in neps's files
_TRIES = 200
"""Proposals in a row that others have already, after which a strategy counts as exhausted."""


def strategy(
    space: Any,
    name: str,
    *,
    search_space: SearchSpace | str = DEFAULT_SPACE,
    group: str = GROUP,
    seed: int = 0,
    **options: Any,
) -> StrategyOptimizer:
    """Any strategy of this package, for ``neps.run(..., optimizer=partial(strategy, name="local-search"))``.

    Args:
        space: the pipeline space, which neps gives.
        name: registry name.
        search_space, group: as given to `pipeline_space`.
        seed: the same seed and the same trials give the same configurations.
        **options: for the strategy.

    Raises:
        ConfigError: no such strategy, it does not take these options, or the pipeline space has no such architecture.
    """
    if not isinstance(space, PipelineSpace):
        raise ConfigError(f"expected a neps.PipelineSpace, as pipeline_space makes it, got {said(space)}")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ConfigError(f"seed must be an integer, got {said(seed)}")
    group_found = group_of(search_space, group)
    parameters = space.get_attrs()
    for label, known in group_found.parameters.items():
        given = getattr(parameters.get(label), "choices", None)
        if not isinstance(given, (tuple, list)) or set(given) != set(known):
            raise ConfigError(
                f"the pipeline space must have a categorical {label!r} of {', '.join(map(str, known))}, as "
                f"pipeline_space({group_found.space.name!r}) makes it; got {said(given)}"
            )
    return StrategyOptimizer(space, group_found, bind_strategy(name, seed=seed, **options)(group_found.space), seed)


def metad2a(space: Any, dataset: Any = None, **options: Any) -> StrategyOptimizer:
    """`strategy` with MetaD2A: networks in the order predicted for a dataset, and then for what is measured.

    Args:
        space: the pipeline space, which neps gives.
        dataset: anything that `load_dataset` takes; None ranks for the average dataset of meta-training.
        **options: as of `strategy`, and those of the strategy ``metad2a``: ``model``, ``budget``, limits.

    Raises:
        ConfigError: as of `strategy`, or no architecture is within the limits.
        DatasetError: the dataset cannot be used.
    """
    return strategy(space, "metad2a", dataset=dataset, **options)


class StrategyOptimizer:
    """A strategy as what neps asks; made by `strategy`.

    The architecture comes from the strategy, other parameters are drawn at random as neps draws them, and fidelities
    have their highest value. No network is proposed that another trial has, one that runs, has failed or is done. All
    processes of a folder know the same. Objectives are minimised, as neps does.
    """

    def __init__(self, space: PipelineSpace, group: Group, made: Strategy, seed: int) -> None:
        self._space, self._group, self._strategy, self._seed = space, group, made, seed
        self._initial: dict[str, Any] | None = None
        self._told: list[tuple[float, str]] = []
        self._fidelities = {name: fidelity.upper for name, fidelity in space.fidelity_attrs.items()}
        drawn = NepsCompatConverter.to_neps_config(self._draw({}))
        starts = {name.partition("::")[0]: name for name in drawn}
        self._names = {label: starts[f"{_SAMPLED}Resolvable.{label}"] for label in group.parameters}
        parameters = space.get_attrs()
        self._choices = {label: list(parameters[label].choices) for label in group.parameters}

    def architecture(self, config: Mapping[str, Any]) -> Architecture:
        """Of a trial's configuration, as neps stores it.

        Raises:
            ArchitectureError: it is none of this optimizer's.
        """
        found = {}
        for label, name in self._names.items():
            if name in config:
                found[label] = self._choices[label][config[name]]
        return self._group.read(found)

    def __call__(self, trials: Mapping[str, Any], budget_info: Any, n: int | None = None) -> Any:
        """One configuration, or a list of `n`.

        Raises:
            ConfigError: the strategy has nothing left to propose, or a trial has several objectives.
        """
        proposer = self._informed(trials)
        canonical = self._group.space.canonical
        taken = {canonical(self.architecture(trial.config)) for trial in trials.values()}
        first, found = 1 + max(map(_number, trials), default=0), []
        for number in range(first, first + (1 if n is None else n)):
            # Of the seed and the trial alone: a process that has asked before proposes what a new one does.
            proposer.rng.seed(f"{self._seed}/{number}")
            architecture = self._fresh(proposer, taken)
            taken.add(canonical(architecture))
            config = NepsCompatConverter.to_neps_config(self._draw(self._group.write(architecture)))
            found.append(SampledConfig(id=str(number), config=config))
        return found[0] if n is None else found

    def import_trials(self, external_evaluations: Sequence[tuple[Any, Any]], trials: Mapping[str, Any]) -> list[Any]:
        """Measured configurations from elsewhere, which the strategy is told like its own."""
        numbered = enumerate(external_evaluations, 1 + max(map(_number, trials), default=0))
        return [ImportedConfig(str(number), config, result) for number, (config, result) in numbered]

    def get_trial_artifacts(self, trials: Mapping[str, Any] | None = None) -> None:
        """None: there are no pictures."""

    # -- private ---------------------------------------------------------------------------------
    def _informed(self, trials: Mapping[str, Any]) -> Strategy:
        """The strategy, told what trials have ended with, in the order in which they ended."""
        values = {name: value for name, trial in trials.items() if (value := _value(trial)) is not None}
        ended = sorted((_ended(trials[name]), name) for name in values)
        if self._initial is None:
            self._strategy.prepare()
            self._initial = self._strategy.state_dict()
        if ended[: len(self._told)] != self._told:
            # One was seen late that had ended early: all is told anew, so that the order is that of any process.
            self._told = []
        if not self._told:
            self._strategy.load_state_dict(self._initial)
        for when in ended[len(self._told) :]:
            trial, value = trials[when[1]], values[when[1]]
            self._strategy.rng.seed(f"{self._seed}/told/{when[1]}")
            self._strategy.tell(self.architecture(trial.config), -value)
        self._told = ended
        return self._strategy

    def _fresh(self, proposer: Strategy, taken: set[str]) -> Architecture:
        for _ in range(len(taken) + _TRIES):
            if not (asked := proposer.ask(1)):
                break
            if self._group.space.canonical(asked[0]) not in taken:
                return asked[0]
        raise ConfigError(
            f"the strategy has nothing left to propose after {len(taken)} networks; give total_evaluations_to_spend"
        )

    def _draw(self, chosen: Mapping[str, str | int]) -> Any:
        """What neps calls a resolution: of the architecture's options those given, all else at random."""
        given = {self._names[label]: self._choices[label].index(option) for label, option in chosen.items()}
        sampler = RandomSampler({name.removeprefix(_SAMPLED): index for name, index in given.items()})
        return resolve(self._space, domain_sampler=sampler, environment_values=self._fidelities)[1]


def _number(trial: str) -> int:
    """Of a trial, by its name: ``7``, or ``7_rung_0`` of optimizers that go on with one."""
    start = str(trial).partition("_")[0]
    return int(start) if start.isdigit() else 0


def _ended(trial: Any) -> float:
    """When; imported trials have no time, and come first."""
    return float(trial.metadata.time_end or 0)


def _value(trial: Any) -> float | None:
    """The objective of a trial that has ended well."""
    report = trial.report
    if report is None or report.reported_as != "success" or report.objective_to_minimize is None:
        return None
    if isinstance(report.objective_to_minimize, (list, tuple)):
        raise ConfigError("a trial has several objectives; strategies minimise one")
    value = float(report.objective_to_minimize)
    return value if math.isfinite(value) else None
