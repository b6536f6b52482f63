"""The training of one contender: kept after every epoch, and cut to the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from metad2a_plugin.contest.contenders import Contender
from metad2a_plugin.contest.images import Images
from metad2a_plugin.data.streamed import Pixels, StreamedPixels
from metad2a_plugin.training.classifier import Classifier
from metad2a_plugin.training.files import export_network, load_network
from metad2a_plugin.training.fit import Epoch, Fit
from metad2a_plugin.training.images import TrainingData
from metad2a_plugin.utils.kept import digest

NETWORK = "network.safetensors"
_FEW = 4  # batches
_EXTENDED = 0.5
"""Share of a training in which it may still be made longer: later its learning rate would rise again."""
_TOLERANCE = 0.03


class ContenderFit(Fit):
    """A contender in training.

    Args:
        contender: what trains.
        images: the data.
        epochs: how long.
        device: where.
        data: in place of the contender's own.
        begin: the file of a network of the contender, from which the training goes on; None begins as the contender
            does.
    """

    network: Classifier

    def __init__(
        self,
        contender: Contender,
        images: Images,
        epochs: int,
        device: torch.device,
        data: TrainingData | None = None,
        begin: Path | None = None,
    ) -> None:
        config = replace(contender.config, epochs=epochs)
        data = contender.data(images) if data is None else data
        network = contender.classifier(images) if begin is None else load_network(begin)
        super().__init__(network, data, config, device, contender.title)
        self.contender = contender
        if contender.max_norm is not None:
            self.shorten(contender.max_norm)

    @property
    def key(self) -> str:
        # Its number of epochs may change on the way.
        return digest((self.contender.to_dict(), self.data.fingerprint))

    def retime(self, seconds: float, most: int) -> int:
        """Change the number of epochs so that the training ends after so many seconds more; returns it.

        The learning rate falls accordingly from now on.
        """
        done, epochs = len(self.history), self.config.epochs
        each = sum(epoch.seconds for epoch in self.history) / done
        fitting = max(done, min(most, done + int(seconds / each)))
        longer = fitting > epochs and done > _EXTENDED * epochs
        if abs(fitting - epochs) > _TOLERANCE * epochs and not longer:
            self.config = replace(self.config, epochs=fitting)
        return self.config.epochs


def train_contender(
    contender: Contender,
    images: Images,
    epochs: int,
    device: torch.device,
    folder: Path,
    begin: Path | None,
    left: Callable[[], float] | None,
    most: int,
    report: Callable[[Epoch, int], None] = lambda epoch, epochs: None,
) -> list[Epoch]:
    """Train a contender; its network is in the folder at the end.

    Args:
        contender: what trains.
        images: the data.
        epochs: how long.
        device: where.
        folder: where a training that was interrupted goes on.
        begin: the file of the network that it goes on from, if any.
        left: seconds that are left, by which the training is made longer or shorter; None keeps to the epochs.
        most: epochs, at the most, where it is made longer.
        report: called after each epoch, with the number of all.

    Raises:
        ConfigError: the loss is not finite.
    """
    fit = ContenderFit(contender, images, epochs, device, begin=begin)

    def told(epoch: Epoch) -> None:
        report(epoch, fit.config.epochs if left is None else fit.retime(left(), most))

    fit.complete(told, folder)
    export_network(folder / NETWORK, fit.network.eval().cpu())
    (folder / fit.FILES[0]).unlink(missing_ok=True)
    return fit.history


def epoch_seconds(contender: Contender, images: Images, device: torch.device) -> float:
    """Of an epoch with its validation, measured on a few batches."""
    data = contender.data(images)
    few = min(len(data.labels), _FEW * contender.config.batch_of(len(data.labels)))
    part = replace(
        data,
        images=_first(data.images, few),
        labels=data.labels[:few],
        soft=None if data.soft is None else replace(data.soft, logits=data.soft.logits[:few]),
        validation_images=_first(data.validation_images, few),
        validation_labels=data.validation_labels[:few],
    )
    fit = ContenderFit(contender, images, 2, device, part)
    fit.step()  # warms up
    # A validation image takes a third of the time of a training image.
    share = (len(data.labels) + len(data.validation_labels) / 3) / (few + len(part.validation_labels) / 3)
    return fit.step().seconds * share


def epochs_seconds(
    contenders: Mapping[str, Contender], images: Images, device: torch.device, seconds: float
) -> dict[str, float]:
    """Those of an epoch of each, in their order; of those whose turn comes after so many seconds, nothing."""
    begin = time.monotonic()
    found: dict[str, float] = {}
    for name, contender in contenders.items():
        if not found or time.monotonic() - begin < seconds:
            found[name] = epoch_seconds(contender, images, device)
    return found


def _first(pixels: Pixels, count: int) -> Pixels:
    """Some of them, which are decoded again where the others are."""
    if isinstance(pixels, StreamedPixels):
        few = range(min(count, len(pixels)))
        return StreamedPixels(pixels.dataset.subset(few), pixels.size)
    return pixels[:count]


def curve(history: list[Epoch]) -> tuple[float, ...]:
    """Validation accuracy after every epoch, in percent."""
    return tuple(epoch.accuracy for epoch in history)
