from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.similarity.backbones import BACKBONES, TaskNetwork
from metad2a_plugin.similarity.fisher import DISTANCES, diagonal_fisher, frechet_distance, log_determinant_distance


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (7, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0])


def network(backbone: str = "plain", seed: int = 0) -> TaskNetwork:
    net = TaskNetwork(backbone, 3, seed).eval()
    # A head of zeros, as all begin with, sends no gradient on.
    nn.init.normal_(net.head.weight, generator=torch.Generator().manual_seed(seed))
    return net


@pytest.mark.parametrize("backbone", BACKBONES)
def test_is_the_mean_of_squared_gradients_of_single_examples(backbone, images):
    net = network(backbone)
    squares = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in net.named_parameters()}
    for image, label in zip(images, LABELS, strict=True):
        net.zero_grad()
        nn.functional.cross_entropy(net(image[None]), label[None]).backward()
        for name, parameter in net.named_parameters():
            squares[name] += parameter.grad.double().square()
    trace = sum(value.sum() for value in squares.values())
    found = diagonal_fisher(net, images, LABELS, chunk=3)
    for name, value in squares.items():
        torch.testing.assert_close(found[name], value / trace, rtol=1e-4, atol=1e-9)


def test_is_not_the_square_of_the_batch_gradient(images):
    net = network()
    nn.functional.cross_entropy(net(images), LABELS).backward()
    square = torch.cat([p.grad.double().square().flatten() for p in net.parameters()])
    found = torch.cat([value.flatten() for value in diagonal_fisher(net, images, LABELS).values()])
    assert not torch.allclose(found, square / square.sum(), rtol=0.1)


def test_has_unit_trace_over_the_counted_parameters(images):
    for names in (None, ["backbone.0.0.weight", "backbone.0.1.bias"]):
        found = diagonal_fisher(network(), images, LABELS, parameters=names)
        assert names is None or list(found) == names
        assert math.isclose(sum(float(value.sum()) for value in found.values()), 1, rel_tol=1e-12)
        assert all(bool((value >= 0).all()) for value in found.values())


def test_does_not_depend_on_the_chunks_and_leaves_the_network_alone(images):
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    whole, parts = (diagonal_fisher(net, images, LABELS, chunk=chunk) for chunk in (7, 2))
    assert all(torch.allclose(whole[name], parts[name], rtol=1e-4, atol=1e-10) for name in whole)
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("distance", DISTANCES.values())
def test_distance_to_itself_is_zero_and_to_another_is_not(distance, images):
    first, again = (diagonal_fisher(network(), images, LABELS) for _ in range(2))
    assert distance(first, again) == 0
    assert distance(first, diagonal_fisher(network(seed=1), images, LABELS)) > 0


def test_distances_by_hand():
    first = {"a.weight": torch.tensor([0.25, 0.25]), "a.bias": torch.tensor([0.25]), "b.weight": torch.tensor([0.25])}
    second = {"a.weight": torch.tensor([0.5, 0.125]), "a.bias": torch.tensor([0.25]), "b.weight": torch.tensor([0.125])}
    # Layer a: log(1/2) + log 2 + 0; layer b: log 2; four parameters.
    assert log_determinant_distance(first, second) == pytest.approx(math.log(2) / 4, rel=1e-6)
    squares = (0.5 - 0.5**0.5) ** 2 + 2 * (0.5 - 0.125**0.5) ** 2
    assert frechet_distance(first, second) == pytest.approx((squares / 2) ** 0.5, rel=1e-6)


def test_weights_without_gradient_leave_the_logarithm_finite():
    diagonals = ([0.0, 1.0], [1.0, 0.0], [1.0, 1e-10])
    ends = [{"a.weight": torch.tensor(values, dtype=torch.float64)} for values in diagonals]
    assert log_determinant_distance(ends[0], ends[1]) == pytest.approx(0, abs=1e-9)
    assert log_determinant_distance(ends[1], ends[2]) == pytest.approx(math.log(2) / 2)
    assert frechet_distance(ends[0], ends[1]) == 1


def test_wrong_input(images):
    mixing = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(192), nn.Linear(192, 3))
    with pytest.raises(ConfigError, match=r"batch norm '1' mixes examples.* call network.eval\(\)"):
        diagonal_fisher(mixing, images.float(), LABELS)
    assert diagonal_fisher(mixing.eval(), images.float(), LABELS)
    with pytest.raises(ConfigError, match="one label per image, got 7 and 3"):
        diagonal_fisher(network(), images, LABELS[:3])
    untrained = TaskNetwork("plain", 3)
    with pytest.raises(ConfigError, match=r"squared gradients of TaskNetwork on 7 images sum to 0\.0"):
        diagonal_fisher(untrained, images, LABELS, parameters=["backbone.0.0.weight"])
    for distance in DISTANCES.values():
        with pytest.raises(ConfigError, match="not of the same parameters"):
            distance({"a": torch.ones(2)}, {"a": torch.ones(3)})


def test_backbones_start_alike_whatever_the_head():
    for name in BACKBONES:
        two, ten = TaskNetwork(name, 2), TaskNetwork(name, 10)
        for (key, a), b in zip(two.backbone.state_dict().items(), ten.backbone.state_dict().values(), strict=True):
            assert a.equal(b), key
        assert 10_000 < sum(p.numel() for p in two.backbone.parameters()) < 100_000
    with pytest.raises(ConfigError, match=r"unknown backbone 'plane'.*did you mean 'plain'"):
        TaskNetwork("plane", 2)
