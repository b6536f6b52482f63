"""From a search space, a predictor and limits to ranked networks: all of a small space, chosen ones of a large one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from metad2a_plugin.candidates.bounds import Limit
from metad2a_plugin.candidates.chains import Chains
from metad2a_plugin.candidates.generate import Draw, generate
from metad2a_plugin.candidates.pool import Pool
from metad2a_plugin.candidates.refine import Score, Scored, refine
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.utils.checks import integer

EXHAUSTIVE = 20_000
"""Spaces of at most this size are ranked completely unless a number of candidates is asked for."""
CANDIDATES, REFINE = 700, 300
"""Networks that are drawn where a space is larger, and further ones that the predictor is asked about then."""


@dataclass(frozen=True)
class Effort:
    """How much a search does.

    Attributes:
        candidates: networks to draw and rank; None ranks the whole of a space of at most 20,000 architectures, and
            draws 700 elsewhere.
        refine: further queries of the predictor, where they promise most; None is 300, and 0 where `candidates` are
            given: those are ranked, as in the paper, and that is all.
        seed: of the draws.

    Raises:
        ConfigError: a number is out of range.
    """

    candidates: int | None = None
    refine: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.candidates is not None:
            integer("candidates", self.candidates, 1)
        if self.refine is not None:
            integer("refine", self.refine, 0)
        integer("seed", self.seed, 0)

    def unless_told(self, candidates: int | None) -> Effort:
        """With so many candidates, if no number was given here and there is one."""
        return self if candidates is None or self.candidates is not None else replace(self, candidates=candidates)

    def exhaustive(self, space: SearchSpace) -> bool:
        """Whether every network of the space is ranked."""
        return self.candidates is None and not self.refine and space.size <= EXHAUSTIVE

    @property
    def queries(self) -> tuple[int, int]:
        """Candidates, and further queries, where a space is not ranked completely."""
        further = (REFINE if self.candidates is None else 0) if self.refine is None else self.refine
        return self.candidates or CANDIDATES, further


@dataclass(frozen=True)
class Found:
    """Ranked networks.

    Attributes:
        scored: best first.
        queries: how many networks the predictor has scored.
        refined: how many of them after the first.
        rejected: see `SearchResult`.
    """

    scored: Scored
    queries: int
    refined: int
    rejected: Mapping[str, int]


def find(space: SearchSpace, score: Score, draw: Draw | None, limits: Sequence[Limit], effort: Effort) -> Found:
    """Rank networks within the limits.

    Args:
        space: the search space.
        score: the predictor.
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
        first = Scored.by(score, vertices)
        return Found(first.sorted(), len(vertices), 0, pool.rejected)
    chains = Chains(space)
    candidates, further = effort.queries
    first = Scored.by(score, generate(draw or random_draw(chains, effort.seed), chains, pool, candidates))
    # Another stream than that of the draws.
    rng = torch.Generator().manual_seed(effort.seed + 2**32)
    found = refine(first, score, chains, limits, further, rng) if further else first
    total = len(found.vertices)
    return Found(found.sorted(), total, total - len(first.vertices), pool.rejected)


def random_draw(chains: Chains, seed: int) -> Draw:
    """Draws as `Chains.draw`; the same numbers for the same arguments."""

    def draw(n: int, tilt: torch.Tensor | None) -> torch.Tensor:
        plain = torch.zeros(chains.space.num_vertices, len(chains.space.vertex_types), dtype=torch.float64)
        return chains.draw(plain if tilt is None else tilt, n, torch.Generator().manual_seed(seed))

    return draw
