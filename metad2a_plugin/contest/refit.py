"""The best network once more, trained on all images; how good it is nobody can measure then.

A validation part that the dataset came with stays out of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from metad2a_plugin.contest.contenders import Contender
from metad2a_plugin.contest.images import Images
from metad2a_plugin.contest.training import ContenderFit
from metad2a_plugin.data.streamed import StreamedPixels
from metad2a_plugin.training.classifier import Classifier
from metad2a_plugin.training.encoder_network import EncoderClassifier
from metad2a_plugin.training.fit import Epoch
from metad2a_plugin.training.images import IN_MEMORY, TrainingData


class Whole(Images):
    """All images of a run as its training part; what is chosen by and measured on stays what it was."""

    def __init__(self, images: Images) -> None:
        # Not decoded and split again: everything is what it was, but for the training part.
        self.__dict__.update(images.__dict__)
        self.parts, self._heads, self._features = images, {}, {}
        tested = np.flatnonzero(images.dataset.held_out(images.config.test, images.config.seed))
        known = np.setdiff1d(np.arange(len(images.dataset)), tested)
        self.order = ["train", "test"]
        if images.dataset.validation is None:
            held_out = images.known.held_out(images.config.validation, images.config.seed)
            known = np.concatenate([known[~held_out], known[held_out]])
            self.order.insert(1, "validation")
        self.train = images.dataset.subset(np.concatenate([known, tested]))

    def at(self, size: int) -> TrainingData:
        data = self.parts.at(size)
        pixels = StreamedPixels(self.train, size)
        kept = pixels if pixels.shape.numel() > IN_MEMORY else pixels[:]
        return replace(data, images=kept, labels=torch.from_numpy(self.train.labels), train=self.train)

    def features(self, name: str) -> dict[str, torch.Tensor]:
        found = self.parts.features(name)
        return found | {"train": torch.cat([found[part] for part in self.order])}


def refit_linear(images: Images, encoder: str) -> Classifier:
    """The linear classifier of an encoder's features of all images, as a network."""
    whole = Whole(images)
    names, side = images.dataset.class_names, images.sides[encoder]
    return EncoderClassifier(encoder, names, input_size=side, head=whole.head(encoder)).eval()


def refit(
    contender: Contender,
    images: Images,
    epochs: int,
    device: torch.device,
    folder: Path,
    begin: Path,
    left: Callable[[], float],
    report: Callable[[Epoch, int], None],
) -> Classifier:
    """A contender trained further on all images, for as many epochs as in its last round or as there is time for.

    Args:
        contender: what trains.
        images: the data.
        epochs: how long it was trained before.
        device: where.
        folder: where its state is kept; an interrupted training goes on from there.
        begin: the file of its network.
        left: seconds that there are.
        report: called after each epoch, with the number of epochs.

    Raises:
        ConfigError: the loss is not finite.
        CheckpointError: the state in the folder is damaged.
    """
    fit = ContenderFit(contender, Whole(images), epochs, device, begin=begin)

    def told(epoch: Epoch) -> None:
        report(epoch, fit.retime(left(), epochs))

    fit.complete(told, folder)
    return fit.network.eval().cpu()
