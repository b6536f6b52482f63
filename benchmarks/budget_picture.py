"""What decides accuracy at a given budget, by the shipped predictor: a picture, and its numbers.

    python benchmarks/budget_picture.py --data ../shared/data

Random designs are drawn that take so long on one core: a cell, the network's width and depth, resolution, batch and
learning rate; the epochs are those that the time allows. Then one decision is drawn anew, and the points count by which
the predicted accuracy moves, in the mean. Seconds are told by a least squares fit to the measured trainings.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from metad2a_plugin.meta.trainings.database import Trainings
from metad2a_plugin.meta.trainings.plan import BATCHES, INPUT_SIZES
from metad2a_plugin.models.budget import BudgetModel
from metad2a_plugin.models.checkpoint import load_checkpoint
from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.plugins.task import Task
from metad2a_plugin.spaces.base import random_live

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from benchmarks import _common as common
    from benchmarks._trainings import FOLDER, Measured
else:
    import _common as common
    from _trainings import FOLDER, Measured

SECONDS = {"10 seconds": 10.0, "a minute": 60.0, "ten minutes": 600.0}
DECISIONS = ("cell", "network size", "resolution", "batch, rate, flips", "half the time", "half the images")


class Design(NamedTuple):
    """A network and how it is trained, but for the epochs."""

    cell: tuple[int, ...]
    options: dict[str, Any]
    input_size: int
    recipe: tuple[int, float, bool]


def draw(rng: random.Random) -> Design:
    space = common.SPACE
    [cell] = space.encode([random_live(space, rng)]).tolist()
    options = {name: rng.choice(values) for name, values in space.sizes.items()}
    recipe = (rng.choice(BATCHES), math.exp(rng.uniform(math.log(0.02), math.log(0.3))), rng.random() < 0.5)
    return Design(tuple(cell), options, rng.choice(INPUT_SIZES), recipe)


class Speed:
    """Seconds of a training, by a least squares fit of their logarithm."""

    def __init__(self, trainings: Trainings) -> None:
        s = trainings.settings
        each = trainings.seconds / (s["epochs"] * s["train_images"])
        x = self._inputs(*(s[name] for name in ("channels", "cells", "input_size", "batch_size")))
        self._weight = torch.linalg.lstsq(x, each.clamp(min=1e-7).log()[:, None]).solution[:, 0]

    def of_an_image(self, design: Design) -> float:
        numbers = (design.options["channels"], design.options["cells"], design.input_size, design.recipe[0])
        x = self._inputs(*(torch.tensor([float(n)], dtype=torch.float64) for n in numbers))
        return float((x @ self._weight).exp())

    @staticmethod
    def _inputs(channels: torch.Tensor, cells: torch.Tensor, size: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
        return torch.stack([torch.ones_like(size), channels.log(), cells.log(), size.log(), batch.log()], 1)


def effects(model: BudgetModel, task: Task, speed: Speed, seconds: float, count: int, seed: int) -> dict[str, float]:
    """Points by which each decision moves the predicted accuracy."""
    rng = random.Random(seed)
    images = max(16, round(0.8 * (task.images or len(task.features))))

    def budget(design: Design, share: float = 1.0, images: int = images) -> Budget:
        batch, lr, flip = design.recipe
        # As long on fewer images is more epochs.
        epochs = round(share * seconds / (speed.of_an_image(design) * images))
        return Budget(min(300, max(1, epochs)), batch, design.input_size, lr, flip, images, design.options)

    base, other = [draw(rng) for _ in range(count)], [draw(rng) for _ in range(count)]
    changed: dict[str, list[tuple[Design, dict[str, Any]]]] = {
        "cell": [(b._replace(cell=o.cell), {}) for b, o in zip(base, other, strict=True)],
        "network size": [(b._replace(options=o.options), {}) for b, o in zip(base, other, strict=True)],
        "resolution": [(b._replace(input_size=o.input_size), {}) for b, o in zip(base, other, strict=True)],
        "batch, rate, flips": [(b._replace(recipe=o.recipe), {}) for b, o in zip(base, other, strict=True)],
        "half the time": [(b, {"share": 0.5}) for b in base],
        "half the images": [(b, {"images": images // 2}) for b in base],
    }

    def accuracy(designs: Sequence[tuple[Design, dict[str, Any]]]) -> torch.Tensor:
        vertices = torch.tensor([design.cell for design, _ in designs])
        budgets = [budget(design, **how) for design, how in designs]
        return model.predict_designs(task, vertices, budgets).mean

    first = accuracy([(design, {}) for design in base])
    return {name: float((accuracy(designs) - first).abs().mean()) for name, designs in changed.items()}


def picture(found: dict[str, dict[str, list[float]]]) -> Figure:
    from matplotlib.figure import Figure as Drawn

    figure = Drawn(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots(1, len(found), sharey=True)
    for axis, (title, values) in zip(axes, found.items(), strict=True):
        means = [statistics.fmean(values[name]) for name in DECISIONS]
        axis.barh(DECISIONS, means, color=["#d95f02" if name == "cell" else "#7570b3" for name in DECISIONS])
        axis.bar_label(axis.containers[0], fmt="%.0f", padding=2)
        axis.set_title(f"{title} of one core")
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.15)
    axes[0].invert_yaxis()
    figure.supxlabel("points by which the predicted accuracy moves when this alone changes")
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="the database of trainings")
    parser.add_argument("--model", default="nasbench201-budget")
    parser.add_argument("--designs", type=int, default=100, help="of each image set and time")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    measured = Measured(common.Data(options.data), options.runs / "features", options.folder)
    model = load_checkpoint(options.model).predictor
    if not isinstance(model, BudgetModel):
        raise SystemExit(f"the checkpoint {options.model!r} knows no budgets")
    first = {measured.trainings.sets[number]: task for number, task in sorted(measured.tasks.items(), reverse=True)}
    speed = Speed(measured.trainings)
    found: dict[str, dict[str, list[float]]] = {title: {name: [] for name in DECISIONS} for title in SECONDS}
    for title, seconds in SECONDS.items():
        for number, task in enumerate(first.values()):
            # Of the images of the database's tasks, all are for training.
            whole = replace(task, images=round(len(task.features) / 0.8))
            for name, points in effects(model, whole, speed, seconds, options.designs, number).items():
                found[title][name].append(points)
    lines = [[name, *(common.mean_std(found[title][name], 1) for title in SECONDS)] for name in DECISIONS]
    table = common.markdown(["points", *SECONDS], lines)
    common.write(options.out, "budget_picture", {"points": found}, {"budget_decisions": table})
    common.write_figure(options.out, "budget_decisions", picture(found))


if __name__ == "__main__":
    main()
