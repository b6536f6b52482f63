"""One network in training: epochs, validation and the state to go on from."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import TrainingData, augmented, check_split
from metad2a_plugin.utils.files import UNREADABLE
from metad2a_plugin.utils.torch_device import seeded, usable

_EVALUATION_BATCH = 512


class Epoch(NamedTuple):
    """One line of the log; accuracies are percent of the validation images.

    `lr` is the learning rate of the last step, `loss` the mean over the steps; `balanced_accuracy` is the mean
    over the classes found in the validation part.
    """

    epoch: int
    lr: float
    loss: float
    accuracy: float
    balanced_accuracy: float
    seconds: float


Report = Callable[[Epoch], None]


def train_network(
    network: nn.Module, data: TrainingData, config: TrainConfig, report: Report = lambda epoch: None
) -> tuple[Epoch, ...]:
    """Train any network in place, by the recipe of `train_architecture`.

    Args:
        network: takes pixels, uint8 ``[batch, 3, size, size]``, and gives logits ``[batch, classes]``; it is moved
            to the device of the config.
        data: of `prepare`, with the same config.
        config: its `channels`, `cells` and `width` have no meaning here, its `seed` is that of order and augmentation.
        report: called after each epoch.

    Returns:
        One `Epoch` each.

    Raises:
        ConfigError: the loss is not finite, or the data were prepared with another config.
    """
    check_split(data, config)
    fit = Fit(network, data, config, usable(config.device), type(network).__name__)
    while len(fit.history) < config.epochs:
        report(fit.step())
    return tuple(fit.history)


class Fit:
    """A network in training; its state is the network, the optimiser and the history.

    Attributes:
        history: one `Epoch` for each `step` so far.
    """

    def __init__(
        self, network: nn.Module, data: TrainingData, config: TrainConfig, device: torch.device, name: str
    ) -> None:
        self.network, self.data, self.config, self.device, self.name = network.to(device), data, config, device, name
        self.optimizer = torch.optim.SGD(
            network.parameters(), config.lr, config.momentum, weight_decay=config.weight_decay, nesterov=True
        )
        self.history: list[Epoch] = []
        self._batches = -(-len(data.labels) // config.batch_size)
        self._steps = self._batches * config.epochs

    def step(self) -> Epoch:
        """Train the next epoch and validate.

        Raises:
            ConfigError: the loss is not finite.
        """
        self.history.append(self._epoch(len(self.history)))
        return self.history[-1]

    @property
    def weights(self) -> nn.Module:
        """What is saved of the network."""
        return self.network

    def state(self) -> bytes:
        """All that it takes to go on, for `load_state`."""
        buffer = io.BytesIO()
        state = {
            "network": self.weights.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": [tuple(epoch) for epoch in self.history],
        }
        torch.save(state, buffer)
        return buffer.getvalue()

    def load_state(self, path: Path) -> None:
        """Go on from a file of `state`.

        Raises:
            CheckpointError: the file is damaged.
        """
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            self.weights.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.history = [Epoch(*line) for line in state["history"]]
        except UNREADABLE as error:
            raise damaged(path, error) from error

    def _epoch(self, index: int) -> Epoch:
        begin, config, data = time.perf_counter(), self.config, self.data
        losses = []
        # Each epoch has its own seed, so that a resumed run needs no generator state.
        with seeded((config.seed, index), self.device):
            self.network.train()
            for step, batch in enumerate(torch.randperm(len(data.labels)).tensor_split(self._batches)):
                lr = self._set_lr(index * self._batches + step)
                images = data.images[batch].to(self.device)
                logits = self.network(augmented(images, config.flip) if config.augment else images)
                loss = nn.functional.cross_entropy(
                    logits, data.labels[batch].to(self.device), label_smoothing=config.label_smoothing
                )
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                losses.append(loss.detach())
        mean_loss = float(torch.stack(losses).mean())
        if not math.isfinite(mean_loss):
            raise ConfigError(
                f"the loss of {self.name} became {mean_loss} in epoch {index + 1} "
                f"with lr={config.lr:g}; train with a lower learning rate (such as lr={config.lr / 10:g}) "
                "or a longer warm-up"
            )
        accuracy, balanced = self._validate()
        return Epoch(index + 1, lr, mean_loss, accuracy, balanced, time.perf_counter() - begin)

    def _set_lr(self, step: int) -> float:
        warmup = max(1, round(self.config.warmup * self._steps))
        lr = self.config.lr * min(1, (step + 1) / warmup) * (1 + math.cos(math.pi * step / self._steps)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        """Accuracy and balanced accuracy of the validation part, in percent."""
        self.network.eval()
        batches = self.data.validation_images.split(_EVALUATION_BATCH)
        return self._accuracies(torch.cat([self.network(batch.to(self.device)).argmax(1).cpu() for batch in batches]))

    def _accuracies(self, answers: torch.Tensor) -> tuple[float, float]:
        """Accuracy and balanced accuracy of answers for the validation part, in percent."""
        labels = self.data.validation_labels
        right = (answers == labels).double()
        images = labels.bincount()
        per_class = labels.bincount(weights=right)[images > 0] / images[images > 0]
        return 100 * right.mean().item(), 100 * per_class.mean().item()


def damaged(path: Path, error: Exception) -> CheckpointError:
    """The error for a file that cannot be read."""
    return CheckpointError(
        f"{str(path)!r} cannot be read ({type(error).__name__}: {error}); remove the folder {str(path.parent)!r} to "
        "train again from the start"
    )
