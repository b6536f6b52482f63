"""Optuna: the strategies of this package as samplers of a study.

    import optuna
    from metad2a_plugin.adapters.optuna import MetaD2ASampler, suggest_architecture

    def objective(trial):
        architecture = suggest_architecture(trial)
        return trained_accuracy(architecture, lr=trial.suggest_float("lr", 1e-3, 1, log=True))

    study = optuna.create_study(direction="maximize", sampler=MetaD2ASampler("photos/"))
    study.optimize(objective, n_trials=30)

`StrategySampler` wraps any strategy by name. An architecture is a group of categorical parameters; all other parameters
of the study are those of another sampler, Optuna's TPE unless told. See ``docs/optuna.md``.
"""

# ruff: noqa: E402
from __future__ import annotations

from metad2a_plugin.errors import require

require("optuna", "the adapter of Optuna", "optuna")

from ._optuna_group import suggest_architecture
from ._optuna_sampler import MetaD2ASampler, StrategySampler

__all__ = ["MetaD2ASampler", "StrategySampler", "suggest_architecture"]
