"""The trials of a search in NNI: what the strategy proposed, the models made of it, and their metrics."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nni.nas.space import ExecutableModelSpace, ModelStatus

from metad2a_plugin.errors import CheckpointError
from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.restricted import RestrictedSpace
from metad2a_plugin.utils.files import UNREADABLE
from metad2a_plugin.utils.schema import why

from ._nni_bridge import Bridge, number
from ._nni_evaluators import CHOICES, OwnEvaluator
from ._nni_sizes import unusual

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Trial:
    """A model that was submitted, and what came of it; kept, since NNI holds its models by weak references."""

    architecture: Architecture
    model: ExecutableModelSpace
    value: float | None = None
    parameter_id: int | None = None
    """Of NNI's training service."""

    @property
    def open(self) -> bool:
        """Whether it has neither a value nor failed."""
        return self.value is None and self.model.status not in (ModelStatus.Failed, ModelStatus.Invalid)


class Trials:
    """Those of one search, in the order of submission.

    Metrics of the training service come in a thread of its own, so whoever changes trials holds the lock.

    Args:
        strategy: what proposes, and is told.
        bridge: between its space and NNI's.
        model_space: NNI's.
    """

    def __init__(self, strategy: Strategy, bridge: Bridge, model_space: ExecutableModelSpace) -> None:
        self.lock = threading.RLock()
        self.strategy = strategy
        self._bridge, self._model_space = bridge, model_space
        self.all: list[Trial] = []
        self._by_model: dict[int, Trial] = {}

    def add(self, architecture: Architecture, parameter_id: int | None = None) -> Trial:
        """A trial of an architecture, and its model."""
        model = self._model_space.freeze(self._bridge.sample(architecture))
        trial = self._by_model[id(model)] = Trial(architecture, model, parameter_id=parameter_id)
        self.all.append(trial)
        return trial

    def add_sample(self, sample: Mapping[str, Any], parameter_id: int) -> Trial:
        """A trial that the manager knows of."""
        return self.add(self._bridge.architecture(sample), parameter_id)

    def next(self) -> Trial | None:
        """What an interrupted run left undone, then what the strategy proposes; None where that is nothing."""
        with self.lock:
            for trial in self.all:
                if trial.open and trial.model.status is ModelStatus.Frozen:
                    return trial
            for architecture in self.strategy.ask(1):
                return self.add(architecture)
        return None

    def find(self, model: ExecutableModelSpace) -> Trial | None:
        """The trial of a model; None if another strategy on the same engine made it."""
        return self._by_model.get(id(model))

    def accept(self, trial: Trial, metric: Any) -> bool:
        """Tell the strategy a metric; whether that was new, and a number of this architecture."""
        value, text = number(metric), self._bridge.space.format(trial.architecture)
        with self.lock:
            if value is None:
                _log.warning(
                    "%s reported %r: not a finite number (or a dictionary with one as 'default'); this trial counts "
                    "as failed",
                    text,
                    metric,
                )
            elif isinstance(metric, Mapping) and _reported(metric) not in (None, trial.architecture.choices):
                _log.warning("the metric %r came back for %s, which is another architecture; left out", metric, text)
            elif trial.value is None:
                trial.value = trial.model.metrics.final = value
                self.strategy.tell(trial.architecture, value)
                return True
        return False

    def models(self, sort: bool, limit: int | None) -> list[ExecutableModelSpace]:
        """Those with a metric, best first; or all that were submitted, in that order."""
        with self.lock:
            trials = [trial for trial in self.all if trial.model.status is not ModelStatus.Frozen]
        if sort:
            measured = [t for t in trials if t.value is not None and t.model.status is not ModelStatus.Invalid]
            trials = sorted(measured, key=lambda trial: -(trial.value or 0.0))
        return [trial.model for trial in trials[:limit]]

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on, in plain JSON values."""
        with self.lock:
            trials = [[list(t.architecture.choices), t.value, t.model.status.value, t.parameter_id] for t in self.all]
            return {"core": self.strategy.state_dict(), "trials": trials}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, in place of what is there."""
        with self.lock:
            if state["core"] is not None:  # of an experiment that failed at its start
                self.strategy.load_state_dict(state["core"])
            self.all, self._by_model = [], {}
            for choices, value, status, parameter_id in state["trials"]:
                trial = self.add(Architecture(self._bridge.space.name, tuple(choices)), parameter_id)
                if value is not None:
                    trial.value = trial.model.metrics.final = value
                if not trial.open or ModelStatus(status) in (ModelStatus.Failed, ModelStatus.Invalid):
                    trial.model.status = ModelStatus(status)


def _reported(metric: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The choices that a metric says it was measured on, where it says so."""
    choices = metric.get(CHOICES)
    return tuple(choices) if isinstance(choices, (list, tuple)) else None


# -- the state file ------------------------------------------------------------------------------
def read_state(path: Path, identity: Mapping[str, Any]) -> dict[str, Any]:
    """The state of a search of that identity.

    Raises:
        CheckpointError: the file cannot be read, is something else, or of another search.
    """
    try:
        state: dict[str, Any] = json.loads(path.read_bytes())
        search = state["search"]
    except UNREADABLE as error:
        raise CheckpointError(
            f"{str(path)!r} is no state of a search ({why(error)}); remove it to start anew"
        ) from error
    if search != identity:
        raise CheckpointError(
            f"{str(path)!r} is of another search, {search}; this one is {identity}. Give another "
            "state_file, or remove it to start anew"
        )
    return state


def searched(space: SearchSpace, counted: Mapping[str, Any]) -> dict[str, Any]:
    """What a search is of besides its arguments: a part of a space, and sizes that limits are counted for."""
    found: dict[str, Any] = {}
    if isinstance(space, RestrictedSpace):
        found["part"] = [list(options) for options in space.allowed]
    if size := unusual(space, counted):
        found["size"] = size
    return found


def plain(value: Any) -> Any:
    """A value as JSON has it, or something short that tells it from others."""
    from metad2a_plugin.data import Task
    from metad2a_plugin.search.metad2a import MetaD2A

    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Task):
        return hashlib.sha256(value.features.numpy().tobytes() + value.labels.numpy().tobytes()).hexdigest()[:16]
    if isinstance(value, MetaD2A):
        return value.checkpoint.name
    if isinstance(value, Budget):
        return plain(value.to_dict())
    if isinstance(value, OwnEvaluator):
        return plain(value._arguments)
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    return os.fspath(value) if isinstance(value, os.PathLike) else type(value).__name__
