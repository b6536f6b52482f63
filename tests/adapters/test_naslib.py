"""The adapter on NASLib, or on a stand-in of its interface where NASLib is not importable."""

from __future__ import annotations

import json
import math
import pickle
import random
import subprocess
import sys
import warnings
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from meta_toys import checkpoint, image_dataset
from naslib_toys import PRESENT, SPACE, naslib_adapter, toy_benchmark
from strategy_options import small

from metad2a_plugin import MetaD2A, get_predictor, get_strategy
from metad2a_plugin.data import extract_task, load_dataset
from metad2a_plugin.errors import ArchitectureError, CheckpointError, ConfigError, DatasetError
from metad2a_plugin.plugins.registry import available
from metad2a_plugin.spaces.base import Architecture

pytest.importorskip("metad2a_plugin.adapters", reason="adapters are inside the package once it is installed")

SEARCHER = MetaD2A(checkpoint())
FEW = {"model": SEARCHER, "max_params": 0.11}
"""Some 200 networks."""
CELLS = list(SPACE.enumerate())


@pytest.fixture(scope="module")
def naslib() -> Iterator[Any]:
    with naslib_adapter() as adapter:
        yield adapter


@pytest.fixture(scope="module")
def host(naslib: Any) -> Any:
    from metad2a_plugin.adapters import _naslib_host

    return _naslib_host


def test_which_naslib_this_is(naslib: Any) -> None:
    if not PRESENT:
        pytest.skip("NASLib is not importable: the adapter was tested on a stand-in with its signatures")


# -- encodings -----------------------------------------------------------------------------------
def test_every_encoding_of_every_cell_comes_back(naslib: Any) -> None:
    one_hot = naslib.to_one_hot(CELLS)
    assert one_hot.shape == (SPACE.size, 30) and (one_hot.sum(1) == 6).all()
    assert len({naslib.to_op_indices(cell) for cell in CELLS}) == SPACE.size
    for cell, vector in zip(CELLS, one_hot, strict=True):
        indices, names = naslib.to_op_indices(cell), naslib.to_op_names(cell)
        assert [naslib.from_naslib(form) for form in (indices, names, vector)] == [cell] * 3


def test_graphs_and_strings_come_back(naslib: Any) -> None:
    for cell in CELLS[::4000]:
        assert naslib.from_naslib(naslib.to_naslib(cell)) == cell
        assert naslib.from_naslib(SPACE.format(cell)) == cell
    assert naslib.to_naslib(CELLS[0], num_classes=120).num_classes == 120


@pytest.mark.parametrize(
    "wrong",
    [
        [0, 1, 2, 3, 4],
        [0, 1, 2, 3, 4, 5],
        [0.0] * 6,
        [0] * 30,
        [0.5] * 30,
        ["Identity"] * 5,
        ["Identity"] * 5 + ["conv"],
        "|none~0|",
        None,
        [[0, 1], [2]],
        {"a": 1},
    ],
)
def test_what_is_no_cell_is_refused(naslib: Any, wrong: Any) -> None:
    with pytest.raises(ArchitectureError):
        naslib.from_naslib(wrong)


def test_a_graph_without_an_architecture_is_refused(naslib: Any, host: Any) -> None:
    with pytest.raises(ArchitectureError, match="no architecture yet"):
        naslib.from_naslib(host.NasBench201SearchSpace())


def test_a_foreign_architecture_is_refused(naslib: Any) -> None:
    for convert in (naslib.to_op_indices, naslib.to_op_names, naslib.to_naslib, lambda a: naslib.to_one_hot([a])):
        with pytest.raises(ArchitectureError):
            convert(Architecture("other", (0,) * 6))


# -- accuracies ----------------------------------------------------------------------------------
def test_naslib_reads_the_benchmark(naslib: Any, host: Any) -> None:
    benchmark = toy_benchmark()
    api = naslib.dataset_api(benchmark)
    assert set(api) == {"nb201_data"} and len(api["nb201_data"]) == SPACE.size == len(set(api["nb201_data"]))
    for cell in CELLS[::5000]:
        graph = naslib.to_naslib(cell)
        for theirs, ours in (("cifar10", "cifar10"), ("ImageNet16-120", "imagenet16-120")):

            def query(metric: str, dataset: str = theirs, of: Any = graph) -> Any:
                return of.query(getattr(host.Metric, metric), dataset, dataset_api=api)

            assert query("VAL_ACCURACY") == benchmark.accuracy(cell, ours, "valid") == query("TEST_ACCURACY")
            assert query("TRAIN_TIME") == benchmark.train_seconds(cell, ours)
            record = query("RAW")["cifar10-valid" if theirs == "cifar10" else theirs]
            assert record["test_acc1es"][-1] == benchmark.accuracy(cell, ours, "test")
        assert math.isnan(api["nb201_data"][SPACE.format(cell)]["cifar10-valid"]["train_acc1es"][-1])


def test_what_is_not_known_of_a_training_is_nan(naslib: Any, host: Any, tmp_path: Path) -> None:
    benchmark = toy_benchmark()
    benchmark._cost = lambda index, dataset, quantity: 3.0 if dataset == "cifar10" else math.nan
    benchmark.train_seconds = no_seconds
    record = naslib.dataset_api(benchmark)["nb201_data"][SPACE.format(CELLS[0])]
    costs, others = (record[key]["cost_info"] for key in ("cifar10-valid", "ImageNet16-120"))
    assert costs["flops"] == costs["params"] == 3
    assert all(map(math.isnan, (*others.values(), costs["train_time"])))


def no_seconds(*args: Any) -> float:
    raise ConfigError("the table has no seconds of the training")


def test_the_short_schedule_is_another_table(naslib: Any) -> None:
    record = naslib.dataset_api(toy_benchmark(), epochs=12)["nb201_data"][SPACE.format(CELLS[0])]["cifar10-valid"]
    assert len(record["eval_acc1es"]) == 12 and record["cost_info"]["train_time"] == 60


def test_what_the_benchmark_lacks_is_said(naslib: Any) -> None:
    with pytest.raises(ConfigError, match="200 or 12"):
        naslib.dataset_api(toy_benchmark(), epochs=108)
    record = naslib.dataset_api(toy_benchmark())["nb201_data"][SPACE.format(CELLS[0])]
    with pytest.raises(ConfigError, match="no dataset 'cifar100'; it has cifar10, imagenet16-120"):
        record["cifar100"]
    with pytest.raises(ConfigError, match="curve"):
        record["cifar10-valid"]["eval_acc1es"][108]


# -- optimizers ----------------------------------------------------------------------------------
def prepared(naslib: Any, folder: Path, optimizer: Any = None, *, epochs: int = 12, **keys: Any) -> tuple[Any, Any]:
    """A Trainer, and its optimizer, over the toy benchmark."""
    from metad2a_plugin.adapters import _naslib_host as host

    config = naslib.make_config("cifar10", epochs=epochs, seed=3, save=str(folder), **keys)
    made = optimizer(config) if optimizer else naslib.StrategyOptimizer(config, "random")
    made.adapt_search_space(naslib.TableSpace(), dataset_api=naslib.dataset_api(toy_benchmark()))
    return host.Trainer(made, config, lightweight_output=True), made


def by_hand(strategy: Any, queries: int) -> list[tuple[Architecture, float]]:
    benchmark = toy_benchmark()
    for _ in range(queries):
        for cell in strategy.ask():
            strategy.tell(cell, benchmark.accuracy(cell, "cifar10", "valid"))
    return strategy.history


@pytest.mark.parametrize("name", [name for name in available("strategies") if name != "metad2a"])
def test_the_trainer_loses_nothing_of_a_strategy(naslib: Any, name: str, tmp_path: Path) -> None:
    options = small(name, tmp_path)
    trainer, optimizer = prepared(
        naslib, tmp_path, lambda config: naslib.StrategyOptimizer(config, name, **options), epochs=40
    )
    trainer.search()
    alone = get_strategy(name)(SPACE, seed=3, **options)
    assert optimizer.history == by_hand(alone, 40)
    assert naslib.from_naslib(optimizer.get_final_architecture()) == alone.recommendation


def test_metad2a_searches_with_images(naslib: Any, tmp_path: Path) -> None:
    images = image_dataset()
    options = FEW | {"dataset": images, "cache_dir": False}
    trainer, optimizer = prepared(naslib, tmp_path, lambda config: naslib.MetaD2AOptimizer(config, **options))
    trainer.search()
    assert optimizer.history == by_hand(get_strategy("metad2a")(SPACE, seed=3, **options), 12)


def test_statistics_are_of_the_incumbent_with_the_real_test_accuracy(naslib: Any, tmp_path: Path) -> None:
    trainer, optimizer = prepared(naslib, tmp_path)
    trainer.search()
    cell, value = optimizer.strategy.best
    benchmark = toy_benchmark()
    train, valid, test, seconds = optimizer.train_statistics()
    assert math.isnan(train) and (valid, test, seconds) == (value, benchmark.accuracy(cell, "cifar10", "test"), 1000)
    assert trainer.search_trajectory.test_acc[-1] == test != valid
    last = optimizer.history[-1]
    assert optimizer.train_statistics(report_incumbent=False)[1] == last[1]
    told = [value for _, value in optimizer.history]
    assert trainer.search_trajectory.valid_acc == np.maximum.accumulate(told).tolist()
    assert set(optimizer.test_statistics()) <= {"cifar10-valid"}
    # NASLib's own evaluation reads the validation accuracy and calls it test.
    assert trainer.evaluate(dataset_api=optimizer.dataset_api) == value


def test_without_our_table_the_test_accuracy_is_naslib_s(naslib: Any, tmp_path: Path) -> None:
    _, optimizer = prepared(naslib, tmp_path)
    optimizer.new_epoch(0)
    record = {"train_acc1es": [1.0], "eval_acc1es": [2.0], "cost_info": {"train_time": 3.0}}
    text = SPACE.format(optimizer.history[0][0])
    optimizer.dataset_api = {"nb201_data": {text: {"cifar10-valid": record}}}
    assert optimizer.train_statistics() == (1.0, 2.0, 2.0, 3.0)


@pytest.mark.parametrize("name", ["metad2a", "local-search", "regularized-evolution"])
def test_an_interrupted_search_goes_on_as_if_it_had_not_been(naslib: Any, name: str, tmp_path: Path) -> None:
    options = FEW if name == "metad2a" else {}

    def make(config: Any) -> Any:
        return naslib.StrategyOptimizer(config, name, **options)

    trainer, whole = prepared(naslib, tmp_path / "whole", make, epochs=24)
    trainer.search()

    def interrupt(epoch: int) -> None:
        if epoch == 16:
            raise KeyboardInterrupt

    trainer, _ = prepared(naslib, tmp_path / "part", make, epochs=24, checkpoint_freq=5)
    with pytest.raises(KeyboardInterrupt):
        trainer.search(after_epoch=interrupt)
    trainer, resumed = prepared(naslib, tmp_path / "part", make, epochs=24, checkpoint_freq=5)
    trainer.search(resume_from=str(tmp_path / "part" / "search" / "model_0000014.pth"))
    assert resumed.history == whole.history
    assert len(trainer.search_trajectory.valid_acc) == 9


def test_a_search_can_be_resumed_as_make_config_sets_it_up(naslib: Any, tmp_path: Path) -> None:
    def interrupt(epoch: int) -> None:
        if epoch == 6:
            raise KeyboardInterrupt

    trainer, whole = prepared(naslib, tmp_path / "whole")
    trainer.search()
    with pytest.raises(KeyboardInterrupt):
        prepared(naslib, tmp_path / "part")[0].search(after_epoch=interrupt)
    trainer, resumed = prepared(naslib, tmp_path / "part")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        trainer.search(resume_from=str(tmp_path / "part" / "search" / "model_0000006.pth"))
    assert resumed.history == whole.history and len(trainer.search_trajectory.valid_acc) == 5


def test_a_search_that_starts_over_says_so(naslib: Any, tmp_path: Path) -> None:
    prepared(naslib, tmp_path, epochs=2, checkpoint_freq=5)[0].search()
    with pytest.warns(UserWarning, match="holds an earlier search, which this one starts over.*before its first check"):
        prepared(naslib, tmp_path, epochs=2)[0].search(resume_from="")


def test_a_foreign_checkpoint_is_refused(naslib: Any, tmp_path: Path) -> None:
    _, optimizer = prepared(naslib, tmp_path)
    model = optimizer.get_checkpointables()["model"]
    with pytest.raises(CheckpointError, match="another optimizer"):
        model.load_state_dict({"weight": torch.zeros(1)})
    state = optimizer.state_dict()
    with pytest.raises(CheckpointError, match="'ImageNet16-120', not on 'cifar10'"):
        optimizer.load_state_dict(state | {"dataset": "ImageNet16-120"})
    _, other = prepared(naslib, tmp_path, lambda config: naslib.StrategyOptimizer(config, "local-search"))
    with pytest.raises(CheckpointError, match="RandomSearch"):
        other.load_state_dict(state)


def test_states_are_plain_json(naslib: Any, tmp_path: Path) -> None:
    trainer, optimizer = prepared(naslib, tmp_path)
    trainer.search()
    json.dumps(optimizer.state_dict(), allow_nan=False)
    assert torch.load(tmp_path / "search" / "model_final.pth", weights_only=True)["iteration"] == 11


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_no_number_is_reported_and_never_told(naslib: Any, tmp_path: Path, value: float) -> None:
    _, optimizer = prepared(naslib, tmp_path)
    first = get_strategy("random")(SPACE, seed=3).ask()[0]
    optimizer.dataset_api = naslib.dataset_api(toy_benchmark({SPACE.index(first): value}))
    with pytest.warns(UserWarning, match="no finite validation accuracy on 'cifar10'"):
        optimizer.new_epoch(0)
    assert optimizer.strategy.history == [] and optimizer.history[0][0] == first
    assert all(map(math.isnan, optimizer.train_statistics()))
    with pytest.raises(ConfigError, match="no architecture has a finite validation accuracy, of 1 queries"):
        optimizer.get_final_architecture()
    optimizer.new_epoch(1)
    assert len(optimizer.strategy.history) == 1
    _, again = prepared(naslib, tmp_path)
    again.load_state_dict(json.loads(json.dumps(optimizer.state_dict(), allow_nan=False)))
    assert str(again.history) == str(optimizer.history).replace("inf", "nan").replace("-nan", "nan")


def test_a_query_that_gives_text_is_reported(naslib: Any, host: Any, tmp_path: Path) -> None:
    class Odd(host.NasBench201SearchSpace):
        def query(self, metric: Any, dataset: str, *args: Any, **kwargs: Any) -> str:
            return "high"

    optimizer = naslib.StrategyOptimizer(naslib.make_config(save=str(tmp_path)), "random")
    optimizer.adapt_search_space(Odd())
    with pytest.warns(UserWarning, match="no finite validation accuracy"):
        optimizer.new_epoch(0)


def test_an_exhausted_strategy_says_so_once(naslib: Any, tmp_path: Path) -> None:
    def make(config: Any) -> Any:
        return naslib.MetaD2AOptimizer(config, model=SEARCHER, max_params=0.074)

    networks = len(SEARCHER.rank(None, max_params=0.074).vertices)
    trainer, optimizer = prepared(naslib, tmp_path, make, epochs=networks + 3)
    with pytest.warns(UserWarning, match=f"nothing more to propose after {networks} queries") as caught:
        trainer.search()
    assert len([w for w in caught if "nothing more" in str(w.message)]) == 1
    assert len(optimizer.history) == networks == len(trainer.search_trajectory.valid_acc) - 3
    assert optimizer.get_final_architecture() is not None


def test_another_search_space_is_refused_before_anything_runs(naslib: Any, tmp_path: Path) -> None:
    class NasBench301SearchSpace(torch.nn.Module):
        QUERYABLE = True

    for optimizer in (naslib.StrategyOptimizer, naslib.MetaD2AOptimizer):
        made = optimizer(naslib.make_config(save=str(tmp_path)))
        with pytest.raises(ConfigError, match="knows NasBench201SearchSpace, got NasBench301SearchSpace"):
            made.adapt_search_space(NasBench301SearchSpace(), dataset_api={})
        for use in (made.train_statistics, made.test_statistics, made.get_final_architecture, made.state_dict):
            with pytest.raises(ConfigError, match="no search space yet; call adapt_search_space first"):
                use()


def test_what_is_missing_is_said_before_anything_runs(naslib: Any, tmp_path: Path) -> None:
    config = naslib.make_config(save=str(tmp_path))
    with pytest.raises(ConfigError, match="did you mean 'random'"):
        naslib.StrategyOptimizer(config, "randon")
    with pytest.raises(ConfigError, match="unexpected keyword argument 'population'; its options are dedupe"):
        naslib.StrategyOptimizer(config, "random", population=3)
    with pytest.raises(ConfigError, match=r"set config\.search\.seed"):
        naslib.StrategyOptimizer(config, "random", seed=3)
    with pytest.raises(ConfigError, match=r"pass dataset_api=dataset_api\(benchmark\)"):
        naslib.StrategyOptimizer(config).adapt_search_space(naslib.TableSpace())
    with pytest.raises(ConfigError, match="imagenet16-120, got 'svhn'"):
        naslib.make_config("svhn", save=str(tmp_path))
    for name in ("ImageNet16-120", "imagenet16_120", "imagenet16-120"):
        assert naslib.make_config(name, save=str(tmp_path)).dataset == "ImageNet16-120"


def test_a_configuration_needs_no_optional_keys(naslib: Any, host: Any) -> None:
    config = host.AttrDict(dataset="cifar10", search=host.AttrDict(epochs=3))
    assert naslib.StrategyOptimizer(config).seed == 0
    assert naslib.StrategyOptimizer(host.AttrDict(config, seed=4)).seed == 4


def test_a_query_of_one_s_own_gets_a_network_to_train(naslib: Any, host: Any, tmp_path: Path) -> None:
    class Trains(host.NasBench201SearchSpace):
        def query(self, metric: Any, dataset: str, *args: Any, **kwargs: Any) -> float:
            assert self.instantiate_model and dataset == "cifar10"
            return float(sum(self.get_op_indices()))

    optimizer = naslib.StrategyOptimizer(naslib.make_config(save=str(tmp_path)), "random")
    optimizer.adapt_search_space(Trains())
    optimizer.new_epoch(0)
    cell, value = optimizer.history[0]
    assert value == sum(naslib.to_op_indices(cell)) == optimizer.train_statistics()[1]
    assert optimizer.test_statistics() is None


# -- predictor -----------------------------------------------------------------------------------
def predictor(naslib: Any, **options: Any) -> Any:
    return naslib.MetaD2APredictor(**{"model": SEARCHER} | options)


def test_without_labels_it_scores_what_the_search_predicts(naslib: Any) -> None:
    cells = random.Random(0).sample(CELLS, 30)
    images = image_dataset()
    for dataset in (None, SEARCHER.task(images, cache_dir=False)):
        found = predictor(naslib, dataset=dataset)
        found.set_ss_type("nasbench201")
        found.pre_process()
        found.pre_compute([], cells)
        found.reset_hyperparams()
        found.fit([], [], [])
        scores = found.query(list(naslib.to_one_hot(cells)), None)
        expected = SEARCHER.predict(dataset, SPACE.simplify(SPACE.encode(cells))).mean.double()
        assert scores.dtype == np.float64 and scores.shape == (30,)
        assert np.allclose(scores, expected.numpy(), rtol=1e-5)
        assert found.get_hyperparams() is None and not found.get_hpo_wrapper()
        assert not found.get_data_reqs()["requires_partial_lc"]


def test_graphs_and_vectors_score_alike(naslib: Any) -> None:
    cells = CELLS[:3]
    found = predictor(naslib)
    forms = ([naslib.to_naslib(c) for c in cells], naslib.to_one_hot(cells), [naslib.to_op_indices(c) for c in cells])
    first, *others = (found.query(form) for form in forms)
    assert all(np.array_equal(first, other) for other in others)
    assert found.query([]).shape == (0,)


def test_it_learns_from_labels_and_a_new_fit_forgets(naslib: Any) -> None:
    benchmark = toy_benchmark()
    rng = random.Random(1)
    train, test = rng.sample(CELLS, 60), rng.sample(CELLS, 300)
    truth = benchmark.accuracy(test, "cifar10", "valid")
    found = predictor(naslib)
    before = found.query(test_forms := naslib.to_one_hot(test))
    found.fit(naslib.to_one_hot(train), benchmark.accuracy(train, "cifar10", "valid").tolist())
    after = found.query(test_forms)
    assert np.corrcoef(after, truth)[0, 1] > np.corrcoef(before, truth)[0, 1]
    assert abs(after.mean() - truth.mean()) < 3, "scores are on the scale of the labels"
    found.fit([], [])
    assert np.array_equal(found.query(test_forms), before)


def test_labels_that_are_no_numbers_are_left_out(naslib: Any) -> None:
    forms = naslib.to_one_hot(CELLS[:20])
    labels = np.linspace(80, 90, 20)
    found, clean = predictor(naslib), predictor(naslib)
    with pytest.warns(UserWarning, match="2 of 22 labels"):
        found.fit([*forms, forms[0], forms[1]], [*labels, math.nan, "high"])
    clean.fit(forms, labels)
    assert np.array_equal(found.query(forms), clean.query(forms))
    with pytest.raises(ConfigError, match="20 cells and 3 labels"):
        found.fit(forms, [1, 2, 3])


def test_predictors_are_cloned_and_pickled(naslib: Any) -> None:
    forms, labels = naslib.to_one_hot(CELLS[:12]), np.linspace(80, 90, 12)
    fitted = predictor(naslib)
    fitted.fit(forms, labels)
    for made in (fitted, naslib.MetaD2AEnsemble(model=SEARCHER), naslib.NamedPredictor("flops")):
        for again in (pickle.loads(pickle.dumps(made)), deepcopy(made)):
            assert np.array_equal(again.query(forms), made.query(forms))
    cloned = pytest.importorskip("sklearn.base").clone(fitted)
    assert cloned.get_params(deep=False).keys() == fitted.get_params(deep=False).keys()
    assert np.array_equal(cloned.query(forms), predictor(naslib).query(forms)), "a clone has learned nothing"
    assert fitted.set_params(seed=1).seed == 1


def test_any_predictor_scores_by_its_name(naslib: Any) -> None:
    cells, images = CELLS[:4], image_dataset()
    small = {"batch_size": 8, "channels": 2, "cells": 1, "input_size": 8}
    for name, dataset, options in (("flops", None, {}), ("naswot", images, small), ("metad2a", images, {})):
        found = naslib.NamedPredictor(name, dataset, ss_type="nasbench201", **options)
        found.fit([], [])
        scores = found.query(list(naslib.to_one_hot(cells)), None)
        looks = {"dataset": images} if name == "naswot" else {}
        task = extract_task(images) if name == "metad2a" else None
        expected = get_predictor(name)(SPACE, **looks, **options).predict(task, cells).mean
        assert scores.dtype == np.float64 and np.allclose(scores, expected.numpy(), rtol=1e-5)
    for name in ("naswot", "metad2a"):
        with pytest.raises(ConfigError, match="dataset"):
            naslib.NamedPredictor(name)
    with pytest.raises(ConfigError, match="did you mean 'naswot'"):
        naslib.NamedPredictor("naswott")


def test_the_ensemble_says_mean_and_spread(naslib: Any) -> None:
    ensemble = naslib.MetaD2AEnsemble(model=SEARCHER)
    forms = naslib.to_one_hot(CELLS[:20])
    for labels in ([], np.linspace(80, 90, 20)):
        ensemble.fit(forms[: len(labels)], labels)
        mean, std = ensemble.predict(forms)
        members = ensemble.query(forms)
        assert np.allclose(members.mean(0), mean) and np.allclose(members.std(0), std) and (std > 0).all()


def test_another_space_and_hyperparameters_are_refused(naslib: Any) -> None:
    with pytest.raises(CheckpointError, match="nope"):
        naslib.MetaD2APredictor(model="nope")
    with pytest.raises(ConfigError, match="knows 'nasbench201', got 'darts'"):
        predictor(naslib, ss_type="darts")
    found = predictor(naslib)
    found.set_hyperparams(None)
    with pytest.raises(ConfigError, match="no hyper-parameters"):
        found.set_hyperparams({"depth": 3})
    with pytest.raises(ArchitectureError):
        found.query([[0] * 30])


# -- runner --------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["rs", "random", "metad2a"])
def test_a_search_is_traced_query_by_query(naslib: Any, name: str) -> None:
    benchmark = toy_benchmark()
    options = FEW if name == "metad2a" else {}
    trace = naslib.search(name, benchmark, "imagenet16-120", epochs=15, seed=2, **options)
    cells = [SPACE.parse(text) for text in trace.cells]
    assert len(cells) == 15 == len(trace.own_seconds) and min(trace.own_seconds) > 0
    assert trace.told == [benchmark.accuracy(c, "imagenet16-120", "valid") for c in cells]
    assert trace.test == [benchmark.accuracy(c, "imagenet16-120", "test") for c in cells]
    assert trace.train_seconds == [1000] * 15
    assert (trace.method, trace.dataset, trace.seed) == (name, "imagenet16-120", 2)
    again = naslib.search(name, benchmark, "imagenet16-120", epochs=15, seed=2, **options)
    assert again.cells == trace.cells
    assert type(trace)(**json.loads(json.dumps(trace.to_dict()))) == trace


def test_an_optimizer_of_one_s_own_is_run(naslib: Any) -> None:
    def mine(config: Any) -> Any:
        return naslib.StrategyOptimizer(config, "random")

    trace = naslib.search(mine, toy_benchmark(), epochs=5)
    assert trace.method == "mine"
    assert trace.cells == naslib.search("random", toy_benchmark(), epochs=5).cells


def test_unknown_seconds_stay_unknown(
    naslib: Any, capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metad2a_plugin.adapters import nas_bench_201

    benchmark = toy_benchmark()
    benchmark.train_seconds = no_seconds
    trace = naslib.search("random", benchmark, epochs=3, benchmark_epochs=12)
    assert all(map(math.isnan, trace.train_seconds)) and np.isnan(trace.clock()).all() and min(trace.told) > 0
    monkeypatch.setattr(nas_bench_201, "default_benchmark", lambda: benchmark)
    naslib.main(["--optimizer", "random", "--epochs", "3", "--json", str(tmp_path / "found.json")])
    assert "unknown hours of simulated training" in capsys.readouterr().out
    assert json.loads((tmp_path / "found.json").read_text())["train_seconds"] == [None] * 3


@pytest.mark.parametrize(
    ("optimizer", "arguments", "message"),
    [
        ("random", {"images": "photos/"}, "images are for 'metad2a'; 'random' does not look at any"),
        ("rs", {"images": "photos/"}, "images are for 'metad2a'; 'rs' does not look at any"),
        (
            "regularized-evolution",
            {"populaton_size": 1},
            "unexpected .* 'populaton_size'; its options are population_size",
        ),
        ("random", {"settings": {"k": 3}}, "settings are for NASLib's optimizers; give .* as arguments: k=3"),
        ("metad2a", {"settings": {"adapt": False}}, "give the options of 'metad2a' as arguments: adapt=False"),
        ("re", {"settings": {"populaton_size": 5}}, "unknown settings: populaton_size; known are .*population_size"),
        (
            "rs",
            {"settings": {"epochs": 5, "seed": 1}},
            "settings cannot have epochs, seed; ",
        ),
    ],
)
def test_what_would_be_ignored_is_refused(naslib: Any, optimizer: str, arguments: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        naslib.search(optimizer, toy_benchmark(), epochs=2, **arguments)


def test_one_shot_searches_that_would_train_nothing_are_refused(naslib: Any) -> None:
    images = image_dataset()
    half = len(images) // 2
    with pytest.raises(ConfigError, match=f"batch_size is {half + 1}, but half of the {len(images)} images are {half}"):
        naslib.search_one_shot(images, batch_size=half + 1)
    with pytest.raises(ConfigError, match=r"unknown settings of 'gdas': tau_mx; known are .*learning_rate_min"):
        naslib.search_one_shot(images, "gdas", tau_mx=3)
    with pytest.raises(DatasetError, match="no-such-folder"):
        naslib.search_one_shot("no-such-folder")


def test_wrong_arguments_are_named(naslib: Any) -> None:
    with pytest.raises(ConfigError, match="unknown optimizer 'reinforce'; known are area, darts, fuse, local-search, "):
        naslib.search("reinforce", toy_benchmark())
    with pytest.raises(ConfigError, match="sample_size: only area, "):
        naslib.search("rs", toy_benchmark(), sample_size=3)
    with pytest.raises(ConfigError, match="epochs"):
        naslib.search("rs", toy_benchmark(), epochs=0)
    with pytest.raises(ConfigError, match="unknown one-shot optimizer 'enas'; known are darts, gdas, drnas"):
        naslib.search_one_shot(image_dataset(), "enas")


def test_the_command_line(naslib: Any, capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from metad2a_plugin.adapters import nas_bench_201

    monkeypatch.setattr(nas_bench_201, "default_benchmark", toy_benchmark)
    naslib.main(["--optimizer", "random", "--epochs", "5", "--json", str(tmp_path / "found.json")])
    shown = capsys.readouterr().out
    assert "best of 5 queries" in shown and "1.4 hours of simulated training" in shown
    assert len(json.loads((tmp_path / "found.json").read_text())["cells"]) == 5
    with pytest.raises(SystemExit, match="2"):
        naslib.main(["--optimizer", "enas"])
    assert capsys.readouterr().err.startswith("error: unknown optimizer 'enas'")


@pytest.mark.parametrize(
    ("absent", "said"), [("naslib", "this adapter needs NASLib"), ("fvcore", "'fvcore'")]
)
def test_the_command_line_says_what_is_absent(absent: str, said: str) -> None:
    if absent != "naslib" and not PRESENT:
        pytest.skip("NASLib is not importable")
    code = f"import runpy, sys; sys.modules[{absent!r}] = None; "
    code += "runpy.run_module('metad2a_plugin.adapters.naslib', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and said in done.stderr and done.stderr.count("\n") == 1, done.stderr


def test_light_copies_are_quick(naslib: Any) -> None:
    import time

    begin = time.process_time()
    trace = naslib.search("random", toy_benchmark(), epochs=100)
    assert len(trace.cells) == 100 and sum(trace.own_seconds) < 1 and time.process_time() - begin < 5


def test_no_search_warns_of_anything(naslib: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        naslib.search("random", toy_benchmark(), epochs=3)


# -- images as NASLib has them -------------------------------------------------------------------
class Normalize:
    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        return (image - 0.5) / 0.25


class RandomNoise:
    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        return image + torch.rand(())


class Compose:
    """Of the name and attributes of torchvision's."""

    def __init__(self, transforms: list[Any]) -> None:
        self.transforms = transforms

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        for transform in self.transforms:
            image = transform(image)
        return image


class Coloured(torch.utils.data.Dataset[Any]):
    def __init__(self, transform: Any = None, count: int = 40) -> None:
        self.transform, self.targets = transform, [i % 2 for i in range(count)]
        self.images = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        image = self.images[i]
        return (image if self.transform is None else self.transform(image)), self.targets[i]


class Custom:
    """As NASLib's `CustomDataset`, which a user subclasses."""

    data, config = "folder", None

    def get_transforms(self, config: Any) -> tuple[Any, Any]:
        return Compose([RandomNoise(), Normalize()]), Compose([Normalize()])

    def get_data(self, data: str, train: Any, valid: Any) -> tuple[Any, Any]:
        return Coloured(train), Coloured(valid, 10)


def changing() -> Coloured:
    return Coloured(Compose([RandomNoise(), Normalize()]))


@pytest.mark.filterwarnings("ignore:of the DataLoader")
@pytest.mark.parametrize(
    "given",
    [
        lambda loader: loader(changing()),
        lambda loader: (loader(changing()), loader(changing()), loader(Coloured()), None, None),
        lambda loader: [loader(torch.utils.data.Subset(changing(), range(40)))],
        lambda loader: Custom(),
    ],
)
def test_loaders_and_custom_datasets_are_datasets(naslib: Any, given: Any, recwarn: Any) -> None:
    from metad2a_plugin.adapters._naslib_images import images_of

    source = given(lambda dataset: torch.utils.data.DataLoader(dataset, batch_size=8, shuffle=True))
    images = load_dataset(images_of(source))
    expected = load_dataset(Coloured())
    assert len(images) == 40 and images.labels.tolist() == expected.labels.tolist()
    assert torch.equal(images.images(range(40), 8), expected.images(range(40), 8)), "the images themselves"
    assert not [w for w in recwarn if "differs from one reading" in str(w.message)]
    optimizer = naslib.MetaD2AOptimizer(config_of(), dataset=source, **FEW)
    optimizer.adapt_search_space(naslib.TableSpace(), dataset_api=naslib.dataset_api(toy_benchmark()))
    assert optimizer.strategy.ask()


def config_of(**search: Any) -> Any:
    from types import SimpleNamespace

    return SimpleNamespace(dataset="cifar10", search=SimpleNamespace(seed=0, **search))


def test_a_custom_dataset_that_says_nothing_is_refused(naslib: Any) -> None:
    class Empty(Custom):
        def get_data(self, data: str, train: Any, valid: Any) -> Any:
            raise NotImplementedError

    class Single(Custom):
        def get_data(self, data: str, train: Any, valid: Any) -> Any:
            return Coloured(train)

    for custom, said in ((Empty(), "write both"), (Single(), "a pair each")):
        with pytest.raises(DatasetError, match=said):
            naslib.MetaD2AOptimizer(config_of(), dataset=custom, **FEW)


@pytest.mark.parametrize("wrong", [{}, None, "cifar10", 3, []])
def test_what_is_no_configuration_is_refused(naslib: Any, wrong: Any) -> None:
    for make in (naslib.MetaD2AOptimizer, naslib.StrategyOptimizer):
        with pytest.raises(ConfigError, match="config must be a configuration of NASLib"):
            make(wrong)


def test_a_table_space_is_no_network(naslib: Any) -> None:
    space = naslib.TableSpace()
    space.set_op_indices([0] * 6)
    for use in (space.parse, lambda: space.forward(torch.zeros(1, 3, 8, 8))):
        with pytest.raises(ConfigError, match="for look-ups and has no network"):
            use()


def test_a_dataset_is_encoded_once(naslib: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from metad2a_plugin.data.encoders import DefaultEncoder

    monkeypatch.setenv("METAD2A_CACHE", str(tmp_path))
    encoded: list[int] = []
    forward = DefaultEncoder.__call__

    def counted(self: Any, images: torch.Tensor) -> torch.Tensor:
        encoded.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(DefaultEncoder, "__call__", counted)
    images = image_dataset()
    optimizer = naslib.MetaD2AOptimizer(config_of(), dataset=images, **FEW)
    api = naslib.dataset_api(toy_benchmark())
    for _ in range(2):
        optimizer.adapt_search_space(naslib.TableSpace(), dataset_api=api)
        optimizer.new_epoch(1)
    found = predictor(naslib, dataset=images)
    for _ in range(3):
        found.pre_process()
        found.fit(naslib.to_one_hot(CELLS[:5]), [1, 2, 3, 4, 5])
        found.query(naslib.to_one_hot(CELLS[:5]))
    assert 0 < sum(encoded) <= len(images)
