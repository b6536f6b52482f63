"""Sums over the vertices of a graph: which networks of a space too large to list have the largest, and random draws.

A table ``scores[vertex, type]`` scores a network by the sum of its vertices' entries. Vertex by vertex, and looking
ahead to the best (or the average) of what may still follow, the networks of the largest sums are found, and networks
drawn with probabilities that grow as the exponential of the sum.

What may follow is asked of the space (`SearchSpace.type_mask`), so that all results are networks, each in one form. The
look-ahead takes it that the type of a vertex says what may follow it, as in the spaces of this package. Where more of
the graph matters, the results are approximate.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import pad

from metad2a_plugin.nn.decoder import INPUT, OUTPUT, keys_below
from metad2a_plugin.spaces.base import SearchSpace


class Chains:
    """The graphs of a search space, as chains of vertex types.

    Args:
        space: the search space.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.places = torch.arange(space.num_vertices)
        self._followers = _followers(space)

    def sums(self, scores: torch.Tensor, vertices: torch.Tensor) -> torch.Tensor:
        """Of networks, int64 ``[n, vertices]``, by scores ``[vertices, types]``; ``[n]``."""
        return scores[self.places, vertices].sum(1)

    def best(self, scores: torch.Tensor, n: int) -> torch.Tensor:
        """The `n` networks of the largest sums, largest first, int64 ``[m, vertices]``; fewer if the space has no more.

        Args:
            scores: float64 ``[vertices, types]``, finite.
            n: how many.
        """
        ahead = self._look_ahead(scores, lambda following: following.amax(-1))
        return self._grow(n, scores[0, INPUT], lambda v, _: scores[v], lambda v, _, value: value + ahead[v])

    def top(self, scores: torch.Tensor) -> torch.Tensor:
        """The graph of the largest sum of each of several tables, ``[b, vertices, types]`` to int64 ``[b, vertices]``.

        As `best` of one, and faster; a network only where the type of a vertex says what may follow it.
        """
        ahead = scores + self._look_ahead(scores, lambda following: following.amax(-1))
        types = [torch.full((len(scores),), INPUT)]
        for v in range(1, scores.shape[1]):
            allowed = self._followers[v - 1, types[-1]]
            types.append(ahead[:, v].masked_fill(~allowed, -torch.inf).argmax(1))
        return torch.stack(types, dim=1)

    def draw(self, tilt: torch.Tensor, n: int, rng: torch.Generator) -> torch.Tensor:
        """`n` different networks, drawn without replacement, int64 ``[m, vertices]``; fewer if the space has no more.

        A network's probability is that of drawing each vertex's type uniformly from those that may follow (for
        ``mobilenetv3``: each depth of a stage, kernel and expand ratio alike), times the exponential of its sum.

        Args:
            tilt: float64 ``[vertices, types]``, finite; zeros for the uniform draw.
            n: how many.
            rng: on the CPU.
        """
        steered = self.ahead(tilt)

        def step(v: int, mask: torch.Tensor) -> torch.Tensor:
            return steered[v].masked_fill(~mask, -torch.inf).log_softmax(1)

        return self._grow(n, torch.zeros(()), step, lambda _, key, value: keys_below(key, value, rng))

    def ahead(self, tilt: torch.Tensor) -> torch.Tensor:
        """`tilt` with what it does later on added, ``[vertices, types]``.

        Types drawn one by one with these as logarithms of weights have the probabilities that `draw` describes. For a
        model that draws types one by one, it is a tilt that knows, for instance, that a deep stage will cost more.
        """

        def average(following: torch.Tensor) -> torch.Tensor:
            number = following.isfinite().sum(-1).clamp(min=1)
            return following.logsumexp(-1) - number.log()

        return tilt + self._look_ahead(tilt, average)

    # -- private -----------------------------------------------------------------------------
    def _look_ahead(self, scores: torch.Tensor, combine: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """What `combine` makes of the sums that may follow each type at each vertex, ``[..., vertices, types]``."""
        ahead = torch.zeros_like(scores)
        for v in range(scores.shape[-2] - 2, -1, -1):
            following = (scores[..., v + 1, :] + ahead[..., v + 1, :])[..., None, :]
            combined = combine(following.masked_fill(~self._followers[v], -torch.inf))
            ahead[..., v, :] = combined.masked_fill(~self._followers[v].any(1), 0.0)
        return ahead

    def _grow(
        self,
        n: int,
        start: torch.Tensor,
        step: Callable[[int, torch.Tensor], torch.Tensor],
        rank: Callable[[int, torch.Tensor, torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """The `n` graphs that rank highest, found by keeping `n` beginnings.

        Args:
            n: how many.
            start: the input's value.
            step: from a vertex and what may come there, bool ``[n, types]``, to what each type adds to the value.
            rank: from a vertex, the ranks of the beginnings ``[n]`` and the values with one type more ``[n, types]`` to
                the ranks of these; no better than the rank of the beginning.
        """
        prefix = torch.full((1, 1), INPUT)
        value = start.double().reshape(1)
        key = torch.zeros_like(value)
        for v in range(1, len(self.places) - 1):
            mask = self.space.type_mask(prefix)
            child = (value[:, None] + step(v, mask)).masked_fill(~mask, -torch.inf)
            ranks = rank(v, key, child).masked_fill(~mask, -torch.inf).flatten()
            key, chosen = ranks.topk(min(n, int(mask.sum())))
            parent, drawn = chosen // mask.shape[1], chosen % mask.shape[1]
            value = child.flatten()[chosen]
            prefix = torch.cat([prefix[parent], drawn[:, None]], dim=1)
        return pad(prefix, (0, 1), value=OUTPUT)


def _followers(space: SearchSpace) -> torch.Tensor:
    """Whether a type at a vertex may be followed by another, bool ``[vertices - 1, types, types]``."""
    types = len(space.vertex_types)
    followers = torch.zeros(space.num_vertices - 1, types, types, dtype=torch.bool)
    reached = torch.full((1, 1), INPUT)  # one beginning for each type that the last vertex can have
    for v in range(space.num_vertices - 2):
        mask = space.type_mask(reached)
        followers[v, reached[:, -1]] = mask
        types_next = mask.any(0).nonzero()[:, 0]
        parent = mask[:, types_next].int().argmax(0)
        reached = torch.cat([reached[parent], types_next[:, None]], dim=1)
    followers[-1, reached[:, -1], OUTPUT] = True
    return followers
