"""Features of NAS-Bench-201 cells for latency models: what an eager runtime and a compiler would execute."""

from __future__ import annotations

import itertools

import torch
from torch.nn.functional import one_hot

from metad2a_plugin.spaces.nasbench201.cell import CELL_EDGES, OPS
from metad2a_plugin.spaces.nasbench201.descriptors import one_hot_pairs, prune, rank, structure
from metad2a_plugin.spaces.nasbench201.space import NASBench201

NUM_FEATURES = 1895


def cell_features() -> torch.Tensor:
    """Features of all cells in lexicographic order of their choices, float32 ``[15625, NUM_FEATURES]``."""
    return torch.cat(list(feature_blocks().values()), dim=1)


def feature_blocks() -> dict[str, torch.Tensor]:
    """The parts of `cell_features`, float32 ``[15625, k]`` each; nothing in them is measured.

    An eager runtime executes every operation of a cell, so that its time depends on how often each occurs. A
    compiler drops operations that the cell's zeros make useless; which ones depends on the pattern of zeros.
    """
    ops = torch.cartesian_prod(*[torch.arange(len(OPS))] * len(CELL_EDGES))
    pruned = prune(ops)
    path_features = structure(pruned)
    bits = 2 ** torch.arange(len(CELL_EDGES))
    pattern = one_hot(((ops > 0) * bits).sum(1), 64).bool()
    present = one_hot(ops, len(OPS))[:, :, 1:].flatten(1).bool()
    blocks = {
        "operations and pairs": one_hot_pairs(ops),
        "operation counts": _counts(ops),
        "pruned cell": torch.cat(
            [_counts(pruned), (path_features - path_features.mean(0)) / path_features.std(0)], dim=1
        ),
        "pattern of zeros": torch.cat([pattern, (pattern[:, :, None] & present[:, None]).flatten(1)], dim=1),
    }
    return {name: block[:, block.amax(0) != block.amin(0)].float() for name, block in blocks.items()}


def cell_ranks(vertices: torch.Tensor) -> torch.Tensor:
    """Row of each cell in `cell_features`, int64 ``[n]`` on the CPU, for vertices int64 ``[n, 8]``."""
    NASBench201().dead_mask(vertices)  # raises on rows that are no cell
    return rank(vertices.cpu().long())


def _counts(ops: torch.Tensor) -> torch.Tensor:
    """How often each operation occurs, and each two, one-hot; int64 ``[n, 6]`` to bool ``[n, 525]``."""
    hot = [one_hot((ops == op).sum(1), len(CELL_EDGES) + 1).bool() for op in range(len(OPS))]
    pairs = [(a[:, :, None] & b[:, None]).flatten(1) for a, b in itertools.combinations(hot, 2)]
    return torch.cat([*hot, *pairs], dim=1)
