"""NAS-Bench-201 (NATS-Bench topology), all 15,625 cells: Dong and Yang, ICLR 2020, arXiv 2001.00326.

A cell has four nodes. Node 0 is its input, node 3 its output, and every pair of nodes is joined by
one of five operations: six decisions, written ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``, where ``op~j``
is the operation on the edge from node ``j``.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from metad2a_plugin.spaces.base import Architecture, Cost, Descriptors
from metad2a_plugin.spaces.interfaces import CellSpace, Drawable, Transferable, WeightSharing
from metad2a_plugin.spaces.nasbench201.cell import (
    CELL_EDGES,
    CONV1,
    CONV3,
    EDGES,
    NONE,
    OPS,
    SKIP,
    canonical_key,
    canonical_numbers,
    connected,
    official_index,
    official_order,
    simplest_choices,
)
from metad2a_plugin.spaces.nasbench201.cost import count_cost
from metad2a_plugin.spaces.nasbench201.notations import choices_of, parse_cell
from metad2a_plugin.utils.checks import integer
from metad2a_plugin.utils.lazy import torch

if TYPE_CHECKING:
    import os

    from torch import nn

    from metad2a_plugin.nn.relus import Visit
    from metad2a_plugin.spaces.nasbench201.supernet import NASBench201Supernet


class NASBench201(CellSpace, WeightSharing, Transferable, Drawable):
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
    options = (len(OPS),) * len(CELL_EDGES)
    sizes = {"channels": (8, 16, 24, 32), "cells": (1, 2, 3, 5)}  # noqa: RUF012
    operations = OPS
    reference = (CONV3,) * len(CELL_EDGES)
    cell_edges = CELL_EDGES
    none, skip, convolutions = NONE, SKIP, (CONV1, CONV3)
    edges = EDGES
    decision_names = tuple(f"{source}_{target}" for source, target in CELL_EDGES)
    head = "classifier"

    # -- points ------------------------------------------------------------------------------
    def mutate(self, architecture: Architecture, rng: random.Random) -> Architecture:
        choices = list(self.validate(architecture).choices)
        edge = rng.randrange(len(CELL_EDGES))
        choices[edge] = (choices[edge] + rng.randrange(1, len(OPS))) % len(OPS)
        return self._architecture(choices)

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

    # -- text and tensors --------------------------------------------------------------------
    def parse(self, text: Any) -> Architecture:
        """Read ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``, its `Structure`, an index, XAutoDL's or NASLib's notation.

        These can be in a file that is named; see `SearchSpace.parse`.

        >>> space = NASBench201()
        >>> space.parse((2, 0, 1, 0, 1, 4)) == space.parse("|nor_conv_3x3~0|+|skip_connect~0|skip_connect~1|+"
        ...                                               "|none~0|none~1|avg_pool_3x3~2|")
        True
        """
        return self._architecture(parse_cell(text))

    def from_values(self, values: Any) -> Architecture:
        """Read an official index, NASLib's encodings or XAutoDL's genotype, see `nasbench201.notations`."""
        return self._architecture(choices_of(values))

    def format(self, architecture: Architecture) -> str:
        ops = iter(self.validate(architecture).choices)
        nodes = ("".join(f"|{OPS[next(ops)]}~{source}" for source in range(node)) for node in (1, 2, 3))
        return "+".join(f"{node}|" for node in nodes)

    # -- all cells at once, as tensors -------------------------------------------------------
    def all_vertices(self) -> torch.Tensor:
        vertices = torch.ones(self.size, self.num_vertices, dtype=torch.int64)
        vertices[:, 0] = 0
        vertices[:, 1:-1] = torch.tensor(official_order()) + 2
        return vertices

    def costs(self, vertices: torch.Tensor, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
        params, flops = count_cost(**self.cost_options(options))
        choices = self.choices(vertices)
        conv1, conv3 = ((choices == op).sum(1).double() for op in (CONV1, CONV3))
        # Sums of integers below 2**53 are exact in float64.
        return params.total(conv1, conv3) / 1e6, flops.total(conv1, conv3) / 1e6

    def simplify(self, vertices: torch.Tensor) -> torch.Tensor:
        """The cheapest cells that compute the same, up to operations that only ever see zeros; ``[n, 8]``.

        These are 4,930 cells: useless operations become ``none``, and sums of sums are one sum.
        """
        simplest = simplest_choices().to(vertices.device)[self._rank(vertices)]
        return torch.cat([vertices[:, :1], simplest + 2, vertices[:, -1:]], dim=1)

    def pruned(self, vertices: torch.Tensor) -> torch.Tensor:
        from metad2a_plugin.spaces.nasbench201.descriptors import prune

        return prune(self.choices(vertices))

    def describe(self, vertices: torch.Tensor) -> Descriptors:
        """Paths, depth and costs ``[n, 28]``, and pairs of operations ``[n, 405]``, of cells without useless parts."""
        from metad2a_plugin.spaces.nasbench201.descriptors import describe

        return Descriptors(*describe(vertices.cpu()))

    def places(self, vertices: torch.Tensor) -> torch.Tensor:
        return self._rank(vertices)

    def dead_mask(self, vertices: torch.Tensor) -> torch.Tensor:
        return ~connected((self.choices(vertices) != NONE).unbind(1))

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

    def build(self, architecture: Architecture, num_classes: int, *, channels: int = 16, cells: int = 5) -> nn.Module:
        """The network of the paper's figure 1; input ``[batch, 3, height, width]`` of 8 pixels or more.

        Args:
            architecture: the cell.
            num_classes: outputs of the classifier.
            channels: width of the first stage.
            cells: cells per stage.
        """
        from metad2a_plugin.spaces.nasbench201.network import NASBench201Network

        self.check_options({"channels": channels, "cells": cells})
        return NASBench201Network(self.validate(architecture).choices, num_classes, channels, cells)

    def supernet(self, num_classes: int, *, channels: int = 16, cells: int = 5) -> NASBench201Supernet:
        from metad2a_plugin.spaces.nasbench201.supernet import NASBench201Supernet

        return NASBench201Supernet(num_classes, channels, cells)

    def untrained_supernet(self, *, channels: int = 16, cells: int = 5) -> NASBench201Supernet:
        from metad2a_plugin.spaces.nasbench201.supernet import NASBench201Supernet

        return NASBench201Supernet(1, channels, cells, scaled=True)

    def read_supernet(self, path: str | os.PathLike[str]) -> NASBench201Supernet:
        from metad2a_plugin.spaces.nasbench201.supernet import read_supernet

        return read_supernet(path)

    def write_supernet(self, path: str | os.PathLike[str], supernet: nn.Module) -> None:
        from metad2a_plugin.spaces.nasbench201.supernet import write_supernet

        write_supernet(path, supernet)

    def cut(
        self, supernet: nn.Module, architecture: Architecture, *, channels: int = 16, cells: int = 5
    ) -> dict[str, torch.Tensor]:
        from metad2a_plugin.spaces.nasbench201.supernet import as_supernet

        return as_supernet(supernet).weights(self.validate(architecture).choices, channels, cells)

    def check_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        for name in {"channels", "cells"}.intersection(options):
            integer(name, options[name], 1, 100_000)
        return super().check_options(options)

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
        """
        params, flops = count_cost(**self.cost_options(options))
        choices = self.validate(architecture).choices
        convs = choices.count(CONV1), choices.count(CONV3)
        return Cost(params.total(*convs) / 1e6, flops.total(*convs) / 1e6)

    def draw(self, architecture: Architecture, path: str | os.PathLike[str], title: str | None = None) -> None:
        """Draw the cell as SVG or PNG, by the suffix of `path`; parts that cannot matter are grey."""
        from metad2a_plugin.spaces.drawing import draw_cell

        draw_cell([OPS[op] for op in self.validate(architecture).choices], CELL_EDGES, path, title)

    # -- private -----------------------------------------------------------------------------
    def _architecture(self, choices: Iterable[int]) -> Architecture:
        return Architecture(self.name, tuple(choices))

    def _rank(self, vertices: torch.Tensor) -> torch.Tensor:
        """Lexicographic rank of each cell, int64 ``[n]``."""
        from metad2a_plugin.spaces.nasbench201.descriptors import rank

        self.choices(vertices)  # refuses what is no cell
        return rank(vertices.long())
