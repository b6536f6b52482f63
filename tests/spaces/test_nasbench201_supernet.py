from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from metad2a_plugin import get_space
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.spaces.nasbench201.supernet import NASBench201Supernet

SPACE = get_space("nasbench201")
IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "scaled"])
def supernet(request: pytest.FixtureRequest) -> NASBench201Supernet:
    torch.manual_seed(0)
    supernet = NASBench201Supernet(7, channels=4, cells=2, scaled=request.param)
    for parameter in supernet.parameters():
        if parameter.ndim == 1:  # scales and shifts all alike would hide an exchange
            nn.init.uniform_(parameter, 0.5, 1.5)
    return supernet


@pytest.mark.parametrize("seed", range(5))
def test_a_path_a_one_hot_mixture_and_the_extracted_network_agree(supernet: NASBench201Supernet, seed: int) -> None:
    choices = SPACE.sample(random.Random(seed)).choices
    path = supernet(IMAGES, choices)
    mixture = supernet(IMAGES, nn.functional.one_hot(torch.tensor(choices), 5).float())
    torch.testing.assert_close(mixture, path, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(supernet.extract(choices).train()(IMAGES), path, rtol=1e-4, atol=1e-5)


def test_evaluation_is_by_the_statistics_of_the_batch(supernet: NASBench201Supernet) -> None:
    choices = (3, 3, 3, 3, 3, 3)
    assert supernet.eval()(IMAGES, choices).equal(supernet.train()(IMAGES, choices))


def test_every_weight_of_a_mixture_has_a_gradient(supernet: NASBench201Supernet) -> None:
    weights = torch.full((6, 5), 0.2, requires_grad=True)
    supernet(IMAGES, weights).sum().backward()
    assert weights.grad is not None
    # Nothing comes of "none", but for what a softmax before it makes of that.
    assert (weights.grad[:, 1:] != 0).all() and (weights.grad[:, 0] == 0).all()


def test_a_cell_of_nothing_gives_the_same_logits_for_all_images(supernet: NASBench201Supernet) -> None:
    logits = supernet(IMAGES, (0,) * 6)
    torch.testing.assert_close(logits, logits[:1].expand(6, -1))


@pytest.mark.parametrize("selection", [(3,) * 5, torch.zeros(6), torch.zeros(5, 6)], ids=["five", "flat", "turned"])
def test_a_selection_of_another_shape_is_refused(supernet: NASBench201Supernet, selection: object) -> None:
    with pytest.raises(ConfigError, match="six choices"):
        supernet(IMAGES, selection)
