"""Local search: White, Nolen and Savani, *Exploring the Loss Landscape in NAS*, UAI 2021, arXiv 2005.02960."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from metad2a_plugin.errors import ConfigError, said
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.visited import Visited


class LocalSearch(Strategy):
    """Hill climbing with random restarts; no architecture is proposed twice.

    A climb asks for the neighbours of its centre and moves to the best of those told. It ends when every
    neighbour was told and none is better, and the next one starts at random (the first one at the best
    architecture told before any ask, if there is one). A climb that only waits for tells stays open and asks go
    on with a further climb: so any number of trials can run in parallel, and trials that fail hold nothing up.

    Args:
        space: the search space.
        seed: the same seed and the same tells give the same proposals.
        improvement: ``"steepest"`` asks for all neighbours before it moves; ``"first"`` moves on the first better one.
        dedupe: what is the same architecture: ``"encoding"``, or ``"canonical"`` to skip equal networks too.

    Raises:
        ConfigError: another `improvement` or `dedupe`.
    """

    def __init__(
        self, space: SearchSpace, *, seed: int = 0, improvement: str = "steepest", dedupe: str = "encoding"
    ) -> None:
        super().__init__(space, seed=seed)
        if improvement not in ("steepest", "first"):
            raise ConfigError(f"improvement must be 'steepest' or 'first', got {said(improvement)}")
        self.improvement = improvement
        self._visited = Visited(space, dedupe)
        self._values: dict[Hashable, float] = {}
        self._climbs: list[Architecture] = []
        self._started = False

    def _ask(self, n: int) -> list[Architecture]:
        proposals: list[Architecture] = []
        while len(proposals) < n and (architecture := self._propose()):
            self._visited.add(architecture)
            proposals.append(architecture)
        return proposals

    def _propose(self) -> Architecture | None:
        if not self._started:
            self._started = True
            if self.best is not None:
                self._climbs.append(self.best[0])
        for climb in range(len(self._climbs)):
            if proposal := self._advance(climb):
                return proposal
        self._climbs = [centre for centre in self._climbs if not self._is_optimum(centre)]
        start = self._visited.sample(self.rng)
        if start is not None:
            self._climbs.append(start)
        return start

    def _advance(self, climb: int) -> Architecture | None:
        """Move the climb as far as the told values carry it; a neighbour to ask for, or None when it must wait."""
        while (value := self._value(self._climbs[climb])) is not None:
            neighbors = self.space.neighbors(self._climbs[climb])
            told = [(v, a) for a in neighbors if (v := self._value(a)) is not None and v > value]
            fresh = None
            if not told or self.improvement == "steepest":
                fresh = self._visited.choose(neighbors, self.rng)
            if fresh is not None or not told:
                return fresh
            self._climbs[climb] = max(told, key=lambda pair: pair[0])[1]
        return None

    def _is_optimum(self, centre: Architecture) -> bool:
        """Whether the centre and all its neighbours were told; `_advance` has moved away from any other."""
        return all(self._value(a) is not None for a in (centre, *self.space.neighbors(centre)))

    def _value(self, architecture: Architecture) -> float | None:
        return self._values.get(self._visited.key(architecture))

    def _tell(self, architecture: Architecture, value: float) -> None:
        self._visited.add(architecture)
        self._values[self._visited.key(architecture)] = value

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "visited": self._visited.state(),
            "climbs": [list(centre.choices) for centre in self._climbs],
            "started": self._started,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._visited.load(state["visited"])
        self._values = {self._visited.key(a): value for a, value in self.history}
        self._climbs = [Architecture(self.space.name, tuple(choices)) for choices in state["climbs"]]
        self._started = bool(state["started"])
