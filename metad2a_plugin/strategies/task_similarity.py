"""Search in what was good on the most similar known task (Le, Soltani, Ravier, Tarokh, 2021)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.registry import Entry, available, bind_strategy, entry
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.similarity.library import TaskLibrary
from metad2a_plugin.similarity.similar import similar_tasks
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.restricted import RestrictedSpace, options_of
from metad2a_plugin.utils.checks import one_of
from metad2a_plugin.utils.progress import Progress

_WHOLE = ("darts", "lpt", "metad2a", "task-similarity")  # rank, or restrict, a whole space themselves
_DEFAULT = "regularized-evolution"


class TaskSimilarityStrategy(Strategy):
    """Searches the operations that the good cells of the nearest known task have, edge by edge.

    The nearest task is found by Fisher information (`metad2a_plugin.similarity`), and what is searched is every cell
    that has, on each edge, an operation which one of the task's good cells has there. The paper searches such a space
    by FUSE, here the strategy ``fuse``, but any will do. A value told of an architecture outside is kept in the
    history, but the inner strategy does not hear of it.

    Args:
        space: the search space; the library must be of it.
        seed: of the dataset's network and of the inner strategy.
        dataset: what to search for: anything `load_dataset` takes.
        strategy: the inner one, a name in the registry; not one that ranks the whole space.
        library: a `TaskLibrary` or its folder; None takes the shipped one.
        nearest: how many of the nearest tasks give their good cells.
        distance: ``"frechet"`` or ``"log-determinant"``.
        **options: of the inner strategy; one that looks at a dataset gets this one.

    Attributes:
        tasks: names of the nearest tasks, the nearest first.
        part: the space that is searched.

    Raises:
        ConfigError: no dataset, or an option is wrong.
        CheckpointError: the library cannot be read.
        DatasetError: the dataset cannot be used.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int = 0,
        dataset: Any = None,
        strategy: str = _DEFAULT,
        library: TaskLibrary | str | os.PathLike[str] | None = None,
        nearest: int = 1,
        distance: str = "frechet",
        **options: Any,
    ) -> None:
        super().__init__(space, seed=seed)
        if dataset is None:
            raise ConfigError("task-similarity looks for known tasks like yours: give a dataset")
        if _inner(strategy).takes("dataset"):
            options["dataset"] = dataset
        self._make = bind_strategy(strategy, seed=seed, **options)
        found = similar_tasks(dataset, library, distance=distance, seed=seed)
        self.tasks = found.nearest(nearest)
        self._restrict(options_of(found.library.good_architectures(self.tasks, space)))

    def _restrict(self, allowed: Sequence[Sequence[int]]) -> None:
        self.part = RestrictedSpace(self.space, allowed)
        self._inner = self._make(self.part)

    @classmethod
    def taken_from_training(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        inner = _inner(options.get("strategy", _DEFAULT))
        given = {name: value for name, value in options.items() if name in inner.options}
        kind: type[Strategy] = inner.load()
        return kind.taken_from_training(given)

    def prepare(self, progress: Progress = lambda stage, done, total, note: None) -> None:
        self._inner.prepare(progress)

    def _ask(self, n: int) -> list[Architecture]:
        return self._inner.ask(n)

    def _tell(self, architecture: Architecture, value: float) -> None:
        if architecture in self.part:
            self._inner.tell(architecture, value)

    @property
    def recommendation(self) -> Architecture | None:
        return self._inner.recommendation or super().recommendation

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "tasks": list(self.tasks),
            "allowed": [list(options) for options in self.part.allowed],
            "inner": self._inner.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        # Another seed, or a library written anew, may have found other tasks.
        self.tasks = tuple(state["tasks"])
        self._restrict(state["allowed"])
        self._inner.load_state_dict(state["inner"])


def _inner(name: str) -> Entry:
    """What is registered under the name of a strategy that searches a part."""
    return entry("strategies", one_of("inner strategy", name, [n for n in available("strategies") if n not in _WHOLE]))
