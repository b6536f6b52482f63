"""DARTS and Learning by Passing Tests as strategies: they search in a supernet, and then ask in its order."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch

from metad2a_plugin.data import ImageDataset, load_dataset
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.one_shot.config import SearchConfig
from metad2a_plugin.one_shot.darts import DARTS
from metad2a_plugin.one_shot.loop import GradientSearch
from metad2a_plugin.one_shot.outcome import SearchEpoch, rank_cells
from metad2a_plugin.one_shot.passing_tests import PassingTests, PassingTestsConfig
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.interfaces import weight_sharing
from metad2a_plugin.utils.checks import one_of
from metad2a_plugin.utils.progress import Progress

_RANKED = 10**6  # most architectures of a space, all of which are listed to be ranked


class DARTSStrategy(Strategy):
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
    network_settings = ("batch_size", "options", "flip", "input_size", "device")

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int = 0,
        dataset: Any = None,
        run_dir: str | os.PathLike[str] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(space, seed=seed)
        whole = weight_sharing(space)
        if whole.size > _RANKED:
            raise ConfigError(f"{whole.name!r} has {whole.size:.1e} architectures; at most {_RANKED:,} can be ranked")
        known = (self.config_class().to_dict() | whole.all_options({})).keys() - {"seed"}
        for name in settings:
            one_of("setting", name, sorted(known))
        config = self.config_class.from_dict(settings | {"seed": seed})
        self.config = replace(config, options=whole.all_options(config.options))
        if dataset is None:
            raise ConfigError("a search in a supernet trains it on images: give a dataset")
        self._dataset: ImageDataset = load_dataset(dataset)
        self._run_dir = run_dir
        self._alpha: torch.Tensor | None = None
        self._asked: set[int] = set()

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
        searched = {"settings": self._key(), "dataset": self._dataset.content_hash}
        return super().state_dict() | {"alpha": alpha, "asked": sorted(self._asked), **searched}

    def _key(self) -> dict[str, Any]:
        """What a search depends on, but the seed, which a state brings, and the device."""
        return {name: value for name, value in self.config.to_dict().items() if name not in ("seed", "device")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`; what had been searched is not searched again.

        Raises:
            CheckpointError: the state is of another strategy, search space or dataset, or of other settings.
        """
        super().load_state_dict(state)
        settings = self._key()
        if other := {name: value for name, value in state["settings"].items() if settings.get(name) != value}:
            own = {name: settings.get(name) for name in other}
            raise CheckpointError(f"this state is of a search with {other}, not {own}; load it where it was saved from")
        if state["dataset"] != self._dataset.content_hash:
            raise CheckpointError(
                f"this state is of a search on other images than those of {self._dataset.name!r}; give the same dataset"
            )
        self._alpha = None if state["alpha"] is None else torch.tensor(state["alpha"])
        self._asked = set(state["asked"])
        self.__dict__.pop("_ranking", None)


class LPTStrategy(DARTSStrategy):
    """`DARTSStrategy` with a tester that selects the images on which the architecture is judged.

    See `one_shot.passing_tests`, whose `PassingTestsConfig` has the settings.
    """

    method = PassingTests
    config_class = PassingTestsConfig
