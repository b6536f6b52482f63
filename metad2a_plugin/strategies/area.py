"""AREA, assisted regularized evolution: Mellor, Turner, Storkey and Crowley, ICML 2021, section 4.3."""

from __future__ import annotations

from typing import Any

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.predictor import Predictor
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.visited import Visited
from metad2a_plugin.strategies.regularized_evolution import RegularizedEvolution
from metad2a_plugin.strategies.shortlist import Shortlist
from metad2a_plugin.utils.checks import integer


class AREA(RegularizedEvolution):
    """Regularized evolution whose first population is the best, by score, of more random architectures.

    With `children`, which goes beyond the paper, scores choose among mutations too.

    Args:
        space: the search space.
        seed, dataset, predictor: see `NASWOTStrategy`.
        candidates: how many architectures to draw and score at the first `ask`; 20, as in the paper.
        population_size: how many of them begin, best first, and how many are alive later.
        sample_size, dedupe: see `RegularizedEvolution`.
        children: mutations of a parent of which the best by score is proposed; 1 is the paper's, and scores none.
        **options: for the predictor, such as `batch_size`, or `channels` of its networks.

    Raises:
        ConfigError: as `RegularizedEvolution` and `Shortlist`, or fewer candidates than the population.
        DatasetError: the dataset cannot be used.
    """

    network_settings = ("options", "input_size", "device")

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int = 0,
        dataset: Any = None,
        candidates: int = 20,
        predictor: str | Predictor = "naswot",
        population_size: int = 10,
        sample_size: int = 3,
        dedupe: str | None = None,
        children: int = 1,
        **options: Any,
    ) -> None:
        super().__init__(space, seed=seed, population_size=population_size, sample_size=sample_size, dedupe=dedupe)
        self._shortlist = Shortlist(space, predictor, dataset, candidates, options)
        if candidates < population_size:
            raise ConfigError(
                f"candidates ({candidates}) must be at least population_size ({population_size}): "
                "the population is chosen from them"
            )
        integer("children", children, 1)
        self.children = children
        self._scored = False

    def _propose(self) -> Architecture | None:
        if not self._scored:
            drawn = Visited(self.space).draw(self._shortlist.candidates, self.rng)
            self._shortlist.score(drawn, self.population_size)
            self._scored = True
        while architecture := self._shortlist.pop():
            # Told before, or a twin of one that was proposed.
            if self._visited is None or architecture not in self._visited:
                return architecture
        return super()._propose()

    def _child(self, parent: Architecture) -> Architecture | None:
        first = super()._child(parent)
        others = (super(AREA, self)._child(parent) for _ in range(self.children - 1))
        children = list(dict.fromkeys(child for child in (first, *others) if child is not None))
        if len(children) > 1:
            self._shortlist.score(children, 1)
            return self._shortlist.pop()
        return first

    def _tell(self, architecture: Architecture, value: float) -> None:
        super()._tell(architecture, value)
        self._shortlist.drop(architecture)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"scored": self._scored, "shortlist": self._shortlist.state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._scored = bool(state["scored"])
        self._shortlist.load(state["shortlist"])
