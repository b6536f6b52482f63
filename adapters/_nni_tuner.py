"""Strategies as tuners of NNI, for experiments that ``nnictl create`` makes of a YAML file.

NNI gives a tuner ten seconds from its start to connect, and connects when it is made. So nothing here imports torch or
`nni.nas`: in NNI's own process a strategy is imported and made when the search space arrives, after that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import nni
from nni.runtime.env_vars import dispatcher_env_vars
from nni.tuner import Tuner

from metad2a_plugin.errors import ArchitectureError, ConfigError
from metad2a_plugin.plugins.registry import bind_strategy
from metad2a_plugin.spaces.base import SearchSpace

from ._nni_bridge import bridge_of_space, number, own_labels

_log = logging.getLogger(__name__)
_OTHER_TYPES = (
    *("choice", "randint", "uniform", "quniform", "loguniform", "qloguniform"),
    *("normal", "qnormal", "lognormal", "qlognormal"),
)


class SearchTuner(Tuner):
    """Any strategy of this package as a tuner, for experiments that ``nnictl create`` makes of a YAML file.

    The search space has the labels of NAS-Bench-201, ``0_1``, ``0_2``, ``1_2``, ``0_3``, ``1_3`` and ``2_3``, each a
    choice of the five operations or some of them, with or without ``nor_``; or those of MobileNetV3, ``s1_depth`` to
    ``s5_depth`` and ``s1_i0_ks``, ``s1_i0_exp`` to ``s5_i3_exp``. They can have any prefix that ends in a slash. Other
    hyper-parameters can stand beside them: these are drawn at random, as NNI's own random tuner draws them, and the
    strategy does not hear of them.

    Args:
        strategy: registry name.
        optimize_mode: ``"maximize"`` or ``"minimize"`` what trials report.
        seed: the same seed and the same results give the same parameters.
        **options: for the strategy, such as ``dataset`` of ``metad2a``. Limits are counted for the networks that
            options say, such as ``channels``: a search space in YAML does not have their size.

    Raises:
        ConfigError: no such strategy or mode, or the strategy does not take these options; in NNI's own process with
            the search space, when what is raised is in its log.
    """

    def __init__(
        self, strategy: str = "metad2a", optimize_mode: str = "maximize", seed: int = 0, **options: Any
    ) -> None:
        super().__init__()
        self._given = strategy, optimize_mode, seed, options
        self._core: Any = None
        self._search_space: dict[str, Any] = {}
        if dispatcher_env_vars.SDK_PROCESS != "dispatcher":
            self._bound()

    def _bound(self) -> Callable[[SearchSpace], Any]:
        """What makes the strategy, with all arguments checked; imports it."""
        strategy, mode, seed, options = self._given
        if mode not in ("maximize", "minimize"):
            raise ConfigError(f"optimize_mode must be 'maximize' or 'minimize', got {mode!r}")
        self._sign = 1 if mode == "maximize" else -1
        return bind_strategy(strategy, seed=seed, **options)

    def update_search_space(self, search_space: dict[str, Any]) -> None:
        """Take the search space, once.

        Raises:
            ConfigError: not a space that the strategies know, a hyper-parameter that NNI has no rule for, or another
                space than before.
        """
        if self._core is not None:
            if search_space != self._search_space:
                raise ConfigError("the search space cannot change during an experiment; start another one")
            return
        choices, others = _split(search_space)
        self._bridge, self._others = bridge_of_space(choices), _Others(others, self._given[2])
        self._core = self._bound()(self._bridge.space)
        self._search_space = search_space

    def generate_parameters(self, parameter_id: int, **kwargs: Any) -> dict[str, Any]:
        """One architecture, and a value of each other hyper-parameter, as parameters of a trial.

        Raises:
            nni.NoMoreTrialError: the strategy has nothing left to propose.
        """
        for architecture in self._core.ask(1):
            return self._bridge.sample(architecture) | self._others.draw()
        raise nni.NoMoreTrialError("the strategy has nothing left to propose")

    def receive_trial_result(self, parameter_id: int, parameters: dict[str, Any], value: Any, **kwargs: Any) -> None:
        """Tell the strategy what a trial reported; what is not a finite number is left out with a warning."""
        result = number(value)
        if result is None:
            _log.warning("%s reported %r, which is no finite number; left out", parameters, value)
            return
        own = own_labels(parameters)
        named = {label: choice for label, choice in parameters.items() if label in own}
        self._core.tell(self._bridge.architecture(named), self._sign * result)

    def import_data(self, data: list[Any]) -> None:
        """Tell the strategy results of before: NNI calls this when an experiment is resumed.

        What is of no architecture of the search space is left out with a warning.
        """
        for record in data:
            try:
                self.receive_trial_result(-1, record["parameter"], record["value"])
            except ArchitectureError as error:
                _log.warning("left out: %s", error)


class MetaD2ATuner(SearchTuner):
    """`SearchTuner` with MetaD2A: ``dataset`` is the path of the images."""

    def __init__(self, dataset: Any = None, optimize_mode: str = "maximize", seed: int = 0, **options: Any) -> None:
        super().__init__("metad2a", optimize_mode, seed, dataset=dataset, **options)


def _split(search_space: Any) -> tuple[dict[Any, list[Any]], dict[str, Any]]:
    """The choices of the architecture, and all other hyper-parameters as they are written."""
    if not isinstance(search_space, Mapping):
        raise ConfigError(f"a search space has a _type and a _value for each label, got {search_space!r}")
    for label, spec in search_space.items():
        if not isinstance(spec, Mapping) or not isinstance(spec.get("_value"), (list, tuple)):
            raise ConfigError(
                f"{label!r} must be written as {{_type: choice, _value: [...]}}, or with another _type of NNI, got "
                f"{spec!r}"
            )
    if not all(isinstance(label, str) for label in search_space):
        bridge_of_space({label: spec["_value"] for label, spec in search_space.items()})  # refuses it
    own = own_labels(search_space)
    if wrong := sorted(label for label in own if search_space[label].get("_type") != "choice"):
        raise ConfigError(
            f"{wrong[0]!r} is of the architecture, so it must have the _type 'choice', got "
            f"{search_space[wrong[0]].get('_type')!r}"
        )
    if not own:
        if others := sorted(label for label, spec in search_space.items() if spec.get("_type") != "choice"):
            raise ConfigError(
                f"labels of an architecture must have the _type 'choice' and names such as 'cell/0_1'; beside "
                f"{', '.join(others)} there is none"
            )
        bridge_of_space({label: spec["_value"] for label, spec in search_space.items()})  # refuses it
    choices = {label: list(search_space[label]["_value"]) for label in search_space if label in own}
    return choices, {label: spec for label, spec in search_space.items() if label not in own}


class _Others:
    """Hyper-parameters beside the architecture, drawn by the rules of NNI's random tuner.

    Args:
        specs: of each, its ``_type`` and ``_value``.
        seed: of the draws.

    Raises:
        ConfigError: one is of a kind, or has numbers, that NNI has no rule for.
    """

    def __init__(self, specs: Mapping[str, Any], seed: int) -> None:
        self._draws: Any = None
        if not specs:
            return
        import numpy as np
        from nni.algorithms.hpo.random_tuner import suggest
        from nni.common.hpo_utils import deformat_parameters, format_search_space, validate_search_space

        for label, spec in specs.items():
            if not spec["_value"]:
                raise ConfigError(f"the hyper-parameter {label!r} has no value to draw from, got {spec!r}")
            try:
                validate_search_space({label: spec}, list(_OTHER_TYPES), raise_exception=True)
                formatted = format_search_space({label: spec})
                deformat_parameters(suggest(np.random.default_rng(0), formatted), formatted)
            except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
                raise ConfigError(
                    f"the hyper-parameter {label!r} stands beside the architecture, and NNI cannot draw it: {error}; "
                    f"the kinds are {', '.join(_OTHER_TYPES)}"
                ) from error
        space, rng = format_search_space(dict(specs)), np.random.default_rng(seed)
        self._draws = lambda: deformat_parameters(suggest(rng, space), space)

    def draw(self) -> dict[str, Any]:
        """One value of each, by label."""
        return {} if self._draws is None else dict(self._draws())
