from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import pytest
import torch
from torch import nn

from metad2a_plugin.analysis.landscape import Landscape, LandscapeConfig, epochs_to_common_loss, landscape
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.training.classifier import ImageClassifier

SPACE = NASBench201()
CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
IDLE = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
SMALL = LandscapeConfig(points=5, batch_size=8, device="cpu")


class Linear(nn.Module):
    """Logits are linear in the pixels, so that its surface can be computed by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(12, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(images.flatten(1).float() / 255)


def pixels(n: int = 24, size: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 3, size, size), generator=generator, dtype=torch.uint8)
    return images, torch.arange(n) % 3


def classifier(cell: str = CELL) -> ImageClassifier:
    return ImageClassifier(SPACE, SPACE.parse(cell), 3, options={"channels": 4, "cells": 1}, input_size=8)


def test_the_middle_is_the_trained_network_and_the_network_stays_as_it_is() -> None:
    network, (images, labels) = classifier(), pixels()
    before, mode = copy.deepcopy(network.state_dict()), network.training
    found = landscape(network, images, labels, SMALL)
    assert network.training == mode
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert (found.images, found.minibatches, len(found.losses), len(found.variances)) == (24, 3, 5, 3)
    assert found.steps == (-1.0, -0.5, 0.0, 0.5, 1.0)
    # Of batches of one size, in training mode: only their statistics depend on the order.
    with torch.no_grad():
        loss = nn.functional.cross_entropy(copy.deepcopy(network).train()(images), labels)
    assert found.loss == pytest.approx(loss.item(), rel=0.1)


def test_the_same_seed_gives_the_same_surface_whatever_the_global_generator_says() -> None:
    network, (images, labels) = classifier(), pixels()
    torch.manual_seed(1)
    first = landscape(network, images, labels, SMALL)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert landscape(network, images, labels, SMALL) == first
    assert torch.equal(torch.get_rng_state(), state)
    assert landscape(network, images, labels, dataclasses.replace(SMALL, seed=1)).losses != first.losses


def test_a_direction_is_as_long_as_each_filter_and_leaves_the_bias() -> None:
    network, (images, labels) = Linear(), pixels(size=2)
    moved = []
    network.layer.register_forward_pre_hook(lambda layer, _: moved.append(copy.deepcopy(layer.state_dict())))
    landscape(network, images, labels, SMALL)
    trained = network.layer.state_dict()
    for state in moved:
        assert torch.equal(state["bias"], trained["bias"])
    # The third point of the first row, at (-1, 0), is minus the first direction; each has three minibatches.
    rows: list[torch.Tensor] = [state["weight"] - trained["weight"] for state in moved[6:9]]
    for row in rows:
        torch.testing.assert_close(row.norm(dim=1), trained["weight"].norm(dim=1))


def test_the_variance_is_that_of_the_minibatch_gradients() -> None:
    network, (images, labels) = Linear(), pixels(size=2)
    found = landscape(network, images, labels, SMALL)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    gradients = []
    for rows in order.split(8):
        network.zero_grad()
        nn.functional.cross_entropy(network(images[rows]), labels[rows]).backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    weights, biases = (torch.stack(group) for group in zip(*gradients, strict=True))
    assert found.variances[1][1] == pytest.approx(float(weights.var(0).sum() + biases.var(0).sum()), rel=1e-4)
    norms = network.layer.weight.detach().norm(dim=1, keepdim=True)
    assert found.scaled_variances[1][1] == pytest.approx(float((weights * norms).var(0).sum()), rel=1e-4)


def test_the_scale_of_filters_before_batch_norm_does_not_matter() -> None:
    network, (images, labels) = classifier(), pixels()
    larger = copy.deepcopy(network)
    with torch.no_grad():
        for module in larger.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                module.weight.mul_(8)
    first, second = (landscape(n, images, labels, SMALL) for n in (network, larger))
    assert second.rise == pytest.approx(first.rise, rel=0.05)
    assert second.scaled_variance == pytest.approx(first.scaled_variance, rel=0.05)
    assert second.variance < 0.9 * first.variance


def test_a_cell_with_parts_that_never_learn_has_a_surface_too() -> None:
    found = landscape(classifier(IDLE), *pixels(), SMALL)
    assert found.variance > 0 and len(found.losses) == 5


def test_numbers_of_a_known_bowl() -> None:
    steps = (-1.0, -0.5, 0.0, 0.5, 1.0)
    bowl = Landscape(steps, tuple(tuple(a**2 + b**2 for b in steps) for a in steps), ((1.0,),), ((3.0,),), 8, 2)
    assert bowl.loss == 0 and bowl.rise == pytest.approx(0.25) and bowl.curvature == pytest.approx(2)
    assert (bowl.variance, bowl.scaled_variance) == (1, 3)
    assert Landscape.from_dict(json.loads(json.dumps(bowl.to_dict()))) == bowl


def test_speed_is_counted_at_a_loss_that_all_reach() -> None:
    assert epochs_to_common_loss([[3.0, 1.0, 1.2], [3.0, 2.0, 0.1]]) == (1.0, [2, 3])
    assert epochs_to_common_loss([[3.0, 2.0]]) == (2.0, [2])


@pytest.mark.parametrize(
    "wrong", [{"points": 7}, {"points": 1}, {"radius": 0.0}, {"radius": "far"}, {"batch_size": 1}, {"seed": -1}]
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        LandscapeConfig(**wrong)


def test_too_few_images_are_refused() -> None:
    images, labels = pixels()
    for count, of in ((3, 3), (24, 20)):
        with pytest.raises(ConfigError, match="four images"):
            landscape(classifier(), images[:count], labels[:of], SMALL)
    with pytest.raises(ConfigError, match="device"):
        landscape(classifier(), images, labels, LandscapeConfig(device="abacus"))
