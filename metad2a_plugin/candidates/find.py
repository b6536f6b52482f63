"""From a search space, a predictor and limits to ranked networks: all of a small space, chosen ones of a large one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from metad2a_plugin.candidates.chains import Chains
from metad2a_plugin.candidates.generate import Draw, generate
from metad2a_plugin.candidates.limits import Limit
from metad2a_plugin.candidates.pool import Pool
from metad2a_plugin.candidates.refine import Predict, Scored, refine
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.utils.checks import NamedSettings, integer

EXHAUSTIVE = 20_000
"""Spaces of at most this size are ranked completely unless a number of candidates is asked for."""
CANDIDATES, REFINE = 700, 300
"""Networks that are drawn where a space is larger, and further ones that the predictor is asked about then."""


@dataclass(frozen=True)
class Effort(NamedSettings):
    """How much a search does.

    Attributes:
        candidates: networks to draw and rank; None ranks the whole of a space of at most 20,000 architectures, and
            draws 700 elsewhere.
        refine: further queries of the predictor, where they promise most; None is 300, and 0 where `candidates` are
            given: those are ranked, as in the paper, and that is all.
        seed: of the draws.
        points: of a front, levels of the cost.
        queries: of the predictor for a front, where the space is not ranked completely.

    Raises:
        ConfigError: a number is out of range.
    """

    candidates: int | None = None
    refine: int | None = None
    seed: int = 0
    points: int = 16
    queries: int = 1000

    def __post_init__(self) -> None:
        if self.candidates is not None:
            integer("candidates", self.candidates, 1)
        if self.refine is not None:
            integer("refine", self.refine, 0)
        integer("seed", self.seed, 0)
        integer("points", self.points, 2)
        integer("queries", self.queries, 6 * self.points)

    def unless_told(self, candidates: int | None) -> Effort:
        """With so many candidates, if no number was given here and there is one."""
        return self if candidates is None or self.candidates is not None else replace(self, candidates=candidates)

    def exhaustive(self, space: SearchSpace) -> bool:
        """Whether every network of the space is ranked."""
        return self.candidates is None and not self.refine and space.size <= EXHAUSTIVE

    @property
    def draws(self) -> tuple[int, int]:
        """Candidates, and further queries, where a space is not ranked completely."""
        further = (REFINE if self.candidates is None else 0) if self.refine is None else self.refine
        return self.candidates or CANDIDATES, further


def find(space: SearchSpace, predict: Predict, draw: Draw | None, limits: Sequence[Limit], effort: Effort) -> Scored:
    """Rank networks within the limits, best first.

    Args:
        space: the search space.
        predict: the predictor.
        draw: where candidates come from; None draws them at random (`Chains.draw`).
        limits: hard ones.
        effort: how many.

    Raises:
        ConfigError: no network is within the limits; says what the least is.
    """
    pool = Pool(space, limits)
    if effort.exhaustive(space):
        vertices = pool.select(space.all_vertices())
        if not len(vertices):
            raise ConfigError(pool.explain())
        return replace(Scored.ask(predict, vertices).sorted(), rejected=pool.rejected)
    chains = Chains(space)
    candidates, further = effort.draws
    first = Scored.ask(predict, generate(draw or random_draw(chains, effort.seed), chains, pool, candidates))
    # Another stream than that of the draws.
    rng = torch.Generator().manual_seed(effort.seed + 2**32)
    found = refine(first, predict, chains, limits, further, rng) if further else first
    refined = len(found.vertices) - len(first.vertices)
    return replace(found.sorted(), refined=refined, rejected=pool.rejected)


def random_draw(chains: Chains, seed: int) -> Draw:
    """Draws as `Chains.draw`; the same numbers for the same arguments."""

    def draw(n: int, tilt: torch.Tensor | None) -> torch.Tensor:
        plain = torch.zeros(chains.space.num_vertices, len(chains.space.vertex_types), dtype=torch.float64)
        return chains.draw(plain if tilt is None else tilt, n, torch.Generator().manual_seed(seed))

    return draw
