"""Whether less data of a dataset is ever answered with more confidence, and what noise is answered.

    python benchmarks/intervals.py --data ../shared/data

Nested subsets of ten image sets: 5, 20, 80 and all images of 2, 5 and all classes. On five of the sets and ten others
the constants of `models/few_images.py` were chosen; the other five were left out. Noise is random pixels, and photos
whose labels are shuffled.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from metad2a_plugin.data import ImageDataset, Task, extract_task, load_dataset
from metad2a_plugin.models.checkpoint import load_checkpoint
from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.search.predictor import CheckpointPredictor
from metad2a_plugin.spaces.base import random_live

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

LEFT_OUT = ("clothing10", "signdigits", "pacs_photo", "weather", "grocery_coarse")
SETS = ("caltech101", "cifar10", "mnist", "intel_scenes", "stylized16", *LEFT_OUT)
IMAGES, CLASSES = (5, 20, 80, None), (2, 5, None)
PREDICTORS: dict[str, tuple[str, Budget | None]] = {
    "nasbench201": ("nasbench201", None),
    "mobilenetv3": ("mobilenetv3", None),
    "nasbench201-budget, 30 epochs": (
        "nasbench201-budget",
        Budget(batch_size=64, options={"channels": 16, "cells": 1}),
    ),
}
NOISE = ((10, 2), (100, 10), (1000, 2), (1000, 10))
"""Images and classes."""


def part(task: Task, images: int | None, classes: int | None, seed: int) -> Task:
    """Some images of some classes; of the same seed a smaller part is within a larger one."""
    labels, chosen = task.labels.numpy(), []
    for kind in np.random.default_rng(seed).permutation(task.num_classes)[:classes]:
        members = np.flatnonzero(labels == kind)
        chosen.append(np.random.default_rng([seed, kind]).permutation(members)[:images])
    index = torch.from_numpy(np.concatenate(chosen))
    kept = task.labels[index].unique(return_inverse=True)[1]
    # Of a class the features are a sample, from 200 images on.
    total = len(index) if images or task.images is None else round(len(index) * task.images / len(labels))
    return Task(task.features[index], kept, task.name, encoder=task.encoder, images=total)


def noise(seed: int, photos: ImageDataset) -> Iterator[tuple[str, ImageDataset]]:
    """Random pixels, and photos, with labels that mean nothing."""
    rng = np.random.default_rng(seed)
    for images, classes in NOISE:
        labels = rng.permutation(np.arange(images) % classes)
        pixels = rng.integers(0, 256, (images, 32, 32, 3), dtype=np.uint8)
        chosen = photos.images(rng.permutation(len(photos))[:images], 32).permute(0, 2, 3, 1).numpy()
        for kind, shown in (("random pixels", pixels), ("photos, labels shuffled", chosen)):
            yield kind, load_dataset((shown, labels), name=f"{kind}, {images} of {classes} classes")


def measured(predictor: CheckpointPredictor, vertices: torch.Tensor, task: Task) -> dict[str, Any]:
    low, high = predictor.predict(task, vertices).interval() or (torch.zeros(1), torch.zeros(1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that labels are unexplained is what is counted
        unknown = predictor.level_unknown(task)
    return {"width": float((high - low).mean()), "distance": predictor.distance(task), "unknown": unknown}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--sets", nargs="*", default=list(SETS), help="image sets")
    parser.add_argument("--predictors", nargs="*", default=["nasbench201", "mobilenetv3"], choices=[*PREDICTORS])
    parser.add_argument("--seeds", type=int, default=3, help="draws of nested subsets")
    parser.add_argument("--networks", type=int, default=40, help="random ones, whose intervals are averaged")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    data = common.Data(options.data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tasks = {name: extract_task(data.images(name), cache_dir=options.runs / "features") for name in options.sets}
    noises = [
        (kind, extract_task(images, cache_dir=options.runs / "features"))
        for seed in range(options.seeds)
        for kind, images in noise(seed, data.images("cifar10"))
    ]
    results: dict[str, Any] = {"settings": common.settings(options), "subsets": {}, "noise": {}}
    tables = []
    for title in options.predictors:
        model, budget = PREDICTORS[title]
        checkpoint = load_checkpoint(model)
        space, rng = get_space(checkpoint.space), random.Random(0)
        predictor = CheckpointPredictor(space, checkpoint, budget)
        vertices = space.encode([random_live(space, rng) for _ in range(options.networks)])
        found = [
            {"set": name, "images": images, "classes": classes}
            | measured(predictor, vertices, part(task, images, classes, seed))
            for name, task in tasks.items()
            for seed in range(options.seeds)
            for images in IMAGES
            for classes in CLASSES
        ]
        silent = [{"kind": kind} | measured(predictor, vertices, task) for kind, task in noises]
        results["subsets"][title], results["noise"][title] = found, silent
        tables.append(f"**{title}**\n\n" + table(found) + "\n" + steps(found) + noise_row(silent))
    common.write(options.out, "intervals", results, {"intervals": "\n".join(tables)})


def table(found: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for images in IMAGES:
        row = ["all" if images is None else str(images)]
        for classes in CLASSES:
            these = [one for one in found if (one["images"], one["classes"]) == (images, classes)]
            row.append(" / ".join(f"{fmean(one[what] for one in these):.1f}" for what in ("width", "distance")))
        rows.append(row)
    return common.markdown(["images a class", *(f"{c or 'all'} classes: width / distance" for c in CLASSES)], rows)


def steps(found: Sequence[Mapping[str, Any]]) -> str:
    """How often a set's mean grows from one part to the next larger one by more than a twentieth."""
    lines = []
    for what in ("width", "distance"):
        for title, sets in (("", [s for s in SETS if s not in LEFT_OUT]), (" left out", LEFT_OUT)):
            grown = []
            for name in sets:
                mean = np.array(
                    [
                        [
                            [r[what] for r in found if (r["set"], r["images"], r["classes"]) == (name, i, c)]
                            for c in CLASSES
                        ]
                        for i in IMAGES
                    ]
                ).mean(-1)
                if mean.size:
                    grown += [*(mean[1:] > 1.05 * mean[:-1]).flat, *(mean[:, 1:] > 1.05 * mean[:, :-1]).flat]
            if grown:
                lines.append(f"{what}, the five{title or ' developed on'}: {sum(grown)} of {len(grown)}")
    return "Steps to more images or classes by which a set's mean grew by over 5%: " + "; ".join(lines) + ".\n"


def noise_row(silent: Sequence[Mapping[str, Any]]) -> str:
    levels = sum(one["unknown"] is None for one in silent)
    named = sum("explains their labels" in (one["unknown"] or "") for one in silent)
    told = f"{levels} of {len(silent)} datasets got a level; the labels of {named} were said to be unexplained"
    return f"\nNoise: {told}.\n"


if __name__ == "__main__":
    main()
