"""What it brings to begin with weights that have seen images, and to learn from soft labels.

    python benchmarks/transfer.py --data ../shared/data --sets left-out
    python benchmarks/transfer.py --data ../shared/data --sets development --lr 0.02 0.05 0.1

On every image set a network of nasbench201 under 0.3 million parameters, which the predictor of budgets proposes for
its size, is trained for the same number of epochs from nothing and from the shipped weights, each with and without soft
labels, and a small network of mobilenetv3 too; beside it stand linear classifiers of encoders' features, and the
encoders, fine-tuned. Accuracies are of images that nothing was learned from and nothing chosen by. Learning rates were
chosen on the development sets.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.contest.config import AutoConfig
from metad2a_plugin.contest.contenders import CellContender, Contender, EncoderContender
from metad2a_plugin.contest.images import Images
from metad2a_plugin.contest.result import measured
from metad2a_plugin.contest.training import ContenderFit
from metad2a_plugin.data import load_dataset
from metad2a_plugin.plugins.budget import Budget, default_model
from metad2a_plugin.plugins.registry import DEFAULT_SPACE, get_space
from metad2a_plugin.search.designs import Design
from metad2a_plugin.search.metad2a import MetaD2A
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.training.encoder_network import EncoderClassifier
from metad2a_plugin.training.starting import LR, weights_digest
from metad2a_plugin.utils.kept import digest

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

SETS = {
    "development": ("magnetic_tiles", "grocery_coarse", "weather", "pacs_sketch"),
    "left-out": ("intel_scenes", "clothing10", "animal_silhouettes", "stylized16", "hoda_persian_digits"),
}
FLIPPED = {"grocery_coarse", "weather", "pacs_sketch", "intel_scenes", "clothing10", "animal_silhouettes", "stylized16"}
"""Whose mirrored images are as good."""
SIZE: dict[str, Any] = {"channels": 16, "cells": 1}
SIDE, EPOCHS, BATCH = 32, 20, 32
MOBILE: tuple[str, dict[str, Any]] = ("+".join(["k5e4-k5e4-k5e4"] * 5), {"width": 0.25})
MOBILE_SIDE = 64
NOTHING = 0.1
"""Learning rate from nothing."""
ENCODERS = {"default": (64, 15), "efficientnet-lite0": (112, 4)}
"""Side and epochs of the fine-tuning."""


class Comparison:
    """All that is measured on one image set with one seed."""

    def __init__(self, args: argparse.Namespace, name: str, seed: int) -> None:
        self.args, self.name, self.seed = args, name, seed
        config = AutoConfig(3600, flip=name in FLIPPED, test=0.3, validation=0.1, seed=seed, device="cpu")
        path = args.data / "images" / f"{name}.zip"
        classes = load_dataset(path).num_classes
        dataset = load_dataset(path, max_images_per_class=args.images // classes, seed=seed)
        self.images = Images(dataset, config)
        # The teacher of soft labels.
        self.images.sides = {"default": 64}

    def rows(self) -> Iterator[tuple[str, float]]:
        """Each way, and its test accuracy in percent."""
        for begin, weights, rate in (("from nothing", None, NOTHING), ("from shipped weights", "shipped", LR)):
            for lr in self.args.lr or [rate]:
                given = lr if self.args.lr else None
                for soft in (False, True):
                    yield _title(begin, soft, given), self._cell(weights, lr, soft)
                yield _title(f"MobileNetV3, {begin}", False, given), self._mobile(weights, lr)
        self.images.sides |= {encoder: 128 for encoder in self.args.encoders if encoder != "default"}
        for encoder in self.args.encoders:
            yield f"linear classifier on {encoder}", self._kept(f"linear {encoder}", partial(self._linear, encoder))
            side, epochs = ENCODERS[encoder]
            config = self.images.training(lr=0.02, batch_size=32, warmup=0.1, input_size=side)
            contender = EncoderContender(encoder, config)
            yield f"{encoder}, fine-tuned", self._trained(f"tuned {encoder}", contender, epochs)

    def _cell(self, weights: str | None, lr: float, soft: bool) -> float:
        design = self.design
        config = self.images.training(lr=lr, batch_size=BATCH, input_size=SIDE, options=SIZE, weights=weights)
        contender = CellContender(DESIGNER.space, design, 1, soft, config)
        return self._trained(f"{design.architecture_str} {weights} {lr:g} {soft}", contender, EPOCHS)

    def _mobile(self, weights: str | None, lr: float) -> float:
        text, size = MOBILE
        budget = Budget(epochs=EPOCHS, batch_size=BATCH, input_size=MOBILE_SIDE, options=size)
        space = get_space("mobilenetv3")
        design = Design(1, space.parse(text), text, budget, 0, None, 0, 0, 0)
        config = self.images.training(lr=lr, batch_size=BATCH, input_size=MOBILE_SIDE, options=size, weights=weights)
        what = f"mobilenetv3 {text} {weights} {lr:g}"
        return self._trained(what, CellContender(space, design, 1, False, config), EPOCHS, space)

    @cached_property
    def design(self) -> Design:
        """The network that is proposed for this size under 0.3 million parameters."""
        space, budget = DESIGNER.space, Budget(epochs=EPOCHS, batch_size=BATCH, input_size=SIDE, options=SIZE)
        limits = Limits(space, max_params=0.3, input_size=SIDE, options=SIZE)
        found = DESIGNER.search(self.images.known, budget=budget, top=1, limits=limits).candidates[0]
        text, architecture = space.format(found.architecture), found.architecture
        return Design(1, architecture, text, budget, 0, None, 0, 0, 0)

    def _trained(self, what: str, contender: Contender, epochs: int, space: SearchSpace | None = None) -> float:
        def compute() -> float:
            fit = ContenderFit(contender, self.images, epochs, torch.device("cpu"))
            fit.complete(lambda epoch: None)
            return measured(fit.network, *self.images.test(contender.config.input_size)).accuracy

        return self._kept(f"{what} {epochs}", compute, space)

    def _linear(self, encoder: str) -> float:
        side, names = self.images.sides[encoder], self.images.dataset.class_names
        network = EncoderClassifier(encoder, names, input_size=side, head=self.images.head(encoder))
        return measured(network, *self.images.test(side)).accuracy

    def _kept(self, what: str, compute: Callable[[], float], space: SearchSpace | None = None) -> float:
        key = {"set": self.name, "seed": self.seed, "images": self.args.images, "what": what}
        if "shipped" in what:
            key["weights"] = weights_digest(space or DESIGNER.space, "shipped")
        return float(common.remember(self.args.runs / "transfer" / f"{digest(key)}.json", key, compute))


def _title(begin: str, soft: bool, lr: float | None) -> str:
    return f"{begin}{', soft labels' * soft}{'' if lr is None else f', lr {lr:g}'}"


def _report(args: argparse.Namespace, tables: dict[str, dict[str, list[float]]]) -> None:
    """Means over seeds, of each set and of all; the spread is that of the seeds' means over all sets."""
    names = SETS[args.sets]
    rows = []
    for title, found in tables.items():
        means = [fmean(seed) for seed in zip(*(found[name] for name in names), strict=True)]
        rows.append([title, *(f"{fmean(found[name]):.1f}" for name in names), common.mean_std(means, 1)])
    table = common.markdown(["test accuracy, %", *(name.replace("_", " ") for name in names), "mean"], rows)
    if args.lr:
        print(table)
    else:
        results = {"settings": common.settings(args), "accuracies": tables}
        common.write(args.out, "transfer", results, {"transfer": table})


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--sets", choices=sorted(SETS), default="left-out")
    parser.add_argument("--images", type=int, default=600, help="of a set, of which 378 are learned from")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lr", type=float, nargs="+", help="compare these in place of the chosen ones")
    parser.add_argument("--encoders", nargs="*", default=list(ENCODERS))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    tables: dict[str, dict[str, list[float]]] = {}
    for name in SETS[args.sets]:
        for seed in range(args.seeds):
            for title, accuracy in Comparison(args, name, seed).rows():
                tables.setdefault(title, {}).setdefault(name, []).append(accuracy)
                print(f"{name} {seed} {title}: {accuracy:.1f}", flush=True)
    _report(args, tables)


DESIGNER = MetaD2A.from_pretrained(default_model(DEFAULT_SPACE, True))

if __name__ == "__main__":
    main()
