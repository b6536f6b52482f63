"""Draws of a generator that keep to hard limits.

Where costs are sums over vertices, draws are steered: a type's score is lowered by a multiple of its cost (the
distribution of maximum entropy with that mean cost), the least multiple for which about half of the draws are within
the limit. The others are rejected, so that no limit is ever broken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from metad2a_plugin.candidates.chains import Chains
from metad2a_plugin.candidates.limits import Limit
from metad2a_plugin.candidates.pool import Pool
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.spaces.restricted import RestrictedSpace

Draw = Callable[[int, torch.Tensor | None], torch.Tensor]
"""From a number and a tilt ``[vertices, types]`` (None: no tilt) to up to so many different networks, int64 ``[m,
vertices]``; the same arguments give the same networks."""

SHARE = 0.5
"""Of the draws that shall be within the limits."""
PROBE = 100
"""Draws that tell the share."""
MAX_DRAWS = 50_000
"""Draws after which a generator is taken to have no more networks within the limits."""

_NEVER = 1e4
"""Less in the score of a type than any other of its scores makes up for."""


def of_part(draw: Draw, space: SearchSpace) -> Draw:
    """Draws of a whole space as those of a `RestrictedSpace`; of any other space they are as they were."""
    if not isinstance(space, RestrictedSpace):
        return draw
    outside = space.outside()

    def inside(n: int, tilt: torch.Tensor | None) -> torch.Tensor:
        # What is outside of the part is drawn last, when the part has run out.
        drawn = draw(n, (0 if tilt is None else tilt) - _NEVER * outside.double())
        return drawn[~outside[torch.arange(drawn.shape[1]), drawn].any(1)]

    return inside


def generate(draw: Draw, chains: Chains, pool: Pool, wanted: int) -> torch.Tensor:
    """`wanted` different live networks within the limits, int64 ``[m, vertices]``; fewer where no more are found.

    Raises:
        ConfigError: no network is within the limits; says what the least is.
    """
    for limit in pool.limits:
        if limit.table is None:
            continue
        cheapest = chains.best(-limit.table, wanted)
        if not limit.within(cheapest[-1:]):  # then all that are within are among them
            return _some(pool.select(cheapest), pool, chains)
    tilt = steer(draw, chains, pool.limits)
    draws = 2 * wanted
    while True:
        drawn = draw(draws, tilt)
        found = pool.select(drawn)
        if len(found) >= wanted or len(drawn) < draws or draws > max(MAX_DRAWS, 4 * wanted):
            return _some(found, pool, chains)[:wanted]
        draws *= 4


def steer(draw: Draw, chains: Chains, limits: Sequence[Limit]) -> torch.Tensor | None:
    """The tilt for which about half of the draws or more are within the limits; None where there is none."""
    steerable = [limit for limit in limits if limit.table is not None]
    if not steerable:
        return None
    tables = [limit.table for limit in steerable if limit.table is not None]
    plain = draw(PROBE, None)
    # In units of what draws differ by, so that all multiples are alike.
    tables = [table / chains.sums(table, plain).std(correction=0).clamp(min=1e-9) for table in tables]
    multiples = [0.0] * len(tables)

    def tilt(at: Sequence[float]) -> torch.Tensor:
        return -torch.stack([multiple * table for multiple, table in zip(at, tables, strict=True)]).sum(0)

    aim = SHARE ** (1 / len(tables))
    for _ in range(2 * len(tables)):
        drawn = draw(PROBE, tilt(multiples)) if any(multiples) else plain
        within = torch.stack([limit.within(drawn) for limit in steerable])
        if within.all(0).double().mean() >= SHARE:
            break
        worst = int(within.double().mean(1).argmin())

        def enough(multiple: float, worst: int = worst) -> bool:
            at = [*multiples[:worst], multiple, *multiples[worst + 1 :]]
            return bool(steerable[worst].within(draw(PROBE, tilt(at))).double().mean() >= aim)

        multiples[worst] = least_multiple(enough, multiples[worst], steps=5)
        if not enough(multiples[worst]):  # the limits contradict each other
            break
    return tilt(multiples) if any(multiples) else None


def least_multiple(enough: Callable[[float], bool], low: float, steps: int) -> float:
    """A number near the least above `low` that is enough, by doubling and then halving the interval `steps` times."""
    high = low + 0.25
    for _ in range(20):
        if enough(high):
            break
        low, high = high, 2 * high
    for _ in range(steps):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _some(found: torch.Tensor, pool: Pool, chains: Chains) -> torch.Tensor:
    if len(found):
        return found
    for limit in pool.limits:
        if limit.table is not None:  # the least of all networks, not only of those drawn
            pool.least[limit.label] = float(limit.measure(chains.best(-limit.table, 1))[0])
    raise ConfigError(pool.explain())
