"""Networks for the average dataset of meta-training, with an objective that costs nothing: their size."""

from __future__ import annotations

from typing import Any

import optuna
import optunahub

from metad2a_plugin import get_space


def run(module: Any, trials: int) -> optuna.Study:
    """Search with what the package exports."""
    space = get_space("nasbench201")

    def objective(trial: optuna.Trial) -> float:
        return space.cost(module.suggest_architecture(trial, space)).flops

    study = optuna.create_study(direction="minimize", sampler=module.MetaD2ASampler(dataset=None, seed=0))
    study.optimize(objective, n_trials=trials)
    return study


if __name__ == "__main__":
    print(run(optunahub.load_module("samplers/metad2a"), 10).best_params)
