"""The architectures a strategy has proposed or been told, so that none is trained twice."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterable

from metad2a_plugin.errors import ConfigError, said
from metad2a_plugin.spaces.base import Architecture, SearchSpace


class Visited:
    """A set of architectures that knows when it holds the whole space.

    Args:
        space: the search space.
        dedupe: what counts as the same: ``"encoding"`` (equal choices) or ``"canonical"`` (equal networks).

    Raises:
        ConfigError: another `dedupe`.
    """

    def __init__(self, space: SearchSpace, dedupe: str = "encoding") -> None:
        if dedupe not in ("encoding", "canonical"):
            raise ConfigError(f"dedupe must be 'encoding' or 'canonical', got {said(dedupe)}")
        self.space = space
        self._canonical = dedupe == "canonical"
        self._choices: set[tuple[int, ...]] = set()
        self._keys: set[Hashable] = set()

    def key(self, architecture: Architecture) -> Hashable:
        return self.space.canonical(architecture) if self._canonical else architecture.choices

    def __contains__(self, architecture: Architecture) -> bool:
        return self.key(architecture) in self._keys

    def add(self, architecture: Architecture) -> None:
        self._choices.add(architecture.choices)
        self._keys.add(self.key(architecture))

    def sample(self, rng: random.Random) -> Architecture | None:
        """Draw uniformly from what was not visited; None when nothing is left."""
        while len(self._choices) < self.space.size:
            architecture = self.space.sample(rng)
            if architecture not in self:
                return architecture
            # Twins of a visited network count as visited: so the loop ends.
            self._choices.add(architecture.choices)
        return None

    def draw(self, n: int, rng: random.Random) -> list[Architecture]:
        """`sample` so many different ones, which are visited then; fewer when nothing is left."""
        drawn: list[Architecture] = []
        while len(drawn) < n and (architecture := self.sample(rng)):
            self.add(architecture)
            drawn.append(architecture)
        return drawn

    def choose(self, architectures: Iterable[Architecture], rng: random.Random) -> Architecture | None:
        """Draw uniformly from those of `architectures` that were not visited; None when there are none."""
        fresh = [a for a in architectures if a not in self]
        return rng.choice(fresh) if fresh else None

    def state(self) -> list[list[int]]:
        return [list(choices) for choices in sorted(self._choices)]

    def load(self, state: list[list[int]]) -> None:
        self._choices.clear()
        self._keys.clear()
        for choices in state:
            self.add(Architecture(self.space.name, tuple(choices)))
