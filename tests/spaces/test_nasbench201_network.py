from __future__ import annotations

import pytest
import torch
from torch import nn

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.spaces import Architecture
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.spaces.nasbench201.space import NASBench201

SPACE = NASBench201()


def cell(*choices: int) -> Architecture:
    return Architecture("nasbench201", choices)


def small(architecture: Architecture, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return SPACE.build(architecture, 5, channels=4, cells=2)


@pytest.mark.parametrize("choices", [(0,) * 6, (3,) * 6, (3, 0, 2, 1, 4, 3), (2, 4, 1, 2, 2, 0)])
@pytest.mark.parametrize(
    "options",
    [
        {"num_classes": 10, "input_size": 32, "channels": 16, "cells": 5},
        {"num_classes": 120, "input_size": 16, "channels": 16, "cells": 5},
        {"num_classes": 3, "input_size": 29, "channels": 7, "cells": 1},
        {"num_classes": 1, "input_size": 8, "channels": 2, "cells": 2},
        {"num_classes": 4, "input_size": 9, "channels": 2, "cells": 3},
    ],
)
def test_built_networks_cost_what_cost_says(choices: tuple[int, ...], options: dict[str, int]) -> None:
    cost = SPACE.cost(cell(*choices), **options)
    counted = SearchSpace.cost(SPACE, cell(*choices), **options)
    assert counted.params == cost.params
    # As the benchmark, ours counts the biases of the classifier, and torch does not.
    assert round(counted.flops * 1e6) + options["num_classes"] == round(cost.flops * 1e6)


@pytest.mark.parametrize("size", [(8, 8), (9, 9), (28, 28), (15, 40)])
def test_networks_take_images_of_any_size(size: tuple[int, int]) -> None:
    network = small(cell(3, 2, 1, 4, 0, 3))
    assert network(torch.randn(2, 3, *size)).shape == (2, 5)


def test_every_parameter_of_a_fully_used_cell_is_trained() -> None:
    network = small(cell(3, 2, 3, 2, 3, 2))
    network(torch.randn(2, 3, 8, 8)).square().sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_networks_repeat_with_their_seed() -> None:
    images = torch.randn(2, 3, 8, 8)
    assert torch.equal(small(cell(3, 2, 1, 4, 0, 3))(images), small(cell(3, 2, 1, 4, 0, 3))(images))


@pytest.mark.parametrize(
    "choices", [(0, 0, 0, 0, 0, 0), (3, 0, 2, 0, 0, 0), (0, 0, 3, 0, 4, 3), (1, 3, 3, 0, 0, 0)]
)
def test_dead_cells_ignore_their_input(choices: tuple[int, ...]) -> None:
    assert SPACE.is_dead(cell(*choices))
    outputs = small(cell(*choices)).eval()(torch.randn(4, 3, 8, 8))
    assert torch.equal(outputs, outputs[:1].expand(4, -1))


def test_live_cells_depend_on_their_input() -> None:
    outputs = small(cell(0, 1, 0, 0, 0, 4)).eval()(torch.randn(4, 3, 8, 8))
    assert (outputs - outputs[:1])[1:].abs().amax(1).min() > 0


@pytest.mark.parametrize(
    ("first", "second", "moved"),
    [
        # Node 1 is a copy of node 0, so operations on either are exchangeable.
        ((1, 3, 4, 0, 2, 1), (1, 4, 3, 2, 0, 1), {"2<-0": "2<-1", "3<-1": "3<-0"}),
        ((1, 3, 2, 1, 3, 4), (1, 2, 3, 3, 1, 4), {"2<-0": "2<-1", "2<-1": "2<-0", "3<-1": "3<-0"}),
        # Operations on an empty node 1 are zeros.
        ((0, 3, 0, 1, 0, 2), (0, 3, 2, 1, 4, 2), {}),
    ],
)
def test_cells_of_equal_canonical_key_compute_the_same(
    first: tuple[int, ...], second: tuple[int, ...], moved: dict[str, str]
) -> None:
    assert SPACE.canonical(cell(*first)) == SPACE.canonical(cell(*second))
    network, other = small(cell(*first)), small(cell(*second), seed=1)
    weights = {
        ".".join(moved.get(part, part) for part in name.split(".")): value
        for name, value in network.state_dict().items()
    }
    # Only operations that see nothing but zeros may keep weights of their own.
    assert not other.load_state_dict(weights, strict=False).unexpected_keys
    images = torch.randn(3, 3, 8, 8)
    torch.testing.assert_close(network.eval()(images), other.eval()(images))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"num_classes": 0}, "num_classes must be an integer from 1 to 10,000,000, got 0"),
        ({"channels": 1.5}, "channels must be an integer from 1 to 100,000, got 1.5"),
        ({"cells": 0}, "cells must be an integer from 1 to 100,000, got 0"),
    ],
)
def test_build_refuses_sizes_that_are_no_positive_integers(bad: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SPACE.build(cell(1, 1, 1, 1, 1, 1), **{"num_classes": 10, **bad})


def test_without_its_useless_operations_a_network_answers_the_same() -> None:
    """Cells whose simplification drops operations and moves none, with the weights of those that stay."""
    vertices = SPACE.all_vertices()
    simple = SPACE.simplify(vertices)
    dropped = (simple != vertices).any(1) & ((simple == vertices) | (simple == 2)).all(1)
    dropped &= (vertices == 5).sum(1) > (simple == 5).sum(1)
    chosen = torch.nonzero(dropped & ~SPACE.dead_mask(vertices)).squeeze(1)[::79]
    assert len(chosen) > 8
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    for before, after in zip(SPACE.decode(vertices[chosen]), SPACE.decode(simple[chosen]), strict=True):
        whole, lean = small(before).eval(), small(after, seed=1).eval()
        missing, unexpected = lean.load_state_dict(whole.state_dict(), strict=False)
        assert not missing and unexpected, "the simple network has fewer weights"
        with torch.inference_mode():
            torch.testing.assert_close(lean(images), whole(images), rtol=1e-5, atol=1e-6)
