from __future__ import annotations

import itertools
import json
import random

import networkx as nx
import pytest
import torch

from metad2a_plugin.analysis.topology import PUBLISHED, Wiring, common_topologies, describe, topology
from metad2a_plugin.errors import ArchitectureError, ConfigError
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.nasbench201.cell import CELL_EDGES
from metad2a_plugin.spaces.nasbench201.space import NASBench201

SPACE = NASBench201()
DEAD = "|none~0|+|nor_conv_3x3~0|skip_connect~1|+|none~0|avg_pool_3x3~1|none~2|"
WIDEST = "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|skip_connect~0|avg_pool_3x3~1|nor_conv_3x3~2|"


def brute_force(cell: Architecture) -> tuple[float, int]:
    """By the definition's words, on all simple paths."""
    graph = nx.DiGraph([edge for edge, op in zip(CELL_EDGES, cell.choices, strict=True) if op])
    graph.add_nodes_from((0, 3))
    paths = list(nx.all_simple_paths(graph, 0, 3))
    edges = {edge for path in paths for edge in itertools.pairwise(path)}
    into = {node: [s for s, t in edges if t == node] for node in (1, 2, 3)}
    width = sum(sources.count(0) / len(sources) for sources in into.values() if sources)
    return width, max((len(path) - 1 for path in paths), default=0)


@pytest.mark.parametrize(
    ("name", "width", "depth"),
    [("NASNet", 5, 2), ("AmoebaNet", 4, 4), ("ENAS", 5, 2), ("DARTS", 3.5, 3), ("SNAS", 4, 2)],
)
def test_published_cells_have_the_published_width_and_depth(name: str, width: float, depth: int) -> None:
    assert (PUBLISHED[name].width, PUBLISHED[name].depth) == (width, depth)
    assert len(PUBLISHED) == 5


@pytest.mark.parametrize("nodes", [(), ((),), ((2,),), ((0, -1),), ((0, 1), (0, 5)), ((0.5,),)])
def test_a_wiring_that_is_no_cell_is_refused(nodes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ConfigError):
        Wiring(2, nodes)


def test_many_cells_at_once_agree_with_all_simple_paths() -> None:
    rng = random.Random(0)
    cells = [SPACE.sample(rng) for _ in range(100)]
    width, depth = topology(SPACE, SPACE.encode(cells))
    expected = [brute_force(cell) for cell in cells]
    assert depth.tolist() == [d for _, d in expected]
    assert width.tolist() == pytest.approx([w for w, _ in expected])
    assert width.dtype == torch.float64 and depth.dtype == torch.int64


def test_no_cells_are_no_numbers() -> None:
    width, depth = topology(SPACE, SPACE.encode([]))
    assert width.shape == depth.shape == (0,)


def test_dead_cells_have_no_width_and_no_depth() -> None:
    vertices = SPACE.all_vertices()
    width, depth = topology(SPACE, vertices)
    dead = SPACE.dead_mask(vertices)
    assert torch.equal(width == 0, dead) and torch.equal(depth == 0, dead)
    found = describe(SPACE, SPACE.parse(DEAD))
    assert (found.width, found.depth, found.sources, found.convolutions) == (0, 0, {}, ())
    assert (found.share, found.narrower, found.deeper) == (0, 0, 1) and not found.wide_and_shallow


def test_the_pattern_of_a_cell_leaves_out_what_cannot_matter() -> None:
    cell = SPACE.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|nor_conv_1x1~1|none~2|")
    found = describe(SPACE, cell)
    assert found.sources == {1: (0,), 3: (0, 1)} and found.on_input == (1, 3)
    assert (found.width, found.depth) == (1.5, 2)
    assert found.direct_skip and found.convolutions == (0, 2)


def test_the_widest_cell_is_wide_and_shallow_and_its_place_is_a_share_of_all() -> None:
    found = describe(SPACE, SPACE.parse(WIDEST))
    counts = common_topologies(SPACE)
    assert found.width == max(w for w, _ in counts) and found.wide_and_shallow
    vertices = SPACE.all_vertices()
    vertices = vertices[~SPACE.dead_mask(vertices)]
    width, depth = topology(SPACE, vertices)
    assert sum(counts.values()) == len(vertices)
    for share, mask in (
        (found.share, (width == found.width) & (depth == found.depth)),
        (found.narrower, width < found.width),
        (found.deeper, depth > found.depth),
    ):
        assert share == pytest.approx(mask.double().mean().item())


def test_a_chain_is_narrow_and_deep() -> None:
    chain = SPACE.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_3x3~2|")
    found = describe(SPACE, chain)
    assert (found.width, found.depth, found.convolutions) == (1, 3, (2,))
    assert not found.direct_skip and not found.wide_and_shallow
    assert json.loads(json.dumps(found.to_dict()))["sources"] == {"1": [0], "2": [1], "3": [2]}


def test_other_spaces_and_other_rows_are_refused() -> None:
    mobile = get_space("mobilenetv3")
    with pytest.raises(ConfigError, match="'mobilenetv3' have none"):
        topology(mobile, mobile.encode([mobile.sample(random.Random(0))]))
    with pytest.raises(ArchitectureError):
        topology(SPACE, torch.zeros(2, 8, dtype=torch.int64))
    with pytest.raises(ArchitectureError):
        describe(SPACE, mobile.sample(random.Random(0)))
