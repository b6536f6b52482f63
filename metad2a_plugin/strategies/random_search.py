"""Random search without replacement."""

from __future__ import annotations

from typing import Any

from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.visited import Visited


class RandomSearch(Strategy):
    """Proposes architectures uniformly at random, none twice and none that was told; ends when the space does.

    Args:
        space: the search space.
        seed: the same seed gives the same proposals.
        dedupe: what is the same architecture: ``"encoding"``, or ``"canonical"`` to skip equal networks too.

    Raises:
        ConfigError: another `dedupe`.
    """

    def __init__(self, space: SearchSpace, *, seed: int = 0, dedupe: str = "encoding") -> None:
        super().__init__(space, seed=seed)
        self._visited = Visited(space, dedupe)

    def _ask(self, n: int) -> list[Architecture]:
        return self._visited.draw(n, self.rng)

    def _tell(self, architecture: Architecture, value: float) -> None:
        self._visited.add(architecture)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"visited": self._visited.state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._visited.load(state["visited"])
