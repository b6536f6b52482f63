"""Cells of NAS-Bench-201 in the notations of its packages, of XAutoDL and of NASLib."""

from __future__ import annotations

import re
from typing import Any

from metad2a_plugin.errors import ArchitectureError, said
from metad2a_plugin.spaces.nasbench201.cell import CELL_EDGES, FORM, OPS, official_order, parse_node
from metad2a_plugin.utils.checks import did_you_mean

NASLIB_NAMES = ("Identity", "Zero", "ReLUConvBN3x3", "ReLUConvBN1x1", "AvgPool1x1")
"""NASLib's names of the operations, in its order."""
NASLIB_OPS = tuple(map(OPS.index, ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")))
"""Our operation, by NASLib's."""
NASLIB_EDGES = (0, 1, 3, 2, 4, 5)
"""Edge of our string, by NASLib's edge, which go by their source; its own inverse."""
_NODES = (1, 2, 3)
_STRUCTURE = re.compile(r"\w+\(4 nodes with (?P<text>[^()]*)\)", re.ASCII)
_SIZES = re.compile(r"\d+(?::\d+)+", re.ASCII)
_KNOWN = (
    f"a cell is text of the form {FORM}, an index of 0 to {len(OPS) ** len(CELL_EDGES) - 1}, XAutoDL's list of three "
    f"nodes of (operation, input), or NASLib's {len(CELL_EDGES)} operation indices of 0 to {len(OPS) - 1}, as many "
    f"names of {NASLIB_NAMES} or one-hot vector of {len(CELL_EDGES) * len(OPS)}"
)


def parse_cell(text: str) -> tuple[int, ...]:
    """The choices of ``|op~0|+|op~0|op~1|+|op~0|op~1|op~2|``, also within ``Structure(4 nodes with ...)``."""
    if found := _STRUCTURE.fullmatch(text):
        text = found["text"].strip()
    if _SIZES.fullmatch(text):
        raise ArchitectureError(
            f"{text!r} is a network of NATS-Bench's size space, which is another search space (numbers of channels); "
            f"cells of the topology space have the form {FORM}"
        )
    nodes = text.split("+")
    if nodes == [""]:
        raise ArchitectureError(f"the architecture string is empty; expected the form {FORM}")
    if len(nodes) != len(_NODES):
        raise ArchitectureError(f"expected 3 nodes joined by '+', got {len(nodes)} in {text!r}; the form is {FORM}")
    return tuple(choice for i, node in zip(_NODES, nodes, strict=True) for choice in parse_node(node, i, text))


def choices_of(values: Any) -> tuple[int, ...]:
    """The choices of a cell that is written as plain values.

    Args:
        values: the official index; what `from_naslib_values` reads; or XAutoDL's genotype, a list of
            ``(operation, input)`` for each of the nodes 1 to 3.

    Raises:
        ArchitectureError: none of these.
    """
    if type(values) is int:
        order = official_order()
        if not 0 <= values < len(order):
            raise ArchitectureError(f"indices of cells run from 0 to {len(order) - 1}, got {said(values)}")
        return order[values]
    if isinstance(values, list) and len(values) == len(_NODES) and all(isinstance(node, list) for node in values):
        return tuple(c for number, node in zip(_NODES, values, strict=True) for c in _node_choices(node, number))
    if (found := from_naslib_values(values)) is not None:
        return found
    raise ArchitectureError(f"no cell is {type(values).__name__}: {said(values)}; {_KNOWN}")


def from_naslib_values(values: Any) -> tuple[int, ...] | None:
    """The choices that NASLib's encodings say; None where it is none of them.

    Args:
        values: six operation indices, six of `NASLIB_NAMES`, or a one-hot vector of 30.
    """
    ops = _naslib_ops(values)
    return None if ops is None else tuple(NASLIB_OPS[ops[edge]] for edge in NASLIB_EDGES)


def _naslib_ops(values: Any) -> list[int] | None:
    if not isinstance(values, list):
        return None
    if len(values) == len(CELL_EDGES):
        if all(type(op) is int and 0 <= op < len(OPS) for op in values):
            return values
        if all(name in NASLIB_NAMES for name in values):
            return [NASLIB_NAMES.index(name) for name in values]
    if len(values) == len(CELL_EDGES) * len(OPS) and all(v in (0, 1) for v in values):
        rows = [values[i : i + len(OPS)] for i in range(0, len(values), len(OPS))]
        if all(sum(row) == 1 for row in rows):
            return [row.index(1) for row in rows]
    return None


def _node_choices(node: list[Any], number: int) -> list[int]:
    """The choices on the edges into a node, from its (operation, input) in any order."""
    found: dict[int, int] = {}
    for item in node:
        if not (isinstance(item, list) and len(item) == 2 and isinstance(item[0], str) and type(item[1]) is int):
            raise ArchitectureError(f"node {number} must be a list of (operation, input), got {said(item)} in it")
        op, source = item
        if op not in OPS:
            raise ArchitectureError(
                f"unknown operation {said(op)}{did_you_mean(op, OPS)} in node {number}; the operations are "
                f"{', '.join(OPS)}"
            )
        if source in found or not 0 <= source < number:
            raise ArchitectureError(f"node {number} has one input from each node before it, got {said(node)}")
        found[source] = OPS.index(op)
    if len(found) != number:
        raise ArchitectureError(f"node {number} must have {number} inputs, got {len(found)}: {said(node)}")
    return [found[source] for source in range(number)]
