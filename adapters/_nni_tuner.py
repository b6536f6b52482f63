"""Strategies as tuners of NNI, for experiments that ``nnictl create`` makes of a YAML file."""

from __future__ import annotations

import logging
from typing import Any

import nni
from nni.tuner import Tuner

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.registry import bind_strategy

from ._nni_bridge import bridge_of_space, number

_log = logging.getLogger(__name__)


class SearchTuner(Tuner):
    """Any strategy of this package as a tuner, for experiments that ``nnictl create`` makes of a YAML file.

    The search space has the labels of NAS-Bench-201, ``0_1``, ``0_2``, ``1_2``, ``0_3``, ``1_3`` and ``2_3``, each a
    choice of the five operations, with or without ``nor_``; or those of MobileNetV3, ``s1_depth`` to ``s5_depth`` and
    ``s1_i0_ks``, ``s1_i0_exp`` to ``s5_i3_exp``. They can have any prefix that ends in a slash.

    Args:
        strategy: registry name.
        optimize_mode: ``"maximize"`` or ``"minimize"`` what trials report.
        seed: the same seed and the same results give the same parameters.
        **options: for the strategy, such as ``dataset`` of ``metad2a``.

    Raises:
        ConfigError: no such strategy or mode, or the strategy does not take these options.
    """

    def __init__(
        self, strategy: str = "metad2a", optimize_mode: str = "maximize", seed: int = 0, **options: Any
    ) -> None:
        super().__init__()
        if optimize_mode not in ("maximize", "minimize"):
            raise ConfigError(f"optimize_mode must be 'maximize' or 'minimize', got {optimize_mode!r}")
        self._sign = 1 if optimize_mode == "maximize" else -1
        self._make = bind_strategy(strategy, seed=seed, **options)
        self._core: Any = None

    def update_search_space(self, search_space: dict[str, Any]) -> None:
        """Take the search space, once.

        Raises:
            ConfigError: not a space that the strategies know, or another one than before.
        """
        kinds = {label: dict(spec).get("_type") for label, spec in search_space.items()}
        if any(kind != "choice" for kind in kinds.values()):
            raise ConfigError(f"every label must have the _type 'choice', got {kinds}")
        choices = {label: list(spec["_value"]) for label, spec in search_space.items()}
        if self._core is None:
            self._bridge, self._choices = bridge_of_space(choices), choices
            self._core = self._make(self._bridge.space)
        elif choices != self._choices:
            raise ConfigError("the search space cannot change during an experiment; start another one")

    def generate_parameters(self, parameter_id: int, **kwargs: Any) -> dict[str, Any]:
        """One architecture, as parameters of a trial.

        Raises:
            nni.NoMoreTrialError: the strategy has nothing left to propose.
        """
        for architecture in self._core.ask(1):
            return self._bridge.sample(architecture)
        raise nni.NoMoreTrialError("the strategy has nothing left to propose")

    def receive_trial_result(self, parameter_id: int, parameters: dict[str, Any], value: Any, **kwargs: Any) -> None:
        """Tell the strategy what a trial reported; what is not a finite number is left out with a warning."""
        result = number(value)
        if result is None:
            _log.warning("%s reported %r, which is no finite number; left out", parameters, value)
            return
        self._core.tell(self._bridge.architecture(parameters), self._sign * result)

    def import_data(self, data: list[Any]) -> None:
        """Tell the strategy results of before: NNI calls this when an experiment is resumed."""
        for record in data:
            self.receive_trial_result(-1, record["parameter"], record["value"])


class MetaD2ATuner(SearchTuner):
    """`SearchTuner` with MetaD2A: ``dataset`` is the path of the images."""

    def __init__(self, dataset: Any = None, optimize_mode: str = "maximize", seed: int = 0, **options: Any) -> None:
        super().__init__("metad2a", optimize_mode, seed, dataset=dataset, **options)
