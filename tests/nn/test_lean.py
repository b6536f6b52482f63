"""Training without what does not reach the output is the same training."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metad2a_plugin.nn.lean import average_3x3, lean
from metad2a_plugin.spaces.nasbench201.network import Cell, NASBench201Network
from metad2a_plugin.spaces.nasbench201.space import NASBench201

SPACE = NASBench201()
CELLS = {
    "dense": "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_1x1~1|+|avg_pool_3x3~0|nor_conv_3x3~1|avg_pool_3x3~2|",
    "with a dead node": "|nor_conv_3x3~0|+|avg_pool_3x3~0|nor_conv_1x1~1|+|skip_connect~0|none~1|none~2|",
    "with an empty node": "|none~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|",
    "without an input": "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|",
}


def network(cell: str) -> NASBench201Network:
    torch.manual_seed(0)
    return NASBench201Network(SPACE.parse(cell).choices, 5, channels=4, cells=2).double().train()


def steps(network: nn.Module, count: int = 3) -> list[float]:
    """Losses of a few steps of training."""
    optimizer = torch.optim.SGD(network.parameters(), 0.05, 0.9, weight_decay=5e-4, nesterov=True)
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(count):
        images = torch.randn(8, 3, 12, 12, generator=generator, dtype=torch.float64)
        loss = F.cross_entropy(network(images), torch.randint(5, (8,), generator=generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_losses_gradients_and_what_validation_sees_are_those_of_the_whole_network(cell: str) -> None:
    whole = network(cell)
    left = copy.deepcopy(whole)
    expected = steps(whole)
    with lean(left):
        assert steps(left) == pytest.approx(expected, rel=1e-9)
    for (name, one), other in zip(whole.named_parameters(), left.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        torch.testing.assert_close(other, one)
        if one.grad is not None and other.grad is not None:
            torch.testing.assert_close(other.grad, one.grad, rtol=1e-6, atol=1e-9)
    assert left.state_dict().keys() == whole.state_dict().keys()
    images = torch.randn(4, 3, 12, 12, dtype=torch.float64)
    torch.testing.assert_close(left.eval()(images), whole.eval()(images))


def test_running_statistics_of_what_reaches_the_output_are_the_same() -> None:
    whole = network(CELLS["dense"])
    left = copy.deepcopy(whole)
    steps(whole)
    with lean(left):
        steps(left)
    for (name, one), other in zip(whole.named_buffers(), left.buffers(), strict=True):
        assert torch.allclose(other.double(), one.double(), rtol=1e-9, atol=1e-12), name


def test_what_cannot_reach_the_output_is_left_out_in_the_loop_only() -> None:
    left = network(CELLS["with a dead node"])
    cell = left.stages[0]
    assert isinstance(cell, Cell)
    norm = cell.edges["1<-0"][2]  # type: ignore[index]
    with lean(left):
        steps(left, 1)
    assert norm.num_batches_tracked == 0
    steps(left, 1)
    assert norm.num_batches_tracked == 1


def test_hooks_see_every_operation() -> None:
    watched, seen = network(CELLS["with a dead node"]), []
    cell = watched.stages[0]
    assert isinstance(cell, Cell)
    cell.edges["1<-0"].register_forward_hook(lambda *_: seen.append(1))
    with lean(watched):
        steps(watched, 1)
    assert seen


def test_the_average_and_its_gradient_are_those_of_avg_pool() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 7, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 5, 7, 4, dtype=torch.float64)
    ours, torchs = average_3x3(x), F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    torch.testing.assert_close(ours, torchs)
    gradients = (torch.autograd.grad((y * weights).sum(), x)[0] for y in (ours, torchs))
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_answers_of_a_trained_network_are_the_same(cell: str) -> None:
    trained = network(cell)
    steps(trained)
    trained.eval()
    images = torch.randn(4, 3, 12, 12, dtype=torch.float64)
    with torch.no_grad():
        expected = trained(images)
        with lean(trained):
            torch.testing.assert_close(trained(images), expected)
