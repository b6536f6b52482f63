from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from naswot_toys import TINY, noise, plain_kernel
from torch import nn

from metad2a_plugin import search
from metad2a_plugin.data import Task, load_dataset
from metad2a_plugin.errors import ConfigError, DatasetError
from metad2a_plugin.plugins.predictor import Predictor
from metad2a_plugin.plugins.registry import get_predictor
from metad2a_plugin.predictors.naswot import Agreement, NASWOTPredictor, activation_score
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.testing import PredictorConformance
from metad2a_plugin.utils.torch_device import seeded

SPACE = NASBench201()
DEAD = [
    "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",
    "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_1x1~1|+|none~0|none~1|none~2|",
    "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|none~2|",
    "|none~0|+|avg_pool_3x3~0|none~1|+|none~0|nor_conv_3x3~1|none~2|",
]


def images(count: int = 8, size: int = 8) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))


def toy_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(216, 2))


# -- the predictor -------------------------------------------------------------------------------
class OnNoise(PredictorConformance):
    samples = 8

    def make_space(self) -> SearchSpace:
        return SPACE

    def make(self, space: SearchSpace) -> Predictor:
        return NASWOTPredictor(space, noise(), **TINY)


class TestConformance(OnNoise):
    pass


class TestOnMobileNetV3(OnNoise):
    samples = 3

    def make_space(self) -> SearchSpace:
        return MobileNetV3Space()

    def make(self, space: SearchSpace) -> Predictor:
        return NASWOTPredictor(space, noise(4), input_size=32, width=0.35)


def straightforward(predictor: NASWOTPredictor, cell: Architecture) -> float:
    with seeded((predictor.seed, *cell.choices), torch.device("cpu")):
        network = SPACE.build(cell, predictor.num_classes, **predictor.network)
    kernel = plain_kernel(network, predictor.images.contiguous())
    return float(torch.linalg.eigvalsh(kernel).clamp(min=1).log().sum())


def test_scores_are_those_of_the_plain_implementation() -> None:
    rng = random.Random(1)
    cells = [SPACE.sample(rng) for _ in range(25)] + [SPACE.parse(text) for text in DEAD]
    predictor = NASWOTPredictor(SPACE, noise(), **TINY | {"cells": 2, "batch_size": 6})
    expected = torch.tensor([straightforward(predictor, cell) for cell in cells])
    torch.testing.assert_close(predictor.predict(None, cells).mean, expected, rtol=1e-4, atol=1e-4)


def test_where_the_kernel_is_regular_the_score_is_its_determinant() -> None:
    predictor = NASWOTPredictor(SPACE, noise(), **TINY)
    cell = SPACE.parse("|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|skip_connect~0|none~1|nor_conv_3x3~2|")
    with seeded((0, *cell.choices), torch.device("cpu")):
        network = SPACE.build(cell, 2, channels=4, cells=1)
    sign, logarithm = torch.linalg.slogdet(plain_kernel(network, predictor.images.contiguous()))
    assert sign == 1 and predictor.predict(None, [cell]).mean[0] == pytest.approx(float(logarithm), rel=1e-4)


def test_dead_networks_have_low_finite_scores() -> None:
    predictor = NASWOTPredictor(SPACE, noise(), **TINY)
    live = SPACE.parse("|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|none~1|nor_conv_3x3~2|")
    dead, alive = predictor.predict(None, [SPACE.parse(DEAD[0]), live]).mean
    assert 0 < dead < alive and torch.isfinite(dead)
    # The first image is like the others to each of the four ReLUs of the reductions, and the one of the head.
    units = 4 * 64 + 8 * 16 + 8 * 16 + 16 * 4 + 16 * 4
    assert dead == pytest.approx(math.log(8 * units))


def test_seeds_choose_images_and_weights() -> None:
    rng = random.Random(0)
    cells = [SPACE.sample(rng) for _ in range(4)]
    first, second = (NASWOTPredictor(SPACE, noise(40), seed=seed, **TINY) for seed in (0, 1))
    assert not first.images.equal(second.images)
    assert not first.predict(None, cells).mean.equal(second.predict(None, cells).mean)
    again = NASWOTPredictor(SPACE, noise(40), seed=1, **TINY)
    assert again.images.equal(second.images) and again.predict(None, cells).mean.equal(second.predict(None, cells).mean)


def test_the_minibatch_is_normalised_and_as_large_as_the_dataset_allows() -> None:
    few = NASWOTPredictor(SPACE, noise(5), **TINY)
    assert few.images.shape == (5, 3, 8, 8)
    many = NASWOTPredictor(SPACE, noise(40), **TINY)
    assert many.images.shape == (8, 3, 8, 8)
    std, mean = torch.std_mean(many.images, (0, 2, 3), correction=0)
    torch.testing.assert_close((std, mean), (torch.ones(3), torch.zeros(3)), rtol=1e-4, atol=1e-4)
    flat = NASWOTPredictor(SPACE, (np.zeros((4, 8, 8, 3), np.uint8), [0, 1, 0, 1]), **TINY)
    assert flat.predict(None, [SPACE.sample(random.Random(0))]).mean.isfinite().all(), "images of a single colour"


def test_scores_do_not_touch_the_global_generator() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    NASWOTPredictor(SPACE, noise(), **TINY).predict(None, [SPACE.sample(random.Random(0))])
    assert torch.rand(3).equal(expected)


TASK = Task(torch.randn(6, 64), torch.arange(6) % 2)
WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no images": (None, {}, "give dataset="),
    "features": (TASK, {}, "a Task holds features"),
    "one image": (noise(), {"batch_size": 1}, "batch_size must be an integer of 2 or more"),
    "a negative seed": (noise(), {"seed": -1}, "seed must be"),
    "no size": (noise(), {"input_size": 0}, "input_size must be"),
    "an option of nobody": (noise(), {"depth": 3}, "NASWOT's own options are .*'depth'.* channels, cells"),
    "no channels": (noise(), {"channels": 0}, "channels"),
    "no device": (noise(), {"device": "abacus"}, "device"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_wrong_input_is_refused_at_once(kind: str) -> None:
    dataset, options, message = WRONG[kind]
    with pytest.raises(ConfigError, match=message):
        NASWOTPredictor(SPACE, dataset, **options)


@pytest.mark.filterwarnings("ignore")
def test_a_single_image_is_refused() -> None:
    with pytest.raises(DatasetError, match="two or more"):
        NASWOTPredictor(SPACE, load_dataset(noise()).subset([3]), **TINY)


# -- any network ---------------------------------------------------------------------------------
def test_any_network_can_be_scored_and_stays_as_it_is() -> None:
    network = toy_network().eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    expected = torch.linalg.slogdet(plain_kernel(toy_network(), images()))[1]
    assert activation_score(network, images()) == pytest.approx(float(expected), rel=1e-5)
    assert all(value.equal(before[name]) for name, value in network.state_dict().items())
    assert not any(m.training or m._forward_pre_hooks for m in network.modules())
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


def test_a_network_that_fails_stays_as_it_is_too() -> None:
    network = toy_network().eval()
    with pytest.raises(RuntimeError):
        activation_score(network, images(size=9))
    assert not any(m.training or m._forward_pre_hooks for m in network.modules())


def test_a_relu_that_is_used_twice_counts_twice() -> None:
    relu = nn.ReLU()
    network = nn.Sequential(nn.Flatten(), relu, relu)
    kernel = plain_kernel(nn.Sequential(nn.Flatten(), nn.ReLU6()), images())
    # After a ReLU, what was on is on; so the second sees the same.
    assert activation_score(network, images()) == pytest.approx(float(torch.linalg.slogdet(2 * kernel)[1]), rel=1e-5)


def test_dropout_draws_the_same_each_time() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.ReLU())
    assert activation_score(network, images()) == activation_score(network, images())


def test_networks_and_batches_that_cannot_be_scored() -> None:
    with pytest.raises(ConfigError, match="no ReLU"):
        activation_score(nn.Sequential(nn.Flatten(), nn.GELU()), images())
    with pytest.raises(ConfigError, match="two images"):
        activation_score(toy_network(), images(1))
    with pytest.raises(ConfigError, match=r"expected \[8, \.\.\.\]"):
        activation_score(nn.Sequential(nn.Flatten(0), nn.ReLU()), images())


def test_a_relu_that_is_never_applied_is_none() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.relu()

    with pytest.raises(ConfigError, match="applied none"):
        activation_score(Idle(), images())


def test_trained_networks_of_the_space_are_scored_alike() -> None:
    """Batch norms whose biases are not zero: what follows zeros is not zero then."""
    for text in DEAD:
        with seeded((1,), torch.device("cpu")):
            network = SPACE.build(SPACE.parse(text), 2, channels=4, cells=2)
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    nn.init.normal_(module.bias)
                    nn.init.uniform_(module.weight, 0.5, 1.5)
        agreement = Agreement(8)
        SPACE.visit_relus(network, images(), agreement.add)
        assert agreement.matrix().sub(plain_kernel(network, images())).abs().max() <= 2


def test_equal_images_give_a_finite_score() -> None:
    batch = images()
    batch[1] = batch[0]
    assert 0 < activation_score(toy_network(), batch) < activation_score(toy_network(), images())


# -- a search ------------------------------------------------------------------------------------
def test_a_search_scores_a_hundred_unless_told() -> None:
    assert get_predictor("naswot") is NASWOTPredictor and NASWOTPredictor.candidates == 100
    predictor = NASWOTPredictor(SPACE, noise(), **TINY)
    predictor.candidates = 7
    result = search.search_space(SPACE, predictor, top=3)
    assert (result.queries, result.source, len(result.candidates)) == (7, "random", 3)
    assert "log-determinants" in result.scale
    assert search.search_space(SPACE, predictor, candidates=4).queries == 4
    assert search.search_space(SPACE, predictor, refine=2).queries == 9


def test_a_search_by_name_needs_images() -> None:
    with pytest.raises(ConfigError, match="NASWOT needs images"):
        search.search_space(SPACE, "naswot")
