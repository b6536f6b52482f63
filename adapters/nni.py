"""NNI: the strategies of this package in a `NasExperiment`, and as a tuner of ``nnictl``.

    from nni.nas.experiment import NasExperiment
    from nni.nas.hub.pytorch import NasBench201
    from metad2a_plugin.adapters.nni import MetaD2AStrategy

    experiment = NasExperiment(NasBench201(), evaluator, MetaD2AStrategy("photos/"))

`SearchStrategy` wraps any strategy by name; `TableEvaluator`, `PredictorEvaluator` and `TrainingEvaluator` evaluate;
`SearchTuner` and `MetaD2ATuner` serve YAML experiments. The model spaces are NNI's `NasBench201` and Once-for-All's
network, which `ofa_space` makes of its `MobileNetV3Space`. Written for NNI 3.0, its last release, whose faults are
worked around here: see ``docs/nni.md``.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from metad2a_plugin.adapters import _nni_host
from metad2a_plugin.adapters._nni_bridge import architecture_of, bridge, number
from metad2a_plugin.adapters._nni_mobilenetv3 import FIXED, SETTINGS, check_settings

from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.plugins.registry import bind_strategy
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.utils.checks import integer
from metad2a_plugin.utils.files import UNREADABLE, write_atomically

_nni_host.check()
import nni  # noqa: E402
from metad2a_plugin.adapters._nni_evaluators import (  # noqa: E402
    CHOICES,
    OwnEvaluator,
    PredictorEvaluator,
    TableEvaluator,
    TrainingEvaluator,
)
from nni.nas.execution import ExecutionEngine, Middleware, TrainingServiceExecutionEngine  # noqa: E402
from nni.nas.execution.event import FinalMetricEvent, ModelEventType, TrainingEndEvent  # noqa: E402
from nni.nas.hub.pytorch import MobileNetV3Space  # noqa: E402
from nni.nas.space import ExecutableModelSpace, ModelStatus  # noqa: E402
from nni.nas.strategy.base import Strategy, StrategyStatus  # noqa: E402
from nni.tuner import Tuner  # noqa: E402
from torch import nn  # noqa: E402

__all__ = [
    "MetaD2AStrategy",
    "MetaD2ATuner",
    "PredictorEvaluator",
    "SearchStrategy",
    "SearchTuner",
    "TableEvaluator",
    "TrainingEvaluator",
    "architecture_of",
    "load_ofa_weights",
    "ofa_space",
]

_log = logging.getLogger(__name__)
_PATIENCE = 40
"""Looks at a manager without any job in training, half a second each, until the trials are given up."""


# -- the MobileNetV3 space -----------------------------------------------------------------------
def ofa_space(
    width: float = 1.0, num_classes: int = 1000, *, dropout_rate: float = 0.2, bn_momentum: float = 0.1
) -> MobileNetV3Space:
    """NNI's ``MobileNetV3Space`` as the network of Once-for-All, whose architectures are those of ``mobilenetv3``.

    NNI's class also lets the kernels of two layers vary that are fixed in that network; here they have one choice, so
    that NNI's own strategies search the same space.

    Args:
        width: multiplier of all channels; OFA's supernets have 1.0 and 1.2.
        num_classes: outputs of the classifier.
        dropout_rate: before the classifier.
        bn_momentum: of batch norm.

    Raises:
        ConfigError: `width` is no positive number, or one of the few for which NNI rounds channels differently.
    """
    integer("num_classes", num_classes, 1)
    settings = {**SETTINGS, "width_multipliers": float(width) if isinstance(width, int) else width}
    check_settings(settings)
    space = MobileNetV3Space(num_classes, dropout_rate=dropout_rate, bn_momentum=bn_momentum, **settings)
    for label, mutable in space.simplify().items():
        if label in FIXED:
            mutable.values, mutable.weights = [FIXED[label]], [1.0]
    return space


def load_ofa_weights(model: nn.Module, network: nn.Module) -> None:
    """Give NNI's network of an architecture the weights of this package's, such as ``adapters.ofa.extract`` cuts.

    In evaluation mode both then give the same outputs.

    Args:
        model: of `ofa_space`: what an experiment exports with ``formatter="instance"``.
        network: of `MobileNetV3Space.build`, with the same architecture, width and number of classes.

    Raises:
        ConfigError: they are two architectures, or `model` is something else.
    """
    # NNI's layers have other names, but the same order; one has a bias, which OFA's lacks.
    extra = "blocks.8.0.bias"
    if extra not in model.state_dict():
        raise ConfigError(f"expected a network of ofa_space, got {type(model).__name__}")
    theirs = {name: tensor for name, tensor in model.state_dict().items() if name != extra}
    ours = network.state_dict().values()
    if [tensor.shape for tensor in theirs.values()] != [tensor.shape for tensor in ours]:
        raise ConfigError("the weights do not fit: build() the architecture, width and number of classes of the model")
    weights = dict(zip(theirs, ours, strict=True))
    model.load_state_dict({**weights, extra: torch.zeros_like(model.state_dict()[extra])})


def _check_settings(model_space: ExecutableModelSpace) -> None:
    """Refuse NNI's ``MobileNetV3Space`` where it is another network than Once-for-All's: its labels do not tell."""
    # Of the simplified and of the raw format.
    made: Any = getattr(model_space, "model", getattr(model_space, "model_space", None))
    kind: Any = getattr(made, "trace_symbol", None)
    if kind is MobileNetV3Space:
        signature = inspect.signature(kind._init_wrapped)
        given = signature.bind(None, *made.trace_args, **made.trace_kwargs)
        given.apply_defaults()
        check_settings(given.arguments)


# -- strategies ----------------------------------------------------------------------------------
@dataclass(eq=False)
class _Trial:
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


class SearchStrategy(Strategy):
    """Any strategy of this package as a strategy of NNI.

    Args:
        name: registry name, see `available("strategies")`.
        seed: the same seed and the same metrics give the same models.
        state_file: after each model and metric the search is saved here, and a strategy made with an existing file
            goes on from it. NNI saves an experiment only when it stops, so this is what outlives a killed process. On
            the training service it is a file in the experiment's folder by default.
        **options: for the strategy.

    Raises:
        ConfigError: no such strategy, or it does not take these options.
    """

    def __init__(
        self, name: str, *, seed: int = 0, state_file: str | os.PathLike[str] | None = None, **options: Any
    ) -> None:
        super().__init__()
        self._make: Callable[[Any], Any] = bind_strategy(name, seed=seed, **options)
        self._name, self._seed, self._options = name, seed, options
        self._state_file = None if state_file is None else Path(state_file)
        if self._state_file and self._state_file.is_dir():
            raise ConfigError(f"state_file must be the path of a file, {str(state_file)!r} is a folder")
        # Metrics of the training service come in a thread of its own.
        self._lock = threading.RLock()
        self._core: Any = None
        self._trials: list[_Trial] = []
        self._by_model: dict[int, _Trial] = {}
        self._in_training = self._quiet = 0
        self._failure: Exception | None = None
        self._resumed = False
        _nni_host.tolerate_unknown_commands()

    def extra_repr(self) -> str:
        return f"{self._name!r}, seed={self._seed}"

    # -- NNI calls ---------------------------------------------------------------------------
    def _initialize(self, model_space: ExecutableModelSpace, engine: ExecutionEngine) -> ExecutableModelSpace:
        choices = {label: getattr(mutable, "values", ()) for label, mutable in model_space.simplify().items()}
        _check_settings(model_space)
        self._bridge = bridge(choices)
        core, space = self._make(self._bridge.space), self._bridge.space
        if core.space.name != space.name:
            raise ConfigError(
                f"the model is of the search space {core.space.name!r}, the experiment's model space is "
                f"{space.name!r}; give a model of that one, such as model={space.name!r}"
            )
        if isinstance(model_space.evaluator, OwnEvaluator):
            model_space.evaluator.check(space)
        self._core = core
        if self._state_file and self._state_file.exists():
            self._load(self._read(self._state_file))
        elif self._state_file:
            self._save_file()  # a place that cannot be written shows before the first trial
        engine.register_model_event_callback(ModelEventType.FinalMetric, self._on_metric)
        engine.register_model_event_callback(ModelEventType.TrainingEnd, self._on_end)
        return model_space

    def _run(self) -> None:
        with _nni_host.manager_needed(self):
            if self._resumed:
                self._recover()
            else:
                for known in self._trials:  # of a state file, and so of another experiment
                    known.parameter_id = None
            while self.wait_for_resource():
                self._raise_failure()
                trial = self._next()
                if trial is not None:
                    self._submit(trial)
                elif self._busy():
                    time.sleep(0.5)  # what is in training may give the strategy new ideas
                else:
                    _log.info("%s has nothing left to propose.", self)
                    break
            while self._busy():
                time.sleep(0.5)
            self._settle()
            self._raise_failure()

    def _cleanup(self) -> None:
        self.engine.unregister_model_event_callback(ModelEventType.FinalMetric, self._on_metric)
        self.engine.unregister_model_event_callback(ModelEventType.TrainingEnd, self._on_end)

    def list_models(self, sort: bool = True, limit: int | None = None) -> Iterator[ExecutableModelSpace]:
        """The models with their metrics, best first, or all in the order of submission with ``sort=False``.

        NNI's own list goes by the training service's database, which pairs models and metrics wrongly.
        """
        if self._status in (StrategyStatus.EMPTY, StrategyStatus.INITIALIZED):
            raise RuntimeError("this strategy has not run yet, so there are no models to list")
        with self._lock:
            trials = [trial for trial in self._trials if trial.model.status is not ModelStatus.Frozen]
        if sort:
            measured = [t for t in trials if t.value is not None and t.model.status is not ModelStatus.Invalid]
            trials = sorted(measured, key=lambda trial: -(trial.value or 0.0))
        return iter([trial.model for trial in trials[:limit]])

    @property
    def measured(self) -> list[tuple[Architecture, float]]:
        """Every architecture that has a metric, with it, in the order of arrival."""
        with self._lock:
            return [] if self._core is None else list(self._core.history)

    def state_dict(self) -> dict[str, Any]:
        with self._lock:
            trials = [
                [list(t.architecture.choices), t.value, t.model.status.value, t.parameter_id] for t in self._trials
            ]
            return {
                "search": self._identity(),
                "core": self._core and self._core.state_dict(),
                "trials": trials,
            }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed = True
        states = [state_dict]
        if self._file and self._file.exists():
            states.append(self._read(self._file))
        # The file knows more than the checkpoint of an experiment that was killed.
        self._load(max(states, key=lambda state: len(state["trials"])))

    def _load(self, state_dict: dict[str, Any]) -> None:
        with self._lock:
            if state_dict["core"] is not None:
                self._core.load_state_dict(state_dict["core"])
            self._trials, self._by_model = [], {}
            for choices, value, status, parameter_id in state_dict["trials"]:
                trial = self._trial(Architecture(self._bridge.space.name, tuple(choices)))
                trial.value, trial.parameter_id = value, parameter_id
                if value is not None:
                    trial.model.metrics.final = value
                if not trial.open or ModelStatus(status) in (ModelStatus.Failed, ModelStatus.Invalid):
                    trial.model.status = ModelStatus(status)
                self._trials.append(trial)

    # -- trials ------------------------------------------------------------------------------
    def _trial(self, architecture: Architecture) -> _Trial:
        model = self.model_space.freeze(self._bridge.sample(architecture))
        trial = self._by_model[id(model)] = _Trial(architecture, model)
        return trial

    def _next(self) -> _Trial | None:
        """What an interrupted run left undone, then what the strategy proposes."""
        with self._lock:
            for trial in self._trials:
                if trial.open and trial.model.status is ModelStatus.Frozen:
                    return trial
            for architecture in self._core.ask(1):
                self._trials.append(self._trial(architecture))
                return self._trials[-1]
        return None

    def _submit(self, trial: _Trial) -> None:
        with self._lock:
            self._in_training += 1
        self.engine.submit_models(trial.model)
        if self._service is not None:
            newest = self._service._current_parameter_id
            reference = self._service._models.get(newest)
            if reference is not None and reference() is trial.model:  # no middleware has replaced it
                trial.parameter_id = newest
            self._save_file()

    def _on_metric(self, event: FinalMetricEvent) -> None:
        trial = self._by_model.get(id(event.model))
        if trial is None:
            return  # of another strategy on the same engine
        # NNI's own way to keep the metric raises on what is not a number, in a thread where that hangs everything.
        event.prevent_default()
        try:
            self._accept(trial, event.metric)
        except Exception as error:
            if self._service is None:
                raise
            self._failure = error  # raised here it would end NNI's listener, and the search would wait for ever

    def _accept(self, trial: _Trial, metric: Any) -> None:
        value, text = number(metric), self._bridge.space.format(trial.architecture)
        with self._lock:
            if value is None:
                _log.warning(
                    "%s reported %r: not a finite number (or a dictionary with one as 'default'); this trial counts "
                    "as failed",
                    text,
                    metric,
                )
            elif isinstance(metric, Mapping) and _named(metric) not in (None, trial.architecture.choices):
                _log.warning("the metric %r came back for %s, which is another architecture; left out", metric, text)
            elif trial.value is None:
                trial.value = trial.model.metrics.final = value
                self._core.tell(trial.architecture, value)
                self._save_file()

    def _on_end(self, event: TrainingEndEvent) -> None:
        trial = self._by_model.get(id(event.model))
        if trial is not None:
            with self._lock:
                self._in_training -= 1
            if self._service is None and event.status is ModelStatus.Trained and trial.value is None:
                event.status = ModelStatus.Failed

    def _raise_failure(self) -> None:
        """Raise, in the main thread, what the strategy raised on a metric."""
        if self._failure is not None:
            raise self._failure

    def _busy(self) -> bool:
        """Whether trials are in training."""
        if self._in_training <= 0 or self._service is None:
            return False
        training = _nni_host.in_training(self._service.nodejs_binding)
        if training is not None:
            self._quiet = 0
            return training
        # Jobs take seconds to show up; and the end of one can be missed in the moment an experiment is resumed.
        self._quiet += 1
        return self._quiet < _PATIENCE

    def _settle(self) -> None:
        """Late metrics, and which trials failed: on the training service only the metrics say that reliably."""
        with self._lock:
            if self._service is not None:
                metrics = _nni_host.final_metrics(self._service.nodejs_binding)
                for trial in self._trials:
                    if trial.value is None and trial.parameter_id in metrics:
                        self._accept(trial, metrics[trial.parameter_id].data)
                for trial in self._trials:
                    if trial.value is not None and trial.model.status is not ModelStatus.Invalid:
                        trial.model.status = ModelStatus.Trained
                    elif trial.model.status is ModelStatus.Trained:
                        trial.model.status = ModelStatus.Failed
                    elif trial.model.status is ModelStatus.Training:
                        trial.model.status = ModelStatus.Frozen  # queued, but the budget ended before its turn
            failed = sum(trial.model.status is ModelStatus.Failed for trial in self._trials)
            if failed:
                _log.warning(
                    "%d of %d trials gave no metric%s",
                    failed,
                    len(self._trials),
                    "" if self._service is None else "; their errors are in trial.stderr, in the experiment's folder",
                )

    # -- the training service ----------------------------------------------------------------
    @cached_property
    def _service(self) -> TrainingServiceExecutionEngine | None:
        """The engine below all middleware, if it is the training service."""
        engine = self.engine
        while isinstance(engine, Middleware):
            engine = engine.engine
        return engine if isinstance(engine, TrainingServiceExecutionEngine) else None

    def _recover(self) -> None:
        """Agree with the manager of a resumed experiment, which knows more than the last checkpoint.

        It trains again what had not ended, by job: since jobs do not run the parameters they were made for, that can
        be an architecture whose metric is there, and another can be forgotten. The first is killed, the second is
        submitted again by `_next`.
        """
        if self._service is None:
            return
        manager = self._service.nodejs_binding
        metrics = _nni_host.final_metrics(manager)
        jobs = _nni_host.jobs(manager, metrics)
        # First of all: a short trial has trained within seconds.
        _nni_host.kill(manager, [job for number, job in jobs.items() if job.again and number in metrics])
        with self._lock:
            known = {trial.parameter_id: trial for trial in self._trials if trial.parameter_id is not None}
            for parameter_id in sorted(jobs):
                job = jobs[parameter_id]
                trial = known.get(parameter_id)
                unknown = trial is None
                if trial is None:
                    trial = self._trial(self._bridge.architecture(job.sample))
                    trial.parameter_id = parameter_id
                    self._trials.append(trial)
                if parameter_id in metrics:
                    self._accept(trial, metrics[parameter_id].data)
                if job.again and trial.open:
                    trial.model.status = ModelStatus.Training
                    self._in_training += 1
                    self._service._models[parameter_id] = weakref.ref(trial.model)
                elif trial.open and unknown and job.failed:
                    trial.model.status = ModelStatus.Failed
                elif trial.value is not None:
                    trial.model.status = ModelStatus.Trained

    # -- the state file ----------------------------------------------------------------------
    @property
    def _file(self) -> Path | None:
        if self._state_file or self._service is None:
            return self._state_file
        return Path(self._service.nodejs_binding._checkpoint_directory) / "metad2a.json"

    def _save_file(self) -> None:
        if self._file:
            with self._lock:
                write_atomically(self._file, json.dumps(self.state_dict()).encode())

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads(path.read_bytes())
            search = state["search"]
        except UNREADABLE as error:
            raise CheckpointError(
                f"{str(path)!r} is no state of a search ({type(error).__name__}: {error}); remove it to start anew"
            ) from error
        if search != self._identity():
            raise CheckpointError(
                f"{str(path)!r} is of another search, {search}; this one is {self._identity()}. Give another "
                "state_file, or remove it to start anew"
            )
        return state

    def _identity(self) -> dict[str, Any]:
        """What a state is of, in plain JSON values."""
        evaluator = self._model_space.evaluator if self._model_space is not None else None
        return {
            "strategy": self._name,
            "seed": self._seed,
            "options": {name: _plain(value) for name, value in sorted(self._options.items())},
            "evaluator": _plain(evaluator),
        }


def _plain(value: Any) -> Any:
    """A value as JSON has it, or something short that tells it from others."""
    from metad2a_plugin.data import Task
    from metad2a_plugin.search.metad2a import MetaD2A

    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Task):
        return hashlib.sha256(value.features.numpy().tobytes() + value.labels.numpy().tobytes()).hexdigest()[:16]
    if isinstance(value, MetaD2A):
        return value.checkpoint.name
    if isinstance(value, OwnEvaluator):
        return _plain(value._dump())
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return os.fspath(value) if isinstance(value, os.PathLike) else type(value).__name__


def _named(metric: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The choices that a metric says it was measured on, where it says so."""
    choices = metric.get(CHOICES)
    return tuple(choices) if isinstance(choices, (list, tuple)) else None


class MetaD2AStrategy(SearchStrategy):
    """MetaD2A as a strategy of NNI: the networks best by prediction first, then also by what trials report.

    The dataset is read and ranked here and not in the experiment, so that what is wrong with it shows at once.

    Args:
        dataset: what to search for: anything `MetaD2A.search` takes; None ranks for the average meta-training task.
        model: a shipped checkpoint, its folder, or a `MetaD2A`, of the experiment's search space. Where metrics are
            those of the benchmark, take ``"nasbench201-paper"``, which has not learned from them.
        seed: of the choice of images and of the generator.
        adapt: learn from the metrics.
        state_file: see `SearchStrategy`.
        **options: for `MetaD2A.rank`: `candidates`, limits, `input_size`.

    Raises:
        CheckpointError: the model cannot be read.
        ConfigError: an unknown option.
        DatasetError: the dataset cannot be used.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        model: Any = "nasbench201",
        seed: int = 0,
        adapt: bool = True,
        state_file: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        from metad2a_plugin.search.metad2a import MetaD2A

        searcher = model if isinstance(model, MetaD2A) else MetaD2A.from_pretrained(model)
        task = None if dataset is None else searcher.task(dataset, seed=seed)
        super().__init__(
            "metad2a", seed=seed, state_file=state_file, model=searcher, dataset=task, adapt=adapt, **options
        )
        ranked = self._make(searcher.space)
        self._make = lambda space: ranked
        self._training = searcher.checkpoint.training

    def _initialize(self, model_space: ExecutableModelSpace, engine: ExecutionEngine) -> ExecutableModelSpace:
        if isinstance(model_space.evaluator, TableEvaluator) and self._training.get("tables"):
            _log.warning(
                "this model has learned from the benchmark's accuracies (%s), which the evaluator looks up; compare "
                "with model='nasbench201-paper', which has not",
                ", ".join(self._training["tables"]),
            )
        return super()._initialize(model_space, engine)


# -- nnictl --------------------------------------------------------------------------------------
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
        self._make: Callable[[Any], Any] = bind_strategy(strategy, seed=seed, **options)
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
            self._bridge, self._choices = bridge(choices), choices
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
