"""Pages of runs that are done: of `auto`, made again, and of the trainings of ``metad2a train``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from metad2a_plugin.contest.config import AutoConfig
from metad2a_plugin.contest.journal import NAME
from metad2a_plugin.contest.page import encoded, write_page
from metad2a_plugin.contest.plots import draw_trainings
from metad2a_plugin.contest.run import auto
from metad2a_plugin.errors import ConfigError, require
from metad2a_plugin.training.result import FINISHED
from metad2a_plugin.utils.files import write_atomically
from metad2a_plugin.utils.kept import unreadable
from metad2a_plugin.utils.schema import anything, mapping_of, optional, read_json, record, text
from metad2a_plugin.utils.templates import filled

PAGE = "index.html"
_SHOWN = ("space", "architecture", "accuracy", "interval", "params_m", "flops_m", "seconds", "validation_images")


def write_report(folder: str | os.PathLike[str], dataset: Any = None) -> Path:
    """Write the page of a run into its folder; nothing is trained.

    Args:
        folder: of a run of `auto`, or of the trainings of ``metad2a train``.
        dataset: the images of the run of `auto`, where they are not where they were.

    Returns:
        The page.

    Raises:
        ConfigError: the folder holds no run, or the images are not known.
        CheckpointError: a file of the run is damaged, or the images are others.
        MissingExtraError: matplotlib is not installed (extra ``draw``).
    """
    require("draw", "the page of a run", "matplotlib")
    folder = Path(folder)
    if (folder / NAME).is_file():
        settings, given = _settings(folder / NAME)
        if dataset is None and given["dataset"] is None:
            raise ConfigError(f"the run in {str(folder)!r} does not say where its images are; give them too")
        config = AutoConfig(**{name: settings[name] for name in _names()})
        images = given["dataset"] if dataset is None else dataset
        found = auto(images, folder, config, limits=settings["limits"], model=given["model"], train=False)
        write_page(found, folder / PAGE)
    else:
        runs = trainings(folder)
        if not runs:
            raise ConfigError(f"{str(folder)!r} holds no finished run of metad2a auto or train")
        write_atomically(folder / PAGE, _page(folder, runs).encode())
    return folder / PAGE


def trainings(folder: Path) -> list[dict[str, Any]]:
    """What ``result.json`` of each training in a folder says, the most accurate first.

    Raises:
        CheckpointError: one of them is damaged.
    """
    found = []
    for path in sorted([*folder.glob("result.json"), *folder.glob("*/result.json")]):
        try:
            read = FINISHED(read_json(path), "")
        except (OSError, ValueError) as error:
            raise unreadable(path, error, "remove the folder it is in") from error
        run = {name: read[name] for name in _SHOWN}
        found.append(run | {"curve": [epoch["accuracy"] for epoch in read["history"]], "folder": path.parent.name})
    return sorted(found, key=lambda run: -run["accuracy"])


def _names() -> list[str]:
    """Settings of `auto` that a run keeps."""
    return [one.name for one in fields(AutoConfig) if one.name not in AutoConfig.WHERE]


def _settings(path: Path) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Of a run, and what it was given."""
    try:
        found = _RUN(read_json(path), "")
        AutoConfig(**{name: found["settings"][name] for name in _names()})
        return found["settings"], found["decided"]["given"]
    except (OSError, TypeError, ValueError) as error:
        raise unreadable(path, error, "the run must be made again") from error


_NAMED = optional(text(1, 10_000))
_RUN = record(
    {
        "settings": record(dict.fromkeys(_names(), anything) | {"limits": mapping_of(anything)}),
        "decided": record({"given": record({"dataset": _NAMED, "model": _NAMED})}),
    }
)


def _page(folder: Path, runs: list[dict[str, Any]]) -> str:
    return filled(
        "contest/trainings.html.j2",
        curves=encoded(lambda: draw_trainings(runs)),
        runs=runs,
        title=f"Trainings in {folder.resolve().name}",
    )
