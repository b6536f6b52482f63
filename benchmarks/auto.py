"""`auto` beside what else the same time gives, on image sets that nothing was developed on.

    python benchmarks/auto.py --data ../shared/data --minutes 2 10 --seeds 3
    python benchmarks/auto.py --data ../shared/data --minutes 10 --max-params 0.3 --max-flops 40

Every way has the same images, the same split and the same time, and is measured on the same test part. Time is that
of the processor, on one core, so that other work on the machine changes nothing:

- the linear classifier of the shipped encoder's features, and that encoder, fine-tuned for the whole time;
- ten random cells of 16 channels and one cell a stage at 32 pixels, by validation the best, a tenth of the time each;
- what `search` proposes, its best three with batches of 128 and 5 cells a stage, a third of the time each;
- a ResNet-20 as wide as fits the parameters of what `auto` found, with soft labels, for the whole time.

With limits, ten random cells within them, trained as `auto` trains its own, are the only comparison. The predictor of
budgets is fitted without these image sets and the others left out. Finished parts are kept below `--runs`.
"""

from __future__ import annotations

import argparse
import random
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import torch

from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.contest.config import AutoConfig
from metad2a_plugin.contest.contenders import CellContender, Contender, EncoderContender
from metad2a_plugin.contest.images import Images
from metad2a_plugin.contest.result import measured
from metad2a_plugin.contest.run import auto
from metad2a_plugin.contest.training import ContenderFit, epoch_seconds
from metad2a_plugin.data import ImageDataset, load_dataset
from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.search.designs import Design
from metad2a_plugin.search.metad2a import MetaD2A
from metad2a_plugin.spaces.base import Architecture, random_live
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.starting import SHIPPED, shipped_sizes, weights_digest
from metad2a_plugin.utils.kept import digest

if TYPE_CHECKING:
    from benchmarks import _common as common
    from benchmarks import train_budget
    from benchmarks.resnet20 import ResNet20Contender
    from benchmarks.transfer import FLIPPED, SETS
else:
    import _common as common
    import train_budget
    from resnet20 import ResNet20Contender
    from transfer import FLIPPED, SETS

SPACE = get_space("nasbench201")
RANDOM: dict[str, Any] = {"channels": 16, "cells": 1}
CPU = torch.device("cpu")
WAYS = ("encoder", "random", "defaults", "resnet")


class Contest:
    """All ways on one image set, with one seed and one time."""

    def __init__(self, args: argparse.Namespace, name: str, seed: int, minutes: float, model: Path) -> None:
        self.args, self.name, self.seed, self.seconds, self.model = args, name, seed, 60 * minutes, model
        path = args.data / "images" / f"{name}.zip"
        classes = load_dataset(path).num_classes
        self.dataset: ImageDataset = load_dataset(path, max_images_per_class=args.images // classes, seed=seed)
        self.config = AutoConfig(self.seconds, flip=name in FLIPPED, encoders=args.encoders, seed=seed, device="cpu")
        self.images = Images(self.dataset, self.config)
        self.images.sides = {"default": 64}

    def rows(self) -> dict[str, float]:
        """Each way, and its test accuracy in percent."""
        ours = self._kept("auto", self._auto)
        ways: dict[str, tuple[str, Callable[[], float]]] = {
            "encoder": ("encoder, fine-tuned", self._encoder),
            "random": ("ten random cells", partial(self._cells, 10)),
            "defaults": ("defaults of search and train", self._defaults),
            "resnet": ("ResNet-20", partial(self._resnet, ours["params"])),
        }
        found = {"auto": ours["test"]} | ({} if self._limits else {"linear classifier": ours["linear"]})
        for way in ["random"] if self._limits else self.args.ways:
            title, compute = ways[way]
            found[title] = self._kept(way, compute)
        return found

    @property
    def _limits(self) -> dict[str, float]:
        given = {"max_params": self.args.max_params, "max_flops": self.args.max_flops}
        return {name: value for name, value in given.items() if value is not None}

    def _auto(self) -> dict[str, Any]:
        folder = self.args.runs / "auto" / "runs" / digest(self._key("auto"))
        result = auto(self.dataset, folder, self.config, limits=self._limits, model=str(self.model))
        shutil.rmtree(folder)
        return {
            "test": result.test.accuracy,
            "validation": result.validation,
            "linear": next(r.test for r in result.references if r.name == "linear classifier on default"),
            "source": result.source,
            "params": result.network.cost.params,
            "flops": result.network.cost.flops,
            "seconds": result.seconds,
            "trained": {t.folder: t.accuracy for t in result.trained},
        }

    def _encoder(self) -> float:
        config = self.images.training(lr=0.02, batch_size=32, warmup=0.1, input_size=64)
        return self._trained(EncoderContender("default", config), self.seconds)[1]

    def _cells(self, count: int) -> float:
        """The test accuracy of the one that is best by validation."""
        rng, bounds = random.Random(self.seed), Limits.of(SPACE, {"input_size": 32, **RANDOM, **self._limits})
        found: list[tuple[float, float]] = []
        while len(found) < count:
            architecture = random_live(SPACE, rng)
            vertices = SPACE.encode([architecture])
            if all(bool(limit.within(vertices)) for limit in bounds.limits(self.dataset.num_classes)):
                soft = bool(self._limits)
                budget = Budget(batch_size=32, input_size=32, options=RANDOM)
                config = self.images.training(batch_size=32, input_size=32, options=RANDOM)
                found.append(self._trained(_cell(architecture, budget, soft, config), self.seconds / count))
        return max(found)[1]

    def _defaults(self) -> float:
        """Those of `search` and, before there was `auto`, of `train`, but for the epochs: as many as fit."""
        found = MetaD2A.from_pretrained("nasbench201").search(self.images.known, top=3).candidates
        config = self.images.training(batch_size=128, padding=None)
        budget = Budget(batch_size=128, options=config.options)
        trained = [self._trained(_cell(c.architecture, budget, False, config), self.seconds / 3) for c in found]
        return max(trained)[1]

    def _resnet(self, params: float) -> float:
        config = self.images.training(batch_size=32, input_size=32)
        return self._trained(ResNet20Contender(params, config), self.seconds)[1]

    def _trained(self, contender: Contender, seconds: float) -> tuple[float, float]:
        """Validation and test accuracy after so many seconds."""
        epochs = max(1, int(seconds / epoch_seconds(contender, self.images, CPU)))
        fit = ContenderFit(contender, self.images, epochs, CPU)

        def report(epoch: Any) -> None:
            fit.retime(seconds - sum(one.seconds for one in fit.history), 1000)

        fit.complete(report)
        test = measured(fit.network, *self.images.test(contender.config.input_size)).accuracy
        return fit.history[-1].accuracy, test

    def _kept(self, way: str, compute: Any) -> Any:
        key = self._key(way)
        return common.remember(self.args.runs / "auto" / f"{digest(key)}.json", key, compute)

    def _key(self, way: str) -> dict[str, Any]:
        key = {"set": self.name, "seed": self.seed, "seconds": self.seconds, "images": self.args.images, "way": way}
        if way == "auto":
            weights = weights_digest(SPACE, SHIPPED) if shipped_sizes(SPACE) else None
            key |= {"encoders": self.args.encoders, "model": common.fingerprint(self.model), "weights": weights}
        return key | self._limits


def _cell(architecture: Architecture, budget: Budget, soft: bool, config: TrainConfig) -> CellContender:
    design = Design(1, architecture, SPACE.format(architecture), budget, 0, None, 0, 0, 0)
    return CellContender(SPACE, design, 1, soft, config)


def report(args: argparse.Namespace, found: Mapping[float, Mapping[str, Mapping[str, list[float]]]]) -> str:
    """Means over seeds, of each set and of all sets; the spread is that of the seeds' means over all sets."""
    names, rows = args.sets, []
    for minutes, ways in found.items():
        for way, sets in ways.items():
            means = [fmean(seed) for seed in zip(*(sets[name] for name in names), strict=True)]
            each = [f"{fmean(sets[name]):.1f}" for name in names]
            rows.append([f"{minutes:g}", way, *each, common.mean_std(means, 1)])
    return common.markdown(["minutes", "test accuracy, %", *(name.replace("_", " ") for name in names), "mean"], rows)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--sets", nargs="+", default=list(SETS["left-out"]))
    parser.add_argument("--minutes", type=float, nargs="+", default=[10, 60])
    parser.add_argument("--images", type=int, default=1500, help="of a set")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--encoders", nargs="+", default=["default"], help="that `auto` has")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="that `auto` is compared with")
    parser.add_argument("--max-params", type=float, help="in millions")
    parser.add_argument("--max-flops", type=float, help="in millions")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    time.monotonic = time.perf_counter = time.process_time
    left_out = sorted({*SETS["left-out"], *args.sets})
    model = args.runs / "auto" / f"budget-{digest(left_out)}"
    if not (model / "config.json").is_file():
        without = ["--without", *left_out, "--write", str(model)]
        train_budget.main(["--data", str(args.data), "--runs", str(args.runs), *without])
    found: dict[float, dict[str, dict[str, list[float]]]] = {}
    for seed in range(args.seeds):
        for minutes in args.minutes:
            for name in args.sets:
                for way, accuracy in Contest(args, name, seed, minutes, model).rows().items():
                    found.setdefault(minutes, {}).setdefault(way, {}).setdefault(name, []).append(accuracy)
                    print(f"{name} {seed} {minutes:g} min {way}: {accuracy:.1f}", flush=True)
    title = "_".join(["auto", *(f"{minutes:g}" for minutes in args.minutes)])
    if args.max_params is not None:
        title += f"_{1000 * args.max_params:.0f}k_params"
    if args.max_flops is not None:
        title += f"_{args.max_flops:.0f}m_flops"
    results = {"settings": common.settings(args), "accuracies": found}
    common.write(args.out, title, results, {title: report(args, found)})


if __name__ == "__main__":
    main()
