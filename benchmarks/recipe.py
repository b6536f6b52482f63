"""What each part of the recipe of trainings brings, on the development sets.

    python benchmarks/recipe.py --data ../shared/data
    python benchmarks/recipe.py --epochs 60 --changes "borders continued" "neither crops nor mirrored"

A network of nasbench201 that the predictor of budgets proposes for its size is trained from nothing for the same number
of epochs, so for the same time, with one setting changed at a time. Crops are of images padded with black, but where
borders are continued. "Averaged" is the mean of the weights after each epoch of the last quarter; its batch norm takes
the statistics of cropped images once more. "In three rounds" the learning rate rises and falls three times, each round
going on from the network of the last, as in `auto`; beside it stands the last of these rounds alone.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.optim.swa_utils import AveragedModel, update_bn

from metad2a_plugin.contest.contenders import CellContender
from metad2a_plugin.contest.result import measured
from metad2a_plugin.contest.training import ContenderFit
from metad2a_plugin.training.classifier import Classifier
from metad2a_plugin.training.files import export_network
from metad2a_plugin.training.fit import Epoch
from metad2a_plugin.training.images import augmented

if TYPE_CHECKING:
    from benchmarks import _common as common
    from benchmarks.transfer import BATCH, DESIGNER, EPOCHS, NOTHING, SETS, SIDE, SIZE, Comparison
else:
    import _common as common
    from transfer import BATCH, DESIGNER, EPOCHS, NOTHING, SETS, SIDE, SIZE, Comparison

BASE = f"batch {BATCH}, learning rate {NOTHING:g}"
CHANGES: dict[str, dict[str, Any]] = {
    BASE: {},
    "batch 16": {"batch_size": 16},
    "batch 64": {"batch_size": 64},
    "batch 128": {"batch_size": 128},
    "learning rate 0.05": {"lr": 0.05},
    "learning rate 0.2": {"lr": 0.2},
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "averaged": {},
    "borders continued": {"padding": "edge"},
    "neither crops nor mirrored": {"augment": False, "flip": False},
    "mirrored": {"flip": True},
    "not mirrored": {"flip": False},
    "in three rounds": {},
    "the last round alone": {},
}
_AVERAGED = 0.25
_ROUNDS = (0.15, 0.25, 0.6)
"""Of the epochs."""
_CPU = torch.device("cpu")


class Recipes(Comparison):
    """All recipes on one image set with one seed."""

    def accuracies(self) -> dict[str, float]:
        """Of test images, in percent."""
        names = dict.fromkeys([BASE, *self.args.changes])
        return {name: self._kept(f"recipe {name} {self.args.epochs}", partial(self._of, name)) for name in names}

    def _of(self, name: str) -> float:
        given: dict[str, Any] = {"lr": NOTHING, "batch_size": BATCH, "input_size": SIDE, "options": SIZE}
        changed = self.images.training(padding=None, **given)
        changed = type(changed).from_dict(changed.to_dict() | CHANGES[name])
        contender = CellContender(DESIGNER.space, self.design, 1, False, changed)
        rounds = [round(share * self.args.epochs) for share in _ROUNDS]
        epochs = rounds[-1] if name == "the last round alone" else self.args.epochs
        with TemporaryDirectory() as folder:
            begin = None
            for each in (rounds if name == "in three rounds" else [epochs])[:-1]:
                before = ContenderFit(contender, self.images, each, _CPU, begin=begin)
                before.complete(lambda epoch: None)
                begin = Path(folder) / "network.safetensors"
                export_network(begin, before.network)
            last = rounds[-1] if begin else epochs
            fit = ContenderFit(contender, self.images, last, _CPU, begin=begin)
        average, network = AveragedModel(fit.network), fit.network

        def update(epoch: Epoch) -> None:
            # Within an epoch the network lacks what cannot reach its output.
            if epoch.epoch > (1 - _AVERAGED) * self.args.epochs:
                average.update_parameters(fit.network)

        fit.complete(update)
        if name == "averaged":
            network = cast(Classifier, average.module)
            images = (fit.data.images[part] for part in torch.randperm(len(fit.data.labels)).split(256))
            # As in training: of others the statistics differ.
            update_bn((augmented(part, changed.flip) for part in images), network)
        return measured(network, *self.images.test(SIDE)).accuracy


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--images", type=int, default=600, help="of a set, of which 378 are learned from")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--changes", nargs="+", choices=list(CHANGES), default=list(CHANGES))
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    names, tables = SETS["development"], dict[str, dict[str, list[float]]]()
    for seed in range(args.seeds):
        for name in names:
            for title, accuracy in Recipes(args, name, seed).accuracies().items():
                tables.setdefault(title, {}).setdefault(name, []).append(accuracy)
                print(f"{name} {seed} {title}: {accuracy:.1f}", flush=True)
    _report(args, names, tables)


def _report(args: argparse.Namespace, names: tuple[str, ...], tables: dict[str, dict[str, list[float]]]) -> None:
    """Means over seeds, of each set and of all; differences from the base are means over sets, spreads of seeds."""
    rows = []
    for title, found in tables.items():
        gains = [fmean(found[name][seed] - tables[BASE][name][seed] for name in names) for seed in range(args.seeds)]
        gain = "" if title == BASE else common.mean_std(gains, 1)
        rows.append([title, *(f"{fmean(found[name]):.1f}" for name in names), gain])
    head = ["test accuracy, %", *(name.replace("_", " ") for name in names), "gain"]
    results = {"settings": common.settings(args), "accuracies": tables}
    title = "recipe" if args.epochs == EPOCHS else f"recipe_{args.epochs}_epochs"
    common.write(args.out, title, results, {title: common.markdown(head, rows)})


if __name__ == "__main__":
    main()
