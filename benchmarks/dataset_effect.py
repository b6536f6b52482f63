"""How far a dataset changes the order of the networks, and not only their expected level.

    python benchmarks/dataset_effect.py --data ../shared/data

The order for a dataset is compared with the one without any, for both shipped models.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from metad2a_plugin import MetaD2A, Task, extract_task
from metad2a_plugin.meta.metrics import spearman

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

DATASETS = {"cifar10": "CIFAR-10", "imagenet16-120": "ImageNet16-120", "mnist": "MNIST", "caltech101": "Caltech-101"}
TOP = 500


def compare(searcher: MetaD2A, task: Task) -> dict[str, float]:
    """The order for a task beside the order without any, by rank correlations and shared top cells."""
    blind = {tuple(v): i for i, v in enumerate(searcher.rank(None).vertices.tolist())}
    place = torch.tensor([blind[tuple(v)] for v in searcher.rank(task).vertices.tolist()])
    order = torch.arange(len(place))
    upper = place < TOP
    distance = searcher.checkpoint.predictor.distance(task)
    return {
        "distance": float("nan") if distance is None else distance,
        "all": spearman(place, order),
        "upper": spearman(place[upper], order[upper]),
        "shared": int((place[:10] < 10).sum()),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--tasks", type=int, default=40, help="validation tasks of the meta-database")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    data = common.Data(options.data)
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    rows = []
    for name in ("nasbench201", "nasbench201-paper"):
        searcher = MetaD2A.from_pretrained(name)
        groups = {f"{options.tasks} validation tasks": data.validation_tasks(options.tasks)}
        groups |= {title: [extract_task(data.images(key))] for key, title in DATASETS.items()}
        results[name] = {title: [compare(searcher, task) for task in tasks] for title, tasks in groups.items()}
        for title, found in results[name].items():
            columns = (("distance", 1), ("all", 3), ("upper", 2), ("shared", 1))
            rows.append([name, title, *(common.mean_std([f[key] for f in found], digits) for key, digits in columns)])
    header = ("model", "dataset", "distance", "all networks", f"best {TOP}", "shared of the ten best")
    text = common.markdown(header, rows) + (
        "\nSpearman between the order for the dataset and the order for the average meta-training task, over all 4,929 "
        f"networks and over the {TOP} that are best on average; mean ± standard deviation over tasks. Where a dataset "
        "lies farther than distance 1 from those of meta-training, what it says of the order counts less and less.\n"
    )
    common.write(
        options.out,
        "dataset_effect",
        {"settings": common.settings(options), "results": results},
        {"dataset_effect": text},
    )


if __name__ == "__main__":
    main()
