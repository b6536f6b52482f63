"""Which of many encoded networks are candidates: live, within the limits, and each only once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from metad2a_plugin.candidates.limits import Limit
from metad2a_plugin.spaces.base import SearchSpace


class Pool:
    """Different live networks within the limits, and what was left out.

    Args:
        space: the search space.
        limits: hard ones.

    Attributes:
        rejected: of the last `select`, how many networks were left out, by reason: ``dead``, ``duplicate``, ``bound``.
        least: of the last `select`, the least cost of a live network, by the label of the limit.
    """

    def __init__(self, space: SearchSpace, limits: Sequence[Limit]) -> None:
        self.space, self.limits = space, tuple(limits)
        self.rejected: dict[str, int] = {}
        self.least: dict[str, float] = {}

    def select(self, vertices: torch.Tensor) -> torch.Tensor:
        """In the order given, each network in its cheapest form; int64 ``[n, vertices]`` to ``[m, vertices]``."""
        alive = self.space.simplify(vertices[~self.space.dead_mask(vertices)])
        _, inverse = self.space.canonical_ids(alive).unique(return_inverse=True)
        first = torch.full((int(inverse.max()) + 1 if len(inverse) else 0,), len(alive))
        first = first.scatter_reduce(0, inverse, torch.arange(len(alive)), "amin")
        unique = alive[first.sort().values]
        within = torch.ones(len(unique), dtype=torch.bool)
        for limit in self.limits:
            cost = limit.measure(unique)
            within &= limit.allows(cost)
            self.least[limit.label] = float(cost.min()) if len(cost) else math.inf
        self.rejected = {
            "dead": len(vertices) - len(alive),
            "duplicate": len(alive) - len(unique),
            "bound": len(unique) - int(within.sum()),
        }
        return unique[within]

    def fresh(self, vertices: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """`select` without the networks of `seen`, int64 ``[n, vertices]``."""
        chosen = self.select(vertices)
        ids = self.space.canonical_ids(torch.cat([seen, chosen]))
        return chosen[~torch.isin(ids[len(seen) :], ids[: len(seen)])]

    def explain(self) -> str:
        """Why there is no candidate, with `least`."""
        if not self.limits:
            return "no architecture is left after dead ones and duplicates; ask for more candidates"
        # Rounded up, so that the number shown is one that passes.
        least = {limit.label: math.ceil(1000 * self.least[limit.label]) / 1000 for limit in self.limits}
        shown = ", ".join(f"{label} {value:g}" for label, value in least.items())
        asked = ", ".join(f"{limit.name} {limit.most:g}" for limit in self.limits)
        if all(self.least[limit.label] <= limit.most for limit in self.limits):
            return f"no architecture is within all limits together ({asked}); the least of each: {shown}. Raise a limit"
        return f"no architecture is within the limits ({asked}); the least there is: {shown}. Raise a limit"
