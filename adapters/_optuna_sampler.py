"""Strategies as samplers of Optuna; what they know is in the study, so that any process can go on with it."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from metad2a_plugin.errors import ConfigError, said
from metad2a_plugin.plugins.registry import DEFAULT_SPACE, bind_strategy
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.spaces.base import Architecture, SearchSpace

from ._optuna_group import FIXED, GROUP, group_of
from ._optuna_study import Evidence, Taken, evidence_of, release, reserve, trials_at_ask

_log = logging.getLogger(__name__)
TRIES = 200
"""Proposals in a row that others have already, after which a strategy counts as exhausted."""


class StrategySampler(BaseSampler):
    """Any strategy of this package as a sampler of Optuna.

    The parameters of an architecture, as `suggest_architecture` names them, come from the strategy, all other ones from
    another sampler. What the strategy knows is read from the study's trials, in the order in which they ended: any
    number of threads and processes can work on one study, and any later one can go on with it. No network is proposed
    that another trial is evaluating, has failed with, or was pruned with.

    Args:
        strategy: registry name.
        space: a search space or its registry name; objectives suggest architectures of the same.
        group: what names of the architecture's parameters begin with, up to a slash.
        sampler: of all other parameters; Optuna's `TPESampler` by default.
        seed: the same seed and the same trials give the same proposals; None draws one.
        **options: for the strategy, such as ``dataset`` of ``metad2a``.

    Attributes:
        group: the parameters that are an architecture.

    Raises:
        ConfigError: no such strategy or space, or the strategy does not take these options.
    """

    def __init__(
        self,
        strategy: str,
        *,
        space: SearchSpace | str = DEFAULT_SPACE,
        group: str = GROUP,
        sampler: BaseSampler | None = None,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
            raise ConfigError(f"seed must be an integer or None, got {said(seed)}")
        if sampler is not None and not isinstance(sampler, BaseSampler):
            raise ConfigError(f"sampler must be a sampler of Optuna, such as RandomSampler(), got {said(sampler)}")
        self.group = group_of(space, group)
        self._inner = TPESampler(seed=seed) if sampler is None else sampler
        self._seed = random.SystemRandom().randrange(2**31) if seed is None else seed
        self._name = strategy
        self._make = bind_strategy(strategy, seed=self._seed, **options)
        self._begin(self._make(self.group.space))

    # -- what the strategy knows -----------------------------------------------------------------
    _strategy: Strategy | None

    @property
    def strategy(self) -> Strategy:
        """The strategy, as the last proposal left it."""
        if self._strategy is None:  # it was not pickled
            self._strategy = self._make(self.group.space)
        return self._strategy

    def _begin(self, strategy: Strategy | None) -> None:
        """Forget everything but a strategy that was told nothing."""
        self._lock = threading.RLock()
        self._strategy = strategy
        self._initial: dict[str, Any] | None = None
        self._study: tuple[Any, int] | None = None

    def _fresh(self, study: Study) -> None:
        """Make the strategy one of a study of which it was told nothing."""
        strategy = self.strategy
        if self._initial is None:
            strategy.prepare()
            self._initial = strategy.state_dict()
        else:
            strategy.load_state_dict(self._initial)
        self._study = study._storage, study._study_id
        self._told: list[Evidence] = []
        self._read: set[int] = set()
        self._taken = Taken(self.group)

    def _informed(self, study: Study, trials: list[FrozenTrial]) -> Strategy:
        """The strategy, told what the trials say."""
        if self._study != (study._storage, study._study_id):
            self._fresh(study)
        strategy = self.strategy
        unread = [trial for trial in trials if trial.state.is_finished() and trial.number not in self._read]
        heard = [found for trial in unread if (found := self._evidence(trial, study)) is not None]
        if heard and self._told and min(found.when for found in heard) < self._told[-1].when:
            # One was seen late that had ended early: all is told anew, so that the order is that of any process.
            heard, unread = heard + self._told, trials
            self._fresh(study)
        for found in sorted(heard, key=lambda found: found.when):
            strategy.rng.seed(f"{self._seed}/told/{found.when[1]}")
            found.tell(strategy)
            self._told.append(found)
        self._read |= {trial.number for trial in unread if trial.state.is_finished()}
        return strategy

    def _evidence(self, trial: FrozenTrial, study: Study) -> Evidence | None:
        return evidence_of(trial, self.group, study)

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("group", "_inner", "_seed", "_name", "_make")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin(None)

    # -- proposals -------------------------------------------------------------------------------
    def _propose(self, study: Study, trial: FrozenTrial) -> Architecture | None:
        """An architecture that is the trial's from now on; None where Optuna has all of it already."""
        fixed = {k: v for k, v in trial.system_attrs.get(FIXED, {}).items() if k in self.group.distributions}
        if self.group.find(fixed) is not None:
            return None
        with self._lock:
            strategy = self._informed(study, trials := trials_at_ask(study))
            # Of the seed and the trial alone: a process that has asked before proposes what a new one does.
            strategy.rng.seed(f"{self._seed}/{trial.number}")
            taken = self._taken.without(trials, trial.number)
            for proposal in self._proposals(strategy, len(taken) + TRIES):
                architecture = self.group.with_fixed(proposal, fixed)
                if architecture != proposal:
                    self._study = None  # it stays to be proposed, which the strategy does not know
                if self.group.space.canonical(architecture) in taken:
                    continue
                if (now := reserve(study, trial, self.group, architecture)) is None:
                    return architecture
                taken = self._taken.without(now, trial.number)
            release(study, trial)
        _log.warning(
            "the strategy %r has nothing left to propose: trial %d gets an architecture of %s, and the study stops",
            *(self._name, trial.number, type(self._inner).__name__),
        )
        with suppress(RuntimeError):  # outside of Study.optimize there is nothing to stop
            study.stop()
        return None

    def _proposals(self, strategy: Strategy, most: int) -> Iterator[Architecture]:
        for _ in range(most):
            if not (asked := strategy.ask(1)):
                return
            yield asked[0]

    # -- what Optuna calls -----------------------------------------------------------------------
    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The group's parameters, and those that the other sampler draws together."""
        others = self._inner.infer_relative_search_space(study, trial)
        own = {name: d for name, d in self.group.distributions.items() if not d.single()}
        return {name: d for name, d in others.items() if name not in self.group.distributions} | own

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """An architecture of the strategy, and what the other sampler draws together.

        Raises:
            ValueError: the study has several objectives.
        """
        self._raise_error_if_multi_objective(study)
        others = {name: d for name, d in search_space.items() if name not in self.group.distributions}
        drawn = self._inner.sample_relative(study, trial, others)
        values = {name: value for name, value in drawn.items() if name in others}
        if len(others) < len(search_space) and (architecture := self._propose(study, trial)) is not None:
            own = self.group.parameters(architecture)
            values |= {name: value for name, value in own.items() if name in search_space}
        return values

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """What the other sampler says.

        Raises:
            ValueError: the study has several objectives.
        """
        self._raise_error_if_multi_objective(study)
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._inner.before_trial(study, trial)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        self._inner.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        """Of the other sampler; threads share the strategy."""
        self._inner.reseed_rng()


class MetaD2ASampler(StrategySampler):
    """`StrategySampler` with MetaD2A: networks in the order predicted for a dataset, and then for the study's values.

    With a ``budget`` among the options, what pruned trials reported is learned from too: their ends are predicted. The
    study must maximise accuracies in percent then, reported after every epoch.

    Args:
        dataset: anything that `load_dataset` takes; None ranks for the average dataset of meta-training.
        **options: as of `StrategySampler`, and those of the strategy ``metad2a``: ``model``, ``budget``, limits.

    Raises:
        ConfigError: as of `StrategySampler`, or no architecture is within the limits.
        DatasetError: the dataset cannot be used.
    """

    def __init__(self, dataset: Any = None, **options: Any) -> None:
        super().__init__("metad2a", dataset=dataset, **options)

    def _evidence(self, trial: FrozenTrial, study: Study) -> Evidence | None:
        found = super()._evidence(trial, study)
        if found is not None and found.curve and not (min(found.curve) >= 0 and 1 < max(found.curve) <= 100):
            _log.warning("trial %d was pruned, and its values are no accuracies in percent; left out", trial.number)
            return None
        return found
