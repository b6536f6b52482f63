"""DARTS and Learning by Passing Tests as strategies: they search in a supernet, and then ask in its order."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.one_shot.config import BilevelConfig, SearchConfig
from metad2a_plugin.one_shot.darts import DARTS
from metad2a_plugin.one_shot.loop import GradientSearch
from metad2a_plugin.one_shot.outcome import SearchEpoch, rank_cells
from metad2a_plugin.one_shot.passing_tests import PassingTests, PassingTestsConfig
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.interfaces import weight_sharing
from metad2a_plugin.strategies.bilevel import BilevelStrategy
from metad2a_plugin.utils.progress import Progress

_RANKED = 10**6  # most architectures of a space, all of which are listed to be ranked


class DARTSStrategy(BilevelStrategy):
    """Asks for architectures in the order of their probability under the mixture that DARTS finds on a dataset.

    The search in the supernet runs at the first `ask`, or when `search` is called. What is told does not change the
    order. Asked are those that can learn (cells that join their input and output); of those that compute the same only
    the likeliest one.

    `recommendation` is the incumbent once something was told, before that the likeliest, or None as long as there was
    no search.

    Args:
        space: one with a supernet (`spaces.interfaces.WeightSharing`), such as ``nasbench201``, or a part of it.
        seed: of the search.
        dataset: the images to search with: an `ImageDataset` or anything `load_dataset` takes. Half of them train
            the weights, the others the architecture.
        run_dir: where the search keeps its state, so that an interrupted one goes on; see `one_shot.darts.DARTS`.
        **settings: those of `one_shot.config.SearchConfig`, but for the seed, and the options of the space's networks.

    Raises:
        ConfigError: no dataset, no supernet, too large a space, or a setting is unknown or out of range.
        DatasetError: the dataset cannot be used.
    """

    method: type[GradientSearch] = DARTS
    config_class: type[SearchConfig] = SearchConfig
    config: SearchConfig

    _alpha: torch.Tensor | None = None

    def _options(self, config: BilevelConfig) -> dict[str, Any]:
        whole = weight_sharing(self.space)
        if whole.size > _RANKED:
            raise ConfigError(f"{whole.name!r} has {whole.size:.1e} architectures; at most {_RANKED:,} can be ranked")
        return whole.all_options(config.options)

    def search(self, on_epoch: Callable[[SearchEpoch], None] = lambda epoch: None) -> torch.Tensor:
        """Search in the supernet, unless that was done.

        Args:
            on_epoch: called after each epoch.

        Returns:
            Architecture parameters ``[decisions, operations]``; their softmax is the mixture.

        Raises:
            ConfigError: the loss is not finite, or `run_dir` cannot be written.
            CheckpointError: the state in `run_dir` is damaged.
        """
        if self._alpha is None:
            self._alpha = self.method(self._dataset, self.config, self._run_dir, self.space).run(on_epoch).alpha
        return self._alpha

    def prepare(self, progress: Progress = lambda stage, done, total, note: None) -> None:
        def report(epoch: SearchEpoch) -> None:
            progress("search, epoch", epoch.epoch, self.config.epochs, f"loss {epoch.loss:.3f}")

        self.search(report)

    @property
    def recommendation(self) -> Architecture | None:
        if self.history or self._alpha is None:
            return super().recommendation
        return next(iter(self._ranking.values()), None)

    def _ask(self, n: int) -> list[Architecture]:
        self.search()
        chosen = [function for function in self._ranking if function not in self._asked][:n]
        self._asked.update(chosen)
        return [self._ranking[function] for function in chosen]

    def _tell(self, architecture: Architecture, value: float) -> None:
        self._asked.add(self._functions[architecture])

    @cached_property
    def _ranking(self) -> dict[int, Architecture]:
        """The likeliest architecture of each function, the likeliest first."""
        vertices, scores = rank_cells(self.space, self.search(), self.config.allow_none)
        ranking: dict[int, Architecture] = {}
        for architecture in self.space.decode(vertices[~self.space.dead_mask(vertices) & scores.isfinite()]):
            ranking.setdefault(self._functions[architecture], architecture)
        return ranking

    @cached_property
    def _functions(self) -> dict[Architecture, int]:
        """A number for each architecture, equal where they compute the same."""
        vertices = self.space.all_vertices()
        simplest = self.space.simplify(vertices)
        keys, places = self.space.canonical_ids(simplest).tolist(), self.space.places(simplest).tolist()
        first: dict[int, int] = {}
        return dict(zip(self.space.decode(vertices), map(first.setdefault, keys, places), strict=True))

    def state_dict(self) -> dict[str, Any]:
        alpha = None if self._alpha is None else self._alpha.tolist()
        return super().state_dict() | {"alpha": alpha, "asked": sorted(self._asked)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._alpha = None if state["alpha"] is None else torch.tensor(state["alpha"])
        self._asked = set(state["asked"])
        self.__dict__.pop("_ranking", None)


class LPTStrategy(DARTSStrategy):
    """`DARTSStrategy` with a tester that selects the images on which the architecture is judged.

    See `one_shot.passing_tests`, whose `PassingTestsConfig` has the settings.
    """

    method = PassingTests
    config_class = PassingTestsConfig
