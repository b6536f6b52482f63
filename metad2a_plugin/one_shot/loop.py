"""What the searches by gradients share: the two halves of the data, the schedule, the log and the state."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.data.streamed import Pixels
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.one_shot.config import SearchConfig
from metad2a_plugin.one_shot.outcome import SearchEpoch, SearchOutcome, best_cell
from metad2a_plugin.plugins.registry import DEFAULT_SPACE, get_space
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.spaces.interfaces import weight_sharing
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import TrainingData, augmented, prepare
from metad2a_plugin.training.loop import TrainingLoop, cosine
from metad2a_plugin.utils.kept import digest
from metad2a_plugin.utils.torch_device import seeded, usable

_FORMAT = 1
_EVALUATION_BATCH = 512


class Batch(NamedTuple):
    """Normalised images float32 ``[b, 3, size, size]`` and labels int64 ``[b]``."""

    images: torch.Tensor
    labels: torch.Tensor


def halves(dataset: ImageDataset, config: SearchConfig) -> TrainingData:
    """Decode a dataset and split it, class by class, into the training half and the architecture half.

    The latter is called the validation part in what is returned.

    Raises:
        DatasetError: no class has two images; or too many images are broken.
    """
    split = TrainConfig(input_size=config.input_size, validation=0.5, split_seed=config.split_seed)
    return prepare(dataset.alone(), split)


class GradientSearch(TrainingLoop[SearchEpoch]):
    """A search in progress; its state is the `parts`, with the architecture parameters, and the history.

    Args:
        dataset: images, or the result of `halves` with the same settings.
        config: settings; None takes the defaults.
        run_dir: after each epoch the state is saved in a folder in it that is named by method, data and settings; an
            interrupted search goes on from there, a finished one is not repeated.
        space: whose architectures share the weights, `WeightSharing`; None takes the default one.

    Raises:
        ConfigError: the space has no supernet or other options, the device cannot be used, or the halves are of other
            settings.
        DatasetError: see `halves`.
    """

    name: str
    config: SearchConfig
    line = SearchEpoch
    FILES = ("search.pt", "epochs.csv")
    RESTART = "remove it to search from the start"

    def __init__(
        self,
        dataset: ImageDataset | TrainingData,
        config: SearchConfig | None = None,
        run_dir: str | os.PathLike[str] | None = None,
        space: SearchSpace | None = None,
    ) -> None:
        self.space = weight_sharing(get_space(DEFAULT_SPACE) if space is None else space)
        config = config or SearchConfig()
        config = replace(config, options=self.space.all_options(config.options))
        super().__init__(config, usable(config.device), "the supernet")
        self.data = dataset if isinstance(dataset, TrainingData) else halves(dataset, config)
        if self.data.split != (config.input_size, 0.5, config.split_seed):
            raise ConfigError(
                f"the data were prepared with (input_size, validation, split_seed) = {self.data.split}, the search "
                f"needs {(config.input_size, 0.5, config.split_seed)}; call halves() with the same settings"
            )
        with seeded((config.seed,), self.device):
            self.supernet = self.space.supernet(len(self.data.class_names), **config.options)
        self.supernet.to(self.device)
        self._names = [name for name, _ in self.supernet.named_parameters()]
        self._weights = list(self.supernet.parameters())
        # Zeros, so that at first all operations have equal weight (Liu et al., appendix A.1).
        self.alpha = nn.Parameter(torch.zeros(len(self.space.options), len(self.space.operations), device=self.device))
        self.optimizer = torch.optim.SGD(self._weights, config.lr, config.momentum, weight_decay=config.weight_decay)
        self.alpha_optimizer = torch.optim.Adam(
            [self.alpha], config.alpha_lr, (0.5, 0.999), weight_decay=config.alpha_weight_decay
        )
        self.parts = {
            "alpha": nn.ParameterList([self.alpha]),
            "supernet": self.supernet,
            "optimizer": self.optimizer,
            "alpha_optimizer": self.alpha_optimizer,
        }
        self.batches = -(-len(self.data.labels) // config.batch_size)
        self.dir = None if run_dir is None else Path(run_dir) / f"{self.name}-{self.key}"

    @abstractmethod
    def _step(self, step: int, train: Batch, bank: Batch) -> torch.Tensor:
        """Update everything once; returns the loss of the weights, without a graph."""

    def _begin(self, epoch: int) -> None:
        """Draw what steps of an epoch need besides the two halves."""

    def _measure(self) -> dict[str, float]:
        """Further columns of the log."""
        return {}

    def run(self, on_epoch: Callable[[SearchEpoch], None] = lambda epoch: None) -> SearchOutcome:
        """Search what is left to search.

        The same arguments give the same result on the CPU (with the same number of threads), interrupted or not.

        Args:
            on_epoch: called with each new line of the log.

        Raises:
            ConfigError: the loss is not finite, or `run_dir` cannot be written.
            CheckpointError: the state in `run_dir` is damaged.
        """
        self.complete(on_epoch, self.dir)
        return SearchOutcome(
            self.space, self.alpha.detach().cpu().clone(), tuple(self.history), self.config.allow_none
        )

    def batch(self, images: Pixels, labels: torch.Tensor, chosen: torch.Tensor) -> Batch:
        """Some of the images, normalised by mean and deviation of the training half."""
        return Batch(self._normalised(images[chosen]), labels[chosen].to(self.device))

    def _normalised(self, images: torch.Tensor) -> torch.Tensor:
        mean, std = (torch.tensor(v, device=self.device)[:, None, None] for v in (self.data.mean, self.data.std))
        return (images.to(self.device).float() / 255 - mean) / std

    def _epoch(self, index: int) -> SearchEpoch:
        config, data = self.config, self.data
        order = torch.randperm(len(data.labels)).tensor_split(self.batches)
        bank = draws(len(data.validation_labels), self.batches, len(order[0]))
        images = augmented(data.images[:], config.flip) if config.augment else data.images
        self._begin(index)
        losses = []
        for step, (train, held_out) in enumerate(zip(order, bank, strict=True)):
            lr = cosine(self.optimizer, config.lr, index * self.batches + step, self.batches * config.epochs)
            tested = self.batch(data.validation_images, data.validation_labels, held_out)
            losses.append(self._step(step, self.batch(images, data.labels, train), tested))
        loss = float(torch.stack(losses).mean())
        cell = best_cell(self.space, self.alpha, config.allow_none)
        mixture = self.alpha.detach().softmax(1)
        mixture_loss, accuracy = self._evaluate(mixture)
        for value in (loss, mixture_loss):
            self._require_finite(
                value,
                f", or with a lower alpha_lr than {config.alpha_lr:g}; or, of the tester, search with a lower one of "
                "tester_lr, selector_lr and gamma",
            )
        entropy = float(torch.special.entr(mixture).sum(1).mean())
        return SearchEpoch(
            epoch=index + 1,
            lr=lr,
            loss=loss,
            mixture_loss=mixture_loss,
            mixture_accuracy=accuracy,
            cell_accuracy=self._evaluate(cell.choices)[1],
            entropy=entropy,
            cell=self.space.format(cell),
            seconds=self.seconds,
            **self._measure(),
        )

    @torch.no_grad()
    def _evaluate(self, selection: torch.Tensor | tuple[int, ...]) -> tuple[float, float]:
        """Loss and accuracy, in percent, of a mixture or a cell on the architecture half."""
        labels = self.data.validation_labels
        # Parts of equal size, since batch norm uses the statistics of each; mixed, since classes are in order.
        parts = -(-len(labels) // _EVALUATION_BATCH)
        order = torch.cat([torch.arange(part, len(labels), parts) for part in range(parts)])
        images = (self._normalised(self.data.validation_images[part]) for part in order.tensor_split(parts))
        self.supernet.eval()
        logits = torch.cat([self.supernet(part, selection).cpu() for part in images])
        self.supernet.train()
        right = logits.argmax(1) == labels[order]
        return float(F.cross_entropy(logits, labels[order])), 100 * right.double().mean().item()

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
