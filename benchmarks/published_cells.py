"""Published cells, and one of them connected at random: do wide and shallow ones train faster, and end better?

    python benchmarks/published_cells.py --data ../shared/data --workers 2

Five published cells with as many parameters each, and DARTS' cell with twelve random connections, trained small on
CIFAR-10 with every seed; their convergence, accuracy, loss surface and gradient variance. About an hour and a half on
two cores. Finished networks stay under ``runs/published_cells``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from metad2a_plugin.analysis.cell_network import GenotypeNetwork
from metad2a_plugin.analysis.landscape import Landscape, LandscapeConfig, landscape
from metad2a_plugin.analysis.plots import COLOURS, draw_contours
from metad2a_plugin.analysis.wiring import PUBLISHED, Genotype
from metad2a_plugin.meta.metrics import spearman
from metad2a_plugin.nn.normalized import NormalizedNetwork
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.fit import train_network
from metad2a_plugin.training.images import TrainingData, prepare

if TYPE_CHECKING:
    from benchmarks import _common as common
    from benchmarks import _jobs as jobs
    from benchmarks import topology
else:
    import _common as common
    import _jobs as jobs
    import topology

REWIRED = "DARTS"
"""Of which cell there are variants, C1 and so on."""
CHANNELS = 8
"""Of `REWIRED`; the other published cells have as many as bring them nearest to its parameters."""
BATCH = 32
MEASURES: dict[str, tuple[str, int]] = {
    **{name: title for name, title in topology.MEASURES.items() if name != "variance"},
    "epochs": ("epochs to the common loss", 1),
    "accuracy": ("accuracy (%)", 1),
}
NOTES = """
CIFAR-10 at {size} pixels, {images:,} training and {validation:,} other images, one cell a stage, {epochs} epochs of
{steps} steps; mean ± standard deviation over {seeds} seeds. C1 to C{variants} are {rewired}' operations connected at
random, and have the same parameters. In cells that halve the resolution the operations are those of the normal cell
with stride 2, so that each network has one wiring. The common loss is the lowest training loss that all networks of the
table reach with the seed. Rise and curvature: of the loss on the filter-normalised plane; variance: of minibatch
gradients there, in units of filters' norms; {surface} training images.
"""
RELATIONS = """
Spearman's rank correlation over the {count} connections of {rewired}' operations, computed for each seed; mean with a
95% interval over {seeds} seeds by Student's t.
"""


class Job(NamedTuple):
    """A network of one seed."""

    root: Path
    runs: Path
    name: str
    cell: str
    channels: int
    seed: int
    epochs: int
    points: int
    surface_images: int
    images_per_class: int
    input_size: int


def variants(count: int) -> dict[str, Genotype]:
    """`REWIRED` and its random connections, no two of them alike."""
    found, seed = {REWIRED: PUBLISHED[REWIRED]}, 0
    while len(found) <= count:
        drawn = PUBLISHED[REWIRED].rewired(seed)
        seed += 1
        if all(drawn.nodes != known.nodes for known in found.values()):
            found[f"C{len(found)}"] = drawn
    return found


def parameters(cell: Genotype, channels: int) -> int:
    return sum(weight.numel() for weight in GenotypeNetwork(cell, 10, channels).parameters())


def as_large(cell: Genotype, channels: int = CHANNELS) -> int:
    """Channels with which a cell has about as many parameters as `REWIRED` with so many."""
    aim = parameters(PUBLISHED[REWIRED], channels)
    return min(range(channels // 2, 2 * channels), key=lambda c: abs(parameters(cell, c) - aim))


@cache
def prepared(root: Path, images_per_class: int, input_size: int) -> TrainingData:
    data = common.Data(root)
    images = data.images("cifar10").sample(images_per_class)
    return prepare(images, TrainConfig(input_size=input_size), validation=data.images("cifar10_test"))


def work(job: Job) -> dict[str, Any]:
    """A trained network's curve and surroundings."""
    data = prepared(job.root, job.images_per_class, job.input_size)
    config = TrainConfig(
        epochs=job.epochs, batch_size=BATCH, input_size=job.input_size, flip=True, seed=job.seed, device="cpu"
    )
    surface = LandscapeConfig(points=job.points, images=job.surface_images, seed=job.seed, device="cpu")

    def compute() -> dict[str, Any]:
        torch.manual_seed(job.seed)
        network = GenotypeNetwork(Genotype.parse(job.cell), len(data.class_names), job.channels)
        whole = NormalizedNetwork(network, data.mean, data.std)
        history = train_network(whole, data, config)
        return {
            "losses": [epoch.loss for epoch in history],
            "accuracies": [epoch.accuracy for epoch in history],
            "seconds": sum(epoch.seconds for epoch in history),
            "landscape": landscape(whole, data.images[:], data.labels, surface).to_dict(),
        }

    settings = {name: value for name, value in job._asdict().items() if name not in ("root", "runs", "name")}
    key = config.to_dict() | settings | {"images": data.fingerprint}
    path = job.runs / "published_cells" / f"{job.name}-{job.seed}.json"
    found: dict[str, Any] = common.remember(path, key, compute)
    print(job.name, job.seed, f"{found['seconds']:.0f} s", f"{found['accuracies'][-1]:.1f}%", flush=True)
    return found


# -- numbers -------------------------------------------------------------------------------------
Runs = Mapping[str, Sequence[Mapping[str, Any]]]
"""A run for each seed of each network."""


def relations(found: Runs, cells: Mapping[str, Genotype]) -> dict[str, dict[str, list[float]]]:
    """Of width and depth, the correlation with each of `MEASURES`, a number for each seed."""
    numbers = topology.measures(found)
    places = {"width": [cells[n].width for n in found], "depth": [float(cells[n].depth) for n in found]}
    seeds = range(len(next(iter(found.values()))))
    return {
        what: {
            measure: [
                spearman(torch.tensor(place), torch.tensor([float(numbers[n][measure][seed]) for n in found]))
                for seed in seeds
            ]
            for measure in MEASURES
        }
        for what, place in places.items()
    }


def table(found: Runs, cells: Mapping[str, Genotype], channels: Mapping[str, int]) -> str:
    numbers = topology.measures(found)
    rows = [
        [
            name,
            f"{cells[name].width:.2f}",
            str(cells[name].depth),
            f"{parameters(cells[name], channels[name]):,}",
            *(common.mean_std(numbers[name][what], digits) for what, (_, digits) in MEASURES.items()),
        ]
        for name in found
    ]
    return common.markdown(("cell", "width (c)", "depth", "parameters", *(t for t, _ in MEASURES.values())), rows)


def relation_table(related: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    rows = [[what, *(jobs.shown(values) for values in of_what.values())] for what, of_what in related.items()]
    return common.markdown(("of", *(title for title, _ in MEASURES.values())), rows)


def sentence(related: Mapping[str, Mapping[str, Sequence[float]]], count: int) -> str:
    """What a reader can quote."""

    def told(what: str, measure: str) -> str:
        more, less, noun = WORDS[measure]
        _, low, high = jobs.interval(related[what][measure])
        said = f"{more} {noun}" if low > 0 else f"{less} {noun}" if high < 0 else f"no other {noun} that could be told"
        return f"{said} ({jobs.shown(related[what][measure], sign='+')})"

    seeds, last = len(related["width"]["mean_loss"]), ("mean_loss", "accuracy")
    wide, deep = (", ".join(told(what, m) for m in of) for what, of in (("width", WORDS), ("depth", last)))
    return (
        f"Among {count} connections of {REWIRED}' operations, wider cells have {wide}; deeper cells have {deep} "
        f"(rank correlations, {seeds} seeds, 95% intervals)."
    )


WORDS = {
    "mean_loss": ("slower", "faster", "convergence"),
    "accuracy": ("a higher", "a lower", "accuracy in the end"),
    "rise": ("a steeper", "a flatter", "loss surface"),
    "scaled_variance": ("a higher", "a lower", "gradient variance"),
}
"""Of a measure that goes up and one that goes down."""


# -- figure --------------------------------------------------------------------------------------
def draw(published: Runs, rewired: Runs, cells: Mapping[str, Genotype], out: Path) -> None:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 11), layout="constrained")
    parts: Any = figure.subfigures(2, 1)
    above, below = parts
    (first, second), (third, fourth) = above.subplots(2, 2, sharex=True)
    for name, colour in zip(published, COLOURS, strict=False):
        _curves(first, third, published[name], label=_label(name, cells[name]), color=colour)
    widths = [cells[name].width for name in rewired]
    scale = mpl.colors.Normalize(min(widths), max(widths))
    for name, width in zip(rewired, widths, strict=True):
        bold = {"linewidth": 2.4, "label": _label(name, cells[name])} if name == REWIRED else {"linewidth": 1.2}
        _curves(second, fourth, rewired[name], color=mpl.colormaps["viridis"](scale(width)), **bold)
    bar = mpl.cm.ScalarMappable(scale, "viridis")
    above.colorbar(bar, ax=[second, fourth], label="width of the cell (channels c)")
    first.set(title="published cells", ylabel="training loss")
    second.set(title=f"{REWIRED}' operations, connected at random")
    third.set(xlabel="epoch", ylabel="accuracy (%)")
    fourth.set(xlabel="epoch")
    for axes in (first, second):
        axes.legend(frameon=False, fontsize=9)
    for axes in (first, second, third, fourth):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    shown = {_label(n, cells[n]): Landscape.from_dict(runs[0]["landscape"]) for n, runs in published.items()}
    draw_contours(below, shown, columns=3)
    common.write_figure(out, "published_cells", figure)


def _label(name: str, cell: Genotype) -> str:
    return f"{name} ({cell.width:g}c, {cell.depth})"


def _curves(losses: Any, accuracies: Any, runs: Sequence[Mapping[str, Any]], **style: Any) -> None:
    """Means over the seeds."""
    for axes, what in ((losses, "losses"), (accuracies, "accuracies")):
        mean = np.mean([run[what] for run in runs], axis=0)
        axes.plot(np.arange(1, len(mean) + 1), mean, **style)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--variants", type=int, default=12, help="random connections of one cell")
    parser.add_argument("--epochs", type=int, default=25, help="each of 47 steps, with all images")
    parser.add_argument("--images-per-class", type=int, default=150)
    parser.add_argument("--input-size", type=int, default=16)
    parser.add_argument("--points", type=int, default=9, help="of the surface along each direction")
    parser.add_argument("--surface-images", type=int, default=128)
    parser.add_argument("--workers", type=int, default=1, help="networks at once, each on one core")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    cells = PUBLISHED | variants(options.variants)
    channels = {name: as_large(cell) if name in PUBLISHED else CHANNELS for name, cell in cells.items()}
    given = (options.epochs, options.points, options.surface_images, options.images_per_class, options.input_size)
    todo = [
        Job(options.data, options.runs, name, str(cell), channels[name], seed, *given)
        for seed in range(options.seeds)
        for name, cell in cells.items()
    ]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in cells}
    for job, result in zip(todo, jobs.each(work, todo, options.workers), strict=True):
        found[job.name].append(result)
    published = {name: found[name] for name in PUBLISHED}
    rewired = {name: runs for name, runs in found.items() if name == REWIRED or name not in PUBLISHED}
    related = relations(rewired, cells)
    data = prepared(options.data, options.images_per_class, options.input_size)
    notes = NOTES.format(
        size=options.input_size,
        images=len(data.labels),
        validation=len(data.validation_labels),
        epochs=options.epochs,
        steps=-(-len(data.labels) // BATCH),
        seeds=options.seeds,
        rewired=REWIRED,
        variants=options.variants,
        surface=published[REWIRED][0]["landscape"]["images"],
    )
    said = sentence(related, len(rewired))
    both = (table(published, cells, channels), table(rewired, cells, channels))
    about = RELATIONS.format(rewired=REWIRED, count=len(rewired), seeds=options.seeds)
    text = "\n".join([f"**{said}**\n", *both, notes.strip() + "\n", relation_table(related), about.strip() + "\n"])
    results = {
        "settings": common.settings(options),
        "sentence": said,
        "cells": {name: str(cell) for name, cell in cells.items()},
        "channels": channels,
        "relations": related,
        "runs": found,
    }
    common.write(options.out, "published_cells", results, {"published_cells": text})
    draw(published, rewired, cells, options.out)


if __name__ == "__main__":
    main()
