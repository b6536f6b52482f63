"""Building of a meta-database: random networks of a supernet, measured on random tasks (MetaD2A, appendix B).

A row is the accuracy of one network, with the supernet's weights, on one task: the classifier keeps the task's
classes, and batch norm is calibrated anew on some of the task's images. The folder is a database that
`meta.database.load_database` reads:

- ``tasks.csv`` and ``map_clsloc.txt``, written first;
- ``build.json``: what the rows depend on;
- ``supernet.safetensors``: the weights;
- ``rows.csv``, or ``rows.I-of-N.csv`` of a shard: rows are appended as they are measured, in any order.

However many processes measure, the rows are the same, and on other machines with the same torch and kind of CPU too.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metad2a_plugin.data import extract_task, get_encoder
from metad2a_plugin.errors import CheckpointError
from metad2a_plugin.meta.config import PlanConfig, SupernetConfig
from metad2a_plugin.meta.plan import Plan
from metad2a_plugin.meta.rows import check_folder, finished, row_files
from metad2a_plugin.meta.subnets import COLUMNS, SubnetAssignment, readable, without_warnings
from metad2a_plugin.meta.supernet import LabelledImages, train_supernet
from metad2a_plugin.meta.workers import append_rows, check_workers
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
from metad2a_plugin.spaces.mobilenetv3.supernet import load_supernet, save_supernet
from metad2a_plugin.utils.checks import integer
from metad2a_plugin.utils.files import write_atomically, write_json
from metad2a_plugin.utils.locks import alone
from metad2a_plugin.utils.progress import Progress
from metad2a_plugin.utils.torch_device import usable


def build_database(
    images: str | Path,
    out: str | Path,
    config: PlanConfig | None = None,
    supernet: SupernetConfig | str | Path | None = None,
    *,
    workers: int = 1,
    ray: str | None = None,
    shard: tuple[int, int] = (1, 1),
    input_size: int = 224,
    device: str = "cpu",
    progress: Progress = lambda stage, done, total, note: None,
) -> Path:
    """Train a supernet, or take one, and measure its networks on tasks; the same call goes on after an interruption.

    Args:
        images: a folder of class folders, or a zip of one.
        out: the database's folder.
        config: settings of tasks and rows.
        supernet: how to train one on the images; or a file of one in OFA's layout, whose outputs are the classes of
            the images in the order of their names.
        workers: processes that measure.
        ray: address of a Ray cluster that measures instead, ``"local"`` for a new one on this machine alone; all
            machines must find `images` and `out` under the same paths.
        shard: ``(i, n)`` measures the i-th of n parts, into a file of its own in the same, shared folder, so that n
            machines without Ray can share the work; the first makes the supernet.
        input_size: side of the images, in pixels, for a supernet that is brought along.
        device: where the supernet trains and networks are measured.
        progress: see `Progress`.

    Returns:
        The file of rows.

    Raises:
        DatasetError: the images cannot be used.
        ConfigError: settings are wrong, another call is writing, or the folder is of other settings.
        CheckpointError: the supernet cannot be read, or has another number of outputs.
        MissingExtraError: Ray is not installed.
    """
    config, supernet = config or PlanConfig(), supernet or SupernetConfig()
    files = row_files(shard)
    integer("input_size", input_size, 32)
    check_workers(workers, ray)
    usable(device)
    # Workers may run elsewhere.
    images, out = os.path.abspath(os.path.expanduser(images)), Path(out).expanduser().absolute()
    if not isinstance(supernet, SupernetConfig):
        supernet = Path(supernet).expanduser().absolute()
    own = isinstance(supernet, SupernetConfig)
    side = supernet.input_size if isinstance(supernet, SupernetConfig) else input_size
    plan = Plan(readable(images, side if own else None), config)
    made_of = _made_of(plan, supernet, side)
    path, numbers = out / files[shard[0] - 1], range(shard[0] - 1, len(plan), shard[1])
    with alone(out / f"{path.name}.lock"):
        check_folder(out, made_of, files)
        done = finished(path, set(numbers), COLUMNS)
        progress("images", 1, 1, f"{len(plan.usable):,} of {plan.images.num_classes:,} classes have enough images")
        _write_plan(plan, out, made_of)
        with alone(out / "supernet.lock", wait=True):
            weights = _supernet(plan, out, supernet, progress)
        assignment = SubnetAssignment(images, os.fspath(weights), config, side, own, device)
        append_rows(assignment, path, numbers, done, workers=workers, ray=ray, progress=progress)
    return path


def _made_of(plan: Plan, supernet: SupernetConfig | Path, input_size: int) -> dict[str, Any]:
    """What rows depend on, as JSON values; refuses a supernet or a teacher that cannot be used."""
    weights: Any
    if isinstance(supernet, SupernetConfig):
        usable(supernet.device)
        weights = asdict(supernet) | {"device": ""}
        if supernet.teacher is not None:
            weights["teacher_fingerprint"] = get_encoder(supernet.teacher).fingerprint
        content = plan.images.content_hash
    else:
        weights = {"sha256": _sha256(supernet)}
        if (outputs := load_supernet(supernet).num_classes) != plan.images.num_classes:
            raise CheckpointError(
                f"the supernet {os.fspath(supernet)!r} tells {outputs} classes apart, and {plan.images.name!r} has "
                f"{plan.images.num_classes}; give the images of all its classes"
            )
        # Too many bytes to read them all, as of ImageNet.
        keys = "\n".join(f"{plan.images.key(i)} {label}" for i, label in enumerate(plan.images.labels))
        content = hashlib.sha256(keys.encode()).hexdigest()
    return {
        "space": MobileNetV3Space.name,
        "tasks": asdict(plan.config),
        "images": {"sha256": content, "input_size": input_size},
        "supernet": weights,
    }


def _write_plan(plan: Plan, out: Path, made_of: dict[str, Any]) -> None:
    """Say what the database is made of."""
    if (out / "build.json").exists():
        return
    for name, text in plan.files().items():
        write_atomically(out / name, text.encode())
    write_json(out / "build.json", made_of)


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise CheckpointError(f"cannot read the supernet {str(path)!r}: {error.strerror}") from error


def _supernet(plan: Plan, out: Path, supernet: SupernetConfig | Path, progress: Progress) -> Path:
    """The file of weights; trains them if that is asked for and not done."""
    if not isinstance(supernet, SupernetConfig):
        return supernet
    path = out / "supernet.safetensors"
    if path.exists():
        return path
    parts = [plan.parts[label] for label in plan.usable.tolist()]
    train, held_out = (np.concatenate(indices) for indices in zip(*parts, strict=True))
    features = None
    if supernet.teacher is not None:
        images, teacher = plan.images.subset(train), supernet.teacher
        with without_warnings():
            features = extract_task(images, teacher, max_images_per_class=None, device=supernet.device).features
    trained = train_supernet(
        _labelled(plan, train, supernet.input_size),
        _labelled(plan, held_out, supernet.input_size),
        len(plan.usable),
        supernet,
        features=features,
        run_dir=out / "supernet",
        on_epoch=lambda e: progress(
            "supernet", e.epoch, supernet.epochs, f"largest {e.largest:.1f}%, smallest {e.smallest:.1f}%"
        ),
    )
    save_supernet(path, trained)
    return path


def _labelled(plan: Plan, indices: np.ndarray, size: int) -> LabelledImages:
    labels = np.searchsorted(plan.usable, plan.images.labels[indices])
    return LabelledImages(plan.images.images(indices, size), torch.from_numpy(labels))
