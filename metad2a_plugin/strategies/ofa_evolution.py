"""The evolutionary search of Once-for-All: Cai et al., ICLR 2020, arXiv 1908.09791, section 4.2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from metad2a_plugin.candidates.chains import Chains
from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.utils.checks import BELOW_ONE, TINY, settings

MAX_DRAWS = 100_000
"""Random draws after which the limits are taken to leave too few networks to start from."""
_BATCH = 400
_TRIES = 1_000


class OFAEvolution(Strategy):
    """Evolution of a population under hard limits, with the settings of OFA's `EvolutionFinder`.

    It starts from random networks within the limits, each depth alike. When `population_size` values were told, the
    best quarter of these networks and of the former parents become parents, half of the next networks are mutants of
    one parent (each decision drawn anew with a probability), the others mix two parents, decision by decision; what is
    not within the limits is made again. OFA lets a predictor judge: 500 generations of 100, 50,100 queries with the
    first.

    As in OFA, a network may be proposed again. Trials may run in parallel, end in any order, or fail.

    Args:
        space: the search space.
        seed: the same seed and the same tells give the same proposals.
        population_size: networks of a generation.
        mutation_probability: of each decision of a mutant.
        mutation_ratio: share of mutants in a generation.
        parent_ratio: parents, as a share of the population.
        **limits: `max_params`, `max_flops`, `max_latency`, `latency_tables`, `input_size`, `width`; see
            `candidates.limits.Limits`.

    Raises:
        ConfigError: a setting is out of range, a limit is wrong, or (when asked) too few random networks are within the
            limits.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int = 0,
        population_size: int = 100,
        mutation_probability: float = 0.1,
        mutation_ratio: float = 0.5,
        parent_ratio: float = 0.25,
        **limits: Any,
    ) -> None:
        super().__init__(space, seed=seed)
        self.population_size = population_size
        self.mutation_probability, self.mutation_ratio = mutation_probability, mutation_ratio
        self.parent_ratio = parent_ratio
        share = (0.0, 1.0, "a share, from 0 to 1")
        ranges = {"mutation_probability": (TINY, 1.0, "a probability above 0"), "mutation_ratio": share}
        settings(self, {"population_size": 1}, ranges | {"parent_ratio": (TINY, BELOW_ONE, "a share between 0 and 1")})
        self.limits = Limits.of(space, limits)
        self._limits = self.limits.limits()
        self._chains = Chains(space)
        self._parents: list[tuple[Architecture, float]] = []
        self._children: list[tuple[Architecture, float]] = []
        self._asked = 0

    def _ask(self, n: int) -> list[Architecture]:
        if not self._parents:
            return self._random(n)
        mutants = round(self.mutation_ratio * self.population_size)
        places = [(self._asked + i) % self.population_size for i in range(n)]
        self._asked += n
        makers = [self._mutant() if place < mutants else self._mix() for place in places]
        made = [make() for make in makers]
        for _ in range(_TRIES):
            beyond = (~self._within(made)).nonzero()[:, 0].tolist()
            if not beyond:
                break
            for i in beyond:
                made[i] = makers[i]()
        return [a for a, within in zip(made, self._within(made).tolist(), strict=True) if within] or self._random(1)

    def _mutant(self) -> Callable[[], Architecture]:
        parent, _ = self.rng.choice(self._parents)
        return lambda: self.space.resample(parent, self.mutation_probability, self.rng)

    def _mix(self) -> Callable[[], Architecture]:
        (first, _), (second, _) = self.rng.choice(self._parents), self.rng.choice(self._parents)
        return lambda: self.space.crossover(first, second, self.rng)

    def _random(self, n: int) -> list[Architecture]:
        """Random networks within the limits, each type that may come next alike."""
        plain = torch.zeros(self.space.num_vertices, len(self.space.vertex_types), dtype=torch.float64)
        found: list[Architecture] = []
        for _ in range(MAX_DRAWS // _BATCH):
            rng = torch.Generator().manual_seed(self.rng.getrandbits(63))
            drawn = self._chains.draw(plain, _BATCH if self._limits else n, rng)
            for limit in self._limits:
                drawn = drawn[limit.within(drawn)]
            found += self.space.decode(drawn[: n - len(found)])
            if len(found) == n:
                return found
        if not found:
            raise ConfigError(
                f"none of {MAX_DRAWS:,} random networks is within the limits {self.limits.to_dict()}; raise a limit, "
                "or search with metad2a search, which steers its draws"
            )
        return found

    def _within(self, architectures: Sequence[Architecture]) -> torch.Tensor:
        vertices = self.space.encode(architectures)
        within = torch.ones(len(vertices), dtype=torch.bool)
        for limit in self._limits:
            within &= limit.within(vertices)
        return within

    def _tell(self, architecture: Architecture, value: float) -> None:
        self._children.append((architecture, value))
        if len(self._children) >= self.population_size:
            ranked = sorted(self._parents + self._children, key=lambda pair: -pair[1])
            self._parents = ranked[: max(1, int(self.parent_ratio * self.population_size))]
            self._children = []

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"asked": self._asked}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._parents, self._children, self._asked = [], [], int(state["asked"])
        for architecture, value in self.history:
            self._tell(architecture, value)
