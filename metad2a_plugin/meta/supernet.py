"""Training of a MobileNetV3 supernet, so that any of its networks has an accuracy without a training of its own.

Each step trains the largest network, the smallest and random ones on the same images (sandwich rule), and all but
the largest also learn the largest one's answers (in-place distillation): Yu and Huang, ICCV 2019, sections 3.2
and 3.3. Images are few here, so that a network may also learn to predict what an image encoder sees (Romero et al.,
ICLR 2015).
"""

from __future__ import annotations

import hashlib
import io
import math
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.mobilenetv3.layout import layout
from metad2a_plugin.spaces.mobilenetv3.network import InvertedResidual, MobileNetV3
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
from metad2a_plugin.spaces.mobilenetv3.supernet import MobileNetV3Supernet
from metad2a_plugin.training.images import augmented
from metad2a_plugin.utils.checks import BELOW_ONE, FINITE, TINY, settings
from metad2a_plugin.utils.files import UNREADABLE, write_atomically
from metad2a_plugin.utils.torch_device import seeded

_FORMAT = 1
_SPACE = MobileNetV3Space()
_LARGEST = _SPACE.parse("+".join(["k7e6-k7e6-k7e6-k7e6"] * 5))
_SMALLEST = _SPACE.parse("+".join(["k3e3-k3e3"] * 5))
_MEAN, _STD = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
_BATCH = 256  # images of an evaluation that go through a network at once
_LEAST = {"input_size": 32, "epochs": 1, "batch_size": 2, "random": 0, "seed": 0}
_RANGES: dict[str, tuple[float, float, str]] = {
    "width": (0.1, 4, "a multiplier of the channels, such as 0.35"),
    "lr": (TINY, FINITE, "a positive number, such as 2e-3"),
    "weight_decay": (0, FINITE, "0 or a positive number, such as 0.05"),
    "warmup": (0, BELOW_ONE, "a share of all steps, from 0 to less than 1"),
    "label_smoothing": (0, BELOW_ONE, "from 0 to less than 1"),
    "distillation": (0, FINITE, "0 or a positive number, such as 2"),
}


@dataclass(frozen=True)
class SupernetConfig:
    """How a supernet is trained: AdamW with a cosine schedule.

    Attributes:
        width: multiplier of the channels.
        input_size: side of the images, in pixels.
        epochs: passes over the training images.
        batch_size: largest batch.
        lr: highest learning rate.
        weight_decay: on all parameters.
        warmup: share of all steps in which the learning rate rises linearly.
        label_smoothing: of the cross-entropy with labels.
        random: networks of a step besides the largest and the smallest.
        teacher: image encoder whose features networks learn to predict; None for labels alone.
        distillation: weight of that.
        seed: of initial weights, order, augmentation and networks.
        device: where it runs.

    Raises:
        ConfigError: a value is out of range.
    """

    width: float = 0.35
    input_size: int = 48
    epochs: int = 20
    batch_size: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    label_smoothing: float = 0.1
    random: int = 1
    teacher: str | None = "default"
    distillation: float = 5.0
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        settings(self, _LEAST, _RANGES)


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
        ConfigError: the loss is not finite, or `run_dir` cannot be written.
        CheckpointError: the state in `run_dir` is damaged, or of other settings or images.
    """
    return _Run(train, held_out, classes, config, features, run_dir).result(on_epoch)


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


class _Run:
    """A supernet in training; its state is the weights, the optimiser and the log."""

    def __init__(
        self,
        train: LabelledImages,
        held_out: LabelledImages,
        classes: int,
        config: SupernetConfig,
        features: torch.Tensor | None,
        run_dir: Path | None,
    ) -> None:
        self.train, self.held_out, self.config, self.run_dir = train, held_out, config, run_dir
        self.device = torch.device(config.device)
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
        self.log: list[SupernetEpoch] = []
        self._batches = -(-len(train.labels) // config.batch_size)
        self.key = "" if run_dir is None else self._fingerprint()

    def result(self, report: Callable[[SupernetEpoch], None]) -> MobileNetV3Supernet:
        if self.run_dir and (self.run_dir / "supernet.pt").exists():
            self._load(self.run_dir / "supernet.pt")
        while len(self.log) < self.config.epochs:
            self.log.append(self._epoch(len(self.log)))
            if self.run_dir:
                self._save(self.run_dir)
            report(self.log[-1])
        return self.supernet.cpu().eval()

    def _epoch(self, index: int) -> SupernetEpoch:
        begin, total = time.perf_counter(), torch.zeros(())
        # Each epoch has its own seed, so that a resumed run needs no generator state.
        with seeded((self.config.seed, index), self.device):
            networks = random.Random(torch.initial_seed())
            for step, batch in enumerate(torch.randperm(len(self.train.labels)).tensor_split(self._batches)):
                lr = self._set_lr(index + step / self._batches)
                self.optimizer.zero_grad()
                total += self._gradients(batch, networks)
                self.optimizer.step()
        loss = float(total) / self._batches
        if not math.isfinite(loss):
            raise ConfigError(
                f"the supernet's loss became {loss} in epoch {index + 1}; train with a lower learning rate, such as "
                f"lr={self.config.lr / 10:g}"
            )
        largest, smallest = (self._accuracy(architecture) for architecture in (_LARGEST, _SMALLEST))
        return SupernetEpoch(index + 1, lr, loss, largest, smallest, time.perf_counter() - begin)

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

    def _set_lr(self, epochs: float) -> float:
        """After so many epochs."""
        done = (epochs + 1 / self._batches) / self.config.epochs
        rise = min(1.0, done / self.config.warmup) if self.config.warmup else 1.0
        lr = self.config.lr * rise * (1 + math.cos(math.pi * done)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def _accuracy(self, architecture: Architecture) -> float:
        """On at most 2,000 of the held-out images, with statistics of at most 512 of the training images."""
        network = self.supernet.extract(architecture)
        calibration = self.train.images[_spread(len(self.train.images), 512)].to(self.device)
        chosen = _spread(len(self.held_out.images), 2000)
        return accuracy(network, calibration, LabelledImages(*(part[chosen].to(self.device) for part in self.held_out)))

    # -- files -----------------------------------------------------------------------------------
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(repr((_FORMAT, asdict(self.config) | {"device": ""})).encode())
        # Features of the same encoder differ in their last bits between machines.
        for tensor in (*self.train, *self.held_out):
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def _save(self, folder: Path) -> None:
        buffer = io.BytesIO()
        state = {
            "key": self.key,
            "supernet": self.supernet.state_dict(),
            "guess": self.guess.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "log": [list(epoch) for epoch in self.log],
        }
        torch.save(state, buffer)
        lines = [",".join(SupernetEpoch._fields), *(",".join(map(str, epoch)) for epoch in self.log), ""]
        write_atomically(folder / "supernet.csv", "\n".join(lines).encode())
        write_atomically(folder / "supernet.pt", buffer.getvalue())

    def _load(self, path: Path) -> None:
        advice = f"remove {str(path)!r} to train from the start, or choose another folder"
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            if state["key"] != self.key:
                raise CheckpointError(f"{str(path)!r} is of a supernet with other settings or images; {advice}")
            self.supernet.load_state_dict(state["supernet"])
            self.guess.load_state_dict(state["guess"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.log = [SupernetEpoch(*epoch) for epoch in state["log"]]
        except CheckpointError:
            raise
        except UNREADABLE as error:
            raise CheckpointError(
                f"{str(path)!r} cannot be read ({type(error).__name__}: {error}); {advice}"
            ) from error
