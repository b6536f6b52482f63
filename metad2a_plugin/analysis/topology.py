"""Width and depth of a cell: Shu, Wang and Cai, Understanding Architectures Learnt by Cell-based NAS, ICLR 2020.

Section 3 there: the *width* of a cell is the sum over its intermediate nodes of the share of the node's inputs that are
inputs of the cell, in units of the channels c; the *depth* is the number of connections on the longest path from an
input to the output. What a connection computes does not count: a skip connection is one like a convolution.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.nasbench201.cell import CELL_EDGES, OPS
from metad2a_plugin.spaces.nasbench201.descriptors import PATHS, prune
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.utils.checks import integer

_SKIP = OPS.index("skip_connect")
_CONVS = tuple(OPS.index(op) for op in ("nor_conv_1x1", "nor_conv_3x3"))
_SIXTHS = 6  # shares of one to three inputs are multiples of a sixth


# -- cells of any space ----------------------------------------------------------------------------
@dataclass(frozen=True)
class Wiring:
    """How a cell is wired whose output concatenates all its intermediate nodes.

    Attributes:
        inputs: number of cell inputs, numbered from 0; DARTS and its kin have two, the last two cells' outputs.
        nodes: sources of each intermediate node; the first node has the number `inputs`, and so on.

    Raises:
        ConfigError: there is no node, or one has no source or one that does not come before it.

    >>> cell = Wiring(2, ((0, 1), (0, 1), (1, 0), (0, 2)))
    >>> cell.width, cell.depth
    (3.5, 3)
    """

    inputs: int
    nodes: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        integer("inputs", self.inputs, 1)
        if not self.nodes:
            raise ConfigError("a cell needs an intermediate node, such as (0, 1), which sums both inputs; got none")
        for number, sources in enumerate(self.nodes, self.inputs):
            if not sources or not all(isinstance(s, int) and 0 <= s < number for s in sources):
                raise ConfigError(
                    f"the sources of node {number} must be numbers from 0 to {number - 1}, got {sources!r}"
                )

    @property
    def width(self) -> float:
        """In units of c."""
        return sum(sum(s < self.inputs for s in sources) / len(sources) for sources in self.nodes)

    @property
    def depth(self) -> int:
        """Counts the connection from a node to the concatenated output."""
        longest = [0] * self.inputs
        for sources in self.nodes:
            longest.append(1 + max(longest[s] for s in sources))
        return 1 + max(longest)


PUBLISHED: dict[str, Wiring] = {
    "NASNet": Wiring(2, ((0, 1),) * 5),
    "AmoebaNet": Wiring(2, ((0, 1), (0, 2), (0, 3), (1, 1), (0, 1))),
    "ENAS": Wiring(2, ((0, 1),) * 5),
    "DARTS": Wiring(2, ((0, 1), (0, 1), (1, 0), (0, 2))),
    "SNAS": Wiring(2, ((0, 1),) * 4),
}
"""Normal cells that searches have found, as the paper compares them; which input a source is does not matter here."""


# -- NAS-Bench-201 ---------------------------------------------------------------------------------
@dataclass(frozen=True)
class Topology:
    """How a NAS-Bench-201 cell is wired, without what lies on no path from input to output.

    Attributes:
        width: in units of c; nodes 1, 2 and 3 count as intermediate nodes, and node 3 is the output.
        depth: connections on the longest path from node 0 to node 3.
        sources: of each node that remains, the nodes that it sums.
        convolutions: of each path from input to output, how many are on it, shortest path first.
        direct_skip: whether a skip connection joins input and output.
        share: of the live cells of the space that have the same width and depth.
        narrower, deeper: shares of the live cells that have a smaller width, a greater depth.
    """

    width: float
    depth: int
    sources: dict[int, tuple[int, ...]]
    convolutions: tuple[int, ...]
    direct_skip: bool
    share: float
    narrower: float
    deeper: float

    @property
    def on_input(self) -> tuple[int, ...]:
        """Nodes that take the cell's input directly."""
        return tuple(node for node, sources in self.sources.items() if 0 in sources)

    @property
    def wide_and_shallow(self) -> bool:
        """Whether at least half of the live cells are narrower, and at least half are deeper."""
        return self.narrower >= 0.5 and self.deeper >= 0.5

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        lists: dict[str, Any] = {
            "sources": {str(node): list(sources) for node, sources in self.sources.items()},
            "convolutions": list(self.convolutions),
            "on_input": list(self.on_input),
        }
        return asdict(self) | lists | {"wide_and_shallow": self.wide_and_shallow}


def topology(space: SearchSpace, vertices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Width and depth of many encoded cells at once.

    NAS-Bench-201 sums where the paper's cells concatenate, so the definition is carried over: ``none`` and whatever
    lies on no path from input to output are removed; the nodes that remain count as intermediate nodes, the output
    among them. A dead cell has width 0 and depth 0.

    Args:
        space: NAS-Bench-201.
        vertices: of `space.encode`, int64 ``[n, 8]``.

    Returns:
        Width in units of c, float64 ``[n]``, and depth in connections, int64 ``[n]``.

    Raises:
        ConfigError: the space is another one, whose networks have no cells.
        ArchitectureError: a row is no cell.
    """
    space = _with_cells(space)
    space.dead_mask(vertices)  # refuses what is no cell
    live = prune(vertices[:, 1:-1].long() - 2) > 0
    width = torch.zeros(len(live), dtype=torch.float64, device=live.device)
    longest = [torch.zeros(len(live), dtype=torch.int64, device=live.device)]
    for node in (1, 2, 3):
        into = {source: live[:, edge] for edge, (source, target) in enumerate(CELL_EDGES) if target == node}
        sources = torch.stack(list(into.values())).sum(0)
        width += into[0].double() / sources.clamp(min=1)
        longest.append(torch.stack([on * (longest[source] + 1) for source, on in into.items()]).amax(0))
    return width, longest[-1]


def describe(space: SearchSpace, architecture: Architecture) -> Topology:
    """Width, depth and connection pattern of one cell, and how common they are in the space.

    Raises:
        ConfigError: the space is another one than NAS-Bench-201.
        ArchitectureError: the architecture is not of `space`.
    """
    vertices = _with_cells(space).encode([architecture])
    [width], [depth] = (values.tolist() for values in topology(space, vertices))
    [ops] = prune(vertices[:, 1:-1] - 2).tolist()
    live = {edge: op for edge, op in zip(CELL_EDGES, ops, strict=True) if op}
    sources = {node: tuple(s for s, target in live if target == node) for node in (1, 2, 3)}
    paths = [[ops[edge] for edge in path] for path in PATHS]
    counts = common_topologies()
    total = sum(counts.values())

    def share(cells: list[int]) -> float:
        return sum(cells) / total

    same = (round(_SIXTHS * width), depth)
    return Topology(
        width=width,
        depth=depth,
        sources={node: found for node, found in sources.items() if found},
        convolutions=tuple(sum(op in _CONVS for op in path) for path in paths if all(path)),
        direct_skip=live.get((0, 3)) == _SKIP,
        share=share([n for (w, d), n in counts.items() if (round(_SIXTHS * w), d) == same]),
        narrower=share([n for (w, _), n in counts.items() if round(_SIXTHS * w) < same[0]]),
        deeper=share([n for (_, d), n in counts.items() if d > depth]),
    )


def counterpart(space: SearchSpace, architecture: Architecture) -> Architecture | None:
    """A cell of the same operations that is wired otherwise: as far off in depth as possible, then in width.

    Operations that lie on no path from input to output are left out. Of several such cells it is the first in
    `enumerate` order.

    Returns:
        None where every cell of these operations has the same width and depth.

    Raises:
        ConfigError: the space is another one than NAS-Bench-201.
        ArchitectureError: the architecture is not of `space`.
    """
    space = _with_cells(space)
    vertices = torch.cat([space.encode([architecture]), space.all_vertices()])
    ops = vertices[:, 1:-1] - 2
    used = prune(ops)
    same = (used.sort(dim=1).values == used[0].sort().values).all(1) & (used == ops).all(1)
    width, depth = topology(space, vertices)
    # Widths differ by less than 4, so that depth comes first.
    distance = torch.where(same, 4 * (depth - depth[0]).abs() + (width - width[0]).abs(), -1.0)
    best = int(distance.argmax())
    return space.decode(vertices[best : best + 1])[0] if distance[best] > 1e-9 else None


@cache
def common_topologies() -> dict[tuple[float, int], int]:
    """How many of the live NAS-Bench-201 cells have each (width, depth); by depth, then width."""
    space = NASBench201()
    vertices = space.all_vertices()
    width, depth = topology(space, vertices[~space.dead_mask(vertices)])
    # In sixths, so that equal widths are equal numbers.
    pairs, counts = torch.stack([depth, (_SIXTHS * width).round().long()], dim=1).unique(dim=0, return_counts=True)
    return {(w / _SIXTHS, d): n for (d, w), n in zip(pairs.tolist(), counts.tolist(), strict=True)}


def has_cells(space: SearchSpace) -> bool:
    """Whether width and depth are defined for the architectures of a space."""
    return isinstance(space, NASBench201)


def _with_cells(space: SearchSpace) -> NASBench201:
    if not isinstance(space, NASBench201):
        raise ConfigError(
            f"width and depth are those of a cell, and the networks of {space.name!r} have none; use 'nasbench201', or "
            "describe the cell as a Wiring"
        )
    return space
