"""NNI's MobileNetV3Space as Once-for-All's network: on NNI's sequential engine, for real."""

from __future__ import annotations

import inspect
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from metad2a_plugin import get_predictor, get_strategy
from metad2a_plugin.data import extract_task, get_encoder, load_dataset
from metad2a_plugin.data.distilled import DistilledEncoder
from metad2a_plugin.errors import ArchitectureError, ConfigError, DatasetError
from metad2a_plugin.models.checkpoint import Checkpoint
from metad2a_plugin.models.generator import PaperGenerator
from metad2a_plugin.models.predictor import PaperAccuracy, PaperPredictor
from metad2a_plugin.one_shot.shared_weights import SharedWeights
from metad2a_plugin.plugins.registry import available
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import prepare

nni = pytest.importorskip("nni", reason="NNI is not installed; see the extra 'nni'")

import nni.nas.strategy as nni_strategies  # noqa: E402
from metad2a_plugin.adapters import nni as adapter  # noqa: E402
from metad2a_plugin.adapters._nni_bridge import bridge_of_sample  # noqa: E402
from metad2a_plugin.adapters._nni_mobilenetv3 import SETTINGS, MobileNetV3Bridge  # noqa: E402
from nni.nas.evaluator import FunctionalEvaluator  # noqa: E402
from nni.nas.hub.pytorch import MobileNetV3Space as HubSpace  # noqa: E402
from nni.nas.hub.pytorch import NasBench201  # noqa: E402
from nni.nas.space import SimplifiedModelSpace, model_context  # noqa: E402
from nni.nas.strategy.middleware import Chain, Filter  # noqa: E402
from nni_toys import experiment, run  # noqa: E402

SPACE = MobileNetV3Space()
SMALL = SPACE.parse("+".join(["k3e3-k5e4"] * 5))
RIGHT = {**SETTINGS, "width_multipliers": 1.0}
pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture(scope="module")
def model_space() -> Any:
    return adapter.ofa_space()


@pytest.fixture(scope="module")
def evaluator() -> Any:
    return adapter.PredictorEvaluator("ofa-imagenet")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (40, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=pixels, labels=np.arange(40) % 4)
    return tmp_path / "images.npz"


def draws(n: int, seed: int = 0) -> list[Architecture]:
    """Half of them drawn as the space does, half with every depth as likely."""
    rng = random.Random(seed)
    found = [SPACE.sample(rng) for _ in range(n // 2)]
    while len(found) < n:
        config = {name: rng.choices(o, k=k) for name, o, k in (("ks", (3, 5, 7), 20), ("e", (3, 4, 6), 20))}
        found.append(SPACE.from_config(config | {"d": rng.choices((2, 3, 4), k=5)})[0])
    return found


def frozen(space: Any, network: Architecture) -> nn.Module:
    """What a trial gets."""
    sample = MobileNetV3Bridge.default().sample(network)
    module: nn.Module = SimplifiedModelSpace.from_model(space, None).freeze(sample).executable_model()
    return module.eval()


def accuracy(network: Architecture) -> float:
    return float(get_predictor("ofa-imagenet")(SPACE).predict(None, [network]).mean[0])


# -- networks ------------------------------------------------------------------------------------
def outline(network: nn.Module) -> list[str]:
    """Every layer that computes, with its shape and settings, in order."""
    left_out = (nn.Dropout, nn.AdaptiveAvgPool2d)
    leaves = [m for m in network.modules() if not [*m.children()] and not isinstance(m, left_out)]
    return [repr(leaf).replace("inplace=True", "").replace("DepthwiseConv2d(", "Conv2d(") for leaf in leaves]


def macs(network: nn.Module, images: torch.Tensor) -> int:
    """Multiply-accumulates of one image, counted while it runs."""
    counted = []

    def count(module: Any, inputs: Any, output: torch.Tensor) -> None:
        counted.append(output[0].numel() * module.weight[0].numel())

    layers = [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.inference_mode():
        network(images)
    for hook in hooks:
        hook.remove()
    return sum(counted)


@pytest.mark.parametrize(("width", "networks"), [(1.0, 20), (1.2, 10), (0.35, 4)])
def test_nni_s_network_is_ours_but_for_one_bias(width: float, networks: int) -> None:
    space, images = adapter.ofa_space(width, num_classes=11), torch.rand(1, 3, 96, 96)
    for network in draws(networks):
        theirs, ours = frozen(space, network), SPACE.build(network, 11, width=width)
        layers = outline(theirs)
        [mix] = [i for i, (a, b) in enumerate(zip(layers, outline(ours), strict=True)) if a != b]
        assert layers[mix] == outline(ours)[mix].replace(", bias=False", "")
        cost = SPACE.cost(network, num_classes=11, input_size=96, width=width)
        assert macs(theirs, images) == round(1e6 * cost.flops)
        bias = ours.classifier.linear.in_features
        assert sum(p.numel() for p in theirs.parameters()) == round(1e6 * cost.params) + bias


@torch.inference_mode()
@pytest.mark.parametrize("width", [1.0, 1.2])
def test_with_our_weights_nni_s_network_gives_our_outputs(width: float) -> None:
    space, images = adapter.ofa_space(width, num_classes=3), torch.rand(2, 3, 64, 64)
    for network in draws(4, seed=1):
        ours, theirs = SPACE.build(network, 3, width=width).eval(), frozen(space, network)
        for name, tensor in ours.state_dict().items():
            if "running" in name:
                tensor.uniform_(0.5, 2)
        assert not torch.allclose(theirs(images), ours(images))
        adapter.load_ofa_weights(theirs, ours)
        torch.testing.assert_close(theirs(images), ours(images))


def test_weights_of_another_network_are_refused(model_space: Any) -> None:
    theirs = frozen(model_space, SMALL)
    for other in (SPACE.build(draws(1)[0], 1000), SPACE.build(SMALL, 10), SPACE.build(SMALL, 1000, width=1.2)):
        with pytest.raises(ConfigError, match="the weights do not fit"):
            adapter.load_ofa_weights(theirs, other)
    with pytest.raises(ConfigError, match="expected a network of ofa_space, got Linear"):
        adapter.load_ofa_weights(nn.Linear(2, 2), SPACE.build(SMALL, 2))


# -- samples -------------------------------------------------------------------------------------
def test_nni_s_random_samples_are_networks_of_the_space(model_space: Any) -> None:
    simple = SimplifiedModelSpace.from_model(model_space, None)
    for seed in range(200):
        sample: dict[str, Any] = {}
        simple.random(sample, random_state=np.random.RandomState(seed))
        network = adapter.architecture_of(sample)
        again = bridge_of_sample(sample).sample(network)
        assert simple.contains(again) and adapter.architecture_of(again) == network
        if seed % 40 == 0:  # NNI ignores what is said of layers that are not there, as we do
            with model_context(sample):
                module = HubSpace(**RIGHT)
            assert outline(module) == outline(frozen(model_space, network))


def test_samples_of_nni_s_class_with_other_kernels_are_refused() -> None:
    space = HubSpace(**RIGHT)
    assert len(space.simplify()) == 47
    with pytest.raises(ArchitectureError, match="'stem_ks' must be 3 in Once-for-All's network, got 5"):
        adapter.architecture_of({label: mutable.values[-1] for label, mutable in space.simplify().items()})


# -- the constructor -----------------------------------------------------------------------------
def test_the_space_has_the_settings_that_are_asked_for() -> None:
    space = adapter.ofa_space(1.2, 5, dropout_rate=0.0, bn_momentum=0.3)
    assert isinstance(space, HubSpace)
    module = frozen(space, SMALL)
    norm = next(module for module in module.modules() if isinstance(module, nn.BatchNorm2d))
    assert (norm.num_features, norm.momentum, norm.eps) == (24, 0.3, 1e-5)
    assert module.classifier[0].p == 0.0 and module.classifier[1].out_features == 5
    assert {label: mutable.values for label, mutable in space.simplify().items() if label[1] in "t0"} == {
        "stem_ks": [3],
        "s0_i0_ks": [3],
    }


@pytest.mark.parametrize("width", [0, -1.0, float("nan"), float("inf"), "1.0", None])
def test_a_wrong_width_is_refused(width: Any) -> None:
    with pytest.raises(ConfigError, match=r"width_multipliers is .* not a single float such as 1.0"):
        adapter.ofa_space(width)


@pytest.mark.parametrize("classes", [0, 2.5, "10"])
def test_a_wrong_number_of_classes_is_refused(classes: Any) -> None:
    with pytest.raises(ConfigError, match="num_classes must be an integer from 1 to 10,000,000"):
        adapter.ofa_space(num_classes=classes)


# -- searching -----------------------------------------------------------------------------------
def parameters(name: str) -> Mapping[str, Any]:
    return inspect.signature(get_strategy(name)).parameters


def options_of(name: str) -> dict[str, Any]:
    return {"population_size": 6, "sample_size": 3} if name == "regularized-evolution" else {}


# MetaD2A's has its own test; those of one space, or that look at images, are tried on NNI's other space.
@pytest.mark.parametrize("name", sorted(s for s in available("strategies") if "dataset" not in parameters(s)))
def test_every_strategy_proposes_what_it_does_outside_and_hears_every_metric(
    model_space: Any, evaluator: Any, tmp_path: Path, name: str
) -> None:
    strategy = adapter.SearchStrategy(name, seed=3, **options_of(name))
    found = run(model_space, evaluator, strategy, tmp_path, trials=25)
    alone = get_strategy(name)(SPACE, seed=3, **options_of(name))
    for _ in range(25):
        [network] = alone.ask()
        alone.tell(network, accuracy(network))
    assert strategy.measured == alone.history
    models = list(strategy.list_models(sort=False))
    assert len(models) == 25
    assert all(model.metric == accuracy(adapter.architecture_of(model.sample)) for model in models)
    [best] = found.export_top_models(1, formatter="dict")
    assert adapter.architecture_of(best) == alone.best[0]
    [module] = found.export_top_models(1, formatter="instance")
    assert outline(module) == outline(frozen(model_space, alone.best[0]))


def test_nni_s_class_itself_and_the_raw_format_do_as_well(evaluator: Any, tmp_path: Path) -> None:
    measured = []
    for space, kind in (
        (adapter.ofa_space(), "simplified"),
        (HubSpace(**RIGHT), "simplified"),
        (HubSpace(**RIGHT), "raw"),
    ):
        strategy = adapter.SearchStrategy("random", seed=1)
        run(space, evaluator, strategy, tmp_path, trials=3, model_format=kind)
        measured.append(strategy.measured)
    assert measured[0] == measured[1] == measured[2]


@pytest.mark.parametrize("make", [nni_strategies.Random, nni_strategies.RegularizedEvolution])
def test_nni_s_own_strategies_search_the_same_space(
    model_space: Any, evaluator: Any, tmp_path: Path, make: Callable[..., Any]
) -> None:
    found = run(model_space, evaluator, make(seed=1), tmp_path, trials=20)
    models = found.export_top_models(20)
    assert len(models) == 20
    assert all(model.metric == accuracy(adapter.architecture_of(model.sample)) for model in models)


def test_a_filter_bounds_the_cost(model_space: Any, evaluator: Any, tmp_path: Path) -> None:
    def small(model: Any) -> bool:
        return SPACE.cost(adapter.architecture_of(model.sample)).flops < 450

    strategy = adapter.SearchStrategy("random", seed=2)
    found = run(model_space, evaluator, Chain(strategy, Filter(small)), tmp_path, trials=10)
    models = found.export_top_models(10)
    assert len(models) == 10 and all(map(small, models))


def test_an_interrupted_experiment_goes_on(model_space: Any, evaluator: Any, tmp_path: Path) -> None:
    def strategy(**options: Any) -> Any:
        return adapter.SearchStrategy("regularized-evolution", seed=5, population_size=4, sample_size=2, **options)

    whole = strategy()
    run(model_space, evaluator, whole, tmp_path, trials=12)
    name = f"ofa{random.randrange(10**6)}"
    first = experiment(model_space, evaluator, strategy(), tmp_path, trials=7, name=name)
    first.run()
    first.stop()
    second = experiment(model_space, evaluator, strategy(), tmp_path, trials=12, name=name)
    second.resume()
    second.stop()
    assert second.strategy.measured == whole.measured
    for trials in (5, 7):
        filed = strategy(state_file=tmp_path / "search.json")
        run(model_space, evaluator, filed, tmp_path, trials=trials)
    assert filed.measured == whole.measured


# -- refusals ------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["simplified", "raw"])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "base_widths .*; expand_ratios .*; squeeze_excite .*; depth_range .*; bn_eps .*; width_mult"),
        ({**RIGHT, "depth_range": (1, 4)}, r"In this model space depth_range is \(1, 4\), not \(2, 4\): make it with"),
    ],
)
def test_other_settings_are_refused_before_the_first_trial(
    tmp_path: Path, settings: dict[str, Any], message: str, kind: str
) -> None:
    calls: list[Any] = []
    evaluator, strategy = FunctionalEvaluator(calls.append), adapter.SearchStrategy("random")
    with pytest.raises(ConfigError, match=message) as refusal:
        run(HubSpace(**settings), evaluator, strategy, tmp_path, model_format=kind)
    assert not calls and "adapters.nni.ofa_space(width=1.0, num_classes=1000)" in str(refusal.value)


def test_settings_given_by_position_are_read_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"base_widths is \(8, "):
        run(
            HubSpace(
                10, (8, *SETTINGS["base_widths"][1:]), 1.0, (3, 4, 6), SETTINGS["squeeze_excite"], (2, 4), bn_eps=1e-5
            ),
            adapter.PredictorEvaluator("params"),
            adapter.SearchStrategy("random"),
            tmp_path,
        )


def test_a_model_of_another_space_is_refused_and_the_right_one_named(
    model_space: Any, evaluator: Any, tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError, match=r"'nasbench201', the experiment's model space is 'mobilenetv3'; give .*model='m"
    ):
        run(model_space, evaluator, adapter.MetaD2AStrategy(None), tmp_path)


# -- evaluators ----------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["params", "flops"])
def test_predictors_of_any_space_evaluate_both(model_space: Any, tmp_path: Path, name: str) -> None:
    evaluator = adapter.PredictorEvaluator(name)
    for space, ours in ((NasBench201(), NASBench201()), (model_space, SPACE)):
        strategy = adapter.SearchStrategy("random", seed=1)
        run(space, evaluator, strategy, tmp_path, trials=4)
        networks = [network for network, _ in strategy.measured]
        predicted = get_predictor(name)(ours).predict(None, networks).mean
        assert [value for _, value in strategy.measured] == predicted.tolist()


def test_options_reach_the_predictor_in_a_trial_s_process_too(model_space: Any, tmp_path: Path) -> None:
    evaluator = adapter.PredictorEvaluator("ofa-imagenet", resolution=160)
    again = nni.load(nni.dump(evaluator))
    assert again._dump() == evaluator._dump()
    values = []
    for one in (evaluator, again, adapter.PredictorEvaluator("ofa-imagenet")):
        strategy = adapter.SearchStrategy("random", seed=1)
        run(model_space, one, strategy, tmp_path, trials=1)
        values += [value for _, value in strategy.measured]
    assert values[0] == values[1] < values[2]


def test_a_predictor_reads_the_dataset_it_needs(tmp_path: Path, images: Path) -> None:
    evaluator = adapter.PredictorEvaluator("metad2a", images, model="nasbench201-paper")
    strategy = adapter.SearchStrategy("random", seed=1)
    run(NasBench201(), evaluator, strategy, tmp_path, trials=3)
    networks = [network for network, _ in strategy.measured]
    predictor = get_predictor("metad2a")(NASBench201(), model="nasbench201-paper")
    predicted = predictor.predict(extract_task(load_dataset(images)), networks).mean
    assert [value for _, value in strategy.measured] == pytest.approx(predicted.tolist(), abs=1e-4)


def test_shared_weights_evaluate_models(tmp_path: Path, images: Path) -> None:
    config = TrainConfig(epochs=1, input_size=8, options={"channels": 4, "cells": 1}, device="cpu")
    shared = SharedWeights(prepare(load_dataset(images), config), config)
    shared.train()
    shared.save(tmp_path / "supernet.safetensors")
    evaluator = adapter.PredictorEvaluator("supernet", images, weights=tmp_path / "supernet.safetensors")
    strategy = adapter.SearchStrategy("mdenas", seed=1)
    run(NasBench201(), nni.load(nni.dump(evaluator)), strategy, tmp_path, trials=3)
    assert [value for _, value in strategy.measured] == [shared.accuracy(cell) for cell, _ in strategy.measured]
    with pytest.raises(ConfigError, match="'supernet' needs the path of a dataset"):
        adapter.PredictorEvaluator("supernet", weights=tmp_path / "supernet.safetensors")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: adapter.PredictorEvaluator("ofa-imagnet"), "did you mean 'ofa-imagenet'"),
        (lambda: adapter.PredictorEvaluator("params", resolution=160), "the predictor 'params': .*'resolution'"),
        (lambda: adapter.PredictorEvaluator("metad2a"), "'metad2a' needs the path of a dataset"),
        (lambda: adapter.PredictorEvaluator("metad2a", np.zeros(3)), "need the path of a dataset, got ndarray"),
        (lambda: adapter.TrainingEvaluator("sklearn:digits", width=0.5), "width is a setting of the model space"),
        (lambda: adapter.TrainingEvaluator("sklearn:digits", cells=1), "cells is a setting of the model space"),
    ],
)
def test_wrong_arguments_are_refused_when_given(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_missing_dataset_is_refused_when_given(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere"):
        adapter.PredictorEvaluator("metad2a", tmp_path / "nowhere")


def test_evaluators_of_another_space_are_refused_before_the_first_trial(
    model_space: Any, tmp_path: Path, data_root: Path
) -> None:
    for space, evaluator, message in (
        (NasBench201(), adapter.PredictorEvaluator("ofa-imagenet"), "known for the space 'mobilenetv3', not for 'nasb"),
        (
            model_space,
            adapter.TableEvaluator(table=data_root),
            "the table is of 'nasbench201', the model space of 'mob",
        ),
    ):
        strategy = adapter.SearchStrategy("random")
        with pytest.raises(ConfigError, match=message):
            run(space, evaluator, strategy, tmp_path)
        assert not strategy.measured


@pytest.mark.parametrize(("size", "repeats"), [(32, 2), (64, 1)])
def test_nni_s_own_networks_are_really_trained(tmp_path: Path, size: int, repeats: int) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(96) % 3
    images = rng.integers(0, 120, (96, size, size, 3), dtype=np.uint8)
    images[np.arange(96), :, :, labels] += 100
    np.savez(tmp_path / "colours.npz", images=images, labels=labels)
    options = {"epochs": 4, "batch_size": 8, "input_size": size, "device": "cpu", "lr": 0.02}
    evaluator = adapter.TrainingEvaluator(tmp_path / "colours.npz", **options)
    space = adapter.ofa_space(0.25, num_classes=3, dropout_rate=0.1, bn_momentum=0.5)
    measured = []
    for _ in range(repeats):
        strategy = adapter.SearchStrategy("random", seed=1)
        found = run(space, evaluator, strategy, tmp_path, trials=1)
        measured.append(strategy.measured)
    assert measured[0] == measured[-1]  # same seeds, same network, same training
    [best] = found.export_top_models(1)
    assert best.metric > 60 and len(best.metrics.intermediates) == 4
    with pytest.raises(ConfigError, match=r"1000 labels, .* has 3 classes; make it with .*ofa_space\(num_classes=3\)"):
        run(adapter.ofa_space(0.25), evaluator, adapter.SearchStrategy("random"), tmp_path)


# -- tuners --------------------------------------------------------------------------------------
def test_a_tuner_searches_what_the_strategy_does(model_space: Any) -> None:
    tuner = adapter.SearchTuner("regularized-evolution", seed=4, population_size=4, sample_size=2)
    choices = {
        label: {"_type": "choice", "_value": mutable.values} for label, mutable in model_space.simplify().items()
    }
    tuner.update_search_space(choices)
    alone = get_strategy("regularized-evolution")(SPACE, seed=4, population_size=4, sample_size=2)
    for number in range(20):
        parameters = tuner.generate_parameters(number)
        assert parameters.keys() == choices.keys()
        [network] = alone.ask()
        assert adapter.architecture_of(parameters) == network
        alone.tell(network, accuracy(network))
        tuner.receive_trial_result(number, parameters, accuracy(network))


# -- MetaD2A -------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def meta_trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_checkpoint(tmp_path_factory.mktemp("models") / "toy", "default")


def random_checkpoint(folder: Path, encoder_name: str) -> Path:
    """Of the space, with random weights."""
    encoder = get_encoder(encoder_name)
    sizes = {"feature_dim": encoder.dim, "hidden": 8, "latent": 8}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        predictor = PaperAccuracy(PaperPredictor.of_space(SPACE, **sizes).eval(), 70.0, 5.0, 1.0)
        generator = PaperGenerator.of_space(SPACE, **sizes, heads=2).eval()
    Checkpoint("toy", SPACE.name, encoder_name, encoder.fingerprint, predictor, generator).save(folder)
    return folder


@pytest.mark.parametrize("adapt", [True, False])
def test_metad2a_searches_for_a_dataset(
    model_space: Any, evaluator: Any, tmp_path: Path, meta_trained: Path, images: Path, adapt: bool
) -> None:
    options = {"model": meta_trained, "adapt": adapt, "candidates": 40, "max_flops": 500}
    strategy = adapter.MetaD2AStrategy(images, seed=1, **options)
    run(model_space, evaluator, strategy, tmp_path, trials=12)
    alone = get_strategy("metad2a")(SPACE, dataset=images, seed=1, **options)
    for _ in range(12):
        [network] = alone.ask()
        alone.tell(network, accuracy(network))
    assert strategy.measured == alone.history
    assert all(SPACE.cost(network).flops <= 500 for network, _ in strategy.measured)
    by_name = adapter.SearchStrategy("metad2a", seed=1, dataset=images, **options)
    run(model_space, evaluator, by_name, tmp_path, trials=12)
    assert by_name.measured == strategy.measured


def test_a_metad2a_search_resumes(
    model_space: Any, evaluator: Any, tmp_path: Path, meta_trained: Path, images: Path
) -> None:
    def strategy() -> Any:
        return adapter.MetaD2AStrategy(images, model=meta_trained, candidates=20)

    whole = strategy()
    run(model_space, evaluator, whole, tmp_path, trials=None)
    assert len(whole.measured) == 20  # all candidates, then the experiment ends
    name = f"meta{random.randrange(10**6)}"
    for trials, start in ((8, "run"), (14, "resume")):
        one = experiment(model_space, evaluator, strategy(), tmp_path, trials=trials, name=name)
        getattr(one, start)()
        one.stop()
    assert one.strategy.measured == whole.measured[:14]


def test_the_meta_trained_predictor_evaluates(
    model_space: Any, tmp_path: Path, meta_trained: Path, images: Path
) -> None:
    evaluator = adapter.PredictorEvaluator("metad2a", images, model=meta_trained)
    strategy = adapter.SearchStrategy("random", seed=1)
    run(model_space, evaluator, strategy, tmp_path, trials=3)
    assert nni.load(nni.dump(evaluator))._dump() == evaluator._dump()
    networks = [network for network, _ in strategy.measured]
    predictor = get_predictor("metad2a")(SPACE, model=meta_trained)
    predicted = predictor.predict(extract_task(load_dataset(images)), networks).mean
    assert [value for _, value in strategy.measured] == pytest.approx(predicted.tolist(), abs=1e-4)
    with pytest.raises(ConfigError, match="is of the space 'mobilenetv3', not 'nasbench201'"):
        run(NasBench201(), evaluator, adapter.SearchStrategy("random"), tmp_path)


def test_a_predictor_evaluates_by_the_encoder_of_its_checkpoint(model_space: Any, tmp_path: Path, images: Path) -> None:
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    shape = {"stem": [4, 4], "widths": [4, 6], "depths": [1, 1], "dim": 5}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(DistilledEncoder(**shape).state_dict(), encoder / "model.safetensors")
    (encoder / "config.json").write_text(json.dumps({"model": shape, "size": 24}))
    model = random_checkpoint(tmp_path / "model", str(encoder))
    strategy = adapter.SearchStrategy("random", seed=1)
    run(model_space, adapter.PredictorEvaluator("metad2a", images, seed=3, model=model), strategy, tmp_path, trials=2)
    networks = [network for network, _ in strategy.measured]
    task = extract_task(load_dataset(images), get_encoder(str(encoder)), seed=3)
    predicted = get_predictor("metad2a")(SPACE, model=model).predict(task, networks).mean
    assert [value for _, value in strategy.measured] == pytest.approx(predicted.tolist(), abs=1e-4)
