"""The cell of NAS-Bench-201: operations, edges, strings, and which cells compute the same."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TypeVar

from metad2a_plugin.errors import ArchitectureError, said
from metad2a_plugin.utils.checks import did_you_mean
from metad2a_plugin.utils.lazy import torch

OPS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""The operations; a choice is an index into it."""
CELL_EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""The edge of the cell, (from node, to node), that each decision puts an operation on."""
EDGES = ((0, 1), (1, 2), (1, 3), (1, 5), (2, 3), (2, 6), (3, 4), (3, 6), (4, 5), (5, 6), (6, 7))
"""Edges of the 8-vertex graph that MetaD2A's models read, the same for every cell.

It is the data flow between operations plus the chain of all vertices; see `DATAFLOW` for the true wiring.
"""

DATAFLOW = ((0, 1), (0, 2), (0, 4), (1, 3), (1, 5), (2, 6), (3, 6), (4, 7), (5, 7), (6, 7))
"""Edges of the 8-vertex graph along which data really flows in a cell."""
FORM = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"
NONE, SKIP, CONV1, CONV3 = range(4)
_Flag = TypeVar("_Flag", bool, "torch.Tensor")


def parse_node(node: str, number: int, text: str) -> Iterator[int]:
    """The choices on the edges into node `number`, from ``|op~0|...|``."""
    if len(node) < 2 or node[0] != "|" or node[-1] != "|":
        raise ArchitectureError(f"node {number}, {node!r}, must begin and end with '|' in {text!r}; the form is {FORM}")
    inputs = node[1:-1].split("|")
    if len(inputs) != number:
        raise ArchitectureError(f"node {number} must have {number} inputs, got {len(inputs)}: {node!r} in {text!r}")
    for source, item in enumerate(inputs):
        op, _, predecessor = item.partition("~")
        if op not in OPS:
            raise ArchitectureError(
                f"unknown operation {op!r}{did_you_mean(op, OPS)} in node {number}, {node!r}; "
                f"the operations are {', '.join(OPS)}"
            )
        if predecessor != str(source):
            raise ArchitectureError(
                f"input {source} of node {number} must read '{op}~{source}', got {said(item)} in {text!r}: "
                "a node lists its predecessors from 0 on"
            )
        yield OPS.index(op)


def connected(on: Sequence[_Flag]) -> _Flag:
    """Whether node 0 reaches node 3, for one flag (bool or bool tensor) per cell edge."""
    node2 = on[1] | on[0] & on[2]
    return on[3] | on[0] & on[4] | node2 & on[5]


def canonical_key(choices: tuple[int, ...]) -> str:
    """A key that is equal for cells exactly when their networks are equal."""
    keys = ["0"]
    for inputs in (choices[:1], choices[1:3], choices[3:]):
        keys.append("+".join(sorted(_term(op, source) for op, source in zip(inputs, keys, strict=True))))
    return keys[-1]


def _term(op: int, source: str) -> str:
    if op == NONE or source == "#":
        return "#"
    return source if op == SKIP else f"({source})@{OPS[op]}"


def function_of(choices: tuple[int, ...]) -> tuple[str, ...]:
    """What a cell computes: the terms of its output's sum, without zeros and with sums of sums flattened."""
    terms: list[tuple[str, ...]] = [("0",)]
    for inputs in (choices[:1], choices[1:3], choices[3:]):
        total: list[str] = []
        for op, source in zip(inputs, terms, strict=True):
            if op == SKIP:
                total += source
            elif op != NONE and source:
                total.append(f"({'+'.join(source)})@{OPS[op]}")
        terms.append(tuple(sorted(total)))
    return terms[-1]


@cache
def simplest_choices() -> torch.Tensor:
    """Operations of the cheapest cell that computes the same, by lexicographic rank of the cell, ``[15625, 6]``."""

    def price(choices: tuple[int, ...]) -> tuple[int, int, int]:
        operations = [op for op in choices if op != NONE]
        return operations.count(CONV3), operations.count(CONV1), len(operations)

    best: dict[tuple[str, ...], tuple[int, ...]] = {}
    functions = {choices: function_of(choices) for choices in sorted(official_order())}
    for choices, function in functions.items():
        if function not in best or price(choices) < price(best[function]):
            best[function] = choices
    return torch.tensor([best[function] for function in functions.values()])


@cache
def official_order() -> list[tuple[int, ...]]:
    """All cells, in the index order of the published benchmark files."""
    # The benchmark lists the cells in lexicographic order, then shuffles them with this seed.
    cells = list(itertools.product(range(len(OPS)), repeat=len(CELL_EDGES)))
    random.Random(88).shuffle(cells)
    return cells


@cache
def official_index() -> dict[tuple[int, ...], int]:
    """The index of each cell in `official_order`."""
    return {choices: index for index, choices in enumerate(official_order())}


@cache
def canonical_numbers() -> torch.Tensor:
    """The lowest official index of each cell's class, by lexicographic rank of the cell, ``[15625]``."""
    first: dict[str, int] = {}
    ids = {choices: first.setdefault(canonical_key(choices), i) for i, choices in enumerate(official_order())}
    return torch.tensor([ids[choices] for choices in sorted(ids)])
