"""Training of architectures on a user's dataset, with the recipe of NAS-Bench-201 scaled to fewer epochs.

The validation part, the normalisation and the order of work are the same for every architecture, so the
accuracies of one `TrainConfig` can be compared; they are those of the last epoch, never of the best one.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from metad2a_plugin._checks import BELOW_ONE, FINITE, TINY, settings
from metad2a_plugin._device import usable
from metad2a_plugin._files import UNREADABLE, write_atomically
from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.errors import CheckpointError, ConfigError, DatasetError
from metad2a_plugin.export import ImageClassifier, export_network, load_network
from metad2a_plugin.spaces.base import Architecture, SearchSpace

_FORMAT = 1
_EVALUATION_BATCH = 512
_LEAST = {"epochs": 1, "batch_size": 2, "input_size": 8, "seed": 0, "split_seed": 0}
_RANGES: dict[str, tuple[float, float, str]] = {
    "lr": (TINY, FINITE, "a positive number, such as 0.1"),
    "momentum": (TINY, BELOW_ONE, "a number between 0 and 1, such as 0.9"),
    "weight_decay": (0, FINITE, "0 or a positive number, such as 5e-4"),
    "warmup": (0, BELOW_ONE, "a share of all steps, from 0 to less than 1"),
    "label_smoothing": (0, BELOW_ONE, "from 0 to less than 1"),
    "validation": (TINY, BELOW_ONE, "a share between 0 and 1, such as 0.2"),
}


@dataclass(frozen=True)
class TrainConfig:
    """How architectures are trained: SGD with Nesterov momentum and a cosine schedule.

    The defaults follow NAS-Bench-201 (Dong and Yang, ICLR 2020, section 2.3) but for the number of epochs (200
    there), the batch size (256 there), the warm-up and the flips.

    Attributes:
        epochs: passes over the training part.
        batch_size: largest batch; an epoch is cut into batches of equal size, so none is tiny.
        lr: highest learning rate.
        momentum: Nesterov momentum.
        weight_decay: on all parameters.
        warmup: share of all steps in which the learning rate rises linearly.
        label_smoothing: of the cross-entropy.
        augment: random crops of the image padded by an eighth of its side.
        flip: also mirror images at random. Off by default, because mirrored digits, letters or signs are other
            objects; turn it on for photographs.
        input_size: side of the square images, in pixels.
        channels, cells, width: of the network, where the search space has such options; None leaves its own default
            (NAS-Bench-201: 16 channels and 5 cells; MobileNetV3: width 1.0).
        validation: share of the images held out.
        seed: of initial weights, order and augmentation.
        split_seed: of the validation part; independent of `seed`, so that runs can be compared.
        device: ``"cpu"``, ``"cuda"``, ...; ``"auto"`` takes a GPU where there is one.

    Raises:
        ConfigError: a value is out of range, or `flip` is set without `augment`.
    """

    epochs: int = 30
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.05
    label_smoothing: float = 0.0
    augment: bool = True
    flip: bool = False
    input_size: int = 32
    channels: int | None = None
    cells: int | None = None
    width: float | None = None
    validation: float = 0.2
    seed: int = 0
    split_seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        settings(self, _LEAST, _RANGES)
        if self.flip and not self.augment:
            raise ConfigError("flip=True needs augment=True; set both, or neither")

    @property
    def options(self) -> dict[str, float]:
        """The options given to the search space."""
        given = {"channels": self.channels, "cells": self.cells, "width": self.width}
        return {name: value for name, value in given.items() if value is not None}


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


@dataclass(frozen=True)
class TrainResult:
    """A trained architecture; accuracies in percent.

    Attributes:
        architecture: what was trained.
        architecture_str: the same in the field's string.
        history: one `Epoch` each.
        interval: Wilson's 95% interval of `accuracy`, from the number of validation images alone: the spread
            over seeds comes on top.
        majority_accuracy: of always answering the most frequent training class.
        chance_accuracy: of answering at random, ``100 / classes``.
        train_images, validation_images: size of the two parts.
        params, flops: in millions, at the size trained.
        seed, split_seed: of the run.
        device: where it ran.
        network: the trained network, in evaluation mode on the CPU, for `export_network` or `export_onnx`.
        run_dir: its files (``epochs.csv``, ``network.safetensors``, ``result.json``); None without one.
    """

    architecture: Architecture
    architecture_str: str
    history: tuple[Epoch, ...]
    interval: tuple[float, float]
    majority_accuracy: float
    chance_accuracy: float
    train_images: int
    validation_images: int
    params: float
    flops: float
    seed: int
    split_seed: int
    device: str
    network: ImageClassifier = field(repr=False, compare=False)
    run_dir: Path | None = None

    @property
    def accuracy(self) -> float:
        """Validation accuracy after the last epoch: the number to report."""
        return self.history[-1].accuracy

    @property
    def balanced_accuracy(self) -> float:
        """Mean accuracy over classes after the last epoch; read this one where classes differ in size."""
        return self.history[-1].balanced_accuracy

    @property
    def best_epoch(self) -> int:
        """The first epoch of highest accuracy, from 1.

        That accuracy is chosen on the data it is measured on, and so is too high on average.
        """
        return max(self.history, key=lambda epoch: epoch.accuracy).epoch

    @property
    def seconds(self) -> float:
        """Time of training and validation, over all interruptions."""
        return sum(epoch.seconds for epoch in self.history)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the weights."""
        return {
            "space": self.architecture.space,
            "architecture": self.architecture_str,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "balanced_accuracy": self.balanced_accuracy,
            "best_epoch": self.best_epoch,
            "majority_accuracy": self.majority_accuracy,
            "chance_accuracy": self.chance_accuracy,
            "train_images": self.train_images,
            "validation_images": self.validation_images,
            "params": self.params,
            "flops": self.flops,
            "seed": self.seed,
            "split_seed": self.split_seed,
            "device": self.device,
            "seconds": self.seconds,
            "history": [epoch._asdict() for epoch in self.history],
        }


@dataclass(frozen=True)
class TrainingData:
    """A dataset decoded and split; made by `prepare`, shared by all architectures.

    Attributes:
        images, labels: training part, uint8 ``[n, 3, size, size]`` and int64 ``[n]``.
        validation_images, validation_labels: the same of the validation part.
        mean, std: of the training pixels scaled to 0..1, per channel.
        class_names: one name per class.
        split: what it was prepared with: `input_size`, `validation` and `split_seed` of the `TrainConfig`.
    """

    images: torch.Tensor
    labels: torch.Tensor
    validation_images: torch.Tensor
    validation_labels: torch.Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    split: tuple[int, float, int]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all pixels, labels and class names."""
        digest = hashlib.sha256(repr(self.class_names).encode())
        for tensor in (self.images, self.labels, self.validation_images, self.validation_labels):
            digest.update(repr(tuple(tensor.shape)).encode())
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()


def prepare(dataset: ImageDataset, config: TrainConfig) -> TrainingData:
    """Decode and split a dataset; broken images are left out with a warning.

    Raises:
        DatasetError: no class has two images, so that none can be held out; or too many images are broken.
    """
    train, validation = dataset.split(config.validation, config.split_seed)
    decoded = [part.decode(range(len(part)), config.input_size) for part in (train, validation)]
    if any(broken for _, broken in decoded):
        return prepare(dataset.verified(config.input_size), config)
    if not len(validation):
        raise DatasetError(
            f"no class of {dataset.name!r} has two images, so none can be held out for validation; add images"
        )
    (images, _), (validation_images, _) = decoded
    # Sums of bytes and of their squares are exact in int64; chunks keep the wide copy small.
    chunks = [chunk.long() for chunk in images.split(1024)]
    pixels = images.numel() // 3
    mean = sum(chunk.sum((0, 2, 3)) for chunk in chunks) / pixels
    square = sum(chunk.square().sum((0, 2, 3)) for chunk in chunks) / pixels
    # Images of a single colour have no spread.
    std = (square - mean**2).clamp(min=1).sqrt()
    return TrainingData(
        images=images,
        labels=torch.from_numpy(train.labels),
        validation_images=validation_images,
        validation_labels=torch.from_numpy(validation.labels),
        mean=tuple((mean / 255).tolist()),
        std=tuple((std / 255).tolist()),
        class_names=dataset.class_names,
        split=_split_settings(config),
    )


def train_architecture(
    space: SearchSpace,
    architecture: Architecture,
    dataset: ImageDataset | TrainingData,
    config: TrainConfig | None = None,
    *,
    run_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> TrainResult:
    """Train one architecture on the training part of a dataset and validate it on the rest.

    The same arguments give the same result on the CPU (with the same number of threads), also when a run with
    `run_dir` was interrupted in between.

    Args:
        space: the architecture's search space.
        architecture: what to train.
        dataset: what to train it on; `prepare` it first to train several with one decoding.
        config: None takes the defaults.
        run_dir: after each epoch the state is saved in a folder in it that is named by architecture, dataset
            and settings; an interrupted run goes on from there, a finished one is not repeated.
        progress: show a progress bar if stderr is a terminal.

    Raises:
        ArchitectureError: the architecture is not of `space`.
        ConfigError: the loss is not finite, an option does not fit the space, or `run_dir` cannot be written.
        DatasetError: see `prepare`.
        CheckpointError: a file in `run_dir` is damaged.
    """
    return train_many(space, [architecture], dataset, config, run_dir, progress=progress)[0]


def train_many(
    space: SearchSpace,
    architectures: Sequence[Architecture],
    dataset: ImageDataset | TrainingData,
    config: TrainConfig | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    *,
    progress: bool = True,
) -> list[TrainResult]:
    """`train_architecture` for several, on the same split; results in the order given."""
    config = config or TrainConfig()
    device = usable(config.device)
    for architecture in architectures:  # fail before hours of training, not after
        space.cost(space.validate(architecture), **config.options)
    data = dataset if isinstance(dataset, TrainingData) else prepare(dataset, config)
    _check_split(data, config)
    with _progress(progress, config.epochs) as start:
        return [
            _Run(space, architecture, data, config, device, run_dir).result(
                start(f"{number}/{len(architectures)}")
            )
            for number, architecture in enumerate(architectures, 1)
        ]


def augmented(images: torch.Tensor, flip: bool) -> torch.Tensor:
    """Random crops of images padded with black by an eighth of their side, and mirrored with chance 1/2.

    Draws come from the global CPU generator, so they do not depend on the device.

    Args:
        images: uint8 ``[n, 3, size, size]``.
        flip: whether to mirror.

    Returns:
        The same shape and type.
    """
    n, size, device = len(images), images.shape[-1], images.device
    pad = size // 8
    padded = nn.functional.pad(images, (pad, pad, pad, pad)).permute(0, 2, 3, 1)
    steps = torch.arange(size)
    rows, columns = (torch.randint(2 * pad + 1, (n, 1)) + steps for _ in range(2))
    if flip:
        columns = torch.where(torch.rand(n, 1) < 0.5, columns.flip(1), columns)
    each = torch.arange(n, device=device)[:, None, None]
    crops = padded[each, rows[:, :, None].to(device), columns[:, None, :].to(device)]
    return crops.permute(0, 3, 1, 2)


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson, 1927), as fractions.

    >>> [round(bound, 4) for bound in wilson_interval(90, 100)]
    [0.8256, 0.9448]
    """
    share, weight = successes / trials, z**2 / trials
    middle = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / trials + weight / (4 * trials)) / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)


def _split_settings(config: TrainConfig) -> tuple[int, float, int]:
    return config.input_size, config.validation, config.split_seed


def _check_split(data: TrainingData, config: TrainConfig) -> None:
    if data.split != _split_settings(config):
        raise ConfigError(
            f"the data were prepared with (input_size, validation, split_seed) = {data.split}, the config has "
            f"{_split_settings(config)}; call prepare() with the same config"
        )


# -- one network ---------------------------------------------------------------------------------
_Report = Callable[[Epoch], None]


def train_network(
    network: nn.Module, data: TrainingData, config: TrainConfig, report: _Report = lambda epoch: None
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
    _check_split(data, config)
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
            raise _damaged(path, error) from error

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


# -- one run -------------------------------------------------------------------------------------
class _Run(Fit):
    """One architecture in training, with its files."""

    network: ImageClassifier

    def __init__(
        self,
        space: SearchSpace,
        architecture: Architecture,
        data: TrainingData,
        config: TrainConfig,
        device: torch.device,
        run_dir: str | os.PathLike[str] | None,
    ) -> None:
        network = ImageClassifier(
            space,
            architecture,
            len(data.class_names),
            class_names=data.class_names,
            input_size=config.input_size,
            mean=data.mean,
            std=data.std,
            seed=config.seed,
            **config.options,
        )
        super().__init__(network, data, config, device, space.format(architecture))
        self.space = space
        self.dir = None if run_dir is None else Path(run_dir) / self._key()

    def result(self, report: _Report) -> TrainResult:
        """Train what is left to train."""
        if self.dir and (self.dir / "result.json").exists():
            self._load_finished(self.dir)
            report(self.history[-1])
            return self._result()
        if self.dir and (self.dir / "checkpoint.pt").exists():
            self.load_state(self.dir / "checkpoint.pt")
            report(self.history[-1])
        while len(self.history) < self.config.epochs:
            epoch = self.step()
            if self.dir:
                self._save_checkpoint(self.dir)
            report(epoch)
        result = self._result()
        if self.dir:
            export_network(self.dir / "network.safetensors", result.network)
            # Last of all: its presence says that the run is complete.
            write_atomically(self.dir / "result.json", json.dumps(result.to_dict(), indent=1).encode())
            (self.dir / "checkpoint.pt").unlink(missing_ok=True)
        return result

    def _result(self) -> TrainResult:
        labels, cost = self.data.validation_labels, self.network.cost
        majority = self.data.labels.bincount().argmax()
        right = round(self.history[-1].accuracy / 100 * len(labels))
        low, high = wilson_interval(right, len(labels))
        return TrainResult(
            architecture=self.network.architecture,
            architecture_str=self.space.format(self.network.architecture),
            history=tuple(self.history),
            interval=(100 * low, 100 * high),
            majority_accuracy=100 * (labels == majority).double().mean().item(),
            chance_accuracy=100 / len(self.data.class_names),
            train_images=len(self.data.labels),
            validation_images=len(labels),
            params=cost.params,
            flops=cost.flops,
            seed=self.config.seed,
            split_seed=self.config.split_seed,
            device=str(self.device),
            network=self.network.eval().cpu(),
            run_dir=self.dir,
        )

    # -- files -----------------------------------------------------------------------------------
    def _key(self) -> str:
        """Folder name: all that the result depends on, but the device."""
        config = {name: value for name, value in asdict(self.config).items() if name != "device"}
        parts = (_FORMAT, self.network.metadata()["architecture"], config, self.data.fingerprint)
        return f"{self.space.name}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"

    @property
    def weights(self) -> nn.Module:
        return self.network.network

    def _save_checkpoint(self, folder: Path) -> None:
        write_atomically(folder / "checkpoint.pt", self.state())
        lines = [Epoch._fields, *self.history]
        text = "".join(",".join(str(value) for value in line) + "\n" for line in lines)
        write_atomically(folder / "epochs.csv", text.encode())

    def _load_finished(self, folder: Path) -> None:
        path = folder / "result.json"
        try:
            found = json.loads(path.read_bytes())
            self.history, self.device = (
                [Epoch(**line) for line in found["history"]],
                torch.device(found["device"]),
            )
        except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise _damaged(path, error) from error
        if len(self.history) != self.config.epochs:
            raise _damaged(path, ValueError(f"{len(self.history)} epochs, expected {self.config.epochs}"))
        self.network = load_network(folder / "network.safetensors", self.space)


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{str(path)!r} cannot be read ({type(error).__name__}: {error}); remove the folder {str(path.parent)!r} to "
        "train again from the start"
    )


@contextmanager
def seeded(seed: tuple[int, ...], device: torch.device) -> Iterator[None]:
    """The global generators seeded, and afterwards as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]) >> 1)
        yield


@contextmanager
def _progress(wanted: bool, epochs: int) -> Iterator[Callable[[str], _Report]]:
    """One line per architecture on a terminal; yields a function that adds a line of that title."""
    if not (wanted and sys.stderr.isatty()):
        yield lambda title: lambda epoch: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("architecture {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:

        def start(title: str) -> _Report:
            line = bar.add_task(title, total=epochs, note="")

            def report(epoch: Epoch) -> None:
                note = f"loss {epoch.loss:.3f}, validation accuracy {epoch.accuracy:.1f}%"
                bar.update(line, completed=epoch.epoch, note=note)

            return report

        yield start
