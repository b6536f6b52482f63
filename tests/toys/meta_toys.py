"""A meta-database whose truth is known, the folder of one, and a small checkpoint made from it in a moment."""

from __future__ import annotations

import csv
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from metad2a_plugin.data import ImageDataset, Task, get_encoder, load_dataset
from metad2a_plugin.meta.database import ClassFeatures, MetaDatabase
from metad2a_plugin.meta.fit import FitConfig, fit_ensemble
from metad2a_plugin.models.checkpoint import Checkpoint
from metad2a_plugin.models.ensemble import SubspaceEnsemble
from metad2a_plugin.models.generator import PaperGenerator
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
from metad2a_plugin.spaces.nasbench201.space import NASBench201

SPACE = NASBench201()
CELLS = SPACE.all_vertices()
QUICK = FitConfig(selection=True, members=2, folds=2, fold_members=1, iterations=12, factors=4)
CLASSES, CLASSES_OF_A_TASK = 60, 5
_CONV1, _CONV3, _POOL = (SPACE.vertex_types.index(op) for op in ("nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"))


def quality(vertices: torch.Tensor) -> torch.Tensor:
    """True percent of cells ``[n, 8]``, apart from the dataset: convolutions that reach the output count."""
    simple = SPACE.simplify(vertices)
    counts = [(simple == op).sum(1) for op in (_CONV1, _CONV3, _POOL)]
    return 62 + 2.0 * counts[0] + 4.0 * counts[1] - 1.0 * counts[2] - 30.0 * SPACE.dead_mask(vertices)


@dataclass(frozen=True)
class Toy:
    """Database and classes, and the true effect of each task on the accuracy of all cells, percent."""

    database: MetaDatabase
    classes: ClassFeatures
    effect: torch.Tensor


def toy(
    rows: int = 600, *, effect: float = 6.0, noise: float = 0.5, dim: int = 16, protocols: bool = True, seed: int = 0
) -> Toy:
    """Classes lie along a line in feature space; a task's accuracy falls with the mean position of its classes.

    A quarter of the rows are validation rows, of tasks of their own; one in eight is of the second protocol, 16
    points lower.
    """
    generator = torch.Generator().manual_seed(seed)
    position = torch.linspace(-1.5, 1.5, CLASSES)
    direction = torch.ones(dim) / dim**0.5
    count = torch.randint(3, 7, (CLASSES,), generator=generator)
    owner = torch.repeat_interleave(torch.arange(CLASSES), count)
    centers = position[:, None] * direction + 0.3 * torch.randn(CLASSES, dim, generator=generator)
    features = centers[owner] + 0.1 * torch.randn(len(owner), dim, generator=generator)
    # Neighbours on the line, so that tasks differ.
    first = torch.randint(0, CLASSES - 12, (160,), generator=generator)
    task_classes = torch.stack(
        [f + torch.randperm(12, generator=generator)[:CLASSES_OF_A_TASK] for f in first.tolist()]
    )
    of_task = -effect * position[task_classes].mean(1)
    truth = quality(CELLS)
    # Its authors kept good cells, and few others.
    kept = torch.rand(len(CELLS), generator=generator) < torch.sigmoid((truth - 70) / 2)
    pool = torch.nonzero(kept).squeeze(1)
    chosen = pool[torch.randint(len(pool), (rows,), generator=generator)]
    valid = torch.arange(rows) % 4 == 1
    seen, unseen = (torch.randint(*ends, (rows,), generator=generator) for ends in ((0, 120), (120, 160)))
    task = torch.where(valid, unseen, seen)
    protocol = (torch.arange(rows) % 8 == 0).long() * protocols
    accuracy = truth[chosen] + of_task[task] - 16 * protocol + noise * torch.randn(rows, generator=generator)
    database = MetaDatabase(
        vertices=CELLS[chosen],
        accuracy=accuracy.clamp(0, 100),
        task=task,
        valid=valid,
        protocol=protocol,
        task_classes=task_classes,
        class_folders={c: f"n{c:03d}" for c in range(CLASSES)},
        space=SPACE,
    )
    return Toy(database, ClassFeatures(features, count.cumsum(0) - count, count, "default"), of_task)


MOBILE = MobileNetV3Space()


def mobile_quality(vertices: torch.Tensor) -> torch.Tensor:
    """True deviation from a task's mean, in points, of networks ``[n, 22]``: larger ones are better."""
    return 8 * (MOBILE.costs(vertices)[1] / 230).log().float()


def mobile_toy(
    tasks: int = 120, rows_per_task: int = 4, *, effect: float = 4.0, deviation: float = 0.0, seed: int = 0
) -> Toy:
    """Random networks of the MobileNetV3 space, on the classes of `toy`; a quarter of the tasks is for validation.

    Every third class is of validation tasks only. Tasks deviate by `deviation` points from what their classes tell.
    """
    base, generator = toy(rows=8, effect=effect, seed=seed), torch.Generator().manual_seed(seed)
    rng, rows = random.Random(seed), tasks * rows_per_task
    task, valid = torch.arange(rows) // rows_per_task, torch.arange(tasks) % 4 == 1
    first = torch.randint(0, CLASSES // 3 - 8, (tasks,), generator=generator)
    chosen = torch.stack([f + torch.randperm(8, generator=generator)[:CLASSES_OF_A_TASK] for f in first.tolist()])
    kept_out = torch.randint(0, 2, chosen.shape, generator=generator)
    task_classes = 3 * chosen + torch.where(valid[:, None], 2, kept_out)
    position = torch.linspace(-1.5, 1.5, CLASSES)
    of_task = -effect * position[task_classes].mean(1)
    vertices = MOBILE.encode([MOBILE.sample_balanced(rng) for _ in range(rows)])
    shared = deviation * torch.randn(tasks, generator=generator)
    noise = 0.5 * torch.randn(rows, generator=generator)
    database = MetaDatabase(
        vertices=vertices,
        accuracy=55 + (of_task + shared)[task] + mobile_quality(vertices) + noise,
        task=task,
        valid=valid[task],
        protocol=torch.zeros(rows, dtype=torch.int64),
        task_classes=task_classes,
        class_folders=base.database.class_folders,
        space=MOBILE,
    )
    return Toy(database, base.classes, of_task)


def task_of(toy: Toy, index: int) -> Task:
    """Task `index` as a dataset: the features of all images of its classes."""
    classes = toy.database.task_classes[index].tolist()
    start, count = toy.classes.start, toy.classes.count
    parts = [toy.classes.features[start[c] : start[c] + count[c]] for c in classes]
    labels = torch.repeat_interleave(torch.arange(len(parts)), torch.tensor([len(p) for p in parts]))
    return Task(torch.cat(parts), labels, name=f"task {index}", encoder="default")


def write_folder(folder: Path, toy: Toy, *, protocol: bool = True) -> Path:
    """The files of a meta-database, plain CSV."""
    folder.mkdir(parents=True, exist_ok=True)
    database = toy.database
    columns = ["task", "arch_str", "accuracy", "split", *(["protocol"] if protocol else [])]
    with open(folder / "rows.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for i, cell in enumerate(database.space.decode(database.vertices)):
            split = "valid" if database.valid[i] else "train"
            row = [int(database.task[i]), database.space.format(cell), f"{float(database.accuracy[i]):.3f}", split]
            writer.writerow([*row, *([int(database.protocol[i])] if protocol else [])])
    with open(folder / "tasks.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["task", *(f"class_{k}" for k in range(CLASSES_OF_A_TASK))])
        writer.writerows([i, *classes] for i, classes in enumerate(database.task_classes.tolist()))
    lines = [f"{folder} {c} name_{c}" for c, folder in database.class_folders.items()]
    (folder / "map_clsloc.txt").write_text("\n".join(lines) + "\n")
    return folder


def class_images() -> ImageDataset:
    """Two images of each class, under the class's folder name."""
    pixels, labels = coloured(CLASSES, 2)
    return load_dataset((pixels, np.array([f"n{c:03d}" for c in labels])), name="class images")


def coloured(classes: int = 3, per_class: int = 6, *, size: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images with noise around one colour for each class, uint8 ``[n, size, size, 3]``, and labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), per_class)
    colour = rng.integers(40, 200, (classes, 1, 1, 3))[labels]
    images = np.clip(colour + rng.integers(-40, 40, (len(labels), size, size, 3)), 0, 255)
    return images.astype(np.uint8), labels


def image_dataset(classes: int = 3, per_class: int = 6, **options: int) -> ImageDataset:
    """`coloured` as a dataset."""
    return load_dataset(coloured(classes, per_class, **options), name="colours")


@cache
def fitted() -> tuple[Toy, SubspaceEnsemble]:
    """A toy and the predictor that a quick fit makes of it."""
    made = toy()
    return made, fit_ensemble(made.database, made.classes, CELLS, QUICK)


@cache
def checkpoint() -> Checkpoint:
    """Models that read the shipped encoder's features; the generator is untrained."""
    encoder, images = get_encoder(), class_images()
    features = encoder(images.images(range(len(images)), encoder.size))
    count = torch.full((CLASSES,), 2)
    classes = ClassFeatures(features, count.cumsum(0) - count, count, "default")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        generator = PaperGenerator(feature_dim=encoder.dim, hidden=16, latent=16).eval()
    return Checkpoint(
        name="toy",
        space="nasbench201",
        encoder="default",
        encoder_fingerprint=encoder.fingerprint,
        predictor=fit_ensemble(toy(rows=300).database, classes, CELLS, QUICK),
        generator=generator,
        training={"recipe": "toy", "seed": 0, "metrics": {}},
    )
