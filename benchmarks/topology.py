"""Do wide, shallow cells converge faster, and are they better in the end? Width and depth on NAS-Bench-201.

    python benchmarks/topology.py --data ../shared/data

Rank correlations over all live cells of the table, and a small training study of cells that have the same operations
and the same cost but another wiring. Trained networks and their surfaces stay under ``runs/topology``.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from metad2a_plugin.analysis.landscape import Landscape, LandscapeConfig, epochs_to_common_loss, landscape
from metad2a_plugin.analysis.topology import topology
from metad2a_plugin.meta.metrics import spearman
from metad2a_plugin.spaces.nasbench201.cell import OPS
from metad2a_plugin.spaces.nasbench201.descriptors import prune
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import TrainingData, prepare
from metad2a_plugin.training.result import TrainResult
from metad2a_plugin.training.run import train_many

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

CONV = "nor_conv_3x3"
FAMILIES = {
    "3 convolutions": {
        "wide": (CONV, "none", "none", CONV, CONV, "none"),
        "deep": (CONV, "none", CONV, "none", "none", CONV),
    },
    "4 convolutions": {
        "wide": (CONV, CONV, "none", "none", CONV, CONV),
        "deep": (CONV, "none", CONV, "none", CONV, CONV),
    },
    "5 convolutions": {"wide": (CONV, CONV, "none", CONV, CONV, CONV), "deep": (CONV, "none", CONV, CONV, CONV, CONV)},
}
"""Cells of so many 3x3 convolutions, the widest and the deepest; operations in the order of `CELL_EDGES`."""
TARGETS = {
    "v12": "validation, 12 epochs",
    "v200": "validation, 200 epochs",
    "t200": "test, 200 epochs",
    "gain": "gain from 12 to 200 epochs",
    "flattered": "rank at 12 less rank at 200 epochs",
}
GROUPS = {"none": "all live cells", "convolutions": "same convolutions", "operations": "same operations"}
LEAST = 10
"""Cells of a group, below which it does not count."""
MEASURES: dict[str, tuple[str, int]] = {
    "epochs": ("epochs to the pair's loss", 1),
    "mean_loss": ("mean training loss", 3),
    "final_loss": ("last training loss", 3),
    "accuracy": ("validation accuracy", 1),
    "rise": ("rise of the loss", 3),
    "curvature": ("curvature", 2),
    "variance": ("gradient variance", 3),
    "scaled_variance": ("scaled gradient variance", 1),
}
TABLE_NOTES = """
Spearman's rank correlation with the accuracies of the table over the {cells:,} live cells. *Same convolutions*: within
the groups of cells that have as many 1x1 and as many 3x3 convolutions on their paths, averaged with the groups' sizes
({convolutions_cells:,} cells in {convolutions_groups} groups); *same operations*: also as many skips and poolings
({operations_cells:,} cells in {operations_groups} groups), so that only the wiring differs. Groups of fewer than
{least} cells, or of one width or depth, do not count. The gain is that of validation accuracy; the last column is
positive where a ranking by validation accuracy after 12 epochs puts such cells higher than one after 200.
"""
STUDY_NOTES = """
Pairs of cells with the same number of 3x3 convolutions and nothing else, and so the same parameters and
multiply-accumulates: CIFAR-10 at {size} pixels, {train:,} training and {validation} validation images, {channels}
channels, {cells} cell per stage, {epochs} epochs; mean ± standard deviation over {seeds} seeds. The epochs are counted
until the training loss first is where both cells of the pair get, with the same seed. Rise: mean loss within half the
radius on the filter-normalised plane less the trained network's; curvature: mean absolute second derivative there;
gradient variance: of minibatches of {batch}, mean over the plane, scaled: with weights in units of their filter's norm.
Surfaces are of {images} training images.

Of the {pairs} pairs of runs with the same seed, the wide and shallow cell {wins}.
"""
WINS = {
    "epochs": "needs fewer epochs in {}",
    "final_loss": "has the lower last training loss in {}",
    "accuracy": "the higher accuracy in {}",
    "rise": "the lower rise in {}",
    "curvature": "the lower curvature in {}",
    "scaled_variance": "the lower scaled gradient variance in {}",
}


# -- the table -------------------------------------------------------------------------------------
def grouped_spearman(x: torch.Tensor, y: torch.Tensor, groups: torch.Tensor) -> tuple[float, int, int]:
    """Spearman within groups, averaged with their sizes; and the cells and the groups that count."""
    found = []
    for group in groups.unique():
        rows = groups == group
        if rows.sum() >= LEAST and x[rows].min() < x[rows].max():
            found.append((spearman(x[rows], y[rows]), int(rows.sum())))
    cells = sum(n for _, n in found)
    return (sum(r * n for r, n in found) / cells if cells else float("nan")), cells, len(found)


def correlations(data: common.Data, name: str) -> dict[str, dict[str, dict[str, float]]]:
    """By group and by width or depth: the correlation with each of `TARGETS`, and what was counted."""
    space = common.SPACE
    vertices = space.all_vertices()
    live = ~space.dead_mask(vertices)
    width, depth = topology(space, vertices[live])
    ops = prune(vertices[live, 1:-1] - 2)
    counts = torch.stack([(ops == op).sum(1) for op in range(1, len(OPS))], dim=1)
    convs = counts[:, [OPS.index(op) - 1 for op in ("nor_conv_1x1", CONV)]]
    groups = {
        "none": torch.zeros(len(ops)),
        "convolutions": convs.unique(dim=0, return_inverse=True)[1],
        "operations": counts.unique(dim=0, return_inverse=True)[1],
    }
    early, late, test = (
        torch.tensor(data.table.accuracies(name, split, epochs))[live].double()
        for split, epochs in (("valid", 12), ("valid", 200), ("test", 200))
    )
    ranks = early.argsort().argsort() - late.argsort().argsort()
    targets = {"v12": early, "v200": late, "t200": test, "gain": late - early, "flattered": ranks.double()}
    found: dict[str, dict[str, dict[str, float]]] = {}
    for group, members in groups.items():
        found[group] = {}
        # Widths in sixths: equal ones are equal numbers.
        for what, x in (("width", (6 * width).round()), ("depth", depth.double())):
            results = {target: grouped_spearman(x, y, members) for target, y in targets.items()}
            values, cells, number = zip(*results.values(), strict=True)
            found[group][what] = dict(zip(results, values, strict=True)) | {"cells": cells[0], "groups": number[0]}
    return found


def table_text(found: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]) -> str:
    parts = []
    for name, groups in found.items():
        rows = [
            [GROUPS[group], what, *(f"{values[target]:+.2f}" for target in TARGETS)]
            for group, both in groups.items()
            for what, values in both.items()
        ]
        parts.append(f"**{common.TITLES[name]}**\n\n" + common.markdown(("over", "of", *TARGETS.values()), rows))
    counted = next(iter(found.values()))
    numbers = {
        f"{group}_{what}": counted[group]["width"][what]
        for group in ("convolutions", "operations")
        for what in ("cells", "groups")
    }
    return "\n".join([*parts, TABLE_NOTES.format(cells=counted["none"]["width"]["cells"], least=LEAST, **numbers)])


# -- the training study ----------------------------------------------------------------------------
def study(options: argparse.Namespace, data: common.Data, config: TrainConfig) -> dict[str, Any]:
    """Histories, accuracies and surfaces of each family's cells, for each seed."""
    images = data.images("cifar10").sample(options.images_per_class, config.split_seed)
    prepared = prepare(images, config)
    found: dict[str, Any] = {}
    for family, wirings in FAMILIES.items():
        found[family] = {}
        for kind, ops in wirings.items():
            runs = [_one(options, prepared, replace(config, seed=seed), ops) for seed in range(options.seeds)]
            found[family][kind] = runs
            print(f"{family}, {kind}: done", flush=True)
    return found


def _one(
    options: argparse.Namespace,
    prepared: TrainingData,
    config: TrainConfig,
    ops: Sequence[str],
) -> dict[str, Any]:
    space = common.SPACE
    vertices = torch.tensor([[0, *(OPS.index(op) + 2 for op in ops), 1]])
    [cell] = space.decode(vertices)
    [trained] = train_many(space, [cell], prepared, config, options.runs / "topology", progress=False)
    assert trained.run_dir is not None  # train_many was given a folder
    surface = LandscapeConfig(points=options.points, images=options.surface_images, seed=config.seed, device="cpu")
    compute = partial(_surface, trained, prepared, surface)
    kept = common.remember(trained.run_dir / "landscape.json", asdict(surface), compute)
    width, depth = topology(space, vertices)
    return {
        "architecture": trained.architecture_str,
        "width": width.item(),
        "depth": depth.item(),
        "params": trained.params,
        "flops": trained.flops,
        "losses": [epoch.loss for epoch in trained.history],
        "accuracies": [epoch.accuracy for epoch in trained.history],
        "train_images": trained.train_images,
        "validation_images": trained.validation_images,
        "landscape": kept,
    }


def _surface(trained: TrainResult, prepared: TrainingData, config: LandscapeConfig) -> dict[str, Any]:
    return landscape(trained.network, prepared.images[:], prepared.labels, config).to_dict()


def measures(family: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, list[float]]]:
    """Each of `MEASURES` of each cell of a family, one number a seed."""
    found: dict[str, dict[str, list[float]]] = {
        kind: {
            "mean_loss": [statistics.fmean(run["losses"]) for run in runs],
            "final_loss": [run["losses"][-1] for run in runs],
            "accuracy": [run["accuracies"][-1] for run in runs],
            **{
                what: [float(run["landscape"][what]) for run in runs]
                for what in ("rise", "curvature", "variance", "scaled_variance")
            },
        }
        for kind, runs in family.items()
    }
    for pair in zip(*family.values(), strict=True):
        for kind, epochs in zip(family, epochs_to_common_loss([run["losses"] for run in pair])[1], strict=True):
            found[kind].setdefault("epochs", []).append(epochs)
    return found


def wins(found: Mapping[str, Any]) -> dict[str, int]:
    """In how many pairs of runs with the same seed the wide cell is ahead, by what `WINS` names."""
    counts = dict.fromkeys(WINS, 0)
    for numbers in map(measures, found.values()):
        for what in WINS:
            sign = -1 if what == "accuracy" else 1
            pairs = zip(numbers["wide"][what], numbers["deep"][what], strict=True)
            counts[what] += sum(sign * wide < sign * deep for wide, deep in pairs)
    return counts


def study_text(found: Mapping[str, Any], options: argparse.Namespace, config: TrainConfig) -> str:
    rows = []
    for name, family in found.items():
        numbers = measures(family)
        for kind, runs in family.items():
            values = [common.mean_std(numbers[kind][what], digits) for what, (_, digits) in MEASURES.items()]
            rows.append([name, f"{runs[0]['width']:.2f}", str(runs[0]["depth"]), *values])
    header = ("cells", "width (c)", "depth", *(title for title, _ in MEASURES.values()))
    first = next(iter(next(iter(found.values())).values()))[0]
    return common.markdown(header, rows) + STUDY_NOTES.format(
        size=config.input_size,
        train=first["train_images"],
        validation=first["validation_images"],
        channels=config.options["channels"],
        cells=config.options["cells"],
        epochs=config.epochs,
        seeds=options.seeds,
        batch=LandscapeConfig.batch_size,
        images=first["landscape"]["images"],
        pairs=len(found) * options.seeds,
        wins=", ".join(WINS[what].format(count) for what, count in wins(found).items()),
    )


# -- figure ----------------------------------------------------------------------------------------
def draw(found: Mapping[str, Any], families: Mapping[str, Any], options: argparse.Namespace) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 8), layout="constrained")
    (first, second), (curves, surfaces) = figure.subplots(2, 2)
    shown = ("v12", "v200", "t200", "gain")
    for axes, (name, groups) in zip((first, second), found.items(), strict=True):
        for offset, what, colour in ((-0.2, "width", "#0072B2"), (0.2, "depth", "#D55E00")):
            heights = [groups["operations"][what][target] for target in shown]
            axes.bar(np.arange(len(shown)) + offset, heights, 0.38, label=what, color=colour)
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set_xticks(
            range(len(shown)),
            ["validation,\n12 epochs", "validation,\n200 epochs", "test,\n200 epochs", "gain from\n12 to 200"],
        )
        axes.set_ylim(-0.32, 0.32)
        axes.set_ylabel("Spearman among cells of the same operations")
        axes.set_title(f"{common.TITLES[name]}: cells of the table")
        axes.legend(frameon=False)
    for (name, family), colour in zip(families.items(), ("#0072B2", "#009E73", "#D55E00"), strict=True):
        for (kind, runs), style in zip(family.items(), ("-", "--"), strict=True):
            label = f"{name}, {kind} ({runs[0]['width']:.2f}c, {runs[0]['depth']})"
            losses = np.array([run["losses"] for run in runs])
            curves.plot(np.arange(1, losses.shape[1] + 1), losses.mean(0), style, color=colour, label=label)
            distances, rings = zip(
                *(rise_by_distance(Landscape.from_dict(run["landscape"])) for run in runs), strict=True
            )
            surfaces.plot(distances[0], np.mean(rings, axis=0), style, color=colour, label=label)
    curves.set(xlabel="epoch", ylabel="training loss", title="Training study: convergence, mean over seeds")
    surfaces.set(
        xlabel="distance on the plane (filter-normalised)",
        ylabel="loss less the trained network's",
        title="Training study: loss around the trained network",
    )
    curves.legend(frameon=False, fontsize=9)
    curves.set_xticks(range(0, options.epochs + 1, max(1, options.epochs // 5)))
    for axes in (first, second, curves, surfaces):
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    common.write_figure(options.out, "topology", figure)


def rise_by_distance(surface: Landscape) -> tuple[np.ndarray, np.ndarray]:
    """Distances on the axes of the plane, and the mean loss there less the middle's."""
    grid, middle = np.array(surface.losses), len(surface.steps) // 2
    arms = [grid[middle:, middle], grid[middle::-1, middle], grid[middle, middle:], grid[middle, middle::-1]]
    return np.array(surface.steps[middle:]), np.mean(arms, axis=0) - surface.loss


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--images-per-class", type=int, default=150, help="a third of them for validation")
    parser.add_argument("--surface-images", type=int, default=256)
    parser.add_argument("--points", type=int, default=9, help="of the surface along each direction")
    parser.add_argument("--input-size", type=int, default=16)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    data = common.Data(options.data)
    found = {name: correlations(data, name) for name in common.TITLES}
    config = TrainConfig(
        epochs=options.epochs,
        batch_size=128,
        input_size=options.input_size,
        options={"channels": 8, "cells": 1},
        validation=1 / 3,
        device="cpu",
    )
    families = study(options, data, config)
    results = {"settings": common.settings(options), "correlations": found, "study": families}
    texts = {"topology": table_text(found), "topology_study": study_text(families, options, config)}
    common.write(options.out, "topology", results, texts)
    draw(found, families, options)


if __name__ == "__main__":
    main()
