"""FUSE as a strategy: it mixes a few candidates at a time, and then asks for them, the best first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from metad2a_plugin.one_shot.config import BilevelConfig
from metad2a_plugin.one_shot.fuse import FUSE, FuseConfig, FuseRound
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.interfaces import weight_sharing
from metad2a_plugin.strategies.bilevel import BilevelStrategy
from metad2a_plugin.utils.progress import Progress


class FUSEStrategy(BilevelStrategy):
    """Asks for the architectures that FUSE has mixed on a dataset, the best first; see `one_shot.fuse`.

    The search runs at the first `ask`, or when `search` is called. It has seen two architectures more in each round,
    and when all of them were asked for, nothing is left.

    `recommendation` is the incumbent once something was told, before that the best of the search, or None as long as
    there was none.

    Args:
        space: any space, or a part of it, such as that of the nearest known task (strategy ``task-similarity`` with
            the option ``strategy="fuse"``); for shared weights one with a supernet.
        seed: of the search.
        dataset: the images to search with: an `ImageDataset` or anything `load_dataset` takes. Half of them train
            the weights, the others the mixture.
        run_dir: where the search keeps its state, so that an interrupted one goes on.
        **settings: those of `one_shot.fuse.FuseConfig`, but for the seed, and the options of the space's networks.

    Raises:
        ConfigError: no dataset, no supernet for shared weights, or a setting is unknown or out of range.
        DatasetError: the dataset cannot be used.
    """

    config_class = FuseConfig
    config: FuseConfig
    _found: list[Architecture] | None = None

    def _options(self, config: BilevelConfig) -> dict[str, Any]:
        if isinstance(config, FuseConfig) and config.shared_weights:
            weight_sharing(self.space)
        return self.space.all_options(config.options)

    def search(self, on_round: Callable[[FuseRound], None] = lambda line: None) -> list[Architecture]:
        """Search, unless that was done.

        Args:
            on_round: called after each round.

        Returns:
            All candidates, the best first, see `one_shot.fuse.FUSE.run`.

        Raises:
            ConfigError: the loss is not finite, or `run_dir` cannot be written.
            CheckpointError: the state in `run_dir` is damaged.
        """
        if self._found is None:
            self._found = FUSE(self._dataset, self.config, self._run_dir, self.space).run(on_round)
        return list(self._found)

    def prepare(self, progress: Progress = lambda stage, done, total, note: None) -> None:
        def report(line: FuseRound) -> None:
            progress("search, round", line.round, self.config.rounds, f"loss {line.loss:.3f}, best {line.best}")

        self.search(report)

    @property
    def recommendation(self) -> Architecture | None:
        if self.history or self._found is None:
            return super().recommendation
        return self._found[0]

    def _ask(self, n: int) -> list[Architecture]:
        chosen = [one for one in self.search() if one.choices not in self._asked][:n]
        self._asked.update(one.choices for one in chosen)
        return chosen

    def _tell(self, architecture: Architecture, value: float) -> None:
        self._asked.add(architecture.choices)

    def state_dict(self) -> dict[str, Any]:
        found = None if self._found is None else [self.space.format(one) for one in self._found]
        return super().state_dict() | {"found": found, "asked": sorted(map(list, self._asked))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._found = None if state["found"] is None else [self.space.parse(text) for text in state["found"]]
        self._asked = set(map(tuple, state["asked"]))
