from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from meta_toys import CELLS, SPACE, checkpoint, coloured, image_dataset

from metad2a_plugin import MetaD2A
from metad2a_plugin.candidates.find import Effort
from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.data import DatasetWarning, Task, extract_task
from metad2a_plugin.devices.nasbench201 import LatencyModel
from metad2a_plugin.errors import ArchitectureError, CheckpointError, ConfigError, DatasetError
from metad2a_plugin.models.checkpoint import shipped
from metad2a_plugin.search import SearchResult
from metad2a_plugin.testing import ToySpace

NETWORKS = len(SPACE.simplify(CELLS[~SPACE.dead_mask(CELLS)]).unique(dim=0))


@pytest.fixture(scope="module")
def searcher() -> MetaD2A:
    return MetaD2A(checkpoint())


@pytest.fixture(scope="module")
def task() -> Task:
    return extract_task(image_dataset(), cache_dir=False)


def flops_of(network: torch.nn.Module, size: int) -> int:
    """Multiply-accumulates of convolutions and linear layers in one forward pass, by watching it."""
    total = 0

    def count(module: torch.nn.Module, inputs: Any, output: torch.Tensor) -> None:
        nonlocal total
        weight = module.weight
        total += weight.numel() * (output[0, 0].numel() if weight.ndim == 4 else 1)
        if weight.ndim == 2:
            total += module.bias.numel()

    for module in network.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            module.register_forward_hook(count)
    with torch.inference_mode():
        network.eval()(torch.zeros(1, 3, size, size))
    return total


def same(a: SearchResult, b: SearchResult) -> bool:
    return dataclasses.replace(a, seconds={}) == dataclasses.replace(b, seconds={})


# -- the ranking ---------------------------------------------------------------------------------
def test_the_whole_space_is_ranked_best_first(searcher: MetaD2A, task: Task) -> None:
    result = searcher.search(task, top=NETWORKS + 100)
    assert len(result.candidates) == result.considered == NETWORKS == 4929
    assert [c.rank for c in result.candidates] == list(range(1, NETWORKS + 1))
    accuracies = [c.accuracy for c in result.candidates]
    assert accuracies == sorted(accuracies, reverse=True)
    assert not any(SPACE.is_dead(cell) for cell in result.architectures)
    assert len({SPACE.canonical(cell) for cell in result.architectures}) == NETWORKS
    assert result.source == "exhaustive" and result.best is result.candidates[0]
    assert result.considered + sum(result.rejected.values()) == SPACE.size
    assert result.rejected["dead"] == 341 and result.rejected["bound"] == 0
    # No cell that computes the same is cheaper.
    encoded = SPACE.encode(result.architectures)
    assert torch.equal(SPACE.simplify(encoded), encoded)


def test_a_candidate_says_what_the_models_and_the_space_say(searcher: MetaD2A, task: Task) -> None:
    result = searcher.search(task, top=5, input_size=20)
    prediction = searcher.predict(task, result.architectures)
    assert [c.accuracy for c in result.candidates] == pytest.approx(prediction.mean.tolist(), abs=1e-3)
    for candidate, std in zip(result.candidates, prediction.std.tolist(), strict=True):
        assert SPACE.parse(candidate.architecture_str) == candidate.architecture
        low, high = candidate.interval
        assert 0 <= low <= candidate.accuracy <= high <= 100
        assert low == pytest.approx(max(0, candidate.accuracy - 1.645 * std), abs=0.01)
        network = SPACE.build(candidate.architecture, task.num_classes)
        assert candidate.params * 1e6 == pytest.approx(sum(p.numel() for p in network.parameters()))
        assert candidate.flops * 1e6 == pytest.approx(flops_of(network, 20))
    assert (result.dataset, result.num_classes, result.model, result.input_size) == ("colours", 3, "toy", 20)
    assert result.distance == pytest.approx(searcher.checkpoint.predictor.distance(task))
    assert result.far == (result.distance > 1.5)


def test_the_dataset_changes_the_predictions(searcher: MetaD2A) -> None:
    first, second = (
        searcher.search(image_dataset(seed=s, per_class=10), top=1, cache_dir=False).best for s in (1, 2)
    )
    assert abs(first.accuracy - second.accuracy) > 0.1


@pytest.mark.parametrize("candidates", [None, 40])
def test_same_seed_same_result_whatever_the_global_state(
    searcher: MetaD2A, task: Task, candidates: int | None
) -> None:
    state = torch.get_rng_state()
    first = searcher.search(task, candidates=candidates, seed=4)
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(10)
    assert same(first, searcher.search(task, candidates=candidates, seed=4))


def test_arrays_and_datasets_and_tasks_are_one_and_the_same(searcher: MetaD2A, task: Task) -> None:
    plain, dataset = (searcher.search(x, top=3, cache_dir=False) for x in (coloured(), image_dataset()))
    from_task = searcher.search(task, top=3)
    assert plain.candidates == dataset.candidates == from_task.candidates
    assert set(plain.seconds) == {"features", "search"} and min(plain.seconds.values()) >= 0


def test_features_of_another_scale_are_said(searcher: MetaD2A, task: Task) -> None:
    scaled = dataclasses.replace(task, features=100 * task.features)
    with pytest.warns(DatasetWarning, match="were they scaled or standardised"):
        searcher.task(scaled)


def test_features_that_are_not_finite_are_refused(task: Task) -> None:
    features = task.features.clone()
    features[1, 0] = math.nan
    with pytest.raises(DatasetError, match=r"1 of .* rows of features .* NaN or infinity .*row 1"):
        dataclasses.replace(task, features=features)


def test_without_a_dataset_the_average_task_is_ranked(searcher: MetaD2A) -> None:
    ranking = searcher.rank(None)
    assert ranking.task is None and len(ranking.vertices) == NETWORKS
    assert torch.allclose(ranking.prediction.mean, searcher.predict(None, ranking.vertices).mean, atol=1e-3)
    assert (ranking.prediction.mean.diff() <= 0).all()
    drawn = searcher.rank(None, candidates=5)
    assert (len(drawn.vertices), drawn.source) == (5, "random")


# -- generated candidates ------------------------------------------------------------------------
@pytest.mark.parametrize("wanted", [1, 7, 200])
def test_so_many_different_networks_are_generated(searcher: MetaD2A, task: Task, wanted: int) -> None:
    result = searcher.search(task, candidates=wanted, top=1000)
    assert len(result.candidates) == result.considered == wanted and result.source == "generated"
    encoded = SPACE.encode(result.architectures)
    assert len(SPACE.simplify(encoded).unique(dim=0)) == wanted and not SPACE.dead_mask(encoded).any()
    accuracies = [c.accuracy for c in result.candidates]
    assert accuracies == sorted(accuracies, reverse=True)


def test_more_than_there_are_gives_all_there_are(searcher: MetaD2A, task: Task) -> None:
    result = searcher.search(task, candidates=30_000, max_params=0.15)
    everything = searcher.search(task, max_params=0.15)
    assert result.considered <= everything.considered
    assert result.considered > 0.9 * everything.considered


def test_generated_networks_keep_to_the_limits(searcher: MetaD2A, task: Task) -> None:
    result = searcher.search(task, candidates=30, top=100, max_params=0.3)
    assert len(result.candidates) == 30 and all(c.params <= 0.3 for c in result.candidates)


def test_another_seed_generates_others(searcher: MetaD2A, task: Task) -> None:
    first, other = (set(searcher.search(task, candidates=30, top=30, seed=s).architectures) for s in (0, 1))
    assert first != other


def test_a_checkpoint_without_a_generator_ranks_random_networks(task: Task) -> None:
    searcher = MetaD2A(dataclasses.replace(checkpoint(), generator=None))
    assert searcher.search(task, top=1).considered == NETWORKS
    found = searcher.search(task, candidates=3, max_params=0.3)
    assert (found.considered, found.source) == (3, "random") and all(c.params <= 0.3 for c in found.candidates)
    with pytest.raises(ConfigError, match="'toy' has no generator"):
        searcher.generate(task, 3)


# -- limits --------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [16, 32])
def test_limits_hold_for_the_built_networks(searcher: MetaD2A, task: Task, size: int) -> None:
    limit = 30.0 * (size / 32) ** 2
    result = searcher.search(task, top=4, max_params=0.35, max_flops=limit, input_size=size)
    assert len(result.candidates) == 4
    for candidate in result.candidates:
        network = SPACE.build(candidate.architecture, task.num_classes)
        assert sum(p.numel() for p in network.parameters()) <= 0.35e6
        assert flops_of(network, size) <= limit * 1e6
    assert result.bounds == {"max_params": 0.35, "max_flops": limit}
    free = searcher.search(task, top=5000)
    kept = [c for c in free.candidates if c.params <= 0.35 and c.flops * (size / 32) ** 2 <= limit]
    assert result.considered == pytest.approx(len(kept), rel=0.02), "nothing within the limits is left out"
    assert result.rejected["bound"] == NETWORKS - result.considered


def test_a_limit_on_a_device_keeps_a_margin_for_the_error_of_its_model(searcher: MetaD2A, task: Task) -> None:
    model, limits = LatencyModel.load(), {"pixel3": 12.0, "eyeriss_energy": 6.0}
    limits = {d: v for d, v in limits.items() if d in model.devices}
    result = searcher.search(task, top=5000, max_latency=limits)
    assert 0 < result.considered < NETWORKS
    for device, limit in limits.items():
        margin = 1 + model.error(device)["p95"]
        predicted = model.predict(device, SPACE.encode(result.architectures))
        assert (predicted * margin <= limit + 1e-4).all()
        assert [c.latency[device] for c in result.candidates] == pytest.approx(predicted.tolist())
    assert result.bounds == {f"max_latency {device}": limit for device, limit in limits.items()}


@pytest.mark.parametrize(
    ("limits", "least"),
    [
        ({"max_params": 0.01}, r"least there is: params 0\.07"),
        ({"max_flops": 1.0}, r"least there is: .*flops 7\.78"),
        ({"max_latency": {"pixel3": 0.5}}, r"least there is: .*pixel3 [0-9]"),
        ({"max_params": 0.1, "max_flops": 1.0}, r"max_params 0\.1, max_flops 1.*least there is: .*flops 7\.78"),
    ],
)
def test_an_impossible_limit_says_the_least_there_is(
    searcher: MetaD2A, task: Task, limits: dict[str, Any], least: str
) -> None:
    with pytest.raises(ConfigError, match=f"no architecture is within the limits.*{least}.*Raise a limit"):
        searcher.search(task, **limits)


@pytest.mark.parametrize("device", ["pixel3", "edgetpu", "fpga_energy"])
def test_the_least_limit_that_is_named_for_a_device_is_one_that_passes(
    searcher: MetaD2A, task: Task, device: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        searcher.search(task, max_latency={device: 1e-6})
    named = float(re.search(rf"least there is: .*{device} (\d+\.?\d*)", str(refused.value))[1])
    result = searcher.search(task, max_latency={device: named})
    assert result.considered >= 1 and result.units == {device: LatencyModel.load().unit(device)}


def test_a_search_needs_a_dataset(searcher: MetaD2A) -> None:
    with pytest.raises(ConfigError, match=r"search needs a dataset; rank\(None\)"):
        searcher.search(None)


def test_predict_takes_what_search_takes(searcher: MetaD2A, task: Task) -> None:
    assert torch.equal(searcher.predict(image_dataset(), CELLS[:9]).mean, searcher.predict(task, CELLS[:9]).mean)


def test_the_least_there_is_can_be_had(searcher: MetaD2A, task: Task) -> None:
    params, flops = SPACE.costs(CELLS[~SPACE.dead_mask(CELLS)], num_classes=3)
    result = searcher.search(task, max_params=params.min().item(), max_flops=flops.min().item())
    assert result.considered >= 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top": 0}, "top must be an integer of 1 or more, got 0"),
        ({"top": 2.5}, "top"),
        ({"top": True}, "top"),
        ({"candidates": 0}, "candidates must be an integer of 1 or more"),
        ({"candidates": "5"}, "candidates"),
        ({"max_params": 0}, "max_params must be a positive number of millions"),
        ({"max_params": -1.0}, "max_params"),
        ({"max_params": math.nan}, "max_params"),
        ({"max_params": math.inf}, "max_params"),
        ({"max_params": "0.5"}, "max_params"),
        ({"max_params": 300_000}, "counted in millions"),
        ({"max_flops": 0.0}, "max_flops"),
        ({"max_latency": {"pixel33": 5}}, "unknown device 'pixel33'.*did you mean 'pixel3'"),
        ({"max_latency": {"pixel3": 0}}, "positive number of ms"),
        ({"max_latency": {"pixel3": math.nan}}, "positive number of ms"),
        ({"max_latency": {"pixel3": 5}, "input_size": 64}, "images of 32 pixels, not of 64"),
        ({"max_latency": {"pixel3_imagenet16": 5}}, "images of 16 pixels, not of 32"),
        ({"input_size": 4}, "input_size must be an integer of 8 or more"),
        ({"input_size": 32.0}, "input_size"),
        ({"seed": -1}, "seed must be an integer of 0 or more"),
    ],
    ids=str,
)
def test_wrong_options_are_refused_before_the_dataset_is_read(
    searcher: MetaD2A, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        searcher.search("no-such-dataset", **options)


# -- datasets ------------------------------------------------------------------------------------
def test_a_dataset_that_cannot_be_read(searcher: MetaD2A) -> None:
    with pytest.raises(DatasetError, match="no-such-dataset"):
        searcher.search("no-such-dataset")


@pytest.mark.parametrize("change", [{"encoder": "mine"}, {"features": torch.randn(18, 7)}], ids=["name", "width"])
def test_a_task_of_another_encoder_is_refused(searcher: MetaD2A, task: Task, change: dict[str, Any]) -> None:
    parts = {"features": task.features, "labels": task.labels, "encoder": task.encoder} | change
    with pytest.raises(CheckpointError, match=r"model 'toy' reads those of 'default' \(256\)"):
        searcher.search(Task(**parts))


def test_other_weights_of_the_encoder_are_refused() -> None:
    searcher = MetaD2A(dataclasses.replace(checkpoint(), encoder_fingerprint="0"))
    with pytest.raises(CheckpointError, match="meta-trained with other weights of the encoder 'default'"):
        searcher.search(coloured())


@pytest.mark.parametrize("device", ["abacus", "cuda:99"])
def test_a_device_that_is_not_there(device: str) -> None:
    with pytest.raises(ConfigError, match=f"device '{device}' cannot be used"):
        MetaD2A(checkpoint(), device)


def test_foreign_architectures_are_refused(searcher: MetaD2A, task: Task) -> None:
    with pytest.raises(ArchitectureError):
        searcher.predict(task, ["|none~0|"])


# -- limits and effort ---------------------------------------------------------------------------
def test_limits_and_effort_are_arguments_by_name_or_objects(searcher: MetaD2A, task: Task) -> None:
    limits, effort = Limits(SPACE, max_params=0.5, options={"channels": 8}), Effort(candidates=9, seed=3)
    by_object = searcher.search(task, limits=limits, effort=effort)
    assert same(by_object, searcher.search(task, max_params=0.5, channels=8, candidates=9, seed=3))
    assert by_object.options == {"channels": 8} and by_object.queries == 9


@pytest.mark.parametrize(
    ("given", "named", "message"),
    [
        ({"limits": Limits(SPACE)}, {"max_params": 1.0}, "limits= and max_params= both say the limits"),
        ({"effort": Effort()}, {"seed": 1}, "effort= and seed= both say the effort"),
        ({"limits": Limits(ToySpace())}, {}, "the limits are of the space 'toy', not 'nasbench201'"),
        ({}, {"sed": 1}, "did you mean 'seed'"),
        ({}, {"max_param": 1.0}, "did you mean 'max_params'"),
        ({}, {"batch": 1}, "did you mean 'batch_size'"),
    ],
)
def test_limits_and_effort_are_said_once(
    searcher: MetaD2A, task: Task, given: dict[str, Any], named: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        searcher.search(task, **given, **named)


# -- the result ----------------------------------------------------------------------------------
def test_a_result_is_plain_json(searcher: MetaD2A, task: Task, tmp_path: Path) -> None:
    result = searcher.search(task, top=3, max_params=0.5, max_latency={"pixel3": 20})
    result.save(tmp_path / "deep" / "result.json")
    read = json.loads((tmp_path / "deep" / "result.json").read_text())
    assert read == json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert [c["architecture"] for c in read["candidates"]] == [c.architecture_str for c in result.candidates]
    assert [c["latency"]["pixel3"] for c in read["candidates"]] == [c.latency["pixel3"] for c in result.candidates]
    assert (read["dataset"], read["considered"], read["interval_level"]) == ("colours", result.considered, 0.9)
    assert not list(tmp_path.rglob(".partial-*"))
    with pytest.raises(ConfigError, match="cannot write"):
        result.save(tmp_path / "deep")


def test_each_candidate_is_drawn(searcher: MetaD2A, task: Task, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = searcher.search(task, top=2)
    files = result.draw(tmp_path / "cells")
    assert [f.name for f in files] == ["01.svg", "02.svg"]
    assert all("<svg" in f.read_text() for f in files)
    assert "colours, rank 1" in files[0].read_text() or files[0].stat().st_size > 2000


# -- the shipped models --------------------------------------------------------------------------
@pytest.mark.parametrize("name", shipped())
def test_shipped_models_search(name: str, task: Task) -> None:
    result = MetaD2A.from_pretrained(name).search(task, top=10)
    generated = MetaD2A.from_pretrained(name).search(task, candidates=20)
    assert generated.considered == 20 and generated.source == "generated" and result.model == name
    if result.space != SPACE.name:
        assert (result.source, result.queries, result.refined) == ("generated", 1000, 300)
        return
    assert result.considered == NETWORKS
    # Good cells of this space have convolutions on several paths, as every ranking of it agrees.
    convolutions = [c.architecture_str.count("nor_conv") for c in result.candidates]
    assert sum(convolutions) / len(convolutions) >= 3
