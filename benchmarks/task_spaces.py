"""Does it help to search in the space of the nearest known task, and does that of the farthest hurt (Le et al., 2021)?

    python benchmarks/task_spaces.py --data ../shared/data --workers 2

Eight tasks on MNIST and CIFAR-10, each searched in the whole space and in the parts of the nearest and of the farthest
task of the shipped library, by FUSE, by evolution, at random and by DARTS; what each recommends is trained anew on all
training images and tested on the test images. About two hours on two cores. Finished parts are kept under
``runs/task_spaces``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from metad2a_plugin.data import ImageDataset, load_dataset
from metad2a_plugin.similarity.library import load_library
from metad2a_plugin.similarity.similar import similar_tasks
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.spaces.restricted import RestrictedSpace, options_of
from metad2a_plugin.strategies import train_search
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import prepare
from metad2a_plugin.training.run import train_architecture

if TYPE_CHECKING:
    from benchmarks import _common as common
    from benchmarks import _jobs as jobs
    from benchmarks.fisher_orders import TASKS as CIFAR10
else:
    import _common as common
    import _jobs as jobs
    from fisher_orders import TASKS as CIFAR10

MNIST = {
    "0 or not": [int(c == 0) for c in range(10)],
    "6 or not": [int(c == 6) for c in range(10)],
    "odd or even": [c % 2 for c in range(10)],
    "ten digits": list(range(10)),
}
TASKS = {f"MNIST, {name}": ("mnist", labels) for name, labels in MNIST.items()}
TASKS |= {f"CIFAR-10, {name}": ("cifar10", labels) for name, labels in CIFAR10.items()}
SPACES = ("nearest", "whole", "farthest")
PAIRS = ("nearest", "whole"), ("farthest", "whole"), ("nearest", "farthest")
# Random, evolution and FUSE pass about the same number of images through networks: 9 * 2 * 0.8, and 3 * 5 * 2 * 0.5,
# times the training images.
METHODS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "FUSE": ("fuse", 1, {"rounds": 5, "epochs": 2, "lr": 0.1}),
    "evolution": ("regularized-evolution", 9, {"population_size": 4, "sample_size": 2}),
    "random": ("random", 9, {}),
    "DARTS": ("darts", 1, {"epochs": 4, "second_order": "none", "alpha_lr": 1e-2}),
}
NETWORK: dict[str, Any] = {"channels": 4, "cells": 1, "input_size": 12, "batch_size": 32, "device": "cpu"}
EPOCHS, ANEW = 2, 8
"""Of a training that a search asks for, and of what is recommended."""
IMAGES = {"train": 200, "test": 200}
"""At most so many of a class of MNIST and CIFAR-10."""
SIDE = 24  # of the images that distances are measured with
NOTES = """
Each search sees {train} training images of each of ten classes, whatever the task makes of these; what it recommends is
trained anew on them for {anew} epochs, and tested on {test} others of each class. Networks have 4 channels and one cell
a stage, at 12 pixels. Random search and evolution ask for 9 cells, each trained for {epochs} epochs; FUSE has 5 rounds
of 3 cells, which is about as much; DARTS (first order) searches the supernet of the whole space for 4 epochs, and reads
its cell off in the part. Seconds are of one processor, without the distance, which takes {distance:.0f}.
Nearest and farthest are those of the {known} tasks of the shipped library by the Frechet distance, of each seed anew.
"""


class Search(NamedTuple):
    """One search."""

    root: Path
    runs: Path
    task: str
    space: str
    method: str
    seed: int


@cache
def images(root: Path, task: str, part: str) -> ImageDataset:
    """The labeled images of a task."""
    name, labels = TASKS[task]
    file = name if part == "train" else f"{name}_test"
    ten = common.Data(root).images(file).sample(IMAGES[part])
    given = np.array(labels)[ten.labels]
    return load_dataset((ten.images(range(len(ten)), SIDE), given), name=task)


@cache
def distances(root: Path, runs: Path, task: str, seed: int) -> dict[str, float]:
    """Of the known tasks, the nearest first; and how long it took."""
    dataset = images(root, task, "train")

    def compute() -> dict[str, Any]:
        begin = time.process_time()
        found = similar_tasks(dataset, seed=seed + 1).distances  # the library was made with seed 0
        return {"distances": found, "seconds": time.process_time() - begin}

    path = runs / "task_spaces" / f"distances-{list(TASKS).index(task)}-{seed}.json"
    found: dict[str, Any] = common.remember(path, {"images": dataset.content_hash, "seed": seed}, compute)
    return found["distances"] | {"seconds": found["seconds"]}


def space_of(job: Search) -> tuple[SearchSpace, str]:
    """What is searched, and the known task that it was good for."""
    if job.space == "whole":
        return common.SPACE, ""
    known = [name for name in distances(job.root, job.runs, job.task, job.seed) if name != "seconds"]
    task = known[0 if job.space == "nearest" else -1]
    good = load_library().good_architectures([task], common.SPACE)
    return RestrictedSpace(common.SPACE, options_of(good)), task


def search(job: Search) -> dict[str, Any]:
    """What one search recommends: its accuracy on the test images, its parameters, and the time of the search."""
    space, known = space_of(job)
    name, queries, options = METHODS[job.method]
    dataset = images(job.root, job.task, "train")
    config = TrainConfig.from_dict({**NETWORK, "epochs": EPOCHS, "seed": job.seed, "split_seed": job.seed})
    # Images that are mirrored are others: digits.
    anew = TrainConfig.from_dict({**config.to_dict(), "epochs": ANEW})

    def compute() -> dict[str, Any]:
        begin = time.process_time()
        cell = train_search(space, name, dataset, config, queries=queries, options=options).recommended.architecture
        seconds = time.process_time() - begin
        data = prepare(dataset, anew, validation=images(job.root, job.task, "test"))
        accuracy = train_architecture(space, cell, data, anew, progress=False).accuracy
        size = {"num_classes": len(dataset.class_names), "input_size": NETWORK["input_size"]}
        params = space.cost(cell, channels=NETWORK["channels"], cells=NETWORK["cells"], **size).params
        text = common.SPACE.format(cell)
        return {"cell": text, "accuracy": accuracy, "params": params, "seconds": seconds, "known": known}

    number = list(TASKS).index(job.task)
    path = job.runs / "task_spaces" / f"{number}-{job.space}-{job.method}-{job.seed}.json"
    key = {**config.to_dict(), "images": dataset.content_hash, "anew": ANEW, "known": known, "queries": queries}
    found: dict[str, Any] = common.remember(path, key | options, compute)
    print(*job[2:], f"{found['accuracy']:.1f}%", f"{found['seconds']:.0f} s", flush=True)
    return found


# -- tables --------------------------------------------------------------------------------------
Found = Mapping[tuple[str, str, str], Sequence[Mapping[str, Any]]]
"""Results of each seed, by task, space and method."""


def table(found: Found, tasks: Sequence[str]) -> str:
    """Accuracy, parameters and time of each method in each space, of each task and over all of them."""
    rows = []
    for task in (*tasks, "all tasks"):
        for method, space in product(METHODS, SPACES):
            seeds = _by_seed(found, tasks if task == "all tasks" else [task], space, method)
            columns = [[seed[name] for seed in seeds] for name in ("accuracy", "params", "seconds")]
            rows.append([task, method, space, *(map(common.mean_std, columns, (2, 4, 1)))])
    return common.markdown(("task", "search", "space", "test accuracy (%)", "parameters (M)", "search (s)"), rows)


def differences(found: Found, tasks: Sequence[str]) -> str:
    """Of the means over the tasks, paired by seed, in points of accuracy."""
    groups = {name: [t for t in tasks if t.startswith(name)] for name in ("MNIST", "CIFAR-10")} | {"all": list(tasks)}
    rows = []
    for (left, right), method in product(PAIRS, METHODS):
        for group, chosen in groups.items():
            if chosen:
                of_left, of_right = (_by_seed(found, chosen, space, method) for space in (left, right))
                gains = [a["accuracy"] - b["accuracy"] for a, b in zip(of_left, of_right, strict=True)]
                told = jobs.shown(gains), jobs.verdict(gains), jobs.seeds_to_tell(gains)
                rows.append([f"{left} - {right}", method, f"{group} ({len(chosen)} tasks)", *told])
    return common.markdown(("difference", "search", "tasks", "points", "verdict", "seeds to tell"), rows)


def _by_seed(found: Found, tasks: Sequence[str], space: str, method: str) -> list[dict[str, float]]:
    """Means over tasks, for each seed."""
    names, per_task = ("accuracy", "params", "seconds"), [found[task, space, method] for task in tasks]
    return [{n: float(np.mean([run[n] for run in runs])) for n in names} for runs in zip(*per_task, strict=True)]


def known_table(found: Found, tasks: Sequence[str]) -> str:
    """Which known tasks were nearest and farthest."""
    method = next(iter(METHODS))
    rows = [
        [task, *(", ".join(run["known"] for run in found[task, space, method]) for space in ("nearest", "farthest"))]
        for task in tasks
    ]
    return common.markdown(("task", "nearest, by seed", "farthest, by seed"), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--workers", type=int, default=1, help="searches at once, each on one core")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    folders = options.data, options.runs
    # Distances first: several searches need each.
    measured = list(product(options.tasks, range(options.seeds)))
    taken = jobs.each(partial(_distance_seconds, *folders), measured, options.workers)
    todo = [
        Search(*folders, task, space, method, seed)
        for seed, task, space, method in product(range(options.seeds), options.tasks, SPACES, METHODS)
    ]
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for job, result in zip(todo, jobs.each(search, todo, options.workers), strict=True):
        found.setdefault((job.task, job.space, job.method), []).append(result)
    about = {**IMAGES, "anew": ANEW, "epochs": EPOCHS, "distance": np.mean(taken), "known": len(load_library().tasks)}
    texts = [differences(found, options.tasks), known_table(found, options.tasks), table(found, options.tasks)]
    results = [{"task": t, "space": s, "method": m, "runs": runs} for (t, s, m), runs in found.items()]
    text = "\n".join([*texts, NOTES.format(**about)])
    common.write(
        options.out, "task_spaces", {"settings": common.settings(options), "found": results}, {"task_spaces": text}
    )


def _distance_seconds(root: Path, runs: Path, job: tuple[str, int]) -> float:
    return distances(root, runs, *job)["seconds"]


if __name__ == "__main__":
    main()
