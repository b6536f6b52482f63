"""The meta-trained models of the MobileNetV3 space over seeds: predictor with and without dataset, generator, speed.

    metad2a build-database runs/mobilenetv3-database --workers 2
    python benchmarks/mobilenetv3_meta.py --database runs/mobilenetv3-database

Validation tasks are made of classes that no training task has. Checkpoints of finished seeds stay under
``runs/mobilenetv3_meta``, and the same command goes on from there.
"""

from __future__ import annotations

import csv
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from metad2a_plugin import MetaD2A
from metad2a_plugin.meta.train import MetaTrainConfig, meta_train
from metad2a_plugin.models.checkpoint import load_checkpoint

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

SPEARMAN, SECONDS = 0.80, 1.0
"""What we aim at: on tasks of new classes; and for 200 candidates, images read."""
CANDIDATES = 200
MODELS = {
    "spearman": "dataset and network",
    "spearman_level": "dataset and network, no interaction",
    "spearman_twin": "network alone (trained without datasets)",
    "spearman_blind": "network alone (the same model for the average task)",
}
NOTES = """
Spearman correlation of predicted and measured accuracy on {rows:,} rows of {tasks} validation tasks, mean ± standard
deviation over {seeds} meta-training seeds. No class of these tasks is in a training task ({train:,} rows of
{train_tasks:,} tasks). *Within tasks* is the Pearson correlation of deviations from the mean of each task, so that only
the order of networks counts. {coverage}% of the measured accuracies lie in the 90% interval (of the validation tasks
that did not set its width), which is {width} points wide. Accuracies come from {images} images a row, which alone
scatter by {noise:.1f} points (binomial); the standard deviation of all rows is {spread:.1f} points. The mean accuracy
is {mean:.1f}%.

Generator: of 1,000 draws for each of 20 validation tasks {valid}% are valid, {unique}% different, and {novel}% not in
the database. {candidates} candidates generated and ranked under {limit} M multiply-accumulates: {seconds} s (features
of the images apart; {threads} thread), {ratio:.0f} times less than the second that we aim at.
"""


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--database", type=Path, default=Path("runs/mobilenetv3-database"))
    parser.add_argument("--images", type=Path, default=None, help="default: imagenet64.zip of --data")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--test-images", type=int, default=15, help="of a class, that the database was measured on")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images = common.Data(options.data).imagenet
    folder = options.runs / "mobilenetv3_meta"
    seeds = []
    for seed in range(options.seeds):
        out = folder / f"seed-{seed}"
        if not (out / "config.json").exists():
            meta_train(options.database, images, out, MetaTrainConfig(space="mobilenetv3", seed=seed))
        seeds.append(load_checkpoint(out).training)
        print(f"seed {seed}: {seeds[-1]['metrics']['spearman']:.3f}", flush=True)
    metrics = {name: [run["metrics"][name] for run in seeds] for name in seeds[0]["metrics"]}
    timed = [search_seconds(folder / f"seed-{seed}", options.data) for seed in range(options.seeds)]
    rows = [row for row in read(options.database) if row["split"] == "valid"]
    accuracy = [float(row["accuracy"]) for row in rows]
    tested = options.test_images * int(seeds[0]["classes"])
    noise = statistics.fmean((a * (100 - a) / tested) ** 0.5 for a in accuracy)
    table = [[title, common.mean_std(metrics[name]), *within(name, metrics)] for name, title in MODELS.items()]
    gain = [a - b for a, b in zip(metrics["spearman"], metrics["spearman_twin"], strict=True)]
    table.append(["aim", common.aim(metrics["spearman"], SPEARMAN, 2), ""])
    table.append(["gain over the twin", common.mean_std(gain), ""])
    text = common.markdown(("predictor sees", "Spearman, new classes", "within tasks"), table) + NOTES.format(
        rows=len(rows),
        tasks=len({row["task"] for row in rows}),
        seeds=options.seeds,
        train=seeds[0]["rows"],
        train_tasks=seeds[0]["tasks"] - len({row["task"] for row in rows}),
        coverage=common.mean_std([100 * value for value in metrics["coverage_90"]], 1),
        width=common.mean_std(metrics["width_90"], 1),
        images=tested,
        noise=noise,
        spread=statistics.stdev(accuracy),
        mean=statistics.fmean(accuracy),
        valid=common.mean_std(metrics["generator_valid"], 1),
        unique=common.mean_std(metrics["generator_unique"], 1),
        novel=common.mean_std(metrics["generator_novel"], 1),
        candidates=CANDIDATES,
        limit=300,
        seconds=common.mean_std(timed, 2),
        threads=options.threads,
        ratio=SECONDS / statistics.fmean(timed),
    )
    results: dict[str, Any] = {"settings": common.settings(options), "metrics": metrics, "seconds": timed}
    common.write(options.out, "mobilenetv3_meta", results, {"mobilenetv3_meta": text})


def within(name: str, metrics: dict[str, list[float]]) -> list[str]:
    found = metrics.get(name.replace("spearman", "pearson_within"))
    return [common.mean_std(found) if found else ""]


def read(database: Path) -> list[dict[str, str]]:
    with (database / "rows.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def search_seconds(checkpoint: Path, data: Path) -> float:
    """Of generating and ranking, once everything is loaded and the dataset's features are there."""
    searcher = MetaD2A.from_pretrained(str(checkpoint))
    task = searcher.task(data / "images" / "caltech101.zip", progress=False)
    arguments: dict[str, Any] = {"candidates": CANDIDATES, "max_flops": 300.0, "top": 1}
    searcher.search(task, **arguments)
    begin = time.perf_counter()
    searcher.search(task, **arguments)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
