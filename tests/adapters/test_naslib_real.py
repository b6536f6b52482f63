"""With the real NASLib only: its own conversions, evaluator, searches and interface."""

from __future__ import annotations

import inspect
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import naslib_stand_in
import numpy as np
import pytest
from meta_toys import checkpoint, image_dataset
from naslib_toys import PRESENT, SPACE, toy_benchmark

from metad2a_plugin import MetaD2A
from metad2a_plugin.errors import ConfigError

if not PRESENT:
    pytest.skip("NASLib is not importable", allow_module_level=True)

from metad2a_plugin.adapters import _naslib_host as host
from metad2a_plugin.adapters import naslib

SEARCHER = MetaD2A(checkpoint())
CELLS = list(SPACE.enumerate())


# -- the interface -------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["MetaOptimizer", "Predictor", "Trainer", "NasBench201SearchSpace"])
def test_the_stand_in_has_naslib_s_signatures(name: str) -> None:
    stand_in, real = getattr(naslib_stand_in, name), getattr(host, name)
    methods = [
        method
        for method, function in vars(stand_in).items()
        if inspect.isfunction(function) and (method == "__init__" or not method.startswith("_"))
    ]
    assert methods
    for method in methods:
        parameters = [inspect.signature(getattr(c, method)).parameters.values() for c in (stand_in, real)]
        # A name that Python does not let us spell the same way would differ here.
        first, second = ([(p.name, p.kind, p.default) for p in ps] for ps in parameters)
        assert first == second, f"{name}.{method}"


def test_the_stand_in_has_naslib_s_metrics() -> None:
    assert {m.name for m in naslib_stand_in.Metric} <= {m.name for m in host.Metric}
    for method in ("OPTIMIZER_SCOPE", "QUERYABLE"):
        real = getattr(host.NasBench201SearchSpace, method)
        assert getattr(naslib_stand_in.NasBench201SearchSpace, method) == real


# -- what the import does to others --------------------------------------------------------------
def test_the_import_leaves_everything_else_alone() -> None:
    code = """
import collections, sys
path, modules = list(sys.path), set(sys.modules)
from metad2a_plugin.adapters import naslib
added = [folder for folder in sys.path if folder not in path and "_vendor" not in folder]  # those of setuptools stay
assert not added and not hasattr(collections, "Iterable"), added
from metad2a_plugin.adapters._placeholders import _Finder
placeholders = {m for m in sys.modules if isinstance(getattr(sys.modules[m], "__loader__", None), _Finder)}
assert not placeholders and "models" not in sys.modules, placeholders
assert naslib.prepare() is naslib.prepare()
import importlib.util
if importlib.util.find_spec("torchvision"):
    import torchvision.transforms
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_import_needs_neither_distutils_nor_turtle() -> None:
    code = """
import sys
sys.modules["distutils"] = sys.modules["turtle"] = None
from metad2a_plugin.adapters import naslib, _naslib_compat as compat
assert compat.reason(compat._unused_names) in naslib.prepare()
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# -- encodings, over the whole space -------------------------------------------------------------
def test_every_encoding_is_naslib_s() -> None:
    from naslib.search_spaces.nasbench201 import conversions

    space = naslib.TableSpace()
    one_hot = naslib.to_one_hot(CELLS)
    for cell, vector in zip(CELLS, one_hot, strict=True):
        text, indices = SPACE.format(cell), naslib.to_op_indices(cell)
        assert conversions.convert_op_indices_to_str(indices) == text
        assert conversions.convert_str_to_op_indices(text) == indices
        graph = space.clone()
        graph.set_op_indices(indices)
        assert graph.get_hash() == indices and graph.encode() == vector.tolist()
        assert naslib.from_naslib(graph) == cell


def test_networks_have_the_operations_of_the_cell() -> None:
    from naslib.search_spaces.nasbench201.conversions import convert_naslib_to_op_indices, convert_naslib_to_str

    # Five cells that put every operation on every edge.
    for shift in range(5):
        cell = SPACE.parse("|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*(naslib_stand_in.OPS * 2)[shift : shift + 6]))
        graph = naslib.to_naslib(cell)
        assert tuple(convert_naslib_to_op_indices(graph)) == naslib.to_op_indices(cell)
        assert convert_naslib_to_str(graph) == SPACE.format(cell)
        graph.op_indices = None
        assert naslib.from_naslib(graph) == cell


def test_a_cell_is_a_network_that_runs() -> None:
    import torch

    graph = naslib.to_naslib(CELLS[6111], num_classes=7)
    graph.parse()
    params = sum(p.numel() for p in SPACE.build(CELLS[6111], 7).parameters())
    assert sum(p.numel() for p in graph.parameters()) >= params
    assert graph(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


# -- light copies --------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["RandomSearch", "RegularizedEvolution", "LocalSearch"])
def test_light_copies_change_no_result(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Every new graph takes a random number for its name, so that neighbours would be shuffled otherwise.
    monkeypatch.setattr(random, "shuffle", lambda items: None)
    trajectories = []
    for space in (naslib.TableSpace(), host.NasBench201SearchSpace()):
        # Few, because whole copies are slow; enough for mutations and neighbours.
        keys = {"population_size": 5, "num_init": 3}
        config = naslib.make_config(epochs=9, seed=1, save=str(tmp_path), **keys)
        host.set_seed(1)
        optimizer = getattr(host.optimizers, name)(config)
        optimizer.adapt_search_space(space, dataset_api=naslib.dataset_api(toy_benchmark()))
        trainer = host.Trainer(optimizer, config, lightweight_output=True)
        trainer.search(report_incumbent=False)
        trajectories.append(trainer.search_trajectory.valid_acc)
    assert trajectories[0] == trajectories[1] and len(set(trajectories[0])) > 5


def test_a_search_in_naslib_s_own_space_looks_up_quickly(tmp_path: Path) -> None:
    import time

    config = naslib.make_config(epochs=100, save=str(tmp_path))
    optimizer = naslib.StrategyOptimizer(config, "random")
    optimizer.adapt_search_space(host.NasBench201SearchSpace(), dataset_api=naslib.dataset_api(toy_benchmark()))
    begin = time.process_time()
    for epoch in range(100):
        optimizer.new_epoch(epoch)
    assert time.process_time() - begin < 1
    graph = optimizer.get_final_architecture()
    assert type(graph) is host.NasBench201SearchSpace and graph.instantiate_model
    assert naslib.from_naslib(graph) == optimizer.strategy.best[0]


# -- NASLib's own searches -----------------------------------------------------------------------
def test_naslib_s_evaluation_reads_what_the_search_found(tmp_path: Path) -> None:
    config = naslib.make_config(epochs=10, save=str(tmp_path), checkpoint_freq=3)
    benchmark = toy_benchmark()
    api = naslib.dataset_api(benchmark)
    optimizer = naslib.MetaD2AOptimizer(config, model=SEARCHER, max_params=0.11)
    optimizer.adapt_search_space(host.NasBench201SearchSpace(), dataset_api=api)
    trainer = host.Trainer(optimizer, config)
    trainer.search()
    assert trainer.evaluate(dataset_api=api) == optimizer.strategy.best[1]
    written = json.loads((tmp_path / "errors.json").read_text())
    assert written["valid_acc"][-1] == optimizer.strategy.best[1]
    assert written["test_acc"][-1] == benchmark.accuracy(optimizer.strategy.best[0], "cifar10", "test")


def test_bananas_asks_our_predictor() -> None:
    class Guided(host.optimizers.Bananas):  # type: ignore[name-defined]
        def _get_ensemble(self) -> Any:
            return ensemble

    ensemble = naslib.MetaD2AEnsemble(model=SEARCHER)
    trace = naslib.search(Guided, toy_benchmark(), epochs=25, settings={"num_init": 5, "num_candidates": 20})
    assert len(trace.cells) == 25 and trace.method == "Guided"
    assert np.mean(trace.told[15:]) > np.mean(trace.told[:5])


@pytest.mark.parametrize("labels", [0, 30])
def test_naslib_s_evaluator_scores_our_predictor(labels: int, tmp_path: Path) -> None:
    from naslib.defaults.predictor_evaluator import PredictorEvaluator

    config = host.AttrDict(
        experiment_type="single",
        test_size=40,
        train_size_single=labels,
        train_size_list=[],
        fidelity_single=-1,
        fidelity_list=[],
        max_hpo_time=0,
        dataset="cifar10",
        uniform_random=1,
        save=str(tmp_path),
    )
    evaluator = PredictorEvaluator(naslib.MetaD2APredictor(model=SEARCHER), config)
    evaluator.adapt_search_space(
        naslib.TableSpace(), load_labeled=False, dataset_api=naslib.dataset_api(toy_benchmark())
    )
    results = evaluator.evaluate()[-1]
    metrics = ("mae", "rmse", "pearson", "spearman", "kendalltau", "kt_2dec", "kt_1dec", "precision_10", "precision_20")
    assert all(np.isfinite(results[metric]) for metric in metrics), results
    assert results["train_size"] == labels
    assert json.loads((tmp_path / "errors.json").read_text())[-1]["spearman"] == results["spearman"]


@pytest.mark.parametrize("name", ["darts", "gdas"])
def test_one_shot_searches_run_on_images(name: str) -> None:
    images = image_dataset()
    found = naslib.search_one_shot(images, name, epochs=1, batch_size=8, input_size=8)
    assert SPACE.validate(found.architecture) and found.seconds > 0 and 0 <= found.valid <= 100


def test_one_shot_searches_take_settings_and_whatever_load_dataset_takes() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    source = (pixels, [0, 1] * 20)
    found = naslib.search_one_shot(source, "gdas", epochs=1, batch_size=20, input_size=8, tau_max=3, learning_rate=0.1)
    assert SPACE.validate(found.architecture)
    with pytest.raises(ConfigError, match=r"unknown settings of 'gdas': tau_mx; known are .*tau_max, tau_min"):
        naslib.search_one_shot(source, "gdas", batch_size=20, tau_mx=3)
