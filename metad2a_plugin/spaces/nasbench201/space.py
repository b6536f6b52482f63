"""NAS-Bench-201 (NATS-Bench topology), all 15,625 cells: Dong and Yang, ICLR 2020, arXiv 2001.00326.

A cell has four nodes. Node 0 is its input, node 3 its output, and every pair of nodes is joined by
one of five operations: six decisions, written ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``, where ``op~j``
is the operation on the edge from node ``j``.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from metad2a_plugin.errors import ArchitectureError
from metad2a_plugin.spaces.base import Architecture, Cost, Descriptors, SearchSpace
from metad2a_plugin.spaces.nasbench201.cell import (
    CELL_EDGES,
    CONV1,
    CONV3,
    EDGES,
    FORM,
    NONE,
    OPS,
    canonical_key,
    canonical_numbers,
    connected,
    official_index,
    official_order,
    parse_node,
    simplest_choices,
)
from metad2a_plugin.spaces.nasbench201.cost import COST_OPTIONS, cost_options, count_cost, require_positive

if TYPE_CHECKING:
    import os

    import networkx as nx
    import torch
    from torch import nn

    from metad2a_plugin.nn.relus import Visit

class NASBench201(SearchSpace):
    """The NAS-Bench-201 search space; `choices` are six indices into `OPS`, in `CELL_EDGES` order.

    >>> space = NASBench201()
    >>> cell = space.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|")
    >>> cell.choices
    (3, 0, 1, 0, 0, 4)
    >>> space.canonical(cell)
    '#+#+(#+(0)@nor_conv_3x3)@avg_pool_3x3'
    >>> space.cost(cell)
    Cost(params=0.316346, flops=43.17249)
    """

    name = "nasbench201"
    size = 15_625
    num_vertices = 8
    vertex_types = ("input", "output", *OPS)
    edges = EDGES

    # -- points ------------------------------------------------------------------------------
    def sample(self, rng: random.Random) -> Architecture:
        return self._architecture(rng.randrange(len(OPS)) for _ in CELL_EDGES)

    def mutate(self, architecture: Architecture, rng: random.Random) -> Architecture:
        choices = list(self.validate(architecture).choices)
        edge = rng.randrange(len(CELL_EDGES))
        choices[edge] = (choices[edge] + rng.randrange(1, len(OPS))) % len(OPS)
        return self._architecture(choices)

    def neighbors(self, architecture: Architecture) -> list[Architecture]:
        choices = self.validate(architecture).choices
        return [
            self._architecture((*choices[:edge], op, *choices[edge + 1 :]))
            for edge in range(len(CELL_EDGES))
            for op in range(len(OPS))
            if op != choices[edge]
        ]

    def enumerate(self) -> Iterator[Architecture]:
        """Every cell, in the index order of the published benchmark files."""
        return map(self._architecture, official_order())

    def index(self, architecture: Architecture) -> int:
        """Index of the cell in the published benchmark files.

        >>> NASBench201().index(NASBench201().parse(
        ...     "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
        ... ))
        0
        """
        return official_index()[self.validate(architecture).choices]

    def validate(self, architecture: Architecture) -> Architecture:
        """Return `architecture` if it is of this space.

        Raises:
            ArchitectureError: it belongs to another space, or its choices are not six indices into `OPS`.
        """
        if not isinstance(architecture, Architecture) or architecture.space != self.name:
            raise ArchitectureError(
                f"expected an Architecture of space {self.name!r}, got {architecture!r}; read strings with parse()"
            )
        choices = architecture.choices
        legal = isinstance(choices, tuple) and len(choices) == len(CELL_EDGES)
        if not legal or not all(isinstance(op, int) and 0 <= op < len(OPS) for op in choices):
            raise ArchitectureError(
                f"a {self.name} architecture has {len(CELL_EDGES)} choices, each 0 to {len(OPS) - 1} "
                f"(an index into {OPS}), got {choices!r}"
            )
        return architecture

    # -- text and tensors --------------------------------------------------------------------
    def parse(self, text: str) -> Architecture:
        """Read ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``; whitespace around it is ignored.

        Raises:
            ArchitectureError: says which part is wrong and what it may be.
        """
        if not isinstance(text, str):
            raise ArchitectureError(
                f"expected a string of the form {FORM}, got {type(text).__name__}: {text!r}"
            )
        nodes = text.strip().split("+")
        if nodes == [""]:
            raise ArchitectureError(f"the architecture string is empty; expected the form {FORM}")
        if len(nodes) != 3:
            raise ArchitectureError(
                f"expected 3 nodes joined by '+', got {len(nodes)} in {text!r}; the form is {FORM}"
            )
        return self._architecture(
            choice for number, node in enumerate(nodes, 1) for choice in parse_node(node, number, text)
        )

    def format(self, architecture: Architecture) -> str:
        ops = iter(self.validate(architecture).choices)
        nodes = ("".join(f"|{OPS[next(ops)]}~{source}" for source in range(node)) for node in (1, 2, 3))
        return "+".join(f"{node}|" for node in nodes)

    def encode(self, architectures: Sequence[Architecture]) -> torch.Tensor:
        """Vertex types, int64 ``[n, 8]``: input, the six operations in string order, output."""
        import torch

        rows = [(0, *(op + 2 for op in self.validate(a).choices), 1) for a in architectures]
        return torch.tensor(rows, dtype=torch.int64).reshape(-1, self.num_vertices)

    def decode(self, vertices: torch.Tensor) -> list[Architecture]:
        """Inverse of `encode`.

        Raises:
            ArchitectureError: not an integer tensor ``[n, 8]``, or a row that is no cell.
        """
        return [self._architecture(row) for row in self._choices(vertices).tolist()]

    # -- all cells at once, as tensors -------------------------------------------------------
    def all_vertices(self) -> torch.Tensor:
        """`encode` of every cell, int64 ``[15625, 8]``, in `enumerate` order."""
        import torch

        vertices = torch.ones(self.size, self.num_vertices, dtype=torch.int64)
        vertices[:, 0] = 0
        vertices[:, 1:-1] = torch.tensor(official_order()) + 2
        return vertices

    def costs(self, vertices: torch.Tensor, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """`cost` of many cells: params and FLOPs in millions, float64 ``[n]`` each.

        Args:
            vertices: int64 ``[n, 8]``.
            **options: those of `cost`.

        Raises:
            ArchitectureError: a row is no cell.
            ConfigError: an option is unknown or not a positive integer.
        """
        params, flops = count_cost(*cost_options(options, **COST_OPTIONS))
        choices = self._choices(vertices)
        conv1, conv3 = ((choices == op).sum(1).double() for op in (CONV1, CONV3))
        # Sums of integers below 2**53 are exact in float64.
        return params.total(conv1, conv3) / 1e6, flops.total(conv1, conv3) / 1e6

    def simplify(self, vertices: torch.Tensor) -> torch.Tensor:
        """The cheapest cells that compute the same, up to operations that only ever see zeros; ``[n, 8]``.

        These are 4,930 cells: useless operations become ``none``, and sums of sums are one sum.
        """
        import torch

        simplest = simplest_choices().to(vertices.device)[self._rank(vertices)]
        return torch.cat([vertices[:, :1], simplest + 2, vertices[:, -1:]], dim=1)

    def describe(self, vertices: torch.Tensor) -> Descriptors:
        """Paths, depth and costs ``[n, 28]``, and pairs of operations ``[n, 405]``, of cells without useless parts."""
        from metad2a_plugin.spaces.nasbench201.descriptors import describe

        return Descriptors(*describe(vertices.cpu()))

    def places(self, vertices: torch.Tensor) -> torch.Tensor:
        return self._rank(vertices)

    def dead_mask(self, vertices: torch.Tensor) -> torch.Tensor:
        """`is_dead` of many cells, bool ``[n]``, for vertices int64 ``[n, 8]``."""
        return ~connected((self._choices(vertices) != NONE).unbind(1))

    def canonical_ids(self, vertices: torch.Tensor) -> torch.Tensor:
        """The lowest `index` among the cells of equal `canonical` key, int64 ``[n]``, for vertices ``[n, 8]``."""
        return canonical_numbers().to(vertices.device)[self._rank(vertices)]

    # -- graphs and networks -----------------------------------------------------------------
    def canonical(self, architecture: Architecture) -> str:
        """The cell as an expression: ``0`` its input, ``#`` zeros, ``+`` a node's sum, ``(x)@op`` an operation.

        Operations on a zero node 1 are zeros, skips vanish and sums are sorted, as in the benchmark's own count
        of 6,466 distinct cells. Equal keys mean equal functions up to operations that only ever see zeros.
        The converse is not complete: ``#+0`` and ``#+#+0`` stay apart, as in that count
        (dropping every zero and flattening every sum would leave 4,930 classes).
        """
        return canonical_key(self.validate(architecture).choices)

    def is_dead(self, architecture: Architecture) -> bool:
        return not connected([op != NONE for op in self.validate(architecture).choices])

    def to_networkx(self, architecture: Architecture, edges: Sequence[tuple[int, int]] = EDGES) -> nx.DiGraph[int]:
        """The 8 vertices of `encode`, each with its type's name as ``op``, joined by `EDGES` or `DATAFLOW`."""
        import networkx as nx

        ops = [OPS[op] for op in self.validate(architecture).choices]
        graph: nx.DiGraph[int] = nx.DiGraph(name=self.format(architecture))
        graph.add_nodes_from((v, {"op": op}) for v, op in enumerate(("input", *ops, "output")))
        graph.add_edges_from(edges)
        return graph

    def build(self, architecture: Architecture, num_classes: int, **options: Any) -> nn.Module:
        """The network of the paper's figure 1; input ``[batch, 3, height, width]`` of 8 pixels or more.

        Args:
            architecture: the cell.
            num_classes: outputs of the classifier.
            **options: `channels` of the first stage (16) and `cells` per stage (5).

        Raises:
            ConfigError: an option is unknown or not a positive integer.
        """
        from metad2a_plugin.spaces.nasbench201.network import NASBench201Network

        channels, cells = cost_options(options, channels=16, cells=5)
        require_positive(num_classes=num_classes, channels=channels, cells=cells)
        return NASBench201Network(self.validate(architecture).choices, num_classes, channels, cells)

    def visit_relus(self, network: nn.Module, images: torch.Tensor, visit: Visit) -> None:
        from metad2a_plugin.spaces.nasbench201.network import NASBench201Network
        from metad2a_plugin.spaces.nasbench201.relus import visit_relus

        if isinstance(network, NASBench201Network):
            visit_relus(network, images, visit)
        else:
            super().visit_relus(network, images, visit)

    def cost(self, architecture: Architecture, **options: Any) -> Cost:
        """Parameters and FLOPs of the built network, equal to the published ones for the published settings.

        Args:
            architecture: the cell.
            **options: `num_classes` (10), `input_size` in pixels (32), `channels` (16), `cells` (5).

        Raises:
            ConfigError: an option is unknown or not a positive integer.
        """
        params, flops = count_cost(*cost_options(options, **COST_OPTIONS))
        choices = self.validate(architecture).choices
        convs = choices.count(CONV1), choices.count(CONV3)
        return Cost(params.total(*convs) / 1e6, flops.total(*convs) / 1e6)

    def draw(
        self, architecture: Architecture, path: str | os.PathLike[str], title: str | None = None
    ) -> None:
        """Draw the cell as SVG or PNG, by the suffix of `path`; parts that cannot matter are grey.

        Raises:
            ConfigError: another suffix.
            MissingExtraError: matplotlib is not installed (extra ``draw``).
        """
        from metad2a_plugin.spaces.drawing import draw_cell

        draw_cell([OPS[op] for op in self.validate(architecture).choices], CELL_EDGES, path, title)

    # -- private -----------------------------------------------------------------------------
    def _architecture(self, choices: Iterable[int]) -> Architecture:
        return Architecture(self.name, tuple(choices))

    def _rank(self, vertices: torch.Tensor) -> torch.Tensor:
        """Lexicographic rank of each cell, int64 ``[n]``."""
        from metad2a_plugin.spaces.nasbench201.descriptors import rank

        self._choices(vertices)  # refuses what is no cell
        return rank(vertices.long())

    def _choices(self, vertices: torch.Tensor) -> torch.Tensor:
        """The checked choices, int64 ``[n, 6]``, of vertices ``[n, 8]``."""
        if vertices.ndim != 2 or vertices.shape[1] != self.num_vertices or vertices.is_floating_point():
            raise ArchitectureError(
                f"expected integer vertex types of shape [n, {self.num_vertices}], "
                f"got {vertices.dtype} of shape {list(vertices.shape)}"
            )
        choices = vertices[:, 1:-1].long() - 2
        wrong = (
            (vertices[:, 0] != 0) | (vertices[:, -1] != 1) | ((choices < 0) | (choices >= len(OPS))).any(1)
        )
        if wrong.any():
            row = int(wrong.nonzero()[0])
            raise ArchitectureError(
                f"row {row}, {vertices[row].tolist()}, is no {self.name} cell: expected 0 (input), "
                f"six operations 2 to {len(OPS) + 1}, 1 (output)"
            )
        return choices
