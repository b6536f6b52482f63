"""Experiments on NNI's sequential engine that tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nni.nas.experiment import NasExperiment, NasExperimentConfig


def experiment(
    space: Any,
    evaluator: Any,
    strategy: Any,
    folder: Path,
    trials: int | None = 12,
    name: str | None = None,
    model_format: str = "simplified",
    **engine: Any,
) -> Any:
    config = NasExperimentConfig("sequential", model_format, "local")
    config.max_trial_number = trials
    config.experiment_working_directory = folder
    for option, value in engine.items():
        setattr(config.execution_engine, option, value)
    return NasExperiment(space, evaluator, strategy, config, id=name)


def run(space: Any, evaluator: Any, strategy: Any, folder: Path, **options: Any) -> Any:
    found = experiment(space, evaluator, strategy, folder, **options)
    try:
        found.run()
    finally:
        found.stop()
    return found
