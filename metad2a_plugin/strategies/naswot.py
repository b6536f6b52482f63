"""NASWOT as a search: Mellor, Turner, Storkey and Crowley, ICML 2021, algorithm 1."""

from __future__ import annotations

from itertools import islice
from typing import Any

from metad2a_plugin.plugins.predictor import Predictor
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.visited import Visited
from metad2a_plugin.strategies.shortlist import Shortlist


class NASWOTStrategy(Strategy):
    """Scores random architectures without training, and proposes them best first.

    The first proposal is the paper's answer. When all of a batch have been proposed, the next one is drawn; no
    architecture is proposed twice. Told values change nothing.

    Args:
        space: the search space.
        seed: of the draws; scores do not depend on it, so a search can go on under another.
        dataset: images, anything that `load_dataset` reads; for predictors that look at them.
        candidates: how many architectures to draw and score in a batch, when the first of them is asked for.
        predictor: registry name, or an object, such as scores from a table; it must need no `Task`.
        **options: for the predictor, such as `batch_size`, or `channels` of its networks.

    Raises:
        ConfigError: as `Shortlist`.
        DatasetError: the dataset cannot be used.
    """

    network_settings = ("options", "input_size", "device")

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int = 0,
        dataset: Any = None,
        candidates: int = 100,
        predictor: str | Predictor = "naswot",
        **options: Any,
    ) -> None:
        super().__init__(space, seed=seed)
        self._shortlist = Shortlist(space, predictor, dataset, candidates, options)
        self._drawn = Visited(space)

    def _ask(self, n: int) -> list[Architecture]:
        return list(islice(iter(lambda: self._shortlist.pop() or self._next_batch(), None), n))

    def _next_batch(self) -> Architecture | None:
        """The best of new draws; None when the space has run out."""
        if drawn := self._drawn.draw(self._shortlist.candidates, self.rng):
            self._shortlist.score(drawn, len(drawn))
        return self._shortlist.pop()

    def _tell(self, architecture: Architecture, value: float) -> None:
        self._drawn.add(architecture)
        self._shortlist.drop(architecture)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"drawn": self._drawn.state(), "shortlist": self._shortlist.state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._drawn.load(state["drawn"])
        self._shortlist.load(state["shortlist"])
