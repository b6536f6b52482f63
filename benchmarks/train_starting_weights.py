"""Train the starting weights of a search space: a supernet of small networks that has seen images.

    python benchmarks/train_starting_weights.py --data ../shared/data --space nasbench201

Like the image encoder (`train_encoder.py`) it learns to predict a strong ImageNet teacher's features of 20,931 images,
one random network of a random size for each batch. Every epoch ends in a checkpoint below `--runs`; the same command
resumes from it. Classes that test the encoder are left out here too.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from metad2a_plugin.nn.submodules import put
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.interfaces import IMAGENET, transferable
from metad2a_plugin.training.loop import TrainingLoop, cosine
from metad2a_plugin.utils.files import data_folder, write_atomically, write_json
from metad2a_plugin.utils.kept import digest

if TYPE_CHECKING:
    from benchmarks.train_encoder import augment, distillation_loss, evaluate, held_out_mask, load
else:
    from train_encoder import augment, distillation_loss, evaluate, held_out_mask, load

SIDES = {"nasbench201": {32: 0.8, 48: 0.2}, "mobilenetv3": {48: 0.2, 64: 0.8}}
"""Sides of the images that networks see, in pixels, and how often."""
SIZES: dict[str, list[dict[str, Any]]] = {
    "nasbench201": [{"channels": 16, "cells": cells} for cells in (2, 1)],
    "mobilenetv3": [{"width": 0.25}],
}
"""Of the networks, the largest first."""
OPERATIONS = {"none": 0.5, "skip_connect": 2, "nor_conv_1x1": 1, "nor_conv_3x3": 4, "avg_pool_3x3": 0.25}
"""How often cells have an operation: most often what good cells have, so that their weights learn most."""
LARGEST = {"mobilenetv3": ("+".join(["-".join(["k7e6"] * 4)] * 5), 0.3)}
"""A network that all others are parts of, and how often a batch is its own."""
CARD = """# Starting weights of {space}

A supernet, {size:.1f} MB, of which networks of these sizes take their part: {sizes}.
`metad2a train --space {space} --weights shipped` begins with it.

## What it has seen
{images:,} images of ImageNet at {sides} pixels, with the features that a strong ImageNet network has of them at 128
pixels (256 principal components), {steps:,} batches of {batch}, each by one random network of a random size. Twenty
classes that test the image encoder were left out. Not seen: CIFAR-10, MNIST, Caltech-101, clothing, sign digits.

## Measured
On images of the twenty classes, the largest network's features explain a share of {r2:.2f} of the variance of the
teacher's, and the nearest centroid is right for {centroids:.0f}% of them (chance: 5%). What networks gain that begin
with these weights is in `benchmarks/results/transfer.md`.

## Made by
`python benchmarks/train_starting_weights.py --data ../shared/data --space {space} --epochs {epochs}`,
in {hours:.1f} hours of one core.

## Limits
Networks take pixels that were normalised by ImageNet's means and deviations; their batch norm needs statistics of your
images, and their last layer is yours to fit: `training/starting.py` does both.

## Terms
For non-commercial research, as the images are that these weights were made from (`LICENSE-WEIGHTS.md` of the package).
"""
_MEAN, _STD = (torch.tensor(values)[:, None, None] for values in IMAGENET)


class Line(NamedTuple):
    """One line of the log; `centroids` is the accuracy in percent of a held-out 20-way task, by nearest centroid."""

    epoch: int
    lr: float
    loss: float
    r2: float
    centroids: float
    seconds: float


class Settings(NamedTuple):
    """How it is trained."""

    space: str
    epochs: int
    lr: float
    batch: int
    seed: int


class Distillation(TrainingLoop[Line]):
    """A supernet that learns the teacher's features."""

    config: Settings
    line = Line
    FILES = ("supernet.pt", "supernet.csv")

    def __init__(self, settings: Settings, data: Path) -> None:
        super().__init__(settings, torch.device("cpu"), "the supernet")
        self.space = transferable(get_space(settings.space))
        self.sizes, self.sides = SIZES[settings.space], SIDES[settings.space]
        self.images, self.targets, self.classes = load(data)
        wnids = [line.split()[0] for line in (data / "metad2a" / "map_clsloc.txt").read_text().splitlines()]
        held_out = held_out_mask(self.classes, set(wnids[:600]), 0)
        self.train, test = (torch.from_numpy(np.flatnonzero(mask)) for mask in (~held_out, held_out))
        # Batch norm needs mixed batches.
        self.test = test[torch.randperm(len(test), generator=torch.Generator().manual_seed(0))]
        torch.manual_seed(settings.seed)
        self.supernet = self.space.untrained_supernet(**self.sizes[0])
        widest = self._features(self.space.sample(random.Random(0)), self.sizes[0], torch.zeros(2, 3, 32, 32))
        self.guess = nn.Linear(widest.shape[1], self.targets.shape[1])
        parameters = [*self.supernet.parameters(), *self.guess.parameters()]
        self.optimizer = torch.optim.AdamW(parameters, settings.lr, weight_decay=0.02)
        self.parts = {"supernet": self.supernet, "guess": self.guess, "optimizer": self.optimizer}

    @cached_property
    def key(self) -> str:
        return digest((*self.config, self.sides, self.sizes, OPERATIONS, LARGEST.get(self.config.space)))

    def _features(self, architecture: Architecture, size: Mapping[str, Any], images: torch.Tensor) -> torch.Tensor:
        frame = _frame(self.config.space, self.space.format(architecture), tuple(size.items()))
        names = dict(frame.named_parameters())
        weights = self.space.cut(self.supernet, architecture, **size)
        seen: torch.Tensor = functional_call(frame, {k: v for k, v in weights.items() if k in names}, (images,))
        return seen

    def _answers(self, architecture: Architecture, size: Mapping[str, Any], images: torch.Tensor) -> torch.Tensor:
        images = ((images / 255 - _MEAN) / _STD).contiguous(memory_format=torch.channels_last)
        seen = self._features(architecture, size, images)
        return F.linear(seen, self.guess.weight[:, : seen.shape[1]], self.guess.bias)

    def _epoch(self, index: int) -> Line:
        generator, networks = torch.Generator().manual_seed(torch.initial_seed()), random.Random(torch.initial_seed())
        order = self.train[torch.randperm(len(self.train))]
        steps, total = len(order) // self.config.batch, 0.0
        for step, batch in enumerate(order[: steps * self.config.batch].split(self.config.batch)):
            done = index + (step + 1) / steps
            lr = cosine(self.optimizer, self.config.lr, done, self.config.epochs, done)
            side = networks.choices(list(self.sides), list(self.sides.values()))[0]
            images = F.interpolate(augment(self.images[batch], generator), (side, side), mode="area")
            answers = self._answers(self._random(networks), networks.choice(self.sizes), images)
            loss = distillation_loss(answers, self.targets[batch])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.item()
        self._require_finite(total)
        fit = evaluate(_Whole(self._whole), self.images[self.test], self.targets[self.test], self.classes[self.test])
        return Line(index + 1, lr, total / steps, fit["r2"], 100 * fit["centroid_accuracy"], self.seconds)

    def _random(self, networks: random.Random) -> Architecture:
        """Of cells, such as a search proposes."""
        if self.config.space != "nasbench201":
            text, share = LARGEST[self.config.space]
            return self.space.parse(text) if networks.random() < share else self.space.sample(networks)
        names = self.space.operations  # type: ignore[attr-defined]  # of cells
        while True:
            choices = tuple(networks.choices(range(len(names)), [OPERATIONS[name] for name in names], k=6))
            architecture = Architecture(self.space.name, choices)
            if not self.space.is_dead(architecture):
                return architecture

    def _whole(self, images: torch.Tensor) -> torch.Tensor:
        """Answers of the largest network."""
        if self.config.space in LARGEST:
            largest = self.space.parse(LARGEST[self.config.space][0])
        else:
            largest = Architecture(self.space.name, self.space.reference)  # type: ignore[attr-defined]  # of cells
        return self._answers(largest, self.sizes[0], F.interpolate(images.float(), (32, 32), mode="area"))


class _Whole(nn.Module):
    """A function as a module; its batch norm takes the statistics of the batch."""

    def __init__(self, answers: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.answers = answers

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.answers(images)


@lru_cache(maxsize=256)
def _frame(space: str, text: str, size: tuple[tuple[str, Any], ...]) -> nn.Module:
    """A network without weights and head, whose batch norm takes the statistics of the batch."""
    found = transferable(get_space(space))
    with torch.device("meta"):
        network = found.build(found.parse(text), 1, **dict(size))
    put(network, found.head, nn.Identity())
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = module.running_var = module.num_batches_tracked = None
            module.track_running_stats = False
        if hasattr(module, "lean"):
            module.lean = True  # type: ignore[assignment]
    return network.train()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--space", choices=sorted(SIZES), default="nasbench201")
    parser.add_argument("--out", type=Path, default=Path("metad2a_plugin/pretrained"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    # Of the processor, so that the hours of the card are those of a core.
    time.perf_counter = time.process_time
    settings = Settings(args.space, args.epochs, args.lr, args.batch, args.seed)
    run = Distillation(settings, args.data)
    run.complete(lambda line: print(line, flush=True), args.runs / f"starting-weights-{args.space}")
    folder = args.out / f"{args.space}-weights"
    folder.mkdir(parents=True, exist_ok=True)
    run.space.write_supernet(folder / "model.safetensors", run.supernet)
    last = run.history[-1]
    about = {"sizes": run.sizes, "sides": run.sides, **settings._asdict(), "held_out": last._asdict()}
    write_json(folder / "config.json", about)
    steps = settings.epochs * (len(run.train) // settings.batch)
    size = (folder / "model.safetensors").stat().st_size / 1e6
    sizes = "; ".join(", ".join(f"{name} {value:g}" for name, value in one.items()) for one in run.sizes)
    text = CARD.format(
        space=args.space,
        size=size,
        sizes=sizes,
        images=len(run.train),
        steps=steps,
        batch=settings.batch,
        sides=" and ".join(map(str, run.sides)),
        hours=sum(line.seconds for line in run.history) / 3600,
        centroids=last.centroids,
        r2=last.r2,
        epochs=settings.epochs,
    )
    write_atomically(folder / "README.md", text.encode())
    print(text)


if __name__ == "__main__":
    main()
