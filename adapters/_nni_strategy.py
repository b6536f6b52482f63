"""Strategies of this package as strategies of NNI."""

from __future__ import annotations

import json
import logging
import os
import time
import weakref
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from nni.nas.execution import ExecutionEngine, Middleware, TrainingServiceExecutionEngine
from nni.nas.execution.event import FinalMetricEvent, ModelEventType, TrainingEndEvent
from nni.nas.space import ExecutableModelSpace, ModelStatus
from nni.nas.strategy.base import Strategy, StrategyStatus

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins import strategy as core
from metad2a_plugin.plugins.budget import AnyBudget, default_model
from metad2a_plugin.plugins.registry import DEFAULT_SPACE, bind_strategy, entry, get_space
from metad2a_plugin.search.options import requested
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.restricted import RestrictedSpace
from metad2a_plugin.utils.files import write_atomically

from . import _nni_manager as managers
from . import _nni_sizes as sizes
from ._nni_bridge import bridge_of_space
from ._nni_compat import tolerate_unknown_commands
from ._nni_evaluators import OwnEvaluator, TableEvaluator
from ._nni_experiments import STATE_FILE, guard_experiments
from ._nni_operations import check_operations
from ._nni_space import check_model_space
from ._nni_trials import Trial, Trials, plain, read_state, searched

_log = logging.getLogger(__name__)
_PATIENCE = 40
"""Looks at a manager without any job in training, half a second each, until the trials are given up."""


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

    guarded = True

    def __init__(
        self, name: str, *, seed: int = 0, state_file: str | os.PathLike[str] | None = None, **options: Any
    ) -> None:
        super().__init__()
        self._make = bind_strategy(name, seed=seed, **options)
        self._name, self._seed, self._options = name, seed, options
        self._state_file = None if state_file is None else Path(state_file)
        if self._state_file and self._state_file.is_dir():
            raise ConfigError(f"state_file must be the path of a file, {str(state_file)!r} is a folder")
        self._initialized: Trials | None = None
        self._in_training = self._quiet = 0
        self._failure: Exception | None = None
        self._resumed = False
        self._searched: dict[str, Any] = {}
        tolerate_unknown_commands()
        guard_experiments()

    def extra_repr(self) -> str:
        return f"{self._name!r}, seed={self._seed}"

    @property
    def measured(self) -> list[tuple[Architecture, float]]:
        """Every architecture that has a metric, with it, in the order of arrival."""
        if self._initialized is None:
            return []
        with self._trials.lock:
            return list(self._trials.strategy.history)

    @property
    def _trials(self) -> Trials:
        assert self._initialized is not None, "NNI initializes a strategy before all else"
        return self._initialized

    # -- NNI calls ---------------------------------------------------------------------------
    def _initialize(self, model_space: ExecutableModelSpace, engine: ExecutionEngine) -> ExecutableModelSpace:
        choices = {label: getattr(mutable, "values", ()) for label, mutable in model_space.simplify().items()}
        check_model_space(model_space)
        bridge = bridge_of_space(choices)
        check_operations(model_space, bridge)
        counted = sizes.counted_options(model_space, bridge, self._options)
        self._searched = searched(bridge.space, counted)
        made = self._strategy(bridge.space, counted)
        if isinstance(model_space.evaluator, OwnEvaluator):
            model_space.evaluator.check(get_space(bridge.space.name))
        self._initialized = Trials(made, bridge, model_space)
        if self._state_file and self._state_file.exists():
            self._trials.load_state_dict(read_state(self._state_file, self._identity()))
        elif self._state_file:
            self._save_file()  # a place that cannot be written shows before the first trial
        engine.register_model_event_callback(ModelEventType.FinalMetric, self._on_metric)
        engine.register_model_event_callback(ModelEventType.TrainingEnd, self._on_end)
        return model_space

    def _strategy(self, space: SearchSpace, counted: Mapping[str, Any]) -> core.Strategy:
        """The strategy for a space, with limits counted for its networks."""
        if not counted:
            return self._make(space)
        own = sizes.taken(entry("strategies", self._name).load(), space, counted)
        return bind_strategy(self._name, seed=self._seed, **{**self._options, **own})(space)

    def _run(self) -> None:
        with managers.manager_needed(self):
            if self._resumed:
                self._recover()
            else:
                for known in self._trials.all:  # of a state file, and so of another experiment
                    known.parameter_id = None
            while self.wait_for_resource():
                self._raise_failure()
                trial = self._trials.next()
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
        return iter(self._trials.models(sort, limit))

    def state_dict(self) -> dict[str, Any]:
        trials = {"core": None, "trials": []} if self._initialized is None else self._initialized.state_dict()
        return {"search": self._identity(), **trials}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed = True
        states = [state_dict]
        if self._file and self._file.exists():
            states.append(read_state(self._file, self._identity()))
        # The file knows more than the checkpoint of an experiment that was killed.
        self._trials.load_state_dict(max(states, key=lambda state: len(state["trials"])))

    # -- trials ------------------------------------------------------------------------------
    def _submit(self, trial: Trial) -> None:
        with self._trials.lock:
            self._in_training += 1
        self.engine.submit_models(trial.model)
        if self._service is not None:
            newest = self._service._current_parameter_id
            reference = self._service._models.get(newest)
            if reference is not None and reference() is trial.model:  # no middleware has replaced it
                trial.parameter_id = newest
            self._save_file()

    def _on_metric(self, event: FinalMetricEvent) -> None:
        trial = self._trials.find(event.model)
        if trial is None:
            return
        # NNI's own way to keep the metric raises on what is not a number, in a thread where that hangs everything.
        event.prevent_default()
        try:
            self._accept(trial, event.metric)
        except Exception as error:
            if self._service is None:
                raise
            self._failure = error  # raised here it would end NNI's listener, and the search would wait for ever

    def _accept(self, trial: Trial, metric: Any) -> None:
        with self._trials.lock:
            if self._trials.accept(trial, metric):
                self._save_file()

    def _on_end(self, event: TrainingEndEvent) -> None:
        trial = self._trials.find(event.model)
        if trial is not None:
            with self._trials.lock:
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
        training = managers.in_training(self._service.nodejs_binding)
        if training is not None:
            self._quiet = 0
            return training
        # Jobs take seconds to show up; and the end of one can be missed in the moment an experiment is resumed.
        self._quiet += 1
        return self._quiet < _PATIENCE

    def _settle(self) -> None:
        """Late metrics, and which trials failed: on the training service only the metrics say that reliably."""
        with self._trials.lock:
            trials = self._trials.all
            if self._service is not None:
                metrics = managers.final_metrics(self._service.nodejs_binding)
                for trial in trials:
                    if trial.value is None and trial.parameter_id in metrics:
                        self._accept(trial, metrics[trial.parameter_id].data)
                for trial in trials:
                    if trial.value is not None and trial.model.status is not ModelStatus.Invalid:
                        trial.model.status = ModelStatus.Trained
                    elif trial.model.status is ModelStatus.Trained:
                        trial.model.status = ModelStatus.Failed
                    elif trial.model.status is ModelStatus.Training:
                        trial.model.status = ModelStatus.Frozen  # queued, but the budget ended before its turn
            failed = sum(trial.model.status is ModelStatus.Failed for trial in trials)
            if failed:
                _log.warning(
                    "%d of %d trials gave no metric%s",
                    failed,
                    len(trials),
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
        submitted again: `Trials.next` gives it.
        """
        if self._service is None:
            return
        manager = self._service.nodejs_binding
        metrics = managers.final_metrics(manager)
        jobs = managers.jobs(manager, metrics)
        # First of all: a short trial has trained within seconds.
        managers.kill(manager, [job for number, job in jobs.items() if job.again and number in metrics])
        with self._trials.lock:
            known = {trial.parameter_id: trial for trial in self._trials.all}
            for parameter_id, job in sorted(jobs.items()):
                trial = known.get(parameter_id) or self._trials.add_sample(job.sample, parameter_id)
                if parameter_id in metrics:
                    self._accept(trial, metrics[parameter_id].data)
                if job.again and trial.open:
                    trial.model.status = ModelStatus.Training
                    self._in_training += 1
                    self._service._models[parameter_id] = weakref.ref(trial.model)
                elif trial.open and parameter_id not in known and job.failed:
                    trial.model.status = ModelStatus.Failed
                elif trial.value is not None:
                    trial.model.status = ModelStatus.Trained

    # -- the state file ----------------------------------------------------------------------
    @property
    def _file(self) -> Path | None:
        if self._state_file or self._service is None:
            return self._state_file
        return Path(self._service.nodejs_binding._checkpoint_directory) / STATE_FILE

    def _save_file(self) -> None:
        if self._file:
            with self._trials.lock:
                write_atomically(self._file, json.dumps(self.state_dict()).encode())

    def _identity(self) -> dict[str, Any]:
        """What a state is of, in plain JSON values."""
        evaluator = self._model_space.evaluator if self._model_space is not None else None
        return {
            "strategy": self._name,
            "seed": self._seed,
            "options": {name: plain(value) for name, value in sorted(self._options.items())},
            "evaluator": plain(evaluator),
            **self._searched,
        }


class MetaD2AStrategy(SearchStrategy):
    """MetaD2A as a strategy of NNI: the networks best by prediction first, then also by what trials report.

    The dataset is read here and not in the experiment, so that what is wrong with it shows at once. It is ranked here
    too, unless there are limits: those are counted for the networks of the experiment's model space.

    Args:
        dataset: what to search for: anything `MetaD2A.search` takes; None ranks for the average meta-training task.
        model: a shipped checkpoint, its folder, or a `MetaD2A`, of the experiment's search space. Where metrics are
            those of the benchmark, take ``"nasbench201-paper"``, which has not learned from them.
            By default ``"nasbench201"``, for a budget ``"nasbench201-budget"``.
        budget: what trials train networks with, a `Budget` or its settings by name, such as ``{"epochs": 30}``; None is
            long training.
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
        model: Any = None,
        budget: AnyBudget = None,
        seed: int = 0,
        adapt: bool = True,
        state_file: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        from metad2a_plugin.search.metad2a import MetaD2A

        if model is None:
            model = default_model(DEFAULT_SPACE, budget is not None)
        searcher = model if isinstance(model, MetaD2A) else MetaD2A.from_pretrained(model)
        task = None if dataset is None else searcher.task(dataset, seed=seed)
        given = {"model": searcher, "dataset": task, "adapt": adapt, **options}
        if budget is not None:  # states of before there were budgets have none among their options
            given["budget"] = budget
        super().__init__("metad2a", seed=seed, state_file=state_file, **given)
        self._space, self._training = searcher.space, searcher.checkpoint.training
        if sizes.limited(options):
            requested(searcher.space, None, None, options)
            self._ranked = None
        else:
            self._ranked = self._make(searcher.space)

    def _strategy(self, space: SearchSpace, counted: Mapping[str, Any]) -> core.Strategy:
        if space.name != self._space.name:
            raise ConfigError(
                f"the model is of the search space {self._space.name!r}, the experiment's model space is "
                f"{space.name!r}; give a model of that one, such as model={space.name!r}"
            )
        if self._ranked is not None and not isinstance(space, RestrictedSpace):
            return self._ranked
        return super()._strategy(space, counted)

    def _initialize(self, model_space: ExecutableModelSpace, engine: ExecutionEngine) -> ExecutableModelSpace:
        if isinstance(model_space.evaluator, TableEvaluator) and self._training.get("tables"):
            _log.warning(
                "this model has learned from the benchmark's accuracies (%s), which the evaluator looks up; compare "
                "with model='nasbench201-paper', which has not",
                ", ".join(self._training["tables"]),
            )
        return super()._initialize(model_space, engine)
