"""Training of a MobileNetV3 supernet, so that any of its networks has an accuracy without a training of its own.

Each step trains the largest network, the smallest and random ones on the same images (sandwich rule), and all but
the largest also learn the largest one's answers (in-place distillation): Yu and Huang, ICCV 2019, sections 3.2
and 3.3. Images are few here, so that a network may also learn to predict what an image encoder sees (Romero et al.,
ICLR 2015).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from metad2a_plugin.meta.config import SupernetConfig
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.interfaces import IMAGENET
from metad2a_plugin.spaces.mobilenetv3.layout import layout
from metad2a_plugin.spaces.mobilenetv3.network import InvertedResidual, MobileNetV3
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
from metad2a_plugin.spaces.mobilenetv3.supernet import MobileNetV3Supernet
from metad2a_plugin.training.images import augmented
from metad2a_plugin.training.loop import TrainingLoop, cosine
from metad2a_plugin.utils.locks import alone_in
from metad2a_plugin.utils.torch_device import seeded

_FORMAT = 1
_SPACE = MobileNetV3Space()
_LARGEST = _SPACE.parse("+".join(["k7e6-k7e6-k7e6-k7e6"] * 5))
_SMALLEST = _SPACE.parse("+".join(["k3e3-k3e3"] * 5))
_MEAN, _STD = (torch.tensor(v)[:, None, None] for v in IMAGENET)
_BATCH = 256  # images of an evaluation that go through a network at once


class LabelledImages(NamedTuple):
    """Images uint8 ``[n, 3, size, size]`` and their classes int64 ``[n]``."""

    images: torch.Tensor
    labels: torch.Tensor


class SupernetEpoch(NamedTuple):
    """One line of the log; `largest` and `smallest` are percent of held-out images that these networks get right."""

    epoch: int
    lr: float
    loss: float
    largest: float
    smallest: float
    seconds: float


def train_supernet(
    train: LabelledImages,
    held_out: LabelledImages,
    classes: int,
    config: SupernetConfig,
    *,
    features: torch.Tensor | None = None,
    run_dir: Path | None = None,
    on_epoch: Callable[[SupernetEpoch], None] = lambda epoch: None,
) -> MobileNetV3Supernet:
    """Train a supernet; an interrupted run goes on where it was.

    Args:
        train: what it learns from.
        held_out: what the log is measured on; decides nothing.
        classes: how many there are.
        config: settings.
        features: the teacher's features of the training images, float32 ``[n, dim]``; None for labels alone.
        run_dir: folder for the state ``supernet.pt``, saved after each epoch, and the log ``supernet.csv``.
        on_epoch: called with each new line of the log.

    Returns:
        The supernet on the CPU, in evaluation mode; its running statistics are those of no single network.

    Raises:
        ConfigError: the loss is not finite, `run_dir` cannot be written, or another process is writing it.
        CheckpointError: the state in `run_dir` is damaged, or of other settings or images.
    """
    run = _Run(train, held_out, classes, config, features)
    with alone_in(run_dir):
        run.complete(on_epoch, run_dir)
    return run.supernet.cpu().eval()


def normalised(images: torch.Tensor) -> torch.Tensor:
    """Pixels uint8 ``[n, 3, h, w]`` as supernets take them, channels last."""
    scaled = (images.float() / 255 - _MEAN.to(images.device)) / _STD.to(images.device)
    return scaled.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def accuracy(network: nn.Module, calibration: torch.Tensor, tested: LabelledImages) -> float:
    """Percent of images that a network gets right once its running statistics are those of the calibration images.

    Args:
        network: its running statistics are replaced.
        calibration: uint8 ``[n, 3, size, size]``.
        tested: images and labels.
    """
    # Parts count alike, so they are of equal size and of all classes.
    parts = -(-len(calibration) // _BATCH)
    update_bn((normalised(calibration[part::parts]) for part in range(parts)), network.train())
    network.eval()
    answers = torch.cat([network(normalised(part)).argmax(1) for part in tested.images.split(_BATCH)])
    return 100 * float((answers == tested.labels).double().mean())


@lru_cache(maxsize=4)
def _frame(architecture: Architecture, width: float) -> MobileNetV3:
    """The network without weights and without a classifier."""
    with torch.device("meta"):
        network = MobileNetV3(_SPACE.layers(architecture), 1, width)
    network.classifier = nn.Identity()
    return network.train()


def _shortcuts_first(network: MobileNetV3) -> None:
    """Layers with a shortcut begin as nothing else (Goyal et al., 2017, section 5.1), so that deep networks train."""
    for block in network.blocks:
        if isinstance(block, InvertedResidual) and block.shortcut:
            nn.init.zeros_(block.get_parameter("conv.point_linear.bn.weight"))


def _spread(n: int, most: int) -> torch.Tensor:
    """At most so many of `n` numbers, evenly."""
    return torch.linspace(0, n - 1, min(n, most)).long()


class _Run(TrainingLoop[SupernetEpoch]):
    """A supernet in training; its state is the weights, the optimiser and the log."""

    config: SupernetConfig
    line = SupernetEpoch
    FILES = ("supernet.pt", "supernet.csv")

    def __init__(
        self,
        train: LabelledImages,
        held_out: LabelledImages,
        classes: int,
        config: SupernetConfig,
        features: torch.Tensor | None,
    ) -> None:
        super().__init__(config, torch.device(config.device), "the supernet")
        self.train, self.held_out = train, held_out
        with seeded((config.seed,), self.device):
            self.supernet = MobileNetV3Supernet(classes, config.width).to(self.device)
            _shortcuts_first(self.supernet)
            self.guess: nn.Module = nn.Identity()
            if features is not None:
                self.guess = nn.Linear(layout(config.width).features, features.shape[1]).to(self.device)
        self.features = None
        if features is not None:
            self.features = (features - features.mean(0)) / features.std(0).clamp(min=1e-6)
        parameters = [*self.supernet.parameters(), *self.guess.parameters()]
        self.optimizer = torch.optim.AdamW(parameters, config.lr, weight_decay=config.weight_decay)
        self.parts = {"supernet": self.supernet, "guess": self.guess, "optimizer": self.optimizer}

    def _epoch(self, index: int) -> SupernetEpoch:
        total, networks = torch.zeros(()), random.Random(torch.initial_seed())
        images = len(self.train.labels)
        batches = torch.randperm(images).tensor_split(-(-images // self.config.batch_size))
        for step, batch in enumerate(batches):
            done = (index + step / len(batches) + 1 / len(batches)) / self.config.epochs
            rise = done / self.config.warmup if self.config.warmup else 1.0
            lr = cosine(self.optimizer, self.config.lr, done, rise=rise)
            self.optimizer.zero_grad()
            total += self._gradients(batch, networks)
            self.optimizer.step()
        loss = float(total) / len(batches)
        self._require_finite(loss)
        largest, smallest = (self._accuracy(architecture) for architecture in (_LARGEST, _SMALLEST))
        return SupernetEpoch(index + 1, lr, loss, largest, smallest, self.seconds)

    def _gradients(self, batch: torch.Tensor, networks: random.Random) -> torch.Tensor:
        """Adds up those of all networks of a step; returns the largest network's loss."""
        images = normalised(augmented(self.train.images[batch].to(self.device), flip=True))
        labels = self.train.labels[batch].to(self.device)
        logits, loss = self._loss(_LARGEST, images, labels, batch)
        loss.backward()
        answers = logits.detach().softmax(1)
        for architecture in (_SMALLEST, *(_SPACE.sample_balanced(networks) for _ in range(self.config.random))):
            self._loss(architecture, images, labels, batch, answers)[1].backward()
        return loss.detach().cpu()

    def _loss(
        self,
        architecture: Architecture,
        images: torch.Tensor,
        labels: torch.Tensor,
        batch: torch.Tensor,
        answers: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits ``[n, classes]`` of a network, and its loss."""
        weights = self.supernet.weights(architecture)
        classifier = weights.pop("classifier.linear.weight"), weights.pop("classifier.linear.bias")
        seen = functional_call(_frame(architecture, self.config.width), weights, (images,))
        logits = F.linear(seen, *classifier)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing)
        if answers is not None:
            loss = (loss + F.cross_entropy(logits, answers)) / 2
        if self.features is not None:
            wanted = self.features[batch].to(self.device)
            loss = loss + self.config.distillation * F.mse_loss(self.guess(seen), wanted)
        return logits, loss

    def _accuracy(self, architecture: Architecture) -> float:
        """On at most 2,000 of the held-out images, with statistics of at most 512 of the training images."""
        network = self.supernet.extract(architecture)
        calibration = self.train.images[_spread(len(self.train.images), 512)].to(self.device)
        chosen = _spread(len(self.held_out.images), 2000)
        return accuracy(network, calibration, LabelledImages(*(part[chosen].to(self.device) for part in self.held_out)))

    @cached_property
    def key(self) -> str:
        digest = hashlib.sha256(repr((_FORMAT, asdict(self.config) | {"device": ""})).encode())
        # Features of the same encoder differ in their last bits between machines.
        for tensor in (*self.train, *self.held_out):
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()
