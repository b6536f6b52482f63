"""Whether small networks find the published order of task distances on CIFAR-10 (Le et al., 2021, and later papers).

    python benchmarks/fisher_orders.py --data ../shared/data

Four tasks are four labelings of the same images: {1,3,8} against the rest, {3,8,9} against the rest, the four classes
{2}, {6}, {7} and the rest, and all ten. Published: the binary tasks are each other's nearest, and the nearest of the
ten classes are the four. Takes minutes on one core; finished parts are kept.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from metad2a_plugin.similarity.backbones import BACKBONES, TaskNetwork
from metad2a_plugin.similarity.fisher import DISTANCES, Fisher
from metad2a_plugin.similarity.measure import (
    TaskConfig,
    accuracy,
    fisher_of,
    task_data,
    train_task_network,
    with_fitted_head,
)
from metad2a_plugin.training import TrainingData

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from benchmarks import _common as common
else:
    import _common as common

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TASKS = {
    "{1,3,8} or not": [int(c in (1, 3, 8)) for c in range(10)],
    "{3,8,9} or not": [int(c in (3, 8, 9)) for c in range(10)],
    "{2}, {6}, {7}, rest": [{2: 0, 6: 1, 7: 2}.get(c, 3) for c in range(10)],
    "ten classes": list(range(10)),
}
ORDERS = {"binary tasks nearest to each other": {0: 1, 1: 0}, "four classes nearest to ten": {3: 2}}
"""``{target: its nearest source}``, by places in `TASKS`."""
REFERENCE = "fitted head, the target's labels"


def sampled(network: TaskNetwork, data: TrainingData, config: TaskConfig) -> Fisher:
    """With labels sampled from the network's answers."""
    with torch.no_grad():
        answers = torch.cat([network(part) for part in data.images.split(256)]).softmax(1)
    labels = torch.multinomial(answers, 1, generator=torch.Generator().manual_seed(config.seed))[:, 0]
    return fisher_of(network, data, config, labels)


VARIANTS: dict[str, dict[str, Any]] = {
    REFERENCE: {},
    "fitted head, sampled labels": {"fisher": sampled},
    "own head, sampled labels": {"fisher": sampled, "own": True},
    "100 target images": {"fisher_images": 100},
    "five times the learning rate": {"lr": 0.05},
}
"""What is done otherwise than in the shipped procedure."""


def labelings(data: TrainingData) -> list[TrainingData]:
    """The tasks: the same images in the same parts and order."""
    found = []
    for labels in map(torch.tensor, TASKS.values()):
        names = tuple(str(i) for i in range(int(labels.max()) + 1))
        mapped, held_out = labels[data.labels], labels[data.validation_labels]
        found.append(replace(data, class_names=names, labels=mapped, validation_labels=held_out))
    return found


def measure(options: Any, config: TaskConfig, names: Sequence[str]) -> dict[str, Any]:
    """Accuracies of the four networks, and the distances by each of some variants, that train alike."""
    images = common.Data(options.data).images("cifar10")
    if images.class_names != CLASSES:
        raise SystemExit(f"expected the classes {CLASSES}, got {images.class_names}")
    tasks = labelings(task_data(images, config))
    networks = [train_task_network(data, config) for data in tasks]
    found: dict[str, Any] = {"accuracy": [accuracy(n, data) for n, data in zip(networks, tasks, strict=True)]}
    fitted = [  # [target][source]
        [with_fitted_head(n, data.images, data.labels, len(data.class_names)) for n in networks] for data in tasks
    ]
    for name in names:
        variant = VARIANTS[name]
        fisher = variant.get("fisher", fisher_of)
        at = replace(config, fisher_images=variant.get("fisher_images", config.fisher_images))
        table = [
            [fisher(network, data, at) for network in (networks if variant.get("own") else heads)]
            for data, heads in zip(tasks, fitted, strict=True)
        ]
        found[name] = {
            kind: [[distance(table[t][s], table[t][t]) for t in range(len(tasks))] for s in range(len(tasks))]
            for kind, distance in DISTANCES.items()
        }
    return found


def holds(matrix: Sequence[Sequence[float]], order: dict[int, int]) -> bool:
    """Whether each target's nearest source, itself left out, is the published one; matrix ``[source][target]``."""
    distances = np.array(matrix)
    np.fill_diagonal(distances, np.inf)
    return all(int(distances[:, target].argmin()) == source for target, source in order.items())


def draw(means: dict[tuple[str, str], np.ndarray]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 9), layout="constrained")
    grid = figure.subplots(len(BACKBONES), len(DISTANCES), squeeze=False)
    for axes, ((backbone, kind), matrix) in zip(grid.flat, means.items(), strict=True):
        axes.imshow(matrix, cmap="viridis_r", vmin=0)
        for (row, column), value in np.ndenumerate(matrix):
            colour = "white" if value > 0.6 * matrix.max() else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour)
        axes.set_xticks(range(len(TASKS)), TASKS, rotation=25, ha="right")
        axes.set_yticks(range(len(TASKS)), TASKS)
        axes.set_xlabel("target")
        axes.set_ylabel("network of")
        axes.set_title(f"{backbone}, {kind} distance")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--fisher-images", type=int, default=400)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    # Variants of the same networks are measured together; those that train others on one backbone only.
    alike = [name for name, changed in VARIANTS.items() if "lr" not in changed]
    groups = [(alike, list(BACKBONES)), *(([name], list(BACKBONES)[:1]) for name in VARIANTS if name not in alike)]
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for names, backbones in groups:
        for backbone in backbones:
            for seed in range(options.seeds):
                config = TaskConfig(
                    backbone=backbone,
                    images=options.images,
                    steps=options.steps,
                    flip=True,
                    fisher_images=options.fisher_images,
                    seed=seed,
                    init_seed=seed,
                )
                config = replace(config, lr=VARIANTS[names[0]].get("lr", config.lr))
                path = options.runs / "fisher_orders" / f"{config.lr}-{backbone}-{seed}.json"
                key = asdict(config) | {"variants": names}
                value = common.remember(path, key, partial(measure, options, config, names))
                for name in names:
                    found.setdefault((name, backbone), []).append(value[name] | {"accuracy": value["accuracy"]})
                    print(name, backbone, seed, *(holds(value[name][k], o) for k in DISTANCES for o in ORDERS.values()))
    report(options, found)


def report(options: Any, found: dict[tuple[str, str], list[dict[str, Any]]]) -> None:
    rows = []
    for (name, backbone), runs in found.items():
        counts = [
            f"{sum(holds(run[kind], order) for run in runs)} of {len(runs)}"
            for kind in DISTANCES
            for order in ORDERS.values()
        ]
        accuracies = [statistics.fmean(run["accuracy"][task] for run in runs) for task in range(len(TASKS))]
        rows.append([name, backbone, *counts, " / ".join(f"{a:.0f}" for a in accuracies)])
    header = ["measured with", "backbone", *(f"{kind}: {order}" for kind in DISTANCES for order in ORDERS)]
    text = common.markdown([*header, "validation accuracies, %"], rows) + (
        f"\nIn how many of {options.seeds} seeds each published order holds; a seed is that of initial weights, images "
        "and training. Accuracies are the means of the four networks, in the order of the tasks. By chance alone, with "
        "each nearest task drawn from three, the first order would hold in one of nine, the second in one of three.\n"
    )
    matrices, means = [], {}
    for backbone in BACKBONES:
        runs = found[REFERENCE, backbone]
        for kind in DISTANCES:
            stacked = np.array([run[kind] for run in runs])
            means[backbone, kind] = stacked.mean(0)
            for source, task in enumerate(TASKS):
                cells = [common.mean_std(stacked[:, source, target].tolist()) for target in range(len(TASKS))]
                matrices.append([backbone, kind, task, *cells])
    table = common.markdown(["backbone", "distance", "network of", *TASKS], matrices) + (
        f"\nDistances to the task of the column, mean ± standard deviation over {options.seeds} seeds; {REFERENCE}.\n"
    )
    results = [{"variant": name, "backbone": backbone, "runs": runs} for (name, backbone), runs in found.items()]
    texts = {"fisher_orders": text, "fisher_distances": table}
    common.write(options.out, "fisher_orders", {"settings": common.settings(options), "results": results}, texts)
    common.write_figure(options.out, "fisher_orders", draw(means))


if __name__ == "__main__":
    main()
