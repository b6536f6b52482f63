"""What the trials of an Optuna study say: to a strategy, and to other workers."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Hashable
from dataclasses import dataclass

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.spaces.base import Architecture

from ._optuna_group import RESERVED, Group

_log = logging.getLogger(__name__)
WAITS = 4
"""How often a trial looks whether a later one gives way."""
PAUSE = 0.01
"""Seconds between two such looks, about."""


# `Study.get_trials` leaves some out where Hyperband prunes.
def trials_of(study: Study) -> list[FrozenTrial]:
    """All trials, as the storage has them now."""
    return study._storage.get_all_trials(study._study_id, deepcopy=False)


def trials_at_ask(study: Study) -> list[FrozenTrial]:
    """All trials, as they were when one was asked for: those that the samplers of one ask share, read once."""
    return study._get_trials(deepcopy=False, use_cache=True)


@dataclass(frozen=True)
class Evidence:
    """What a finished trial tells.

    Attributes:
        when: it ended, in seconds since 1970, and the number of the trial: the order of telling.
        architecture: what was trained.
        value: the final one, higher is better; None of a pruned trial.
        curve: of a pruned trial, the value after each epoch, in the unit of `value`.
    """

    when: tuple[float, int]
    architecture: Architecture
    value: float | None = None
    curve: tuple[float, ...] = ()

    def tell(self, strategy: Strategy) -> None:
        if self.value is not None:
            strategy.tell(self.architecture, self.value)
        else:
            strategy.tell_partial(self.architecture, self.curve)


def evidence_of(trial: FrozenTrial, group: Group, study: Study) -> Evidence | None:
    """What a finished trial tells; None where it is of no architecture, failed, or has no usable number.

    As in Optuna's own samplers, a trial that failed, or was pruned before it reported anything, teaches nothing.
    """
    architecture = group.find(trial.params)
    if architecture is None or trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
        return None
    sign = 1 if study.direction == StudyDirection.MAXIMIZE else -1
    ended = trial.datetime_complete
    when = (0.0 if ended is None else ended.timestamp(), trial.number)
    if trial.state == TrialState.COMPLETE:
        value = trial.value
        if value is None or not math.isfinite(value):
            _log.warning("trial %d ended with %r, which is no finite number; left out", trial.number, value)
            return None
        return Evidence(when, architecture, sign * value)
    steps = sorted(trial.intermediate_values)
    values = [trial.intermediate_values[step] for step in steps]
    if not steps:
        return None
    if steps[0] not in (0, 1) or steps != list(range(steps[0], steps[0] + len(steps))):
        _log.warning("trial %d was pruned, and its steps are no epochs from the first on; left out", trial.number)
        return None
    if not all(map(math.isfinite, values)):
        _log.warning("trial %d was pruned and reported what is no finite number; left out", trial.number)
        return None
    return Evidence(when, architecture, curve=tuple(sign * value for value in values))


def reserve(study: Study, trial: FrozenTrial, group: Group, architecture: Architecture) -> list[FrozenTrial] | None:
    """Make an architecture that of a trial which has no parameters yet.

    None if it is so; else another trial has the same network, and these are all trials, as they are now.

    A trial first writes what it takes and then looks at the others. Of two that take the same, the one that writes
    later sees the other. So at most one of them keeps it, in whichever process they are, and nobody waits for a process
    that may have died.
    """
    study._storage.set_trial_system_attr(trial._trial_id, RESERVED, group.space.format(architecture))
    network = group.space.canonical(architecture)

    def has_it(other: FrozenTrial) -> bool:
        if other.state not in (TrialState.RUNNING, TrialState.WAITING):
            return False
        claim = group.claim(other)
        return claim is not None and group.space.canonical(claim) == network

    trials = trials_of(study)
    rivals = [other for other in trials if other.number != trial.number and has_it(other)]
    for _ in range(WAITS):
        if not rivals or min(other.number for other in rivals) < trial.number:
            break
        time.sleep(PAUSE * random.uniform(0.5, 1.5))  # the later one gives way, unless it has it already
        rivals = [now for other in rivals if has_it(now := study._storage.get_trial(other._trial_id))]
    return trials if rivals else None


def release(study: Study, trial: FrozenTrial) -> None:
    """Take back what `reserve` wrote."""
    study._storage.set_trial_system_attr(trial._trial_id, RESERVED, "")


def _told(trial: FrozenTrial) -> bool:
    """Whether its value says to a strategy that it need not be proposed again."""
    return trial.state == TrialState.COMPLETE and trial.value is not None and math.isfinite(trial.value)


class Taken:
    """Networks that are not to be proposed: being evaluated, in the queue, failed or pruned.

    Args:
        group: of the study's parameters.
    """

    def __init__(self, group: Group) -> None:
        self._group = group
        self._ended: dict[int, Hashable] = {}

    def without(self, trials: list[FrozenTrial], number: int) -> set[Hashable]:
        """Of all trials but that of a number."""
        found = set()
        for trial in trials:
            if trial.number == number or _told(trial):
                continue
            if trial.number in self._ended:
                network = self._ended[trial.number]
            else:
                claim = self._group.claim(trial)
                network = None if claim is None else self._group.space.canonical(claim)
                if trial.state.is_finished():
                    self._ended[trial.number] = network
            found.add(network)
        return found
