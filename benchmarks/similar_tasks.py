"""Which known tasks are nearest to datasets that had no part in the library's making, and whether seeds agree.

    python benchmarks/similar_tasks.py --data ../shared/data

A minute or two on one core.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from metad2a_plugin.meta.metrics import spearman
from metad2a_plugin.similarity.fisher import DISTANCES
from metad2a_plugin.similarity.library import SHIPPED, TaskLibrary, load_library
from metad2a_plugin.similarity.similar import similar_tasks

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

DATASETS = {
    "clothing10": "clothing10 (photographs of garments)",
    "signdigits": "signdigits (photographs of hands)",
    "sklearn:digits": "digits, which the library knows",
}


def measure(options: Any, library: TaskLibrary, name: str, seed: int) -> dict[str, Any]:
    dataset = name if name.startswith("sklearn:") else common.Data(options.data).images(name)
    found = similar_tasks(dataset, library, seed=seed)
    return {"distances": found.measured, "accuracy": found.accuracy, "images": found.images}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    library = load_library()
    fingerprint = hashlib.sha256((SHIPPED / "config.json").read_bytes()).hexdigest()[:16]
    results, rows = [], []
    for name, title in DATASETS.items():
        runs = []
        for seed in range(1, options.seeds + 1):  # the library was made with seed 0
            path = options.runs / "similar_tasks" / f"{name.replace(':', '-')}-{seed}.json"
            key = {"library": fingerprint, "dataset": name, "seed": seed}
            runs.append(common.remember(path, key, partial(measure, options, library, name, seed)))
        results.append({"dataset": name, "runs": runs})
        rows += [[title, distance, *_row(runs, distance)] for distance in DISTANCES]
    header = ["dataset", "distance", "nearest, by seed", "its distance", "median distance", "order over seeds"]
    text = common.markdown([*header, "network's accuracy, %"], rows) + (
        f"\nThe shipped library's {len(library.tasks)} tasks; {options.seeds} seeds of the choice of images and of the "
        "training, others than the library's; mean ± standard deviation. *Order over seeds* is the mean Spearman "
        "correlation of the tasks' distances between two seeds: 1 means that every seed orders the known tasks alike.\n"
    )
    common.write(
        options.out,
        "similar_tasks",
        {"settings": common.settings(options), "results": results},
        {"similar_tasks": text},
    )


def _row(runs: Sequence[dict[str, Any]], distance: str) -> list[str]:
    tables = [run["distances"][distance] for run in runs]
    tasks = sorted(tables[0])
    values = [torch.tensor([table[task] for task in tasks]) for table in tables]
    pairs = [spearman(a, b) for i, a in enumerate(values) for b in values[:i]]
    return [
        ", ".join(min(table, key=table.__getitem__) for table in tables),
        common.mean_std([float(v.min()) for v in values]),
        common.mean_std([float(v.median()) for v in values]),
        f"{sum(pairs) / len(pairs):.2f}" if pairs else "",
        common.mean_std([run["accuracy"] for run in runs], 1),
    ]


if __name__ == "__main__":
    main()
