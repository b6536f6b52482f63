"""Building of a database of trainings: random networks, really trained, on subsets of image sets.

The folder holds

- ``build.json``: what the rows depend on;
- ``tasks.csv``: ``task, set, classes`` (how many), ``train_images, held_out_images``;
- ``rows.csv``, or ``rows.I-of-N.csv`` of a shard: a training each (`measure.columns`), appended as they come.

`meta.trainings.database.load_trainings` reads it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from metad2a_plugin.meta.rows import check_folder, finished, row_files
from metad2a_plugin.meta.trainings.config import TrainingsConfig
from metad2a_plugin.meta.trainings.measure import TrainingAssignment, columns
from metad2a_plugin.meta.trainings.plan import Plan
from metad2a_plugin.meta.trainings.tasks import TaskPlan, read_sets
from metad2a_plugin.meta.workers import append_rows, check_workers
from metad2a_plugin.utils.files import write_atomically, write_json
from metad2a_plugin.utils.locks import alone
from metad2a_plugin.utils.progress import Progress
from metad2a_plugin.utils.torch_device import usable


def build_trainings(
    images: Sequence[str | Path],
    out: str | Path,
    config: TrainingsConfig | None = None,
    *,
    workers: int = 1,
    ray: str | None = None,
    shard: tuple[int, int] = (1, 1),
    device: str = "cpu",
    progress: Progress = lambda stage, done, total, note: None,
) -> Path:
    """Train networks and write down how well they did; the same call goes on after an interruption.

    Args:
        images: image sets, each a folder of class folders, a zip of one, or an ``.npz`` file; their order counts.
        out: the database's folder.
        config: settings; `config.trainings` may be raised later.
        workers: processes that train.
        ray: address of a Ray cluster that trains instead, ``"local"`` for a new one on this machine alone; all
            machines must find `images` under the same paths.
        shard: ``(i, n)`` trains the i-th of n parts, into a file of its own in the same, shared folder.
        device: where networks train.
        progress: see `Progress`.

    Returns:
        The file of rows.

    Raises:
        DatasetError: images cannot be used.
        ConfigError: settings are wrong, another call is writing, or the folder is of other settings.
        MissingExtraError: Ray is not installed.
    """
    config, files = config or TrainingsConfig(), row_files(shard)
    check_workers(workers, ray)
    usable(device)
    paths, out = tuple(os.path.abspath(os.path.expanduser(path)) for path in images), Path(out).expanduser().absolute()
    plan = Plan(TaskPlan(read_sets(paths), config), config)
    path, numbers = out / files[shard[0] - 1], range(shard[0] - 1, len(plan), shard[1])
    with alone(out / f"{path.name}.lock"):
        made_of = _made_of(plan)
        check_folder(out, made_of, files)
        # More may be there than are asked for now.
        done = finished(path, range(shard[0] - 1, sys.maxsize, shard[1]), columns(plan.space))
        progress("images", 1, 1, f"{len(plan.tasks.sets)} image sets, {len(plan.tasks)} tasks")
        if not (out / "build.json").exists():
            write_atomically(out / "tasks.csv", _tasks(plan.tasks).encode())
            write_json(out / "build.json", made_of)
        assignment = TrainingAssignment(paths, config, device)
        append_rows(assignment, path, numbers, done, workers=workers, ray=ray, progress=progress)
    return path


def _made_of(plan: Plan) -> dict[str, Any]:
    """What rows depend on, as JSON values."""
    settings = {name: value for name, value in asdict(plan.config).items() if name != "trainings"}
    return {
        "kind": "trainings",
        "trainings": settings,
        "images": {images.name: images.content_hash for images in plan.tasks.sets},
    }


def _tasks(tasks: TaskPlan) -> str:
    lines = ["task,set,classes,train_images,held_out_images"]
    for number, owner in enumerate(tasks.owner.tolist()):
        task, name = tasks.task(number), tasks.sets[owner].name
        lines.append(f"{number},{name},{len(task.classes)},{len(task.train)},{len(task.held_out)}")
    return "\n".join(lines) + "\n"
