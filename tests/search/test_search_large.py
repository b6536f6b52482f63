"""Searches in a space too large to list: MobileNetV3, 2e19 networks."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from meta_toys import coloured

from metad2a_plugin import MetaD2A, get_predictor, get_space, get_strategy
from metad2a_plugin.data import Task, extract_task, get_encoder, load_dataset
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.models.checkpoint import Checkpoint
from metad2a_plugin.models.generator import PaperGenerator
from metad2a_plugin.models.predictor import PaperAccuracy, PaperPredictor
from metad2a_plugin.plugins.predictor import Prediction, Predictor
from metad2a_plugin.search.metad2a import pareto_space, search_space

SPACE = get_space("mobilenetv3")


@pytest.fixture(scope="module")
def task() -> Task:
    return extract_task(load_dataset(coloured()), cache_dir=False)


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> MetaD2A:
    """Of random weights, small, and read back from its folder."""
    torch.manual_seed(0)
    network = PaperPredictor(SPACE.edges, len(SPACE.vertex_types), feature_dim=256, hidden=16, latent=8)
    made = Checkpoint(
        name="small",
        space="mobilenetv3",
        encoder="default",
        encoder_fingerprint=get_encoder("default").fingerprint,
        predictor=PaperAccuracy(network.eval(), 60.0, 30.0, 2.0),
        generator=PaperGenerator.of_space(SPACE, feature_dim=256, hidden=16, latent=8).eval(),
        training={"classes": 7},
    )
    folder = tmp_path_factory.mktemp("models") / "small"
    made.save(folder)
    return MetaD2A.from_pretrained(folder)


LIMITS: list[dict[str, Any]] = [
    {"max_flops": 200.0},
    {"max_flops": 250.0, "max_params": 4.5, "input_size": 192},
    {"max_latency": {"v100_64": 16.0}, "input_size": 160},
]


@pytest.mark.parametrize("limits", LIMITS, ids=str)
@pytest.mark.parametrize("generator", [True, False])
def test_candidates_keep_to_the_limits(searcher: MetaD2A, task: Task, limits: dict[str, Any], generator: bool) -> None:
    if not generator:
        searcher = MetaD2A(dataclasses.replace(searcher.checkpoint, generator=None))
    result = searcher.search(task, top=1000, candidates=40, refine=20, **limits)
    assert (result.considered, result.queries, result.refined) == (60, 60, 20)
    assert result.source == ("generated" if generator else "random")
    assert len(set(result.architectures)) == 60
    for c in result.candidates:
        cost = SPACE.cost(c.architecture, num_classes=3, input_size=result.input_size)
        assert (c.params, c.flops) == pytest.approx((cost.params, cost.flops))
        assert c.params <= limits.get("max_params", 99) and c.flops <= limits.get("max_flops", 1e4)
        assert all(c.latency[d] * 1.001 < most for d, most in limits.get("max_latency", {}).items())


def test_the_generator_is_steered_not_replaced(searcher: MetaD2A, task: Task) -> None:
    """Its first choices remain: another dataset's latent gives other networks under the same limits."""
    other = Task(task.features.flip(1), task.labels, "other", encoder=task.encoder)
    first, again, second = (
        set(searcher.search(t, top=99, candidates=50, max_flops=230).architectures) for t in (task, task, other)
    )
    assert first == again and len(first & second) < 40


def test_a_candidate_s_config_is_what_ofa_takes(searcher: MetaD2A, task: Task, tmp_path: Path) -> None:
    result = searcher.search(task, top=4, candidates=10, input_size=160)
    result.save(tmp_path / "r.json")
    for candidate in json.loads((tmp_path / "r.json").read_text())["candidates"]:
        network, resolution = SPACE.from_config(candidate["ofa_config"])
        assert (SPACE.format(network), resolution) == (candidate["architecture"], 160)
    small = searcher.search(task, top=1, candidates=5, input_size=64)
    assert small.best.ofa_config is None and "ofa_config" not in small.best.to_dict()


def test_the_width_counts(searcher: MetaD2A, task: Task) -> None:
    result = searcher.search(task, top=3, candidates=20, max_flops=300, width=1.2)
    assert result.options == {"width": 1.2} == result.to_dict()["options"]
    for c in result.candidates:
        assert c.flops == SPACE.cost(c.architecture, num_classes=3, width=1.2).flops <= 300


def test_what_accuracies_are_is_said(searcher: MetaD2A, task: Task) -> None:
    scale = searcher.search(task, candidates=3).scale
    assert "meta-training tasks (7 classes)" in scale and "short training" not in scale
    trained = {"scale": "Accuracies are of my own kind."}
    told = MetaD2A(dataclasses.replace(searcher.checkpoint, training=trained)).search(task, candidates=3)
    assert told.scale == trained["scale"] == told.to_dict()["scale"]
    ordered = MetaD2A(dataclasses.replace(searcher.checkpoint, training={"quality": "ofa-imagenet"}))
    assert "order is that of the predictor ofa-imagenet" in ordered.search(task, candidates=3).scale


# -- another predictor ---------------------------------------------------------------------------
@pytest.mark.parametrize("size", [224, 160])
def test_candidates_for_a_dataset_are_ranked_by_any_predictor(searcher: MetaD2A, task: Task, size: int) -> None:
    result = searcher.search(task, predictor="ofa-imagenet", candidates=30, top=30, max_flops=220, input_size=size)
    expected = get_predictor("ofa-imagenet")(SPACE, resolution=size).predict(None, result.architectures)
    assert [c.accuracy for c in result.candidates] == pytest.approx(expected.mean.tolist())
    low, high = expected.interval(0.9)
    for c, a, b in zip(result.candidates, low.tolist(), high.tolist(), strict=True):
        assert c.interval == pytest.approx((a, b), abs=1e-3)
    assert (result.predictor, result.model, result.unit, result.source) == ("ofa-imagenet", "small", "%", "generated")
    assert "ImageNet top-1" in result.scale and result.distance is None


class Shallow(Predictor):
    def predict(self, task: Task | None, architectures: Any) -> Prediction:
        return Prediction(-torch.tensor([float(len(SPACE.format(a))) for a in SPACE.decode(architectures)]))


def test_a_predictor_object_ranks_too(searcher: MetaD2A, task: Task) -> None:
    result = searcher.search(task, predictor=Shallow(SPACE), candidates=30, refine=30, max_flops=300)
    assert result.predictor == "Shallow" and result.unit == "" and result.best.interval is None
    assert result.quantity == "score" and result.best.accuracy is None and "accuracy" not in result.best.to_dict()
    assert result.best.architecture_str.count("k") <= 13
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["candidates"][0]["interval"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"predictor": "ofa-imagenot"}, "no 'ofa-imagenot' among the predictors"),
        ({"predictor": "ofa-imagenet", "input_size": 100}, "128 to 224 pixels in steps of 4, not of 100"),
        ({"predictor": Shallow(get_space("nasbench201"))}, "is of the space 'nasbench201', not 'mobilenetv3'"),
        ({"refine": -1}, "refine must be an integer of 0 or more"),
        ({"width": -1}, "width must be a positive number"),
        ({"max_latency": {"pixel3": 5}}, "unknown device 'pixel3'"),
        ({"max_latency": {"v100_1": 9}, "input_size": 130}, "128 to 224 pixels in steps of 4, not of 130"),
        ({"latency_tables": {"mine": "nowhere.yaml"}}, "nowhere"),
    ],
)
def test_wrong_options_are_refused_before_the_dataset_is_read(
    searcher: MetaD2A, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        searcher.search("no-such-dataset", **options)


def test_an_impossible_limit_says_the_least_there_is(searcher: MetaD2A, task: Task) -> None:
    """Of the space, not of what happened to be drawn."""
    least = SPACE.cost(SPACE.parse("+".join(["k3e3-k3e3"] * 5)), num_classes=3)
    with pytest.raises(ConfigError, match=rf"the least there is: flops {least.flops + 5e-4:.3f}\. Raise a limit"):
        searcher.search(task, max_flops=90)
    assert searcher.search(task, max_flops=least.flops).considered == 1


# -- without a dataset ---------------------------------------------------------------------------
def test_a_predictor_that_needs_no_dataset_searches_without_one() -> None:
    result = search_space("mobilenetv3", "ofa-imagenet", max_flops=200, top=3, candidates=100, refine=100)
    assert result.best.accuracy > 75.2 and all(c.flops <= 200 for c in result.candidates)
    assert (result.dataset, result.model, result.num_classes, result.source) == (None, None, 1000, "random")
    with pytest.raises(ConfigError, match="the predictor 'metad2a' needs a dataset"):
        search_space("mobilenetv3", "metad2a")
    with pytest.raises(ConfigError, match="unknown limit 'max_flop'"):
        search_space("mobilenetv3", "ofa-imagenet", max_flop=3)
    with pytest.raises(ConfigError, match="top must be an integer"):
        search_space("mobilenetv3", "ofa-imagenet", top=0)


def test_a_listed_space_is_ranked_completely_by_any_predictor() -> None:
    result = search_space("nasbench201", "flops", max_params=0.3)
    assert result.source == "exhaustive" and result.considered == result.queries
    assert result.best.flops == max(c.flops for c in result.candidates)


def test_the_average_task_is_ranked_without_a_dataset() -> None:
    ranking = MetaD2A.from_pretrained("mobilenetv3").rank(None, candidates=30, max_flops=250)
    assert ranking.source == "random" and len(ranking.vertices) == 30 and ranking.task is None
    assert (SPACE.costs(ranking.vertices)[1] <= 250).all()


# -- the rest ------------------------------------------------------------------------------------
def test_two_hundred_are_generated_and_ranked_within_a_second(task: Task) -> None:
    searcher = MetaD2A.from_pretrained("mobilenetv3")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        searcher.rank(task, candidates=200, max_flops=300)
        begin = time.process_time()
        assert len(searcher.rank(task, candidates=200, max_flops=200).vertices) == 200
        # One core's time, so that a busy machine fails no test.
        assert time.process_time() - begin < 1
    finally:
        torch.set_num_threads(threads)


def test_the_shipped_model_finds_what_it_predicts_to_be_best(task: Task) -> None:
    """Also far from its datasets, where all predictions are within a fraction of a point."""
    searcher = MetaD2A.from_pretrained("mobilenetv3")
    plain, refined = (searcher.rank(task, max_flops=250, **e) for e in ({"candidates": 1000}, {}))
    spread = plain.prediction.mean.std()
    assert len(refined.vertices) == 1000 and refined.prediction.mean[0] > plain.prediction.mean.max() + spread / 4


def test_a_strategy_proposes_in_the_order_of_the_search(searcher: MetaD2A, task: Task) -> None:
    options = {"candidates": 20, "refine": 10, "max_flops": 230}
    strategy = get_strategy("metad2a")(SPACE, dataset=task, model=searcher, **options)
    assert strategy.ask(30) == searcher.search(task, top=30, **options).architectures


def test_fronts_of_a_dataset(searcher: MetaD2A, task: Task) -> None:
    front = searcher.pareto(task, "v100_1", points=5, queries=90, max_params=5.0, input_size=160)
    assert front.result.source == "generated" and front.result.dataset == task.name and front.unit == "ms"
    costs, values = zip(*front.points, strict=True)
    assert len(costs) >= 2 and sorted(costs) == list(costs) and sorted(values) == list(values)
    assert all(c.params <= 5.0 for c in front.candidates) and front.result.queries <= 90


def test_fronts_without_a_dataset_and_of_a_listed_space() -> None:
    front = pareto_space("mobilenetv3", "ofa-imagenet", points=5, queries=120, max_flops=350)
    flops, accuracy = zip(*front.points, strict=True)
    assert front.unit == "M" and flops[0] < 125 and 250 < flops[-1] <= 350 and accuracy[-1] > accuracy[0] + 3
    listed = pareto_space("nasbench201", "params", "flops", points=6, max_flops=100)
    assert listed.result.source == "exhaustive" and len(listed.candidates) > 3
    assert [c.params for c in listed.candidates] == pytest.approx([value for _, value in listed.points])


@pytest.mark.parametrize(
    ("cost", "options", "message"),
    [
        ("flop", {}, "the cost must be flops, params or a device, got 'flop'.*the devices are"),
        ("flops", {"points": 1}, "points must be an integer of 2 or more"),
        ("flops", {"points": 20, "queries": 50}, "queries must be an integer of 120 or more"),
        ("flops", {"max_flops": 50}, "the least there is: flops 121"),
        ("params", {"max_paramz": 5}, "unknown limit 'max_paramz'"),
        ("v100_1", {"input_size": 100}, "not of 100"),
    ],
    ids=str,
)
def test_wrong_fronts(cost: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pareto_space("mobilenetv3", "ofa-imagenet", cost, **options)
