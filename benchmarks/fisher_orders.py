"""Whether small networks find the published order of task distances on CIFAR-10 (Le et al., 2021, and later papers).

    python benchmarks/fisher_orders.py --data ../shared/data

Four tasks are four labelings of the same images: {1,3,8} against the rest, {3,8,9} against the rest, the four classes
{2}, {6}, {7} and the rest, and all ten. Published: the binary tasks are each other's nearest, and the nearest of the
ten classes are the four. Takes minutes on one core; finished parts are kept. Forms of the log-determinant distance, the
order by which depends on the seed, have a table of their own: for these give ``--seeds 10``.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from metad2a_plugin.similarity.backbones import BACKBONES, TaskNetwork
from metad2a_plugin.similarity.config import TaskConfig
from metad2a_plugin.similarity.fisher import DISTANCES, Fisher
from metad2a_plugin.similarity.measure import (
    accuracy,
    fisher_of,
    fisher_on,
    task_data,
    train_task_network,
)
from metad2a_plugin.training.images import TrainingData

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
REFERENCE = "own head, sampled labels"


def log_determinant(first: Fisher, second: Fisher, floor: float = 1e-10, shrink: float = 0.0) -> float:
    """`similarity.fisher.log_determinant_distance` with another floor, of Fishers that are shrunk to their mean.

    The mean is that of a layer, so that `shrink` of 1 compares layers by their mean alone.
    """
    layers: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
    for name in first:
        layers.setdefault(name.rpartition(".")[0], []).append((first[name].flatten(), second[name].flatten()))
    total = 0.0
    for parts in layers.values():
        pair = [torch.cat(values) for values in zip(*parts, strict=True)]
        a, b = ((1 - shrink) * values + shrink * values.mean() + floor for values in pair)
        total += abs(float((a.log() - b.log()).sum()))
    return total / sum(value.numel() for value in first.values())


FORMS: dict[str, Callable[[Fisher, Fisher], float]] = {
    "floor 1e-10, as in the paper": log_determinant,
    "floor 1e-8": partial(log_determinant, floor=1e-8),
    "floor 1e-6": partial(log_determinant, floor=1e-6),
    "shrunk by 0.1": partial(log_determinant, shrink=0.1),
    "shrunk by 0.5": partial(log_determinant, shrink=0.5),
    "means of layers": partial(log_determinant, shrink=1.0),
}
"""Of the log-determinant distance. The networks have no batch norm in any."""
_RIDGE = 1e-2  # of the fitted head, on features of unit variance


def with_fitted_head(network: TaskNetwork, data: TrainingData) -> TaskNetwork:
    """The backbone with a new head: logistic regression of the target's labels on its features."""
    with torch.no_grad():
        features = torch.cat([network.features(part) for part in data.images.split(256)]).double()
    mean, std = features.mean(0), features.std(0, correction=0).clamp(min=1e-6)
    weight, bias = logistic((features - mean) / std, data.labels, len(data.class_names))
    fitted = deepcopy(network)
    fitted.head = torch.nn.Linear(len(mean), len(bias))
    with torch.no_grad():
        fitted.head.weight.copy_(weight / std)
        fitted.head.bias.copy_(bias - weight @ (mean / std))
    return fitted.eval()


def logistic(features: torch.Tensor, labels: torch.Tensor, num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight ``[classes, d]`` and bias ``[classes]`` of a multinomial logistic regression on ``[n, d]``."""
    weight = features.new_zeros(num_classes, features.shape[1], requires_grad=True)
    bias = features.new_zeros(num_classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(features @ weight.T + bias, labels)
        loss = loss + _RIDGE / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach(), bias.detach()


def empirical(network: TaskNetwork, data: TrainingData, config: TaskConfig) -> Fisher:
    """With the target's labels, which need a head for its classes."""
    return fisher_of(network, data, config, data.labels)


MORE = "own head, sampled labels, 2000 target images"
VARIANTS: dict[str, dict[str, Any]] = {
    "fitted head, the target's labels": {"fisher": empirical, "fitted": True},
    "fitted head, sampled labels": {"fitted": True},
    REFERENCE: {},
    MORE: {"fisher_images": 2000},
    "100 target images": {"fisher": empirical, "fitted": True, "fisher_images": 100},
    "own head, sampled labels, five times the learning rate": {"lr": 0.05},
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
    fitted = [[with_fitted_head(network, data) for network in networks] for data in tasks]  # [target][source]
    for name in names:
        variant = VARIANTS[name]
        fisher = variant.get("fisher", fisher_on)
        at = replace(config, fisher_images=variant.get("fisher_images", config.fisher_images))
        table = [
            [fisher(network, data, at) for network in (heads if variant.get("fitted") else networks)]
            for data, heads in zip(tasks, fitted, strict=True)
        ]
        found[name] = {
            kind: [[distance(table[t][s], table[t][t]) for t in range(len(tasks))] for s in range(len(tasks))]
            for kind, distance in (DISTANCES | FORMS).items()
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


def form_rows(found: dict[tuple[str, str], list[dict[str, Any]]]) -> list[list[str]]:
    """In how many seeds each order holds, by form, what is measured with, and backbone."""
    return [
        [form, name, backbone, *(f"{sum(holds(r[form], o) for r in runs)} of {len(runs)}" for o in ORDERS.values())]
        for form in FORMS
        for (name, backbone), runs in found.items()
        if name in (REFERENCE, MORE)
    ]


def report(options: Any, found: dict[tuple[str, str], list[dict[str, Any]]]) -> None:
    rows = []
    for (name, backbone), runs in sorted(found.items(), key=lambda item: item[0][0] != REFERENCE):
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
        "and training. The package measures as in the first rows. *100 target images* has a fitted head and the "
        f"target's labels, for which the others take {options.fisher_images} images. Accuracies are the means of the "
        "four networks, in the order of the tasks. By chance alone, with each nearest task drawn from three, the first "
        "order would hold in one of nine, the second in one of three.\n"
    )
    forms = common.markdown(
        ["log-determinant distance", "measured with", "backbone", *ORDERS], form_rows(found)
    ) + f"\nIn how many of {options.seeds} seeds each published order holds, by form of the log-determinant distance.\n"
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
    texts = {"fisher_orders": text, "fisher_distances": table, "fisher_forms": forms}
    common.write(options.out, "fisher_orders", {"settings": common.settings(options), "results": results}, texts)
    common.write_figure(options.out, "fisher_orders", draw(means))


if __name__ == "__main__":
    main()
