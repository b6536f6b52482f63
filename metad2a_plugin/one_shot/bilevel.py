"""What searches share that train weights on one half of the images and a mixture on the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.data.streamed import Pixels
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.one_shot.config import BilevelConfig
from metad2a_plugin.plugins.registry import DEFAULT_SPACE
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import TrainingData, augmented, prepare
from metad2a_plugin.training.loop import Line, TrainingLoop
from metad2a_plugin.utils.kept import digest
from metad2a_plugin.utils.locks import alone_in
from metad2a_plugin.utils.torch_device import usable

_FORMAT = 1


class Batch(NamedTuple):
    """Normalised images float32 ``[b, 3, size, size]`` and labels int64 ``[b]``."""

    images: torch.Tensor
    labels: torch.Tensor


def halves(dataset: ImageDataset, config: BilevelConfig) -> TrainingData:
    """Decode a dataset and split it, class by class, into the training half and the architecture half.

    The latter is called the validation part in what is returned.

    Raises:
        DatasetError: no class has two images; or too many images are broken.
    """
    split = TrainConfig(input_size=config.input_size, validation=0.5, split_seed=config.split_seed)
    return prepare(dataset.alone(), split)


class BilevelSearch(TrainingLoop[Line]):
    """A search in progress that trains weights on one half of the images and a mixture on the other.

    Args:
        dataset: images, or the result of `halves` with the same settings.
        config: settings.
        run_dir: after each line of the log the state is saved in a folder in it that is named by method, data and
            settings; an interrupted search goes on from there, a finished one is not repeated.
        space: that is searched.

    Raises:
        ConfigError: the device cannot be used, or the halves are of other settings.
        DatasetError: see `halves`.
    """

    name: str
    config: BilevelConfig
    FILES = ("search.pt", "epochs.csv")
    RESTART = "remove it to search from the start"

    def __init__(
        self,
        dataset: ImageDataset | TrainingData,
        config: BilevelConfig,
        run_dir: str | os.PathLike[str] | None,
        space: SearchSpace,
        subject: str,
    ) -> None:
        super().__init__(config, usable(config.device), subject)
        self.space = space
        self.data = dataset if isinstance(dataset, TrainingData) else halves(dataset, config)
        if self.data.split != (config.input_size, 0.5, config.split_seed):
            raise ConfigError(
                f"the data were prepared with (input_size, validation, split_seed) = {self.data.split}, the search "
                f"needs {(config.input_size, 0.5, config.split_seed)}; call halves() with the same settings"
            )
        self.batches = -(-len(self.data.labels) // config.batch_size)
        self.dir = None if run_dir is None else Path(run_dir) / f"{self.name}-{self.key}"

    def search(self, report: Callable[[Line], None]) -> None:
        """Search what is left to search.

        The same arguments give the same result on the CPU (with the same number of threads), interrupted or not.

        Args:
            report: called with each new line of the log.

        Raises:
            ConfigError: the loss is not finite, `run_dir` cannot be written, or another process is in the same search.
            CheckpointError: the state in `run_dir` is damaged.
        """
        with alone_in(self.dir):
            self.complete(report, self.dir)

    def batch(self, images: Pixels, labels: torch.Tensor, chosen: torch.Tensor) -> Batch:
        """Some of the images, normalised by mean and deviation of the training half."""
        return Batch(self._normalised(images[chosen]), labels[chosen].to(self.device))

    def pairs(self) -> Iterator[tuple[Batch, Batch]]:
        """A pass over the training half: its batches, each with one of the other half, from the global generator."""
        data = self.data
        order = torch.randperm(len(data.labels)).tensor_split(self.batches)
        bank = draws(len(data.validation_labels), self.batches, len(order[0]))
        images = augmented(data.images[:], self.config.flip) if self.config.augment else data.images
        for train, held_out in zip(order, bank, strict=True):
            tested = self.batch(data.validation_images, data.validation_labels, held_out)
            yield self.batch(images, data.labels, train), tested

    def _normalised(self, images: torch.Tensor) -> torch.Tensor:
        mean, std = (torch.tensor(v, device=self.device)[:, None, None] for v in (self.data.mean, self.data.std))
        return (images.to(self.device).float() / 255 - mean) / std

    @property
    def key(self) -> str:
        space = {} if self.space.name == DEFAULT_SPACE else {"space": self.space.name}
        return digest((_FORMAT, self.name, self.config.to_dict() | {"device": ""} | space, self.data.fingerprint))


def draws(count: int, batches: int, size: int) -> list[torch.Tensor]:
    """So many batches of indices below `count`, in random order, which begins anew where it ends.

    Draws come from the global CPU generator.
    """
    order = torch.randperm(count)
    steps = torch.arange(batches * min(size, count)).view(batches, -1) % count
    return list(order[steps])
