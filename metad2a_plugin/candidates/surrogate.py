"""What networks owe to each of their parts: a ridge regression of values on the types of their vertices."""

from __future__ import annotations

import torch
from torch.nn.functional import one_hot

from metad2a_plugin.spaces.base import SearchSpace


def additive_fit(
    space: SearchSpace,
    vertices: torch.Tensor,
    values: torch.Tensor,
    penalty: float = 1.0,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Numbers of each type at each vertex whose sums are nearest to `values`, float64 ``[vertices, types]``.

    Types that consist of parts (`SearchSpace.type_parts`) have sums of numbers of their parts.

    Args:
        space: the search space.
        vertices: encoded networks, int64 ``[n, vertices]``.
        values: float64 ``[n]``.
        penalty: on the squares of the numbers; 1 is worth one network.
        weights: of the networks, float64 ``[n]``, in any unit; all alike by default.
    """
    parts = _parts(space)
    x = parts[vertices].flatten(1)
    share = torch.ones_like(values) if weights is None else weights
    share = share / share.sum()
    center, level = share @ x, share @ values
    x = x - center
    weighted = len(values) * share[:, None] * x
    gram = weighted.T @ x + penalty * torch.eye(x.shape[1], dtype=x.dtype)
    found = torch.linalg.solve(gram, weighted.T @ (values - level))
    table = found.reshape(space.num_vertices, -1) @ parts.T
    table[0, 0] += level - center @ found
    return table


def _parts(space: SearchSpace) -> torch.Tensor:
    """Whether a type has a part, float64 ``[types, parts]``; types without parts are one part each."""
    if not space.type_parts:
        return torch.eye(len(space.vertex_types), dtype=torch.float64)
    columns = torch.tensor(space.type_parts).unbind(1)
    return torch.cat([one_hot(column) for column in columns], dim=1).double()
