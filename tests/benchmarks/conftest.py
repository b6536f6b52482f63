from __future__ import annotations

import csv
import gzip
import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metad2a_plugin.spaces.nasbench201.space import NASBench201

# As `python benchmarks/NAME.py` has it.
sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

SPACE = NASBench201()
CLASSES, TASKS, ROWS = 16, 24, 72


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like that of the real data, with a few tiny images and made-up accuracies."""
    root = tmp_path_factory.mktemp("toy")
    rng = np.random.default_rng(0)
    folders = [f"n{c:08}" for c in range(1, CLASSES + 1)]
    cells = list(SPACE.enumerate())
    quality = np.array([sum(op == 3 for op in cell.choices) + 0.5 * (cell.choices[3] == 1) for cell in cells])
    write_database(root / "metad2a", folders, quality, rng)
    write_table(root / "nas_bench_201", quality, rng)
    (root / "images").mkdir()
    write_images(root / "images" / "imagenet64.zip", folders, 4, rng)
    parts = ("cifar10_train", "cifar10_test", "mnist_train", "mnist_test")
    for name in (*parts, "clothing10", "caltech101", "signdigits"):
        write_images(root / "images" / f"{name}.zip", ["cat", "dog", "owl"], 4, rng)
    features = rng.normal(size=(4 * CLASSES, 256)).astype(np.float16)
    np.savez(root / "images" / "imagenet64_teacher_features.npz", features=features)
    return root


def write_database(folder: Path, folders: list[str], quality: np.ndarray, rng: np.random.Generator) -> None:
    folder.mkdir()
    lines = [f"{name} {number} thing" for number, name in enumerate(folders, 1)]
    (folder / "map_clsloc.txt").write_text("\n".join(lines))
    with (folder / "tasks.csv").open("w") as stream:
        writer = csv.writer(stream)
        writer.writerow(["task", *(f"class_{i}" for i in range(4))])
        writer.writerows([task, *(rng.permutation(CLASSES)[:4] + 1)] for task in range(TASKS))
    with (folder / "rows.csv").open("w") as stream:
        writer = csv.writer(stream)
        writer.writerow(["task", "arch_str", "accuracy", "split"])
        cells = list(SPACE.enumerate())
        for row in range(ROWS):
            cell = int(rng.integers(len(cells)))
            # Off the grid of 0.2 percent: the second protocol, about 16 points lower.
            accuracy = round(70 + quality[cell] + rng.normal(), 0) - (15.9 if row % 9 == 0 else 0)
            split = "valid" if row % 5 == 4 else "train"
            writer.writerow([row % TASKS, SPACE.format(cells[cell]), f"{accuracy:.1f}", split])


def write_table(folder: Path, quality: np.ndarray, rng: np.random.Generator) -> None:
    folder.mkdir()
    columns = {
        f"{dataset}_{split}": base + 4 * quality + rng.normal(size=len(quality))
        for dataset, base in (("cifar10", 70), ("imagenet16", 20))
        for split in ("valid", "test")
    }
    columns |= {f"{name}_ep12": 0.7 * values for name, values in columns.items()}
    columns |= {name: np.full(len(quality), 0.3) for name in ("cifar10_valid_seedstd", "imagenet16_valtest_seedstd")}
    columns |= {f"{name}_train_s_200ep": 1000 + quality for name in ("cifar10valid", "imagenet16")}
    columns["n_seeds"] = np.full(len(quality), 3)
    with gzip.open(folder / "nb201.csv.gz", "wt", compresslevel=1) as stream:
        writer = csv.writer(stream)
        writer.writerow(["arch_str", "unique_str", *columns])
        values = zip(*columns.values(), strict=True)
        for cell, numbers in zip(SPACE.enumerate(), values, strict=True):
            writer.writerow([SPACE.format(cell), SPACE.canonical(cell), *(f"{v:.4f}" for v in numbers)])


def write_images(path: Path, classes: list[str], each: int, rng: np.random.Generator) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in classes:
            colour = rng.integers(0, 200, 3)
            for i in range(each):
                pixels = (colour + rng.integers(0, 55, (16, 16, 3))).astype(np.uint8)
                buffer = io.BytesIO()
                Image.fromarray(pixels).save(buffer, "png")
                archive.writestr(f"{name}/{i}.png", buffer.getvalue())


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAD2A_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Meta-training in seconds."""
    from dataclasses import replace
    from functools import partial

    import meta_seeds

    from metad2a_plugin.meta import paper as papers
    from metad2a_plugin.meta import train
    from metad2a_plugin.meta.fit import FitConfig

    config = partial(FitConfig, members=2, iterations=3, folds=2, fold_members=1)
    paper = replace(train.PREDICTOR, epochs=1)
    small = partial(papers.PaperPredictor, hidden=16, latent=8)
    monkeypatch.setattr(papers.PaperPredictor, "of_space", lambda space, **sizes: small(**sizes))
    for module in (train, meta_seeds):
        monkeypatch.setattr(module, "FitConfig", config)
        monkeypatch.setattr(module, "PREDICTOR", paper)
