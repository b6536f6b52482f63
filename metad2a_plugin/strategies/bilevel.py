"""What strategies share that search by training weights on one half of a dataset and a mixture on the other."""

from __future__ import annotations

import os
from abc import abstractmethod
from dataclasses import replace
from typing import Any

from metad2a_plugin.data import ImageDataset, load_dataset
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.one_shot.config import BilevelConfig
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.utils.checks import one_of


class BilevelStrategy(Strategy):
    """Searches on a dataset at the first `ask`; what is told does not change the order of what it found.

    Args:
        space: the search space.
        seed: of the search.
        dataset: the images to search with: an `ImageDataset` or anything `load_dataset` takes. Half of them train
            the weights, the others the mixture.
        run_dir: where the search keeps its state, so that an interrupted one goes on; see `one_shot.bilevel`.
        **settings: those of `config_class`, but for the seed, and the options of the space's networks.

    Raises:
        ConfigError: no dataset, or a setting is unknown or out of range.
        DatasetError: the dataset cannot be used.
    """

    config_class: type[BilevelConfig]
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
        known = (self.config_class().to_dict() | self._options(self.config_class())).keys() - {"seed"}
        for name in settings:
            one_of("setting", name, sorted(known))
        config = self.config_class.from_dict(settings | {"seed": seed})
        self.config = replace(config, options=self._options(config))
        if dataset is None:
            raise ConfigError("this search trains networks on images: give a dataset")
        self._dataset: ImageDataset = load_dataset(dataset)
        self._run_dir = run_dir
        self._asked: set[Any] = set()

    @abstractmethod
    def _options(self, config: BilevelConfig) -> dict[str, Any]:
        """All options of the space's networks, checked; refuses a space that cannot be searched so."""

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"settings": self._key(), "dataset": self._dataset.content_hash}

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
