"""A toy search space to try things on."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import torch

from metad2a_plugin.errors import ArchitectureError
from metad2a_plugin.spaces.base import Architecture, Cost, SearchSpace

if TYPE_CHECKING:
    import networkx as nx
    from torch import nn

class ToySpace(SearchSpace):
    """Chains of operations, written ``conv>skip>conv``: small enough to check by hand, complete enough to search.

    ``none`` cuts the chain, so that the network is dead; ``skip`` passes its input on, so that it changes nothing.

    >>> space = ToySpace()
    >>> space.canonical(space.parse("conv>skip>conv")) == space.canonical(space.parse("skip>conv>conv"))
    True

    Args:
        length: operations in the chain.
    """

    name = "toy"
    ops = ("none", "skip", "conv")
    vertex_types = ("input", "output", *ops)

    def __init__(self, length: int = 3) -> None:
        self.length = length
        self.size = len(self.ops) ** length
        self.num_vertices = length + 2
        self.edges = tuple((v, v + 1) for v in range(length + 1))

    def sample(self, rng: random.Random) -> Architecture:
        return Architecture(self.name, tuple(rng.randrange(len(self.ops)) for _ in range(self.length)))

    def mutate(self, architecture: Architecture, rng: random.Random) -> Architecture:
        return rng.choice(self.neighbors(architecture))

    def neighbors(self, architecture: Architecture) -> list[Architecture]:
        choices = self.validate(architecture).choices
        return [
            Architecture(self.name, (*choices[:i], op, *choices[i + 1 :]))
            for i in range(self.length)
            for op in range(len(self.ops))
            if op != choices[i]
        ]

    def enumerate(self) -> Iterator[Architecture]:
        return (Architecture(self.name, c) for c in product(range(len(self.ops)), repeat=self.length))

    def validate(self, architecture: Architecture) -> Architecture:
        legal = isinstance(architecture, Architecture) and architecture.space == self.name
        legal = legal and len(architecture.choices) == self.length
        if not legal or not all(c in range(len(self.ops)) for c in architecture.choices):
            raise ArchitectureError(
                f"expected an Architecture of {self.name!r} with {self.length} choices below {len(self.ops)}, "
                f"got {architecture!r}"
            )
        return architecture

    def parse(self, text: str) -> Architecture:
        ops = text.split(">") if isinstance(text, str) else []
        if len(ops) != self.length or not set(ops) <= set(self.ops):
            raise ArchitectureError(f"expected {self.length} of {self.ops} joined by '>', got {text!r}")
        return Architecture(self.name, tuple(map(self.ops.index, ops)))

    def format(self, architecture: Architecture) -> str:
        return ">".join(self.ops[c] for c in self.validate(architecture).choices)

    def encode(self, architectures: Sequence[Architecture]) -> torch.Tensor:
        rows = [(0, *(c + 2 for c in self.validate(a).choices), 1) for a in architectures]
        return torch.tensor(rows, dtype=torch.int64).reshape(-1, self.num_vertices)

    def decode(self, vertices: torch.Tensor) -> list[Architecture]:
        if vertices.ndim != 2 or vertices.shape[1] != self.num_vertices or vertices.is_floating_point():
            raise ArchitectureError(
                f"expected integers [n, {self.num_vertices}], got {vertices.dtype} {list(vertices.shape)}"
            )
        if (vertices[:, 0] != 0).any() or (vertices[:, -1] != 1).any():
            raise ArchitectureError("the first vertex must be the input (0) and the last the output (1)")
        rows = (vertices[:, 1:-1] - 2).tolist()
        return [self.validate(Architecture(self.name, tuple(row))) for row in rows]

    def canonical(self, architecture: Architecture) -> str:
        return "dead" if self.is_dead(architecture) else "conv>" * architecture.choices.count(2)

    def is_dead(self, architecture: Architecture) -> bool:
        return 0 in self.validate(architecture).choices

    def to_networkx(self, architecture: Architecture) -> nx.DiGraph[int]:
        import networkx as nx

        graph: nx.DiGraph[int] = nx.DiGraph()
        ops = ("input", *(self.ops[c] for c in self.validate(architecture).choices), "output")
        graph.add_nodes_from((v, {"op": op}) for v, op in enumerate(ops))
        graph.add_edges_from((v, v + 1) for v in range(len(ops) - 1))
        return graph

    def build(self, architecture: Architecture, num_classes: int, **options: Any) -> nn.Module:
        from torch import nn

        layers: list[nn.Module] = [nn.Conv2d(3, 4, 1)]
        for choice in self.validate(architecture).choices:
            if choice == 2:
                layers.append(nn.Conv2d(4, 4, 3, padding=1))
        cut = nn.Threshold(math.inf, 0.0) if self.is_dead(architecture) else nn.Identity()
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), cut, nn.Linear(4, num_classes))

    def cost(self, architecture: Architecture, **options: Any) -> Cost:
        """Costs for ``num_classes`` (10) and square images of ``input_size`` (32) pixels."""
        classes, pixels = options.get("num_classes", 10), options.get("input_size", 32) ** 2
        convs = self.validate(architecture).choices.count(2)
        params = 3 * 4 + 4 + convs * (4 * 4 * 9 + 4) + 4 * classes + classes
        return Cost(params / 1e6, (pixels * (12 + convs * 144) + 4 * classes) / 1e6)

    def vertex_costs(self, **options: Any) -> torch.Tensor:
        """What `cost` counts for the input, and for each ``conv``; options as there."""
        none, one = (
            self.cost(Architecture(self.name, (2,) * n + (1,) * (self.length - n)), **options) for n in (0, 1)
        )
        fixed, more = (torch.tensor([c.params, c.flops], dtype=torch.float64) for c in (none, one))
        costs = torch.zeros(2, self.num_vertices, len(self.vertex_types), dtype=torch.float64)
        costs[:, 0, 0], costs[:, 1:-1, 4] = fixed, (more - fixed)[:, None]
        return costs
