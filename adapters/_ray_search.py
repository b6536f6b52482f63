"""Strategies as search algorithms of Ray Tune."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.search import Searcher

from metad2a_plugin.errors import CheckpointError, ConfigError, said
from metad2a_plugin.plugins.registry import bind_strategy, get_space
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.utils import schema
from metad2a_plugin.utils.checks import integer
from metad2a_plugin.utils.files import UNREADABLE, write_atomically

from ._ray_parameters import ARCHITECTURE, Others

METRIC, MODE = "accuracy", "max"
"""What `trainable` reports, and which way is better."""
_FORMAT = "metad2a-ray-1"
_ASKS = 100
"""Proposals that are all of trials of before, after which a strategy has nothing new for now."""
_log = logging.getLogger(__name__)

_TRIAL = schema.record(
    {
        "key": schema.text(1),
        "architecture": schema.text(1),
        "curve": schema.list_of(schema.number()),
        "stopped": schema.flag,
    }
)
_STATE = schema.record(
    {
        "format": schema.exactly(_FORMAT),
        "strategy": schema.one_of(schema.mapping_of(schema.anything), schema.exactly(None)),
        "running": schema.mapping_of(_TRIAL),
        "repeats": schema.mapping_of(schema.integer(0)),
        "ended": schema.mapping_of(_TRIAL),
        "drawn": schema.integer(0),
    }
)


class StrategySearch(Searcher):
    """Any strategy of this package as a search algorithm of Ray Tune, for the ``search_alg`` of its ``TuneConfig``.

    A trial's config has the architecture as text under ``"architecture"``. What else stands in ``param_space`` with a
    domain of Tune is drawn at random, and the strategy does not hear of it. A config that a trial has, or had, is not
    tried again: the strategy is told that trial's value once more. Trials that fail are not told, and those that a
    scheduler ends early are told as partial ones, see `Strategy.tell_partial`.

    Args:
        strategy: registry name.
        space: the search space, or its name.
        metric: what trials report; None takes that of ``TuneConfig``, which Tune hands on only where there is a
            ``param_space``, and else ``"accuracy"``.
        mode: ``"max"`` or ``"min"``; None likewise, and else ``"max"``.
        seed: the same seed and the same results give the same trials.
        epochs: reports of a whole training, to tell those that were ended early; None takes what a trial reports as
            ``epochs``, which those of `trainable` do, and else takes each for a whole one.
        **options: for the strategy, such as ``dataset`` of ``metad2a``.

    Raises:
        ConfigError: no such strategy, space or mode, or the strategy does not take these options.
    """

    def __init__(
        self,
        strategy: str = "metad2a",
        space: str | SearchSpace = "nasbench201",
        *,
        metric: str | None = None,
        mode: str | None = None,
        seed: int = 0,
        epochs: int | None = None,
        **options: Any,
    ) -> None:
        if mode not in (None, "max", "min"):
            raise ConfigError(f"mode must be 'max' or 'min', got {said(mode)}")
        if epochs is not None:
            integer("epochs", epochs, 1)
        self._bound: Callable[[SearchSpace], Strategy] = bind_strategy(strategy, seed=seed, **options)
        self.space = get_space(space) if isinstance(space, str) else space
        self._given = metric, mode
        super().__init__(metric or METRIC, mode or MODE)
        self._seed, self._epochs = seed, epochs
        self._strategy: Strategy | None = None  # made by the first trial: until then Tune pickles this object
        self._others = Others({}, seed)
        self._running: dict[str, dict[str, Any]] = {}
        self._ended: dict[str, dict[str, Any]] = {}
        self._repeats: dict[str, int] = {}
        self._drawn, self._waits = 0, False

    @property
    def strategy(self) -> Strategy:
        """As it is now, with its history; made when it is first asked for."""
        if self._strategy is None:
            self._strategy = self._bound(self.space)
        return self._strategy

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        """Take over what is searched for, and what to draw beside architectures; Tune calls it.

        Raises:
            ConfigError: the metric or mode is another one than this was made with, or more than one; or `config` has
                an architecture of its own, or a grid.
        """
        for name, given, new in zip(("metric", "mode"), self._given, (metric, mode), strict=True):
            if new is not None and not isinstance(new, str):
                raise ConfigError(f"a strategy has one {name}, got {said(new)}")
            if given is not None and new not in (None, given):
                raise ConfigError(f"the {name} is {new!r} in TuneConfig and {given!r} in the search; give it once")
        self._metric, self._mode = metric or self.metric, mode or self.mode
        self._others = Others(config, self._seed)
        return True

    # -- trials ----------------------------------------------------------------------------------
    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The config of a new trial; None where something running must end first, ``"FINISHED"`` at the end."""
        if self._waits:
            return None
        for _ in range(_ASKS):
            asked = self.strategy.ask(1)
            if not asked:
                break
            config, key = self._config(self.space.format(asked[0]))
            if any(trial["key"] == key for trial in self._running.values()):
                self._repeats[key] = self._repeats.get(key, 0) + 1
            elif key in self._ended:
                self._tell(self._ended[key])
            else:
                trial = {"key": key, "architecture": config[ARCHITECTURE], "curve": [], "stopped": False}
                self._running[trial_id] = trial
                return config
        self._waits = bool(self._running)
        if self._waits:
            return None
        _log.warning("%s has nothing new to propose after %d trials", type(self.strategy).__name__, len(self._ended))
        return str(Searcher.FINISHED)

    def _config(self, architecture: str) -> tuple[dict[str, Any], str]:
        """A config, and what tells it from others."""
        values, key = self._others.draw(self._drawn)
        self._drawn += 1
        return {**values, ARCHITECTURE: architecture}, json.dumps([architecture, *key])

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Note what a trial reports; of an epoch that is trained again after a failure, the last report counts."""
        if trial_id in self._running:
            self._note(self._running[trial_id], result)

    def _note(self, trial: dict[str, Any], result: Mapping[str, Any]) -> None:
        if (value := self._value(result)) is not None:
            epoch = max(1, int(result.get("training_iteration", len(trial["curve"]) + 1)))
            trial["curve"] = [*trial["curve"][: epoch - 1], value]

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the strategy of a trial, unless it failed."""
        trial = self._running.pop(trial_id, None)
        self._waits = False
        if trial is None:
            return
        if error or not result:
            trial["curve"] = []
        elif self._value(result) is None:
            _log.warning("trial %s reported %s=%s; left out", trial_id, self.metric, said(result.get(self.metric)))
            trial["curve"] = []
        else:
            self._note(trial, result)
            whole = self._epochs or result.get("epochs") or 0
            trial["stopped"] = int(result.get("training_iteration", whole)) < whole
        self._ended[trial["key"]] = trial
        for _ in range(1 + self._repeats.pop(trial["key"], 0)):
            self._tell(trial)

    def _tell(self, trial: Mapping[str, Any]) -> None:
        curve = trial["curve"]
        if not curve:
            return  # it failed
        architecture = self.space.parse(trial["architecture"])
        if trial["stopped"]:
            self.strategy.tell_partial(architecture, curve)
        else:
            self.strategy.tell(architecture, curve[-1])

    def add_evaluated_point(
        self,
        parameters: dict[str, Any],
        value: float,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: list[float] | None = None,
    ) -> None:
        """Tell the strategy of a trial from elsewhere; one that failed or was ended early is left out."""
        found = self._value({self.metric: value})
        if not error and not pruned and found is not None:
            self.strategy.tell(self.space.parse(parameters[ARCHITECTURE]), found)

    def _value(self, result: Mapping[str, Any]) -> float | None:
        """Higher is better; None of what is no finite number."""
        try:
            value = float(result[self.metric])
        except (KeyError, TypeError, ValueError):
            return None
        return (value if self.mode == "max" else -value) if math.isfinite(value) else None

    # -- files -----------------------------------------------------------------------------------
    def save(self, checkpoint_path: str) -> None:
        """Write the state as JSON; Tune calls it while trials run.

        Raises:
            ConfigError: the file cannot be written.
        """
        state = None if self._strategy is None else self._strategy.state_dict()
        parts = {"running": self._running, "repeats": self._repeats, "ended": self._ended, "drawn": self._drawn}
        write_atomically(checkpoint_path, json.dumps({"format": _FORMAT, "strategy": state, **parts}).encode())

    def restore(self, checkpoint_path: str) -> None:
        """Go on from a file of `save`; nothing in it is executed.

        Raises:
            CheckpointError: it is damaged, or of another strategy or search space.
        """
        try:
            state = _STATE(schema.read_json(checkpoint_path), "")
            if state["strategy"] is not None:
                self.strategy.load_state_dict(state["strategy"])
        except UNREADABLE as error:
            if isinstance(error, CheckpointError) and not isinstance(error, schema.SchemaError):
                raise
            raise CheckpointError(
                f"{str(checkpoint_path)!r} cannot be read ({schema.why(error)}); it must be what this search has saved"
            ) from error
        self._running, self._repeats = state["running"], state["repeats"]
        self._ended, self._drawn, self._waits = state["ended"], state["drawn"], False


class MetaD2ASearch(StrategySearch):
    """`StrategySearch` with MetaD2A: ``dataset`` is the path of the images, or what else `load_dataset` reads."""

    def __init__(self, dataset: Any = None, space: str | SearchSpace = "nasbench201", **settings: Any) -> None:
        super().__init__("metad2a", space, dataset=dataset, **settings)
