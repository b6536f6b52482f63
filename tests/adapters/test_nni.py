"""In NNI's sequential engine, for real; `test_nni_service.py` has the training service."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metad2a_plugin import get_strategy
from metad2a_plugin.errors import CheckpointError, ConfigError, DatasetError
from metad2a_plugin.plugins.registry import available
from metad2a_plugin.spaces.nasbench201.space import NASBench201

nni = pytest.importorskip("nni", reason="NNI is not installed; see the extra 'nni'")

from metad2a_plugin.adapters import nni as adapter  # noqa: E402
from nni.mutable import Categorical  # noqa: E402
from nni.nas.evaluator import Evaluator, FunctionalEvaluator  # noqa: E402
from nni.nas.execution import SequentialExecutionEngine  # noqa: E402
from nni.nas.hub.pytorch import NasBench201  # noqa: E402
from nni.nas.nn.pytorch import ModelSpace, MutableLinear  # noqa: E402
from nni.nas.space import SimplifiedModelSpace  # noqa: E402
from nni.nas.strategy.middleware import Chain, Filter, MultipleEvaluation  # noqa: E402
from nni_toys import experiment, run  # noqa: E402
from strategy_options import small  # noqa: E402

SPACE = NASBench201()
FEW = 77
"""Networks without convolutions, the smallest there are."""


@pytest.fixture(scope="module")
def model_space() -> Any:
    return NasBench201(num_modules_per_stack=1)


def quality(sample: dict[str, str]) -> float:
    """Differs between all cells."""
    return SPACE.index(adapter.architecture_of(sample)) / 100


class Quality(Evaluator):
    """Reports the quality of a model, or what `answer` makes of it."""

    def __init__(self, answer: Callable[[float], Any] = lambda value: value) -> None:
        self.answer = answer
        self.calls: list[dict[str, str]] = []

    def _execute(self, model: Any) -> None:
        self.calls.append(model.sample)
        nni.report_final_result(self.answer(quality(model.sample)))


pytestmark = pytest.mark.usefixtures("home")


# -- searching -----------------------------------------------------------------------------------
@pytest.mark.parametrize("name", available("strategies"))
def test_every_strategy_proposes_what_it_does_outside_and_hears_every_metric(
    model_space: Any, tmp_path: Path, name: str
) -> None:
    options = small(name, tmp_path)
    strategy = adapter.SearchStrategy(name, seed=3, **options)
    found = run(model_space, Quality(), strategy, tmp_path, trials=25)
    alone = get_strategy(name)(SPACE, seed=3, **options)
    for _ in range(25):
        [cell] = alone.ask()
        alone.tell(cell, SPACE.index(cell) / 100)
    assert strategy.measured == alone.history
    models = list(strategy.list_models(sort=False))
    assert len(models) == 25 and all(model.metric == quality(model.sample) for model in models)
    [best] = found.export_top_models(1, formatter="dict")
    assert adapter.architecture_of(best) == alone.best[0]


def test_top_models_are_the_best_in_order_and_buildable(model_space: Any, tmp_path: Path) -> None:
    found = run(model_space, Quality(), adapter.SearchStrategy("random"), tmp_path)
    top = found.export_top_models(5)
    metrics = [model.metric for model in top]
    assert metrics == sorted(metrics, reverse=True) and len(metrics) == 5
    assert max(value for _, value in found.strategy.measured) == metrics[0]
    [network] = found.export_top_models(1, formatter="instance")
    assert network.num_labels == 10


def test_the_engine_alone_suffices(model_space: Any) -> None:
    strategy = adapter.SearchStrategy("local-search")
    strategy(SimplifiedModelSpace.from_model(model_space, Quality()), SequentialExecutionEngine(max_model_count=7))
    assert len(strategy.measured) == 7


def test_the_search_ends_when_the_strategy_has_no_more(model_space: Any, tmp_path: Path) -> None:
    strategy = adapter.MetaD2AStrategy(None, max_params=0.0734)
    run(model_space, Quality(), strategy, tmp_path, trials=None)
    assert len(strategy.measured) == FEW


def test_duration_ends_a_search(model_space: Any, tmp_path: Path) -> None:
    import time

    def slow(value: float) -> float:
        time.sleep(0.1)
        return value

    strategy = adapter.SearchStrategy("random")
    run(model_space, Quality(slow), strategy, tmp_path, trials=None, max_duration=0.5)
    assert 1 <= len(strategy.measured) <= 6


def test_metad2a_ranks_the_dataset_before_the_experiment(model_space: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (40, 16, 16, 3), dtype=np.uint8)
    data = tmp_path / "images.npz"
    np.savez(data, images=images, labels=np.arange(40) % 4)
    strategy = adapter.MetaD2AStrategy(data, adapt=False)
    run(model_space, Quality(), strategy, tmp_path, trials=3)
    outside = get_strategy("metad2a")(SPACE, dataset=data, adapt=False)
    assert [cell for cell, _ in strategy.measured] == outside.ask(3)
    with pytest.raises(DatasetError):
        adapter.MetaD2AStrategy(tmp_path / "nowhere")


# -- refusals ------------------------------------------------------------------------------------
class Layers(ModelSpace):
    def __init__(self) -> None:
        super().__init__()
        self.layer = MutableLinear(4, Categorical([2, 3], label="width"))


def test_an_unknown_space_is_refused_before_the_first_trial(tmp_path: Path) -> None:
    evaluator = Quality()
    with pytest.raises(ConfigError, match=r"known are NasBench201 .* has the labels width"):
        run(Layers(), evaluator, adapter.SearchStrategy("random"), tmp_path)
    assert not evaluator.calls


def test_an_evaluator_with_choices_of_its_own_is_refused(model_space: Any, tmp_path: Path) -> None:
    evaluator = FunctionalEvaluator(quality, lr=Categorical([0.1, 0.2], label="lr"))
    with pytest.raises(ConfigError, match=r"has the labels .*lr"):
        run(model_space, evaluator, adapter.SearchStrategy("random"), tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: adapter.SearchStrategy("randm"), "did you mean 'random'"),
        (lambda: adapter.SearchStrategy("random", population=3), "the strategy 'random' .*'population'"),
        (lambda: adapter.MetaD2AStrategy(None, max_parms=0.1), "did you mean 'max_params'"),
        (lambda: adapter.SearchStrategy("random", state_file="."), "must be the path of a file, '.' is a folder"),
        (lambda: adapter.SearchTuner("random", datset=None), "the strategy 'random' .*'datset'"),
        (lambda: adapter.TrainingEvaluator(np.zeros(3)), "need the path of a dataset, got ndarray"),
        (lambda: adapter.TrainingEvaluator("sklearn:digits", epoch=3), "unknown setting of TrainConfig: 'epoch'"),
        (lambda: adapter.TrainingEvaluator("sklearn:digits", epochs=0), "epochs"),
        (lambda: adapter.SearchTuner(optimize_mode="max"), "optimize_mode must be"),
        (lambda: adapter.SearchTuner("randm"), "did you mean 'random'"),
    ],
)
def test_wrong_arguments_are_refused_when_given(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_missing_table_is_refused_when_given(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds no NAS-Bench-201 results"):
        adapter.TableEvaluator(table=tmp_path)


def test_a_missing_dataset_is_refused_when_given(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere"):
        adapter.TrainingEvaluator(tmp_path / "nowhere")


def test_a_state_file_that_cannot_be_written_is_refused_at_once(model_space: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    evaluator = Quality()
    with pytest.raises(ConfigError, match="cannot write"):
        run(model_space, evaluator, adapter.SearchStrategy("random", state_file=tmp_path / "file" / "s"), tmp_path)
    assert not evaluator.calls


def test_a_model_that_has_learned_from_the_table_is_named(
    model_space: Any, tmp_path: Path, data_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    evaluator = adapter.TableEvaluator(table=data_root / "nas_bench_201" / "nb201.csv.gz")
    for model, named in (("nasbench201", True), ("nasbench201-paper", False)):
        caplog.clear()
        run(model_space, evaluator, adapter.MetaD2AStrategy(None, model=model), tmp_path, trials=2)
        assert ("has learned from the benchmark's accuracies" in caplog.text) == named


def test_models_cannot_be_listed_before_the_run() -> None:
    with pytest.raises(RuntimeError, match="has not run yet"):
        adapter.SearchStrategy("random").list_models()


# -- trials that go wrong ------------------------------------------------------------------------
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), "0.93", None, {"accuracy": 0.9}, {"default": "high"}])
def test_what_is_no_number_fails_the_trial_and_is_never_told(
    model_space: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, wrong: Any
) -> None:
    evaluator = Quality(lambda value: wrong if len(evaluator.calls) % 3 == 0 else value)
    strategy = adapter.SearchStrategy("regularized-evolution", population_size=3, sample_size=2)
    with caplog.at_level(logging.WARNING):
        found = run(model_space, evaluator, strategy, tmp_path, trials=9)
    assert len(evaluator.calls) == 9 and len(strategy.measured) == 6
    assert len(found.export_top_models(9)) == 6
    assert f"reported {wrong!r}: not a finite number" in caplog.text
    assert "3 of 9 trials gave no metric" in caplog.text


def test_a_raising_evaluator_stops_the_experiment_or_not_as_nni_is_told(
    model_space: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(value: float) -> float:
        if len(evaluator.calls) == 4:
            raise ArithmeticError("the fourth")
        return value

    evaluator = Quality(answer)
    with pytest.raises(ArithmeticError, match="the fourth"):
        run(model_space, evaluator, adapter.SearchStrategy("random"), tmp_path)
    evaluator = Quality(answer)
    strategy = adapter.SearchStrategy("random")
    with caplog.at_level(logging.WARNING):
        run(model_space, evaluator, strategy, tmp_path, continue_on_failure=True)
    assert len(evaluator.calls) == 12 and len(strategy.measured) == 11
    assert "1 of 12 trials gave no metric" in caplog.text


def test_a_metric_of_another_architecture_is_left_out(
    model_space: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def swapped(value: float) -> dict[str, Any]:
        return {"default": value, "metad2a_choices": [0, 0, 0, 0, 0, 0]}

    strategy = adapter.SearchStrategy("random", seed=1)
    with caplog.at_level(logging.WARNING):
        run(model_space, Quality(swapped), strategy, tmp_path, trials=2)
    assert not strategy.measured
    assert "which is another architecture" in caplog.text


# -- middleware ----------------------------------------------------------------------------------
def few_convolutions(model: Any) -> bool:
    return list(model.sample.values()).count("conv_3x3") < 2


@pytest.mark.parametrize("penalty", [None, -1.0])
def test_a_filter_keeps_models_from_training_and_out_of_the_top(
    model_space: Any, tmp_path: Path, penalty: float | None
) -> None:
    evaluator, strategy = Quality(), adapter.SearchStrategy("random", seed=2)
    chain = Chain(strategy, Filter(few_convolutions, metric_for_invalid=penalty))
    found = run(model_space, evaluator, chain, tmp_path, trials=20)
    assert len(evaluator.calls) == 20
    assert all(list(sample.values()).count("conv_3x3") < 2 for sample in evaluator.calls)
    told = [value for _, value in strategy.measured]
    assert len([value for value in told if value >= 0]) == 20
    assert (-1.0 in told) == (penalty is not None)
    assert len(found.export_top_models(100)) == 20


def test_a_filter_that_lets_nothing_through_ends_the_search(model_space: Any, tmp_path: Path) -> None:
    evaluator = Quality()
    chain = Chain(adapter.SearchStrategy("random"), Filter(lambda model: False, patience=30))
    run(model_space, evaluator, chain, tmp_path)
    assert not evaluator.calls


def test_repeated_evaluations_are_told_as_one(model_space: Any, tmp_path: Path, data_root: Path) -> None:
    strategy = adapter.SearchStrategy("random")
    run(model_space, adapter.TableEvaluator(table=data_root), Chain(strategy, MultipleEvaluation(2)), tmp_path)
    assert len(strategy.measured) == 6  # of a budget of twelve


# -- resuming ------------------------------------------------------------------------------------
def interrupted_at(call: int) -> Quality:
    def answer(value: float) -> float:
        if len(evaluator.calls) == call:
            raise KeyboardInterrupt
        return value

    evaluator = Quality(answer)
    return evaluator


@pytest.mark.parametrize("kind", available("strategies"))
def test_a_resumed_experiment_goes_on_as_if_never_interrupted(model_space: Any, tmp_path: Path, kind: str) -> None:
    options = small(kind, tmp_path)

    def strategy() -> Any:
        return adapter.SearchStrategy(kind, seed=5, **options)

    whole = strategy()
    run(model_space, Quality(), whole, tmp_path, trials=20)
    name = f"resumed{random.randrange(10**6)}"
    first = experiment(model_space, interrupted_at(8), strategy(), tmp_path, trials=21, name=name)
    first.run()  # NNI saves and stops on Ctrl-C
    assert len(first.strategy.measured) == 7
    second = experiment(model_space, Quality(), strategy(), tmp_path, trials=21, name=name)
    second.resume()
    second.stop()
    assert second.strategy.measured == whole.measured
    assert second.export_top_models(1)[0].metric == max(value for _, value in whole.measured)
    assert len(list(second.strategy.list_models(sort=False))) == 20


def test_a_chain_resumes(model_space: Any, tmp_path: Path) -> None:
    name = f"chain{random.randrange(10**6)}"
    chains = [Chain(adapter.SearchStrategy("random", seed=5), Filter(few_convolutions)) for _ in range(2)]
    experiment(model_space, interrupted_at(4), chains[0], tmp_path, name=name).run()
    second = experiment(model_space, Quality(), chains[1], tmp_path, name=name)
    second.resume()
    second.stop()
    cells = [cell for cell, _ in chains[1][0].measured]
    assert len(cells) == 11 and len(set(cells)) == 11  # NNI counts the interrupted trial


def test_a_state_file_outlives_a_killed_process(model_space: Any, tmp_path: Path) -> None:
    state = tmp_path / "search.json"
    whole = adapter.SearchStrategy("regularized-evolution", seed=1)
    run(model_space, Quality(), whole, tmp_path, trials=20)
    for trials in (7, 13):
        strategy = adapter.SearchStrategy("regularized-evolution", seed=1, state_file=state)
        run(model_space, Quality(), strategy, tmp_path, trials=trials)
    assert strategy.measured == whole.measured
    json.loads(state.read_text())
    others = (
        adapter.SearchStrategy("random", seed=1, state_file=state),
        adapter.SearchStrategy("regularized-evolution", seed=2, state_file=state),
        adapter.SearchStrategy("regularized-evolution", seed=1, state_file=state, sample_size=3),
    )
    for other in others:
        with pytest.raises(CheckpointError, match="is of another search"):
            run(model_space, Quality(), other, tmp_path)
    state.write_text("{")
    with pytest.raises(CheckpointError, match="remove it to start anew"):
        run(model_space, Quality(), adapter.SearchStrategy("random", state_file=state), tmp_path)


def test_a_state_file_tells_tables_and_datasets_apart(model_space: Any, tmp_path: Path, data_root: Path) -> None:
    state = tmp_path / "search.json"
    tables = [adapter.TableEvaluator(name, table=data_root) for name in ("cifar10", "imagenet16-120")]
    rng = np.random.default_rng(0)
    tasks = []
    for number in range(2):
        tasks.append(tmp_path / f"{number}.npz")
        images = rng.integers(0, 255, (40, 16, 16, 3), dtype=np.uint8)
        np.savez(tasks[-1], images=images, labels=np.arange(40) % 4)

    def search(task: Path, table: Any) -> None:
        strategy = adapter.MetaD2AStrategy(task, model="nasbench201-paper", state_file=state)
        run(model_space, table, strategy, tmp_path, trials=2)

    search(tasks[0], tables[0])
    for task, table in ((tasks[1], tables[0]), (tasks[0], tables[1])):
        with pytest.raises(CheckpointError, match="is of another search"):
            search(task, table)


# -- evaluators ----------------------------------------------------------------------------------
def test_the_table_answers_for_any_strategy(model_space: Any, tmp_path: Path, data_root: Path) -> None:
    from metad2a_plugin.adapters.nas_bench_201 import NASBench201Table
    from nni.nas.strategy import Random

    table = NASBench201Table.load(data_root)
    evaluator = adapter.TableEvaluator("imagenet16-120", "test", 12, table=data_root)
    for strategy in (Random(seed=1), adapter.SearchStrategy("random", seed=1)):
        found = run(model_space, evaluator, strategy, tmp_path)
        for model in found.export_top_models(12):
            cell = adapter.architecture_of(model.sample)
            assert model.metric == table.accuracy(cell, "imagenet16-120", "test", 12)
    again = nni.load(nni.dump(evaluator))
    assert again._dump() == evaluator._dump()


def test_nni_s_own_networks_are_really_trained(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    images = rng.integers(0, 120, (120, 8, 8, 3), dtype=np.uint8)
    images[np.arange(120), :, :, labels] += 100
    np.savez(tmp_path / "colours.npz", images=images, labels=labels)
    options = {"epochs": 3, "batch_size": 16, "input_size": 8, "device": "cpu"}
    evaluator = adapter.TrainingEvaluator(tmp_path / "colours.npz", **options)
    space = NasBench201(stem_out_channels=4, num_modules_per_stack=1, num_labels=3)
    strategies = [adapter.MetaD2AStrategy(None, seed=1) for _ in range(2)]
    found = [run(space, evaluator, strategy, tmp_path, trials=2) for strategy in strategies]
    assert strategies[0].measured == strategies[1].measured  # same seeds, same networks, same training
    [best] = found[0].export_top_models(1)
    assert best.metric > 60 and len(best.metrics.intermediates) == 3
    assert best.metrics.intermediates[-1] == best.metric
    with pytest.raises(ConfigError, match=r"10 labels, .* has 3 classes; make it with NasBench201\(num_labels=3\)"):
        run(NasBench201(4, 1), evaluator, adapter.SearchStrategy("random"), tmp_path)


# -- tuners --------------------------------------------------------------------------------------
def choices(prefix: str = "") -> dict[str, Any]:
    ops = ["none", "skip_connect", "conv_1x1", "conv_3x3", "avg_pool_3x3"]
    labels = ("0_1", "0_2", "1_2", "0_3", "1_3", "2_3")
    return {prefix + label: {"_type": "choice", "_value": ops} for label in labels}


@pytest.mark.parametrize(("mode", "sign"), [("maximize", 1), ("minimize", -1)])
def test_a_tuner_searches_what_the_strategy_does(mode: str, sign: int) -> None:
    tuner = adapter.SearchTuner("regularized-evolution", mode, seed=4, population_size=4, sample_size=2)
    tuner.update_search_space(choices())
    alone = get_strategy("regularized-evolution")(SPACE, seed=4, population_size=4, sample_size=2)
    for number in range(20):
        parameters = tuner.generate_parameters(number)
        [cell] = alone.ask()
        assert adapter.architecture_of(parameters) == cell
        alone.tell(cell, sign * quality(parameters))
        tuner.receive_trial_result(number, parameters, {"default": quality(parameters)})


def test_a_tuner_learns_imported_results_leaves_out_bad_ones_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    tuner = adapter.MetaD2ATuner(None, max_params=0.0734)
    tuner.update_search_space(choices("cell/"))
    first = tuner.generate_parameters(0)
    tuner.import_data([{"parameter": first, "value": 0.5}])
    tuner.receive_trial_result(0, first, float("nan"))
    assert "which is no finite number; left out" in caplog.text
    for number in range(1, FEW):
        tuner.generate_parameters(number)
    with pytest.raises(nni.NoMoreTrialError):
        tuner.generate_parameters(FEW)


def test_a_tuner_s_space_cannot_change() -> None:
    tuner = adapter.SearchTuner("random")
    tuner.update_search_space(choices())
    tuner.update_search_space(choices())
    with pytest.raises(ConfigError, match="cannot change during an experiment"):
        tuner.update_search_space(choices("cell/"))


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"lr": {"_type": "uniform", "_value": [0, 1]}}, "must have the _type 'choice'.*beside lr there is none"),
        ({"lr": {"_type": "choice", "_value": [0, 1]}}, "known are NasBench201"),
        ({1: {"_type": "choice", "_value": ["none"]}}, "YAML reads 0_1 as a number"),
        ({False: {"_type": "choice", "_value": ["none"]}}, r"got False \(bool\)"),
        ({"0_1": ["none"]}, r"must be written as \{_type: choice, _value"),
        ({"0_1": {"_type": "choice"}}, "must be written as"),
        (["0_1"], "has a _type and a _value for each label"),
        (choices() | {"0_1": {"_type": "uniform", "_value": [0, 1]}}, "'0_1' is of the architecture.*'uniform'"),
        (choices() | {"lr": {"_type": "uniform", "_value": [0]}}, "'lr' stands beside the architecture.*2 values"),
        (choices() | {"lr": {"_type": "gamma", "_value": [0, 1]}}, "'lr' .* unsupported type"),
        (choices() | {"lr": {"_type": "choice", "_value": []}}, "'lr' has no value to draw from"),
        (choices() | {"lr": {"_type": "loguniform", "_value": [0, 1]}}, "'lr' .* cannot draw it"),
    ],
)
def test_a_tuner_refuses_other_spaces(space: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        adapter.SearchTuner("random").update_search_space(space)


OTHERS = {
    "lr": {"_type": "loguniform", "_value": [0.001, 0.1]},
    "train/batch": {"_type": "choice", "_value": [16, 32]},
    "steps": {"_type": "quniform", "_value": [2, 8, 2]},
    "optimizer": {
        "_type": "choice",
        "_value": [{"_name": "sgd", "momentum": {"_type": "uniform", "_value": [0, 1]}}, {"_name": "adam"}],
    },
}


def test_other_hyper_parameters_are_drawn_beside_the_architecture_by_nni_s_rule() -> None:
    tuners = [adapter.SearchTuner("regularized-evolution", seed=4) for _ in range(2)]
    for tuner in tuners:
        tuner.update_search_space(choices("cell/") | OTHERS)
    alone = get_strategy("regularized-evolution")(SPACE, seed=4)
    drawn = []
    for number in range(30):
        parameters = tuners[0].generate_parameters(number)
        assert parameters == tuners[1].generate_parameters(number)
        [cell] = alone.ask()
        assert adapter.architecture_of(parameters) == cell
        for tuner in tuners:
            tuner.receive_trial_result(number, parameters, quality(parameters))
        alone.tell(cell, quality(parameters))
        drawn.append(parameters)
    json.dumps(drawn)
    assert all(0.001 <= p["lr"] <= 0.1 and p["train/batch"] in (16, 32) and p["steps"] in (2, 4, 6, 8) for p in drawn)
    assert {p["optimizer"]["_name"] for p in drawn} == {"sgd", "adam"}
    assert all(("momentum" in p["optimizer"]) == (p["optimizer"]["_name"] == "sgd") for p in drawn)
    assert len({p["lr"] for p in drawn}) == 30


@pytest.mark.parametrize("name", ["random", "regularized-evolution", "local-search", "mdenas", "metad2a"])
def test_a_tuner_keeps_to_a_part_of_the_space(name: str) -> None:
    space = choices() | {
        "0_1": {"_type": "choice", "_value": ["conv_3x3"]},
        "2_3": {"_type": "choice", "_value": ["none", "conv_1x1", "conv_3x3", "avg_pool_3x3"]},
    }
    tuner = adapter.SearchTuner(name)
    tuner.update_search_space(space)
    for number in range(25):
        parameters = tuner.generate_parameters(number)
        assert parameters["0_1"] == "conv_3x3" and parameters["2_3"] != "skip_connect"
        tuner.receive_trial_result(number, parameters, quality(parameters))


def test_results_of_other_architectures_are_left_out_of_what_is_imported(caplog: pytest.LogCaptureFixture) -> None:
    tuner = adapter.SearchTuner("random")
    tuner.update_search_space(choices() | {"0_1": {"_type": "choice", "_value": ["none", "conv_3x3"]}})
    good = tuner.generate_parameters(0)
    tuner.import_data([{"parameter": good | {"0_1": "skip_connect"}, "value": 1}, {"parameter": good, "value": 2}])
    assert "left out" in caplog.text and [value for _, value in tuner._core.history] == [2]
