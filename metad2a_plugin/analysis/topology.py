"""Width and depth of the cells of a search space, as `analysis.wiring` defines them.

A search space whose networks have no cells is refused with `ConfigError`, what is no cell of it with
`ArchitectureError`.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import torch

from metad2a_plugin.analysis.wiring import PUBLISHED as PUBLISHED
from metad2a_plugin.analysis.wiring import Wiring as Wiring
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.interfaces import CellSpace


@dataclass(frozen=True)
class Topology:
    """How a cell of a space is wired, without what lies on no path from input to output.

    Attributes:
        width: in units of c; all nodes but the first count as intermediate nodes, and the last is the output.
        depth: connections on the longest path from node 0 to the last.
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

    Nodes sum where the paper's cells concatenate, so the definition is carried over: ``none`` and whatever
    lies on no path from input to output are removed; the nodes that remain count as intermediate nodes, the output
    among them. A dead cell has width 0 and depth 0.

    Args:
        space: one of cells, `CellSpace`, such as NAS-Bench-201.
        vertices: of `space.encode`, int64 ``[n, num_vertices]``.

    Returns:
        Width in units of c, float64 ``[n]``, and depth in connections, int64 ``[n]``.
    """
    space = _with_cells(space)
    live = space.pruned(vertices) != space.none
    width = torch.zeros(len(live), dtype=torch.float64, device=live.device)
    longest = [torch.zeros(len(live), dtype=torch.int64, device=live.device)]
    for node in _nodes(space):
        into = {source: live[:, edge] for edge, (source, target) in enumerate(space.cell_edges) if target == node}
        sources = torch.stack(list(into.values())).sum(0)
        if 0 in into:
            width += into[0].double() / sources.clamp(min=1)
        longest.append(torch.stack([on * (longest[source] + 1) for source, on in into.items()]).amax(0))
    return width, longest[-1]


def describe(space: SearchSpace, architecture: Architecture) -> Topology:
    """Width, depth and connection pattern of one cell, and how common they are in the space."""
    space = _with_cells(space)
    vertices = space.encode([architecture])
    [width], [depth] = (values.tolist() for values in topology(space, vertices))
    [ops] = space.pruned(vertices).tolist()
    live = {edge: op for edge, op in zip(space.cell_edges, ops, strict=True) if op != space.none}
    sources = {node: tuple(s for s, target in live if target == node) for node in _nodes(space)}
    paths = [[ops[edge] for edge in path] for path in _paths(space)]
    counts = common_topologies(space)
    total = sum(counts.values())

    unit = _unit(space)
    same = (round(unit * width), depth)
    return Topology(
        width=width,
        depth=depth,
        sources={node: found for node, found in sources.items() if found},
        convolutions=tuple(sum(op in space.convolutions for op in path) for path in paths if space.none not in path),
        direct_skip=live.get((0, max(_nodes(space)))) == space.skip,
        share=sum(n for (w, d), n in counts.items() if (round(unit * w), d) == same) / total,
        narrower=sum(n for (w, _), n in counts.items() if round(unit * w) < same[0]) / total,
        deeper=sum(n for (_, d), n in counts.items() if d > depth) / total,
    )


def counterpart(space: SearchSpace, architecture: Architecture) -> Architecture | None:
    """A cell of the same operations that is wired otherwise: as far off in depth as possible, then in width.

    Operations that lie on no path from input to output are left out. Of several such cells it is the first in
    `enumerate` order.

    Returns:
        None where every cell of these operations has the same width and depth.
    """
    space = _with_cells(space)
    vertices = torch.cat([space.encode([architecture]), space.all_vertices()])
    used = space.pruned(vertices)
    same = (used.sort(dim=1).values == used[0].sort().values).all(1) & (used == space.choices(vertices)).all(1)
    width, depth = topology(space, vertices)
    # Widths differ by less than the number of nodes, so that depth comes first.
    most = max(_nodes(space)) + 1
    distance = torch.where(same, most * (depth - depth[0]).abs() + (width - width[0]).abs(), -1.0)
    best = int(distance.argmax())
    return space.decode(vertices[best : best + 1])[0] if distance[best] > 1e-9 else None


def common_topologies(space: SearchSpace) -> dict[tuple[float, int], int]:
    """How many of the live cells of a space have each (width, depth); by depth, then width."""
    if space.name not in _common:
        space = _with_cells(space)
        vertices = space.all_vertices()
        width, depth = topology(space, vertices[~space.dead_mask(vertices)])
        pairs = torch.stack([depth, (_unit(space) * width).round().long()], dim=1).tolist()
        counts = Counter(map(tuple, pairs))
        _common[space.name] = {(w / _unit(space), d): n for (d, w), n in sorted(counts.items())}
    return _common[space.name]


_common: dict[str, dict[tuple[float, int], int]] = {}


def has_cells(space: SearchSpace) -> bool:
    """Whether width and depth are defined for the architectures of a space."""
    return isinstance(space, CellSpace)


def node_names(space: SearchSpace) -> dict[int, str]:
    """What texts call the nodes of a space's cells; empty where it has none."""
    if not isinstance(space, CellSpace):
        return {}
    last = max(_nodes(space))
    return {0: "the input", **{node: f"node {node}" for node in range(1, last)}, last: "the output"}


def _with_cells(space: SearchSpace) -> CellSpace:
    if not isinstance(space, CellSpace):
        raise ConfigError(
            f"width and depth are those of a cell, and the networks of {space.name!r} have none; use 'nasbench201', or "
            "describe the cell as a Wiring"
        )
    return space


def _nodes(space: CellSpace) -> range:
    """All nodes but the input."""
    return range(1, max(target for _, target in space.cell_edges) + 1)


def _unit(space: CellSpace) -> int:
    """All widths are multiples of one over it, so that equal widths are equal numbers."""
    return math.lcm(*_nodes(space))


def _paths(space: CellSpace) -> list[tuple[int, ...]]:
    """The decisions along each path from input to output, the shortest path first."""
    ending: dict[int, list[tuple[int, ...]]] = {0: [()]}
    for node in _nodes(space):
        into = [(edge, source) for edge, (source, target) in enumerate(space.cell_edges) if target == node]
        ending[node] = [(*path, edge) for edge, source in into for path in ending[source]]
    return sorted(ending[max(ending)], key=lambda path: (len(path), path))
