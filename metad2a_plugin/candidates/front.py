"""The best network within each of many limits on one cost, from the smallest network to the largest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from metad2a_plugin.candidates.chains import Chains
from metad2a_plugin.candidates.find import Effort, random_draw
from metad2a_plugin.candidates.generate import Draw
from metad2a_plugin.candidates.limits import Limit
from metad2a_plugin.candidates.pool import Pool
from metad2a_plugin.candidates.refine import Predict, Scored, propose
from metad2a_plugin.candidates.surrogate import additive_fit
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.spaces.base import SearchSpace

ROUNDS = 3
_NEAR = 0.1  # costs that differ by this share count as near
_PROBE, _STEPS = 50, 4


def sweep(
    space: SearchSpace,
    predict: Predict,
    draw: Draw | None,
    limits: Sequence[Limit],
    cost: Limit,
    levels: Sequence[float],
    effort: Effort,
) -> Scored:
    """Networks near the front of a space too large to list, all scored ones, not sorted.

    A third of the queries is for draws around each level of the cost. Then, for each level, a sum fitted to the
    networks of about that cost is maximised within it, as in `refine`.

    Args:
        space: the search space.
        predict: the predictor.
        draw: where networks come from; None draws at random.
        limits: hard ones, of other costs too.
        cost: the cost, limited to the largest that is of interest.
        levels: of the cost, ascending; see `spaced`.
        effort: its queries and seed.

    Raises:
        ConfigError: no network is within the limits, or the cost is no sum over vertices.
    """
    queries, seed = effort.queries, effort.seed
    chains, rng = Chains(space), torch.Generator().manual_seed(seed)
    pool = Pool(space, [*limits, cost])
    draw = draw or random_draw(chains, seed)
    drawn = [_around(draw, chains, cost, level, queries // (3 * len(levels))) for level in levels]
    smallest = chains.best(-_table(cost), 1)
    vertices = pool.select(torch.cat([smallest, *drawn]))
    if not len(vertices):
        raise ConfigError(pool.explain())
    first, rejected = len(vertices), pool.rejected
    seen = Scored.ask(predict, vertices)
    for part in range(ROUNDS):
        left = (queries - len(seen.vertices)) // (ROUNDS - part)
        new = seen.vertices[:0]
        for i, level in enumerate(levels):
            wanted = (left - len(new)) // (len(levels) - i)
            known = torch.cat([seen.vertices, new])
            within = [*limits, replace(cost, most=level)]
            scores, heat = _local_fit(chains, seen, cost, level)
            new = torch.cat([new, propose(scores, chains, within, known, wanted, heat, rng)])
        if not len(new):
            break
        seen += Scored.ask(predict, new)
    return replace(seen, refined=len(seen.vertices) - first, rejected=rejected)


def best_within(order: torch.Tensor, cost: torch.Tensor, levels: Sequence[float]) -> torch.Tensor:
    """Row of the best network within each level, each only once, cheapest first, int64 ``[m]``.

    Args:
        order: what networks are ranked by, ``[n]``, higher is better.
        cost: ``[n]``.
        levels: limits on the cost, ascending.
    """
    found: list[int] = []
    for level in levels:
        rows = (cost <= level).nonzero()[:, 0]
        if len(rows):
            best = rows[order[rows] == order[rows].max()]
            found.append(int(best[cost[best].argmin()]))
    return torch.tensor(list(dict.fromkeys(found)), dtype=torch.int64)


def spaced(chains: Chains, cost: Limit, points: int) -> list[float]:
    """Levels of a cost from the least that a network has to the most, or to its limit, in equal ratios."""
    table = _table(cost)
    least, most = (float(cost.measure(chains.best(sign * table, 1))[0]) for sign in (-1, 1))
    if cost.most < least:
        pool = Pool(chains.space, [cost])
        pool.least[cost.label] = least
        raise ConfigError(pool.explain())
    return ratios(least, min(most, cost.most), points)


def ratios(least: float, most: float, points: int) -> list[float]:
    """Numbers from the least to the most in equal ratios."""
    return [least * (most / least) ** (i / (points - 1)) for i in range(points - 1)] + [most]


def _table(cost: Limit) -> torch.Tensor:
    if cost.table is None:
        raise ConfigError(
            f"a front of {cost.label} needs a space that is small enough to rank, or costs that are sums over vertices"
        )
    return cost.table


def _around(draw: Draw, chains: Chains, cost: Limit, level: float, n: int) -> torch.Tensor:
    """`n` draws whose mean cost is about `level`."""
    table, tilt = _table(cost), None
    spread = chains.sums(table, draw(_PROBE, None)).std(correction=0).clamp(min=1e-9)
    multiple = 0.0
    for _ in range(_STEPS):
        drawn = chains.sums(table, draw(_PROBE, tilt)) / spread
        # Newton's method: the mean of the cost falls by its variance with the multiple.
        step = (drawn.mean() - level / spread) / drawn.var(correction=0).clamp(min=1e-3)
        multiple += float(step.clamp(-4, 4))
        tilt = -multiple / spread * table
    return draw(n, tilt)


def _local_fit(chains: Chains, seen: Scored, cost: Limit, level: float) -> tuple[torch.Tensor, float]:
    """Scores fitted to the best networks of about a cost, and what counts as a small difference there."""
    costs = cost.measure(seen.vertices).double()
    near = (-((costs / level).log() / _NEAR).abs()).exp()
    share = near / near.sum()
    center = share @ seen.value
    spread = float((share @ (seen.value - center).square()).sqrt().clamp(min=1e-9))
    best = seen.value[costs <= level].max()
    weights = near * ((seen.value - best) / (2 * spread)).clamp(max=1).exp() + 1e-4
    return additive_fit(chains.space, seen.vertices, seen.value, 0.1, weights), 0.1 * spread
