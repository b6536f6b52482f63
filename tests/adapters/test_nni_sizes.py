"""Model spaces of other sizes, other operations and fewer choices, on NNI's sequential engine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from metad2a_plugin.errors import CheckpointError, ConfigError

nni = pytest.importorskip("nni", reason="NNI is not installed; see the extra 'nni'")

from metad2a_plugin.adapters import nni as adapter  # noqa: E402
from nni.nas.evaluator import FunctionalEvaluator  # noqa: E402
from nni.nas.hub.pytorch import MobileNetV3Space, NasBench201, ProxylessNAS  # noqa: E402
from nni.nas.hub.pytorch.modules import NasBench201Cell  # noqa: E402
from nni.nas.hub.pytorch.nasbench201 import OPS_WITH_STRIDE, PRIMITIVES, ResNetBasicblock  # noqa: E402
from nni.nas.nn.pytorch import LayerChoice, ModelSpace  # noqa: E402
from nni_toys import experiment, run  # noqa: E402

pytestmark = pytest.mark.usefixtures("home")


class Trained:
    """An evaluator that measures what it is given to train."""

    def __init__(self) -> None:
        self.params: list[float] = []

    def evaluator(self) -> Any:
        return FunctionalEvaluator(self)

    def __call__(self, network: nn.Module) -> None:
        self.params.append(sum(p.numel() for p in network.parameters()) / 1e6)
        nni.report_final_result(1.0)


@pytest.fixture
def trained() -> Trained:
    return Trained()


def operations(names: Any = PRIMITIVES, **other: Any) -> dict[str, Any]:
    """NNI's own, by name, but for others."""

    def make(name: str) -> Any:
        return lambda inputs, outputs: OPS_WITH_STRIDE[name](inputs, outputs, 1)

    return {name: other.get(name) or make(name) for name in names}


class Cells(ModelSpace):
    """Of a user's own, made of NNI's cells."""

    def __init__(self, ops: Any = None, channels: int = 4, cells: int = 2, stem: int = 3, more: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Sequential(nn.Conv2d(3, channels, stem, padding=stem // 2, bias=False), nn.BatchNorm2d(channels))
        ]
        for stage in range(3):
            if stage:
                layers.append(ResNetBasicblock(channels, 2 * channels, 2))
                channels *= 2
            layers += [NasBench201Cell(ops or operations(), channels, channels, label="cell") for _ in range(cells)]
        self.layers = nn.Sequential(*layers, nn.BatchNorm2d(channels), nn.ReLU())
        self.more = nn.Linear(channels, channels) if more else nn.Identity()
        self.classifier = nn.Linear(channels, 7)

    def forward(self, images: torch.Tensor) -> Any:
        return self.classifier(self.more(self.layers(images).mean((2, 3))))


class Renamed(NasBench201):
    """A subclass with arguments of its own."""

    def __init__(self, size: int) -> None:
        super().__init__(stem_out_channels=size, num_modules_per_stack=1)


# -- limits --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "limit"),
    [
        (lambda: NasBench201(24), 0.3),
        (lambda: NasBench201(16, num_modules_per_stack=9), 0.5),
        (lambda: NasBench201(4, 1), 0.009),
        (lambda: NasBench201(4, 1, num_labels=500), 0.02),
        (lambda: Cells(channels=8), 0.04),
        (lambda: Renamed(8), 0.03),
    ],
    ids=["wider", "deeper", "smaller", "labels", "own", "subclass"],
)
@pytest.mark.parametrize("name", ["metad2a", "ofa-evolution"])
def test_limits_hold_for_the_networks_of_the_model_space(
    trained: Trained, tmp_path: Path, make: Any, limit: float, name: str
) -> None:
    run(make(), trained.evaluator(), adapter.SearchStrategy(name, max_params=limit), tmp_path, trials=4)
    assert len(trained.params) == 4 and max(trained.params) <= limit


def test_metad2a_counts_limits_for_the_model_space_when_it_gets_that(trained: Trained, tmp_path: Path) -> None:
    strategy = adapter.MetaD2AStrategy(None, max_params=0.009)  # no network of the benchmark's size has so few
    run(NasBench201(4, 1), trained.evaluator(), strategy, tmp_path, trials=3)
    assert len(trained.params) == 3 and max(trained.params) <= 0.009
    with pytest.raises(ConfigError, match=r"no architecture is within the limits .* the least there is: params 1.15"):
        run(NasBench201(64), trained.evaluator(), adapter.MetaD2AStrategy(None, max_params=0.5), tmp_path)
    assert len(trained.params) == 3
    with pytest.raises(ConfigError, match="max_params must be a positive number"):
        adapter.MetaD2AStrategy(None, max_params=-1)


@pytest.mark.parametrize(("width", "limit"), [(1.5, 6.6), (0.5, 1.0)])
def test_limits_hold_for_a_width(trained: Trained, tmp_path: Path, width: float, limit: float) -> None:
    strategy = adapter.SearchStrategy("ofa-evolution", max_params=limit)
    run(adapter.ofa_space(width, 10), trained.evaluator(), strategy, tmp_path, trials=4)
    assert len(trained.params) == 4 and max(trained.params) <= limit


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 8}, "channels is 8 in the options and 4 in the model space"),
        ({"budget": {"epochs": 3, "cells": 5}}, "cells is 5 in the budget and 1 in the model space"),
    ],
)
def test_another_size_among_the_options_is_refused(tmp_path: Path, options: Any, message: str) -> None:
    strategy = adapter.SearchStrategy("metad2a", max_params=0.1, **options)
    with pytest.raises(ConfigError, match=message):
        run(NasBench201(4, 1), Trained().evaluator(), strategy, tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cells(stem=5), "channels, cells and num_classes are not all that its networks are made of"),
        (lambda: Cells(more=True), "limits cannot be counted for the model space Cells: "),
    ],
)
def test_limits_that_cannot_be_counted_are_refused_and_none_are_needed(
    trained: Trained, tmp_path: Path, make: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(make(), trained.evaluator(), adapter.SearchStrategy("metad2a", max_params=0.1), tmp_path)
    assert not trained.params
    run(make(), trained.evaluator(), adapter.SearchStrategy("metad2a"), tmp_path, trials=1)
    assert len(trained.params) == 1


def test_a_state_file_is_of_the_size_that_limits_are_counted_for(trained: Trained, tmp_path: Path) -> None:
    def search(channels: int) -> None:
        strategy = adapter.SearchStrategy("metad2a", max_params=0.5, state_file=tmp_path / "search.json")
        run(NasBench201(channels, 1), trained.evaluator(), strategy, tmp_path, trials=1)

    search(4)
    with pytest.raises(CheckpointError, match="is of another search"):
        search(8)
    search(4)


# -- operations ----------------------------------------------------------------------------------
class Average(nn.Module):
    """The same operation, of a user's own."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)


def convolution(kernel: int, **options: Any) -> Any:
    def make(inputs: int, outputs: int) -> nn.Module:
        layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **{"bias": False, **options})
        return nn.Sequential(nn.ReLU(), layer, nn.BatchNorm2d(outputs))

    return make


@pytest.mark.parametrize("model_format", ["simplified", "raw"])
def test_operations_of_a_user_s_own_that_are_the_same_are_accepted(
    trained: Trained, tmp_path: Path, model_format: str
) -> None:
    space = Cells(operations(avg_pool_3x3=lambda *_: Average(), conv_3x3=convolution(3)))
    strategy = adapter.SearchStrategy("metad2a", max_params=0.02)
    run(space, trained.evaluator(), strategy, tmp_path, trials=2, model_format=model_format)
    assert len(trained.params) == 2 and max(trained.params) <= 0.02


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (dict.fromkeys(PRIMITIVES, lambda *_: nn.Identity()), "'none' of 'cell/0_1' is another .*it is Identity"),
        (dict.fromkeys(PRIMITIVES, convolution(1)), "'none' of 'cell/0_1' is another operation"),
        ({"conv_3x3": convolution(1)}, "'conv_3x3' .* which gives a ReLU, a 3x3 convolution"),
        ({"conv_3x3": convolution(3, groups=4)}, "'conv_3x3'"),
        ({"conv_1x1": convolution(1, bias=True)}, "'conv_1x1'"),
        ({"conv_3x3": convolution(3, dilation=2)}, "'conv_3x3'"),
        ({"conv_1x1": lambda i, o: nn.Conv2d(i, o, 1, bias=False)}, "'conv_1x1'"),
        ({"avg_pool_3x3": lambda *_: nn.MaxPool2d(3, 1, 1)}, "'avg_pool_3x3' .* MaxPool2d"),
        ({"avg_pool_3x3": lambda *_: nn.AvgPool2d(3, 1, 1)}, "'avg_pool_3x3'"),  # counts the padding
        ({"skip_connect": lambda *_: nn.ReLU()}, "'skip_connect' .* which gives its input"),
    ],
)
def test_other_operations_under_the_same_names_are_refused(tmp_path: Path, other: Any, message: str) -> None:
    trained = Trained()
    space = Cells(operations(**other), cells=1)
    with pytest.raises(ConfigError, match=message):
        run(space, trained.evaluator(), adapter.SearchStrategy("random"), tmp_path)
    assert not trained.params


class Names(ModelSpace):
    """Labels of NAS-Bench-201 that choose among texts."""

    def __init__(self) -> None:
        super().__init__()
        for label in ("0_1", "0_2", "1_2", "0_3", "1_3", "2_3"):
            self.add_mutable(nni.choice(label, PRIMITIVES))


class Wider(MobileNetV3Space):
    """A subclass with arguments of its own."""

    def __init__(self) -> None:
        super().__init__(**adapter_settings())


def adapter_settings() -> dict[str, Any]:
    from metad2a_plugin.adapters._nni_mobilenetv3 import SETTINGS

    return {**SETTINGS, "width_multipliers": 1.0}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Names, "what the options of '0_1' do cannot be read: Names has no LayerChoice"),
        (ProxylessNAS, "labels of ProxylessNAS, which is no search space"),
        (Wider, "labels are those of NNI's MobileNetV3Space, but the model space is Wider"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(make(), Trained().evaluator(), adapter.SearchStrategy("random"), tmp_path)


# -- parts ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["random", "metad2a", "regularized-evolution"])
def test_four_of_the_five_operations_are_searched_as_a_part(trained: Trained, tmp_path: Path, name: str) -> None:
    strategy = adapter.SearchStrategy(name)
    run(Cells(operations(PRIMITIVES[1:]), cells=1), trained.evaluator(), strategy, tmp_path, trials=20)
    assert len(strategy.measured) == 20
    assert all(0 not in cell.choices for cell, _ in strategy.measured)


def test_a_fixed_edge_is_searched_as_a_part_within_limits(trained: Trained, tmp_path: Path) -> None:
    space = NasBench201(4, 1)
    for layer in space.modules():
        if isinstance(layer, LayerChoice) and layer.label == "cell/0_1":
            layer.choice.values, layer.choice.weights = ["skip_connect"], [1.0]
    strategy = adapter.MetaD2AStrategy(None, max_params=0.009)
    run(space, trained.evaluator(), strategy, tmp_path, trials=10)
    assert [cell.choices[0] for cell, _ in strategy.measured] == [1] * 10
    assert max(trained.params) <= 0.009


# -- experiments of the same id ------------------------------------------------------------------
def test_an_experiment_is_not_run_again_under_its_id(trained: Trained, tmp_path: Path) -> None:
    name = f"again{os.getpid()}"

    def one(trials: int) -> Any:
        strategy = adapter.SearchStrategy("random")
        return experiment(NasBench201(4, 1), trained.evaluator(), strategy, tmp_path, trials, name)

    first = one(3)
    first.run()
    first.stop()
    with pytest.raises(ConfigError, match=rf"there are trials of an experiment '{name}' .* resume\(\) goes on"):
        one(5).run()
    second = one(5)
    second.resume()
    second.stop()
    assert len(trained.params) == 5


def test_an_experiment_that_had_no_trial_can_be_run_again(trained: Trained, tmp_path: Path) -> None:
    name = f"none{os.getpid()}"
    failed = experiment(ProxylessNAS(), trained.evaluator(), adapter.SearchStrategy("random"), tmp_path, 3, name)
    with pytest.raises(ConfigError):
        failed.run()
    failed.stop()
    found = experiment(NasBench201(4, 1), trained.evaluator(), adapter.SearchStrategy("random"), tmp_path, 3, name)
    found.run()
    found.stop()
    assert len(trained.params) == 3
