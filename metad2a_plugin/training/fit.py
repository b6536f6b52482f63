"""One network in training: epochs, validation and the state to go on from."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from metad2a_plugin.errors import ConfigError, said
from metad2a_plugin.nn.lean import lean
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import TrainingData, augmented, check_split
from metad2a_plugin.training.loop import TrainingLoop, cosine
from metad2a_plugin.utils.torch_device import usable

_EVALUATION_BATCH = 512
_MAX_NORM = 1.0
"""Of gradients, where networks begin with weights: their last layer has seen the images, and may be steep."""
_EVALUATION_PIXELS = 2**16
"""Of a batch on a CPU: more would not stay in its caches."""


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


@dataclass(frozen=True)
class Training:
    """What a callback is told an epoch of.

    Attributes:
        name: of the training, the same when it goes on after an interruption; that of its folder in a ``run_dir``.
        architecture: what is trained, in the field's string; of `train_network` the network's class.
        config: its settings.
    """

    name: str
    architecture: str
    config: TrainConfig


class Callback(Protocol):
    """What trainings tell of themselves: any object with this method, see `training.loggers` for some."""

    def on_epoch_end(self, epoch: Epoch, training: Training, /) -> None:
        """Called after every epoch, once it is saved; what it raises ends the training, which can go on later."""


def reporter(callbacks: Iterable[Callback], training: Training) -> Report:
    """What tells all of them."""
    callbacks = checked_callbacks(callbacks)

    def report(epoch: Epoch) -> None:
        for callback in callbacks:
            callback.on_epoch_end(epoch, training)

    return report


def checked_callbacks(callbacks: Iterable[Callback]) -> tuple[Callback, ...]:
    """Refuse what is no callback before anything is trained."""
    found = tuple(callbacks) if isinstance(callbacks, Iterable) else None
    known = [callable(getattr(one, "on_epoch_end", None)) and not isinstance(one, type) for one in found or ()]
    if found is None or not all(known):
        wrong = callbacks if found is None else found[known.index(False)]
        raise ConfigError(f"callbacks is a list of objects with on_epoch_end(epoch, training), got {said(wrong)}")
    return found


def train_network(
    network: nn.Module, data: TrainingData, config: TrainConfig, callbacks: Iterable[Callback] = ()
) -> tuple[Epoch, ...]:
    """Train any network in place, by the recipe of `train_architecture`.

    Args:
        network: takes pixels, uint8 ``[batch, 3, size, size]``, and gives logits ``[batch, classes]``; it is moved
            to the device of the config.
        data: of `prepare`, with the same config.
        config: its `options` have no meaning here, its `seed` is that of order and augmentation.
        callbacks: told after each epoch.

    Returns:
        One `Epoch` each.

    Raises:
        ConfigError: the loss is not finite, or the data were prepared with another config.
    """
    check_split(data, config)
    name = type(network).__name__
    report = reporter(callbacks, Training(name, name, config))
    fit = Fit(network, data, config, usable(config.device), name)
    fit.complete(report)
    return tuple(fit.history)


class Fit(TrainingLoop[Epoch]):
    """A network in training; its state is the network, the optimiser and the history."""

    config: TrainConfig
    line = Epoch
    FILES = ("checkpoint.pt", "epochs.csv")
    RESTART = "remove the folder it is in to train again from the start"

    def __init__(
        self, network: nn.Module, data: TrainingData, config: TrainConfig, device: torch.device, name: str
    ) -> None:
        super().__init__(config, device, name)
        self.network, self.data = network.to(device), data
        self.optimizer = torch.optim.SGD(
            network.parameters(), config.lr, config.momentum, weight_decay=config.weight_decay, nesterov=True
        )
        self.parts = {"network": network, "optimizer": self.optimizer}
        if config.weights is not None:
            self.shorten(_MAX_NORM)

    def shorten(self, most: float) -> None:
        """Have gradients that are longer than `most` shortened before each step."""

        def shorten(*_: Any) -> None:
            nn.utils.clip_grad_norm_(self.network.parameters(), most)

        self.optimizer.register_step_pre_hook(shorten)

    def _epoch(self, index: int) -> Epoch:
        with lean(self.network):
            lr, mean_loss = self._train(index)
            self._require_finite(mean_loss, ", or a longer warm-up")
            accuracies = self._validate()
        return Epoch(index + 1, lr, mean_loss, *accuracies, self.seconds)

    def _train(self, index: int) -> tuple[float, float]:
        """The steps of an epoch; the learning rate of the last and the mean loss."""
        config, data, losses = self.config, self.data, []
        batches = -(-len(data.labels) // config.batch_of(len(data.labels)))
        steps = batches * config.epochs
        warmup = max(1, round(config.warmup * steps))
        self.network.train()
        for step, batch in enumerate(torch.randperm(len(data.labels)).tensor_split(batches), index * batches):
            lr = cosine(self.optimizer, config.lr, step, steps, (step + 1) / warmup)
            images = data.images[batch].to(self.device)
            logits = self.network(augmented(images, config.flip, config.padding) if config.augment else images)
            loss = nn.functional.cross_entropy(
                logits, data.labels[batch].to(self.device), label_smoothing=config.label_smoothing
            )
            if data.soft is not None:
                loss = data.soft.mixed(loss, logits, batch)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        return lr, float(torch.stack(losses).mean())

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        """Accuracy and balanced accuracy of the validation part, in percent."""
        self.network.eval()
        images, size = self.data.validation_images, _EVALUATION_BATCH
        if self.device.type == "cpu":
            size = min(size, max(1, _EVALUATION_PIXELS // images.shape[-1] ** 2))
        batches = images.split(size)
        return self._accuracies(torch.cat([self.network(batch.to(self.device)).argmax(1).cpu() for batch in batches]))

    def _accuracies(self, answers: torch.Tensor) -> tuple[float, float]:
        """Accuracy and balanced accuracy of answers for the validation part, in percent."""
        labels = self.data.validation_labels
        right = (answers == labels).double()
        images = labels.bincount()
        per_class = labels.bincount(weights=right)[images > 0] / images[images > 0]
        return 100 * right.mean().item(), 100 * per_class.mean().item()
