"""The ask/tell `Strategy` interface every search strategy implements and every host drives.

A whole plug-in::

    class Greedy(Strategy):
        def _ask(self, n):
            return [self.space.sample(self.rng) for _ in range(n)]

        def _tell(self, architecture, value):
            pass
"""

from __future__ import annotations

import inspect
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from metad2a_plugin.errors import CheckpointError, ConfigError, said
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.utils.checks import instance, integer
from metad2a_plugin.utils.progress import Progress


class Strategy(ABC):
    """Proposes architectures (`ask`) and learns from their values (`tell`; higher is better).

    Args:
        space: the search space.
        seed: the same seed and the same tells give the same asks.

    Attributes:
        network_settings: of `TrainConfig`, those that the strategy takes too, because it has networks of its own that
            should be like those that will be trained; `metad2a train` hands them on.
    """

    network_settings: tuple[str, ...] = ()

    def __init__(self, space: SearchSpace, *, seed: int = 0) -> None:
        instance("space", space, SearchSpace, "a search space, such as get_space('nasbench201')")
        integer("seed", seed, 0)
        self.space = space
        self.seed = seed
        self.rng = random.Random(seed)
        self.history: list[tuple[Architecture, float]] = []

    @abstractmethod
    def _ask(self, n: int) -> list[Architecture]: ...

    @abstractmethod
    def _tell(self, architecture: Architecture, value: float) -> None: ...

    @classmethod
    def uses_budget(cls, space: SearchSpace, options: Mapping[str, Any]) -> bool:
        """Whether the strategy, made with these options, takes a `Budget` as ``budget``.

        `train_search` gives it that of its trainings then.
        """
        return False

    @classmethod
    def taken_from_training(cls, options: Mapping[str, Any]) -> tuple[str, ...]:
        """What `train_search` hands on to the strategy, made with these options, unless they are given with them.

        These are its `network_settings`, and ``run_dir`` if it has such an argument.
        """
        return (*cls.network_settings, *["run_dir"] * ("run_dir" in inspect.signature(cls).parameters))

    def prepare(self, progress: Progress = lambda stage, done, total, note: None) -> None:  # noqa: B027 - most need none
        """Do what takes long before the first `ask`, which does it otherwise, without a word.

        Args:
            progress: called with the name of a stage, how much of it is done, of how much, and a note.
        """

    def ask(self, n: int = 1) -> list[Architecture]:
        """Propose at most `n` architectures; fewer (or none) only when the strategy is exhausted.

        Raises:
            ConfigError: `n` is not a positive integer.
        """
        if not isinstance(n, int) or isinstance(n, bool) or n < 1:
            raise ConfigError(f"ask(n) needs a positive integer, got {said(n)}")
        return self._ask(n)

    def tell(self, architecture: Architecture, value: float) -> None:
        """Report the measured value of an architecture (asked for or not).

        Raises:
            ConfigError: `value` is not a finite number. Report a failed trial by not telling it.
        """
        number = _finite("tell()", value, "; leave out trials that failed")
        self.space.validate(architecture)
        self.history.append((architecture, number))
        self._tell(architecture, number)

    def should_stop(self, architecture: Architecture, curve: Sequence[float]) -> bool:
        """Whether a training that is under way is not worth its other epochs; unless overridden, each is.

        It changes nothing. A training that is stopped is reported with `tell_partial`, any other one with `tell`.

        Args:
            architecture: what is trained.
            curve: its value after each epoch so far, in the unit of `tell`.

        Raises:
            ConfigError: the curve is empty, or holds what is not a finite number.
        """
        return self._should_stop(architecture, self._curve(architecture, curve))

    def tell_partial(self, architecture: Architecture, curve: Sequence[float]) -> None:
        """Report a training that was stopped; unless a strategy learns from it, it is as one that failed.

        Args:
            architecture: what was trained; it gets no place in `history`, whose values are of whole trainings.
            curve: as in `should_stop`.

        Raises:
            ConfigError: as in `should_stop`.
        """
        self._tell_partial(architecture, self._curve(architecture, curve))

    def _should_stop(self, architecture: Architecture, curve: list[float]) -> bool:
        return False

    def _tell_partial(self, architecture: Architecture, curve: list[float]) -> None:  # noqa: B027 - most need none
        pass

    def _curve(self, architecture: Architecture, curve: Sequence[float]) -> list[float]:
        self.space.validate(architecture)
        if not curve:
            raise ConfigError("a curve needs the value of one epoch at the least, got none")
        return [_finite("a curve", value) for value in curve]

    @property
    def best(self) -> tuple[Architecture, float] | None:
        """The incumbent: the best told pair, the earliest among equals."""
        return max(self.history, key=lambda pair: pair[1], default=None)

    @property
    def recommendation(self) -> Architecture | None:
        """What the search would have its user take: the incumbent, unless a strategy knows better.

        None as long as there is nothing to recommend.
        """
        return None if self.best is None else self.best[0]

    # Plain containers only: hosts store states with loaders that refuse pickled objects.
    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on after a restart, in lists, dicts, numbers and strings."""
        version, internal, gauss = self.rng.getstate()
        return {
            "strategy": type(self).__name__,
            "space": self.space.name,
            "rng": [version, list(internal), gauss],
            "history": [[self.space.format(a), v] for a, v in self.history],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`.

        Raises:
            CheckpointError: the state is of another strategy or search space.
        """
        for key, expected in (("strategy", type(self).__name__), ("space", self.space.name)):
            if not isinstance(state, dict) or state.get(key) != expected:
                found = state.get(key) if isinstance(state, dict) else type(state).__name__
                raise CheckpointError(
                    f"this state is of {key} {found!r}, not {expected!r}; load it where it was saved from"
                )
        version, internal, gauss = state["rng"]
        self.rng.setstate((version, tuple(internal), gauss))
        self.history = [(self.space.parse(text), float(value)) for text, value in state["history"]]


def _finite(what: str, value: Any, advice: str = "") -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ConfigError(f"{what} needs a finite number (higher is better), got {said(value)}{advice}")
    return number


def maximize(
    strategy: Strategy, values: Callable[[Sequence[Architecture]], Sequence[float]], queries: int, batch: int = 100
) -> None:
    """Let a strategy ask for `queries` architectures and tell it their values, `batch` at a time.

    Args:
        strategy: ends earlier if it is exhausted.
        values: of some architectures, such as a predictor's scores.
        queries: architectures that values are asked of.
        batch: how many together.
    """
    instance("strategy", strategy, Strategy, "a strategy, such as get_strategy('random')(space)")
    if not callable(values):
        raise ConfigError(f"values must be a function of a list of architectures, got {type(values).__name__}")
    integer("queries", queries, 0)
    integer("batch", batch, 1)
    done = 0
    while done < queries and (asked := strategy.ask(min(batch, queries - done))):
        for architecture, value in zip(asked, values(asked), strict=True):
            strategy.tell(architecture, value)
        done += len(asked)
