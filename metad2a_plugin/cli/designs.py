"""``search --minutes``: the search over designs, and its table."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from metad2a_plugin.cli import options as opt
from metad2a_plugin.cli.report import Report
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.training.config import TrainConfig

if TYPE_CHECKING:
    from rich.console import Console

    from metad2a_plugin.search.designs import Design, Designs

_NOT_WITH = ("predictor", "option", "candidates", "refine", "draw", "export")
_SHORTHANDS = ("channels", "cells", "width")


def search_designs(settings: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """What ``search`` does where it is given minutes.

    Args:
        settings: the command's options.
        asked: limits and network options.

    Raises:
        ConfigError: an option does not go with ``--minutes``, or as in `find_designs`.
    """
    dataset = settings["dataset"]
    for name in _NOT_WITH:
        if settings[name] is not None:
            raise ConfigError(f"--{name} does not go with --minutes, which is for a model that knows budgets")
    if dataset is None:
        raise ConfigError("--minutes is for a training on a dataset; give one")
    from metad2a_plugin.candidates.limits import Limits
    from metad2a_plugin.data import load_dataset
    from metad2a_plugin.search.designs import find_designs
    from metad2a_plugin.training.speed import measure_speed
    from metad2a_plugin.utils.progress import stages

    searcher = opt.load_searcher(settings["model"], settings["space"], settings["device"], budgeted=True)
    limits = Limits.of(searcher.space, asked)
    images = load_dataset(dataset)
    with stages() as progress:
        progress("speed", 0, 1, "of training on this machine")
        speed = measure_speed(searcher.space)
        progress("speed", 1, 1, "of training on this machine")
        found = find_designs(
            searcher,
            images,
            settings["minutes"],
            speed,
            limits=limits,
            epochs=settings["epochs"],
            **opt.given_of_budget(settings),
            top=settings["top"],
            seed=settings["seed"],
            progress=progress,
        )
    report = Report(settings["json"])
    print_designs(report.console, found, dataset)
    report.values("designs", found.to_dict())


def print_designs(console: Console, found: Designs, dataset: str) -> None:
    """The designs, what to make of them, and the command that trains the best."""
    from metad2a_plugin.cli.tables import columns, print_architectures, print_unknown_level
    from metad2a_plugin.search.result import UNKNOWN

    sizes = list(found.best.budget.options)
    intervals, known = found.best.interval is not None, found.level_unknown is None
    names = ["rank", "accuracy", *["90% interval"] * intervals, *sizes, "px", "epochs", "batch", "minutes", "params"]
    table = columns(*names, "MACs")
    for d in found.designs:
        table.add_row(
            str(d.rank),
            f"{d.accuracy:.1f}%" if known else UNKNOWN,
            *([f"{d.interval[0]:.1f} to {d.interval[1]:.1f}" if known else UNKNOWN] if d.interval else []),
            *(str(d.budget.options[name]) for name in sizes),
            str(d.budget.input_size),
            str(d.budget.epochs),
            str(d.budget.batch_size),
            f"{d.minutes:.2g}",
            f"{d.params:.3f} M",
            f"{d.flops:.1f} M",
        )
    console.print(table)
    print_architectures(console, {str(d.rank): d.architecture_str for d in found.designs})
    console.print(
        f"{found.dataset}: {found.num_classes:,} classes, {found.images:,} training images; {found.queries:,} designs "
        f"in {found.settings:,} sizes and batches ranked by {found.model} for {found.minutes:g} minutes of training "
        f"in {found.seconds:.0f} s. Minutes are an estimate from a few training steps on this machine."
    )
    console.print(found.scale)
    print_unknown_level(console, found)
    console.print("Train the first:")
    console.print(train_command(found.best, found.space, dataset), soft_wrap=True, markup=False)


def train_command(design: Design, space: str, dataset: str) -> str:
    """The command that trains a design."""
    budget = design.budget
    parts = ["metad2a", "train", dataset, "--space", space, "--architecture", design.architecture_str]
    for name, value in budget.options.items():
        parts += [f"--{name}", str(value)] if name in _SHORTHANDS else ["--network", f"{name}={value}"]
    parts += ["--input-size", str(budget.input_size), "--epochs", str(budget.epochs)]
    parts += ["--batch-size", str(budget.batch_size)]
    if budget.lr != TrainConfig.lr:
        parts += ["--lr", str(budget.lr)]
    return shlex.join([*parts, *["--flip"] * budget.flip])
