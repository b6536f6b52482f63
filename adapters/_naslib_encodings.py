"""Cells in NASLib's encodings and back; NASLib itself is not needed.

NASLib orders the operations and the edges of a cell in its own way: its edges go by their source, those of the
benchmark's string by their target. What is no cell of NAS-Bench-201 is an `ArchitectureError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from metad2a_plugin.errors import ArchitectureError, said
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.nasbench201.cell import OPS
from metad2a_plugin.spaces.nasbench201.notations import NASLIB_EDGES, NASLIB_NAMES, NASLIB_OPS, from_naslib_values
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.spaces.values import plain

SPACE = NASBench201()


def to_op_indices(architecture: Architecture) -> tuple[int, ...]:
    """NASLib's six operation indices of a cell."""
    choices = SPACE.validate(architecture).choices
    return tuple(NASLIB_OPS.index(choices[edge]) for edge in NASLIB_EDGES)


def to_op_names(architecture: Architecture) -> tuple[str, ...]:
    """NASLib's names of the six operations, such as ``ReLUConvBN3x3``, in its order of the edges."""
    return tuple(NASLIB_NAMES[op] for op in to_op_indices(architecture))


def to_one_hot(architectures: Sequence[Architecture]) -> np.ndarray:
    """NASLib's adjacency one-hot encoding, int64 ``[n, 30]``."""
    indices = np.array([to_op_indices(a) for a in architectures], dtype=np.int64).reshape(-1, len(NASLIB_EDGES))
    return np.eye(len(OPS), dtype=np.int64)[indices].reshape(-1, len(NASLIB_EDGES) * len(OPS))


def from_naslib(cell: Any) -> Architecture:
    """The architecture of a NASLib graph, or of any of its encodings.

    Args:
        cell: a `NasBench201SearchSpace` that has an architecture, six operation indices, six operation names, a
            one-hot vector of 30, or a text that `NASBench201.parse` reads.

    Raises:
        ArchitectureError: none of these.
    """
    if isinstance(cell, str):
        return SPACE.parse(cell)
    if hasattr(cell, "get_op_indices"):
        try:
            cell = cell.get_op_indices()
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ArchitectureError(
                f"this {type(cell).__name__} has no architecture yet: set one with set_op_indices, or discretise it"
            ) from error
    choices = from_naslib_values(plain(cell))
    if choices is None:
        raise ArchitectureError(
            f"expected a NasBench201SearchSpace, {len(NASLIB_EDGES)} operation indices from 0 to {len(OPS) - 1}, as "
            f"many names of {NASLIB_NAMES}, a one-hot vector of {len(NASLIB_EDGES) * len(OPS)} or an architecture "
            f"string, got {said(cell)}"
        )
    return Architecture(SPACE.name, choices)
