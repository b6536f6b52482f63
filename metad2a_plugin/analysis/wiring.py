"""Width and depth of a cell: Shu, Wang and Cai, Understanding Architectures Learnt by Cell-based NAS, ICLR 2020.

Section 3 there: the *width* of a cell is the sum over its intermediate nodes of the share of the node's inputs that are
inputs of the cell, in units of the channels c; the *depth* is the number of connections on the longest path from an
input to the output. What a connection computes does not count: a skip connection is one like a convolution.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from metad2a_plugin.errors import ArchitectureError, ConfigError, said
from metad2a_plugin.utils.checks import integer

INPUTS = 2
"""Of a `Genotype`: the outputs of the cell before the last, and of the last."""
OPERATIONS = (
    *(f"sep_conv_{k}x{k}" for k in (3, 5, 7)),
    *(f"dil_conv_{k}x{k}" for k in (3, 5)),
    "avg_pool_3x3",
    "max_pool_3x3",
    "skip_connect",
)
"""What a connection of a `Genotype` can be: separable and dilated convolutions, pools and a skip."""


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
                    f"the sources of node {number} must be numbers from 0 to {number - 1}, got {said(sources)}"
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


@dataclass(frozen=True)
class Genotype(Wiring):
    """A cell of the DARTS-like space: nodes that sum operations, of two inputs, and an output that concatenates them.

    Attributes:
        operations: of each intermediate node, the operation on each of its sources, names of `OPERATIONS`.

    Raises:
        ConfigError: it is no `Wiring`, or its operations do not fit.

    >>> cell = Genotype.parse("sep_conv_3x3~0 skip_connect~1 | sep_conv_3x3~0 max_pool_3x3~2")
    >>> cell.nodes, cell.width, cell.depth
    (((0, 1), (0, 2)), 1.5, 3)
    """

    operations: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inputs != INPUTS:
            raise ConfigError(f"a genotype has {INPUTS} inputs, got {self.inputs}")
        if [len(names) for names in self.operations] != [len(sources) for sources in self.nodes]:
            raise ConfigError(f"each source of a node needs an operation, got {said(self.operations)}")
        if unknown := {name for names in self.operations for name in names} - {*OPERATIONS}:
            raise ConfigError(f"operations are {', '.join(OPERATIONS)}; got {said(sorted(unknown)[0])}")

    @classmethod
    def parse(cls, text: str) -> Genotype:
        """Read ``"sep_conv_3x3~0 skip_connect~1 | ..."``: of each node, operations with their sources; see `str`.

        Raises:
            ArchitectureError: the text has another form.
            ConfigError: the operations or sources are none.
        """
        form = "nodes divided by '|', each of operations with their sources, such as 'sep_conv_3x3~0 skip_connect~1'"
        nodes, operations = [], []
        for node in text.split("|"):
            parts = [part.split("~") for part in node.split()]
            if not parts or not all(len(part) == 2 and part[1].isdecimal() and part[1].isascii() for part in parts):
                raise ArchitectureError(f"a cell is written as {form}; got {said(node)}")
            if any(len(source) > 3 for _, source in parts):
                raise ArchitectureError(f"sources are numbers of nodes, got {said(node)}")
            operations.append(tuple(name for name, _ in parts))
            nodes.append(tuple(int(source) for _, source in parts))
        return cls(INPUTS, tuple(nodes), tuple(operations))

    def __str__(self) -> str:
        both = zip(self.operations, self.nodes, strict=True)
        nodes = [[f"{name}~{source}" for name, source in zip(*node, strict=True)] for node in both]
        return " | ".join(map(" ".join, nodes))

    def rewired(self, seed: int) -> Genotype:
        """The same operations on random sources, different ones for a node where there are enough (section 4.1)."""
        rng = random.Random(seed)
        nodes = []
        for number, sources in enumerate(self.nodes, self.inputs):
            draw = rng.sample if len(sources) <= number else rng.choices
            nodes.append(tuple(draw(range(number), k=len(sources))))
        return Genotype(self.inputs, tuple(nodes), self.operations)


_FOUND = {
    "NASNet": """sep_conv_5x5~1 sep_conv_3x3~0 | sep_conv_5x5~0 sep_conv_3x3~0 | avg_pool_3x3~1 skip_connect~0 |
        avg_pool_3x3~0 avg_pool_3x3~0 | sep_conv_3x3~1 skip_connect~1""",
    "AmoebaNet": """avg_pool_3x3~0 max_pool_3x3~1 | sep_conv_3x3~0 sep_conv_5x5~2 | sep_conv_3x3~0 avg_pool_3x3~3 |
        sep_conv_3x3~1 skip_connect~1 | skip_connect~0 avg_pool_3x3~1""",
    "ENAS": """sep_conv_3x3~1 skip_connect~1 | sep_conv_5x5~1 skip_connect~0 | avg_pool_3x3~0 sep_conv_3x3~1 |
        sep_conv_3x3~0 avg_pool_3x3~1 | sep_conv_5x5~1 avg_pool_3x3~0""",
    "DARTS": """sep_conv_3x3~0 sep_conv_3x3~1 | sep_conv_3x3~0 sep_conv_3x3~1 | sep_conv_3x3~1 skip_connect~0 |
        skip_connect~0 dil_conv_3x3~2""",
    "SNAS": """sep_conv_3x3~0 sep_conv_3x3~1 | skip_connect~0 dil_conv_3x3~1 | skip_connect~1 skip_connect~0 |
        skip_connect~0 sep_conv_3x3~1""",
}
PUBLISHED: dict[str, Genotype] = {name: Genotype.parse(text) for name, text in _FOUND.items()}
"""Normal cells that searches have found, as the paper compares them; all nodes are concatenated."""
