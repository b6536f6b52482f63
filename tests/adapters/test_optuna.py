from __future__ import annotations

import logging
import multiprocessing
import pickle
import random
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from budget_toys import ToyBudgetModel, budget_checkpoint

from metad2a_plugin import MetaD2A, get_space
from metad2a_plugin.errors import ArchitectureError, ConfigError, DatasetError
from metad2a_plugin.plugins import registry
from metad2a_plugin.spaces.restricted import RestrictedSpace
from metad2a_plugin.testing import ToySpace

optuna = pytest.importorskip("optuna", reason="Optuna is not installed")
from metad2a_plugin.adapters._optuna_group import Group  # noqa: E402
from metad2a_plugin.adapters._optuna_study import reserve  # noqa: E402
from metad2a_plugin.adapters.optuna import MetaD2ASampler, StrategySampler, suggest_architecture  # noqa: E402
from optuna.trial import TrialState  # noqa: E402
from optuna_toys import SPACE, Listener, storage_of, value_of, work  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.ERROR)
NAMES = ("random", "regularized-evolution", "local-search")


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> type[Listener]:
    """The registry knows it as ``listener``."""
    monkeypatch.setitem(registry.BUILT_IN["strategies"], "listener", "optuna_toys:Listener")
    Listener.heard = []
    return Listener


def objective(trial: optuna.Trial) -> float:
    return value_of(suggest_architecture(trial))


def study_with(sampler: optuna.samplers.BaseSampler, direction: str = "maximize", **more: Any) -> optuna.Study:
    return optuna.create_study(direction=direction, sampler=sampler, **more)


def architectures(study: optuna.Study, space: Any = SPACE) -> list[Any]:
    return [suggest_architecture(trial, space) for trial in study.trials]


# -- an architecture is a group of parameters ----------------------------------------------------
@pytest.mark.parametrize("sampler", [optuna.samplers.RandomSampler(seed=0), optuna.samplers.TPESampler(seed=0)])
@pytest.mark.parametrize("space", ["nasbench201", "mobilenetv3", ToySpace(4)], ids=["cells", "networks", "toy"])
def test_any_sampler_of_optuna_suggests_architectures_that_frozen_trials_give_back(sampler: Any, space: Any) -> None:
    seen = []

    def count(trial: optuna.Trial) -> float:
        seen.append(suggest_architecture(trial, space))
        return float(sum(seen[-1].choices))

    study = study_with(sampler)
    study.optimize(count, n_trials=12)
    assert architectures(study, space) == seen
    assert suggest_architecture(study.best_trial, space) in seen


def test_a_group_has_names_of_its_own() -> None:
    space = get_space("nasbench201")
    cell = space.sample(random.Random(0))
    for name, first in (("architecture", "architecture/0_1"), ("cell", "cell/0_1"), ("", "0_1")):
        group = Group(space, name)
        assert next(iter(group.parameters(cell))) == first
        assert group.architecture({**group.parameters(cell), "lr": 0.1}) == cell
        trial = optuna.trial.create_trial(
            params=group.parameters(cell), distributions=group.distributions, value=1.0
        )
        assert suggest_architecture(trial, space, name) == cell


def test_a_trial_without_an_architecture_says_what_is_missing() -> None:
    trial = optuna.trial.create_trial(value=1.0)
    with pytest.raises(ArchitectureError, match="architecture/0_1"):
        suggest_architecture(trial)


def test_two_groups_stand_beside_each_other() -> None:
    def pair(trial: optuna.Trial) -> float:
        return value_of(suggest_architecture(trial)) - value_of(suggest_architecture(trial, name="other"))

    study = study_with(StrategySampler("random", seed=0))
    study.optimize(pair, n_trials=3)
    assert all(len(trial.params) == 12 for trial in study.trials)


@pytest.mark.parametrize(
    "space", ["mobilenetv3", RestrictedSpace(SPACE, [[1, 3], [0], [3], [3, 4], [0, 1], [3]])], ids=["other", "part"]
)
def test_a_sampler_of_another_space_is_refused(space: Any) -> None:
    study = study_with(StrategySampler("random", seed=0))
    with pytest.raises(ConfigError, match="give both the same space"):
        suggest_architecture(study.ask(), space)


def test_a_part_of_a_space_is_searched_alone() -> None:
    part = RestrictedSpace(SPACE, [[1, 3], [0], [3], [3, 4], [0, 1], [3]])
    study = study_with(StrategySampler("random", space=part, seed=0))
    study.optimize(lambda trial: value_of(suggest_architecture(trial, part)), n_trials=4)
    assert len(set(architectures(study, part))) == 4
    assert all(cell in part for cell in architectures(study, part))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"strategy": "randm"}, "did you mean 'random'"),
        ({"strategy": "random", "space": "nasbench"}, "among the spaces"),
        ({"strategy": "random", "space": 3}, "space must be a SearchSpace"),
        ({"strategy": "random", "group": 3}, "must be text"),
        ({"strategy": "random", "seed": "a"}, "seed must be"),
        ({"strategy": "random", "sampler": "tpe"}, "sampler must be a sampler of Optuna"),
        ({"strategy": "random", "explore": 1}, "explore"),
    ],
)
def test_wrong_arguments_are_refused_at_once(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        StrategySampler(**arguments)


# -- what a strategy hears -----------------------------------------------------------------------
@pytest.mark.parametrize(("direction", "sign"), [("maximize", 1), ("minimize", -1)])
def test_a_strategy_hears_values_of_which_higher_is_better(direction: str, sign: int, listener: Any) -> None:
    study = study_with(StrategySampler("listener", seed=0), direction)
    study.optimize(objective, n_trials=3)
    suggest_architecture(study.ask())
    assert listener.heard == [(cell, sign * value_of(cell)) for cell in architectures(study)[:3]]


def test_pruned_trials_give_their_curves_and_failed_ones_nothing(listener: Any) -> None:
    def flaky(trial: optuna.Trial) -> float:
        suggest_architecture(trial)
        kind = trial.number % 5
        for step in range(3):
            if kind in (1, 2, 3):
                trial.report({1: 50.0 + step, 2: float("nan"), 3: 60.0}[kind], step * 5 if kind == 3 else step)
        if kind in (1, 2, 3):
            raise optuna.TrialPruned
        if kind == 4:
            raise RuntimeError
        return 70.0

    study = study_with(StrategySampler("listener", seed=0))
    study.optimize(flaky, n_trials=6, catch=(RuntimeError,))
    suggest_architecture(study.ask())
    cells = architectures(study)
    assert [trial.state.name for trial in study.trials[:5]] == ["COMPLETE", "PRUNED", "PRUNED", "PRUNED", "FAIL"]
    assert listener.heard == [(cells[0], 70.0), (cells[1], [50.0, 51.0, 52.0]), (cells[5], 70.0)]
    assert len(set(cells)) == 7


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_left_out_with_a_warning(
    value: float, listener: Any, caplog: pytest.LogCaptureFixture
) -> None:
    study = study_with(StrategySampler("listener", seed=0))
    for told in (value, 1.0):
        trial = study.ask()
        suggest_architecture(trial)
        study.tell(trial, told)
    with caplog.at_level(logging.WARNING):
        suggest_architecture(study.ask())
    assert [value for _, value in listener.heard] == [1.0]
    assert "no finite number" in caplog.text


def test_trials_of_other_parameters_are_passed_over(listener: Any) -> None:
    study = study_with(optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda trial: trial.suggest_float("lr", 0, 1), n_trials=3)
    study.sampler = StrategySampler("listener", seed=0)
    study.optimize(objective, n_trials=2)
    assert [value for _, value in listener.heard] == [study.trials[3].value]


def test_a_sampler_serves_one_study_after_the_other(listener: Any) -> None:
    sampler = StrategySampler("listener", seed=0)
    first, second = study_with(sampler), study_with(sampler)
    for study in (first, second, first):
        study.optimize(objective, n_trials=2)
    assert architectures(first)[:2] == architectures(second)
    assert len(set(architectures(first))) == 4
    assert [cell for cell, _ in listener.heard] == architectures(first)[:3]


# -- the state is in the study -------------------------------------------------------------------
@pytest.mark.parametrize("name", ["random", "regularized-evolution"])
def test_a_new_sampler_goes_on_as_the_old_one_would_have(name: str) -> None:
    def flaky(trial: optuna.Trial) -> float:
        if trial.number % 4 == 3:
            suggest_architecture(trial)
            raise RuntimeError
        return objective(trial)

    whole = study_with(StrategySampler(name, seed=3))
    whole.optimize(flaky, n_trials=30, catch=(RuntimeError,))
    parts = study_with(StrategySampler(name, seed=3))
    for _ in range(3):
        parts.optimize(flaky, n_trials=10, catch=(RuntimeError,))
        parts.sampler = StrategySampler(name, seed=3)
    assert architectures(parts) == architectures(whole)


def test_a_sampler_travels_without_what_it_knows() -> None:
    study = study_with(StrategySampler("regularized-evolution", seed=1, sampler=optuna.samplers.RandomSampler(0)))
    study.optimize(objective, n_trials=15)
    copy = pickle.loads(pickle.dumps(study.sampler))
    ahead = suggest_architecture(study.ask())
    study.tell(15, state=TrialState.FAIL)
    other = study_with(copy)
    other.add_trials(study.trials[:15])
    assert suggest_architecture(other.ask()) == ahead


def test_trials_are_told_in_the_order_in_which_they_ended_also_when_seen_late(listener: Any) -> None:
    sampler = StrategySampler("listener", seed=0)
    study = study_with(sampler)
    study.optimize(objective, n_trials=3)
    suggest_architecture(study.ask())
    own = sampler.group.parameters(SPACE.sample(random.Random(5)))
    early = optuna.trial.create_trial(params=own, distributions=sampler.group.distributions, value=9)
    early.datetime_complete = early.datetime_start = study.trials[1].datetime_start
    study.add_trial(early)
    suggest_architecture(study.ask())
    ended = sorted((t for t in study.trials if t.value is not None), key=lambda t: (t.datetime_complete, t.number))
    assert [value for _, value in listener.heard] == [trial.value for trial in ended]
    assert [value for _, value in listener.heard].index(9) < 3


# -- several at once -----------------------------------------------------------------------------
@pytest.mark.parametrize("name", NAMES)
def test_no_network_is_pending_twice(name: str) -> None:
    study = study_with(StrategySampler(name, seed=0))
    study.optimize(objective, n_trials=12)
    pending = [suggest_architecture(study.ask()) for _ in range(20)]
    assert len({SPACE.canonical(cell) for cell in pending}) == 20


def test_what_waits_in_the_queue_is_not_proposed() -> None:
    sampler = StrategySampler("random", seed=0)
    ahead = study_with(sampler)
    ahead.optimize(objective, n_trials=3)
    study = study_with(StrategySampler("random", seed=0))
    study.enqueue_trial(sampler.group.parameters(architectures(ahead)[2]))
    assert architectures(ahead)[2] == suggest_architecture(study.ask())
    study.enqueue_trial(sampler.group.parameters(architectures(ahead)[1]))
    other = optuna.load_study(study_name=study.study_name, storage=study._storage, sampler=study.sampler)
    trial = optuna.trial.Trial(other, other._storage.create_new_trial(other._study_id))  # one that takes no waiting one
    assert suggest_architecture(trial) not in architectures(ahead)[1:]


def test_threads_share_a_sampler() -> None:
    pending, most, lock = [], [], threading.Lock()

    def slow(trial: optuna.Trial) -> float:
        network = SPACE.canonical(suggest_architecture(trial))
        with lock:
            assert network not in pending
            pending.append(network)
            most.append(len(pending))
        threading.Event().wait(0.01)
        with lock:
            pending.remove(network)
        return 1.0

    study = study_with(StrategySampler("regularized-evolution", seed=0))
    study.optimize(slow, n_trials=40, n_jobs=4)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 40
    assert max(most) > 1


def test_of_two_that_take_the_same_network_at_once_the_later_one_gives_way() -> None:
    study = study_with(StrategySampler("random", seed=0))
    group, cell = Group(SPACE), SPACE.sample(random.Random(0))
    first, second, third = (study._storage.get_trial(study.ask()._trial_id) for _ in range(3))
    assert reserve(study, first, group, cell) is None
    assert reserve(study, second, group, cell) is not None
    assert reserve(study, second, group, SPACE.sample(random.Random(1))) is None
    # The third has it already when the second looks: nobody who has one gives way.
    other = SPACE.sample(random.Random(2))
    assert reserve(study, third, group, other) is None
    assert reserve(study, second, group, other) is not None


# -- what the user decides -----------------------------------------------------------------------
def test_an_enqueued_architecture_is_taken_whole_or_in_part() -> None:
    sampler = StrategySampler("random", seed=0)
    study = study_with(sampler)
    cell = SPACE.sample(random.Random(7))
    study.enqueue_trial(sampler.group.parameters(cell))
    study.enqueue_trial({"architecture/0_1": "none"})
    study.enqueue_trial({"lr": 0.5})
    study.optimize(lambda trial: objective(trial) + trial.suggest_float("lr", 0, 1), n_trials=4)
    assert architectures(study)[0] == cell
    assert study.trials[1].params["architecture/0_1"] == "none"
    assert study.trials[2].params["lr"] == 0.5


def test_a_depth_that_is_enqueued_brings_its_layers() -> None:
    space = get_space("mobilenetv3")
    study = study_with(StrategySampler("random", space=space, seed=0))
    for depth in (2, 3, 4):
        study.enqueue_trial({"architecture/stage1/depth": depth})
    study.optimize(lambda trial: float(len(space.layers(suggest_architecture(trial, space))[0])), n_trials=3)
    assert [trial.value for trial in study.trials] == [2, 3, 4]


def test_other_parameters_are_those_of_another_sampler() -> None:
    class Half(optuna.samplers.RandomSampler):
        def sample_independent(self, *_: Any) -> float:
            return 0.5

    def both(trial: optuna.Trial) -> float:
        return trial.suggest_float("lr", 0, 1) + objective(trial)

    study = study_with(StrategySampler("random", seed=0, sampler=Half()))
    study.optimize(both, n_trials=3)
    assert [trial.params["lr"] for trial in study.trials] == [0.5] * 3
    study.sampler = StrategySampler("random", seed=0, sampler=optuna.samplers.TPESampler(multivariate=True, seed=0))
    study.optimize(both, n_trials=12)
    assert len(set(architectures(study))) == 15


def test_partial_fixing_keeps_the_rest_with_the_strategy() -> None:
    sampler = StrategySampler("random", seed=0)
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        study = study_with(optuna.samplers.PartialFixedSampler({"architecture/0_1": "none"}, sampler))
    study.optimize(objective, n_trials=3)
    assert all(trial.params["architecture/0_1"] == "none" for trial in study.trials)


def test_hyperband_prunes_one_study() -> None:
    def epochs(trial: optuna.Trial) -> float:
        value = objective(trial)
        for step in range(9):
            trial.report(value * step, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return value

    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9)
    study = study_with(StrategySampler("regularized-evolution", seed=0), pruner=pruner)
    study.optimize(epochs, n_trials=30)
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE, TrialState.PRUNED}


def test_a_study_stops_when_nothing_is_left_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    space = ToySpace(2)
    study = study_with(StrategySampler("random", space=space, seed=0))
    with caplog.at_level(logging.WARNING):
        study.optimize(lambda trial: float(sum(suggest_architecture(trial, space).choices)), n_trials=30)
    assert len(study.trials) == 10 and len(set(architectures(study, space))) == 9
    assert "nothing left to propose" in caplog.text


def test_several_objectives_are_refused() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=StrategySampler("random"))
    with pytest.raises(ValueError, match="multi-objective"):
        study.optimize(lambda trial: (objective(trial), 0.0), n_trials=1)


# -- MetaD2A -------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def model() -> MetaD2A:
    toy = budget_checkpoint()
    return MetaD2A(replace(toy, predictor=Curves(toy.predictor.feature_dim)))


class Curves(ToyBudgetModel):
    """Curves rise to where the last value seen would lead."""

    def curve(self, task: Any, vertices: torch.Tensor, budget: Any, seen: torch.Tensor | None = None) -> Any:
        assert seen is not None
        mean = torch.full((len(vertices), budget.epochs), float(seen[0, -1]))
        return mean, torch.ones_like(mean)


BUDGET = {"epochs": 6, "batch_size": 32, "images": 1000}


def test_metad2a_proposes_in_the_order_of_its_predictions(model: MetaD2A) -> None:
    ranking = model.rank(None, seed=0)
    study = study_with(MetaD2ASampler(model=model, seed=0))
    assert [suggest_architecture(study.ask()) for _ in range(3)] == SPACE.decode(ranking.vertices[:3])


@pytest.mark.parametrize(
    ("unit", "direction", "read"), [(1, "maximize", True), (0.01, "maximize", False), (1, "minimize", False)]
)
def test_metad2a_reads_curves_of_pruned_trials_where_they_are_accuracies_in_percent(
    unit: float, direction: str, read: bool, model: MetaD2A, caplog: pytest.LogCaptureFixture
) -> None:
    sampler = MetaD2ASampler(model=model, seed=0, budget=BUDGET)
    study = study_with(sampler, direction)
    for _ in range(2):
        trial = study.ask()
        suggest_architecture(trial)
        for epoch in range(3):
            trial.report((30.0 + 5 * epoch) * unit, epoch + 1)
        study.tell(trial, state=TrialState.PRUNED)
    with caplog.at_level(logging.WARNING):
        suggest_architecture(study.ask())
    assert ("no accuracies in percent" in caplog.text) != read
    partial = sampler.strategy.state_dict()["partial"]
    assert [curve for *_, curve in partial] == ([[30.0, 35.0, 40.0]] * 2 if read else [])
    assert len(set(architectures(study))) == 3


def test_metad2a_refuses_a_dataset_that_is_not_there(model: MetaD2A, tmp_path: Path) -> None:
    with pytest.raises(DatasetError):
        MetaD2ASampler(tmp_path / "nothing", model=model)


# -- several processes ---------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_processes_share_a_study(kind: str, tmp_path: Path) -> None:
    study = optuna.create_study(study_name="s", direction="maximize", storage=storage_of(kind, str(tmp_path)))
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=work, args=(kind, str(tmp_path), "random", 8, seed)) for seed in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 2
    trials = study.get_trials()
    assert [trial.number for trial in trials] == list(range(16))
    assert all(trial.value == value_of(suggest_architecture(trial)) for trial in trials)
    assert len(set(architectures(study))) == 16
