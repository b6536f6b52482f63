"""Architectures in the order of a predictor's scores, for strategies that score before they train."""

from __future__ import annotations

from typing import Any

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.predictor import Predictor
from metad2a_plugin.plugins.registry import predictor_of
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.utils.checks import integer


class Shortlist:
    """What is yet to be proposed, best first.

    Args:
        space: the search space.
        predictor: its name, or an object; it must need no `Task`.
        dataset: images for a predictor that looks at them.
        candidates: how many architectures will be scored together.
        options: for the predictor, by name.

    Raises:
        ConfigError: no such predictor, it lacks its dataset or needs a `Task`, or an option is wrong.
    """

    def __init__(
        self, space: SearchSpace, predictor: str | Predictor, dataset: Any, candidates: int, options: dict[str, Any]
    ) -> None:
        integer("candidates", candidates, 1)
        self.space, self.candidates = space, candidates
        self._predictor = predictor_of(predictor, space, dataset=dataset, **options)
        if self._predictor.needs_task:
            raise ConfigError(
                f"the predictor {self._predictor.name!r} ranks by features of a dataset; "
                "the strategy 'metad2a' asks in the order of its model"
            )
        self._best: list[Architecture] = []

    def score(self, architectures: list[Architecture], keep: int) -> None:
        """Make the best of these the list; the earlier among equals first."""
        scores = self._predictor.predict(None, architectures).mean.tolist()
        order = sorted(range(len(scores)), key=lambda i: -scores[i])
        self._best = [architectures[i] for i in order[:keep]]

    def pop(self) -> Architecture | None:
        """The best that is left; None when there is none."""
        return self._best.pop(0) if self._best else None

    def drop(self, architecture: Architecture) -> None:
        """Leave out one that was trained without being proposed."""
        self._best = [a for a in self._best if a != architecture]

    def state(self) -> list[str]:
        return [self.space.format(a) for a in self._best]

    def load(self, state: list[str]) -> None:
        self._best = [self.space.parse(text) for text in state]
