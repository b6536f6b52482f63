"""MobileNetV3 models over meta-training seeds: predictor with and without the dataset, generator, speed.

    metad2a build-database runs/mobilenetv3-database --workers 2
    python benchmarks/mobilenetv3_meta.py --database runs/mobilenetv3-database

Validation tasks are made of classes that no training task has. Checkpoints of finished seeds stay under
``runs/mobilenetv3_meta``, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from metad2a_plugin import MetaD2A
from metad2a_plugin.meta.config import MetaTrainConfig
from metad2a_plugin.meta.train import meta_train
from metad2a_plugin.models.checkpoint import load_checkpoint

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

SPEARMAN, SECONDS = 0.80, 1.0
"""What we aim at: on tasks of new classes; and for 200 candidates, images read."""
CANDIDATES, LIMIT = 200, 300
QUALITIES = {
    "mobilenetv3": ("ofa-imagenet", "shipped: order of networks by `ofa-imagenet`"),
    "rows": (None, "from the database's rows alone"),
}
SEEN = {
    "spearman": "dataset and network",
    "spearman_twin": "network (trained without datasets)",
    "spearman_blind": "network (same model, average task)",
}
NOTES = """
Spearman correlation of predicted and measured accuracy on {rows:,} rows of {tasks} validation tasks, mean ± standard
deviation over {seeds} meta-training seeds. No class of these tasks is in a training task ({train:,} rows of
{train_tasks:,} tasks). *Within tasks* is the Pearson correlation of deviations from the mean of a task, so that only
the order of networks counts: in this database networks of one task deviate by {deviation:.1f} points, most of it
chance, and a dataset tells how hard it is, not which network suits it. {coverage}% of the measured accuracies lie in
the shipped model's 90% interval (of the validation tasks that did not set its width), which is {width} points wide.
Accuracies come from {images} images a row, which alone scatter by {noise:.1f} points; all validation rows have a mean
of {mean:.1f}% and a standard deviation of {spread:.1f} points.

Generator, {generators} meta-training seeds: of 1,000 draws for each of 20 validation tasks {valid}% are valid,
{unique}% different, and {novel}% not in the database; their mean predicted accuracy exceeds that of random networks
by {gain} points. {candidates} candidates under {limit} M multiply-accumulates generated and ranked: {seconds} s
(features of the images apart; {threads} thread; aim: under {aim:.0f} s).
"""


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--database", type=Path, default=Path("runs/mobilenetv3-database"))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--generators", type=int, default=3, help="seeds that train one too")
    parser.add_argument("--test-images", type=int, default=15, help="of a class, that the database was measured on")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    models = {name: train(name, options) for name in QUALITIES}
    shipped, generators = models["mobilenetv3"], options.generators
    table = []
    for name, (_, title) in QUALITIES.items():
        found = models[name]
        for key, seen in SEEN.items():
            inside = found.get(key.replace("spearman", "pearson_within"))
            table.append([title, seen, common.mean_std(found[key]), common.mean_std(inside) if inside else ""])
        gain = [a - b for a, b in zip(found["spearman"], found["spearman_twin"], strict=True)]
        table.append([title, "gain over the twin", common.mean_std(gain), ""])
        table.append([title, "aim", common.aim(found["spearman"], SPEARMAN, 2), ""])
    folders = [options.runs / "mobilenetv3_meta" / "mobilenetv3" / f"seed-{seed}" for seed in range(generators)]
    timed = [search_seconds(folder, options.data) for folder in folders]
    training = load_checkpoint(folders[0]).training
    rows = [row for row in read(options.database) if row["split"] == "valid"]
    accuracy = [float(row["accuracy"]) for row in rows]
    tasks = {row["task"] for row in rows}
    tested = options.test_images * int(training["classes"])
    header = ("model", "predictor sees", "Spearman, new classes", "within tasks")
    text = common.markdown(header, table) + NOTES.format(
        rows=len(rows),
        tasks=len(tasks),
        seeds=options.seeds,
        train=training["rows"],
        train_tasks=training["tasks"] - len(tasks),
        deviation=deviation(rows),
        coverage=common.mean_std([100 * value for value in shipped["coverage_90"]], 1),
        width=common.mean_std(shipped["width_90"], 1),
        images=tested,
        noise=statistics.fmean((a * (100 - a) / tested) ** 0.5 for a in accuracy),
        spread=statistics.stdev(accuracy),
        mean=statistics.fmean(accuracy),
        generators=generators,
        valid=common.mean_std(shipped["generator_valid"], 1),
        unique=common.mean_std(shipped["generator_unique"], 1),
        novel=common.mean_std(shipped["generator_novel"], 1),
        gain=common.mean_std(shipped["generator_gain"], 2),
        candidates=CANDIDATES,
        limit=LIMIT,
        seconds=common.mean_std(timed, 2),
        threads=options.threads,
        aim=SECONDS,
    )
    settings = common.settings(options) | {"database": options.database.name}
    results: dict[str, Any] = {"settings": settings, "metrics": models, "seconds": timed}
    common.write(options.out, "mobilenetv3_meta", results, {"mobilenetv3_meta": text})


def train(name: str, options: argparse.Namespace) -> dict[str, list[float]]:
    """Metrics of every seed; those of generators of the seeds that have one."""
    found: dict[str, list[float]] = {}
    images = common.Data(options.data).imagenet
    for seed in range(options.seeds):
        out = options.runs / "mobilenetv3_meta" / name / f"seed-{seed}"
        generator = name == "mobilenetv3" and seed < options.generators
        config = MetaTrainConfig(space="mobilenetv3", quality=QUALITIES[name][0], generator=generator, seed=seed)
        if not (out / "config.json").exists():
            meta_train(options.database, images, out, config)
        metrics = load_checkpoint(out).training["metrics"]
        print(f"{name}, seed {seed}: {metrics['spearman']:.3f}", flush=True)
        for key, value in metrics.items():
            found.setdefault(key, []).append(value)
    return found


def deviation(rows: list[dict[str, str]]) -> float:
    """Standard deviation of accuracies from the mean of their task."""
    tasks: dict[str, list[float]] = {}
    for row in rows:
        tasks.setdefault(row["task"], []).append(float(row["accuracy"]))
    return statistics.fmean(statistics.variance(values) for values in tasks.values()) ** 0.5


def read(database: Path) -> list[dict[str, str]]:
    with (database / "rows.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def search_seconds(checkpoint: Path, data: Path) -> float:
    """Of generating and ranking, once everything is loaded and the dataset's features are there."""
    searcher = MetaD2A.from_pretrained(str(checkpoint))
    task = searcher.task(data / "images" / "caltech101.zip", progress=False)
    arguments: dict[str, Any] = {"candidates": CANDIDATES, "max_flops": float(LIMIT), "top": 1}
    searcher.search(task, **arguments)
    begin = time.perf_counter()
    searcher.search(task, **arguments)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
