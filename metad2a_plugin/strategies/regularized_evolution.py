"""Regularized (aging) evolution: Real, Aggarwal, Huang and Le, AAAI 2019, arXiv 1802.01548, algorithm 1."""

from __future__ import annotations

from typing import Any

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.visited import Visited
from metad2a_plugin.utils.checks import integer


class RegularizedEvolution(Strategy):
    """Mutates the best of a random sample of the population, which is the last architectures told.

    Proposals are random until `population_size` values were told, in whatever order they arrive; only told
    architectures become parents, so that trials that run in parallel, fail or were never asked for do no harm.

    Args:
        space: the search space.
        seed: the same seed and the same tells give the same proposals.
        population_size: how many of the latest tells are alive; 10, as in the NAS-Bench-201 paper (the AAAI
            paper uses 100 for a far larger space and budget).
        sample_size: tournament size, drawn with replacement; 3, as in the NAS-Bench-201 paper (25 in the AAAI's).
        dedupe: None lets an architecture be proposed again, as in the paper; ``"encoding"`` and ``"canonical"``
            skip visited architectures and networks. A parent with no new neighbour is replaced by a random draw.

    Raises:
        ConfigError: a size is not a positive integer, the sample is larger than the population, or another `dedupe`.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int = 0,
        population_size: int = 10,
        sample_size: int = 3,
        dedupe: str | None = None,
    ) -> None:
        super().__init__(space, seed=seed)
        integer("population_size", population_size, 1)
        integer("sample_size", sample_size, 1)
        if sample_size > population_size:
            raise ConfigError(
                f"sample_size ({sample_size}) must not exceed population_size ({population_size}): "
                "it is the part of the population that competes to be the parent"
            )
        self.population_size = population_size
        self.sample_size = sample_size
        self._visited = None if dedupe is None else Visited(space, dedupe)

    def _ask(self, n: int) -> list[Architecture]:
        proposals: list[Architecture] = []
        while len(proposals) < n and (architecture := self._propose()):
            if self._visited is not None:
                self._visited.add(architecture)
            proposals.append(architecture)
        return proposals

    def _propose(self) -> Architecture | None:
        # Ages are tell order, so the living population is the tail of the history.
        population = self.history[-self.population_size :]
        if len(population) < self.population_size:
            return self._sample()
        parent, _ = max(self.rng.choices(population, k=self.sample_size), key=lambda pair: pair[1])
        return self._child(parent)

    def _child(self, parent: Architecture) -> Architecture | None:
        if self._visited is None:
            return self.space.mutate(parent, self.rng)
        return self._visited.choose(self.space.neighbors(parent), self.rng) or self._sample()

    def _sample(self) -> Architecture | None:
        return self.space.sample(self.rng) if self._visited is None else self._visited.sample(self.rng)

    def _tell(self, architecture: Architecture, value: float) -> None:
        if self._visited is not None:
            self._visited.add(architecture)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"visited": None if self._visited is None else self._visited.state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        if self._visited is not None:
            # A state saved without dedupe has no such list: what was told is then all that is known.
            self._visited.load(state["visited"] or [list(a.choices) for a, _ in self.history])
