"""Tables for the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from metad2a_plugin.data import ImageDataset
    from metad2a_plugin.doctor import Finding
    from metad2a_plugin.models.checkpoint import Checkpoint
    from metad2a_plugin.search import SearchResult
    from metad2a_plugin.training import TrainResult


def _console() -> Console:
    # Into a file or a pipe, lines are as long as they need to be.
    return Console(width=None if sys.stdout.isatty() else 200, highlight=False)


def print_search(result: SearchResult) -> None:
    """The ranked candidates, and what to make of them."""
    console = _console()
    devices = list(result.best.latency)
    units = {device: f"{device} ({result.units[device]})" for device in devices}
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("rank", "accuracy", "90% interval", "params", "MACs", *units.values()):
        table.add_column(name, justify="right", no_wrap=True)
    for c in result.candidates:
        low, high = c.interval
        table.add_row(
            str(c.rank),
            f"{c.accuracy:.1f}%",
            f"{low:.1f} to {high:.1f}",
            f"{c.params:.3f} M",
            f"{c.flops:.1f} M",
            *(f"{c.latency[device]:.3g}" for device in devices),
        )
    console.print(table)
    _print_architectures(console, {str(c.rank): c.architecture_str for c in result.candidates})
    how = "different networks, all of the space," if result.source == "exhaustive" else "generated networks"
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in result.rejected.items() if count)
    console.print(
        f"{result.dataset}: {result.num_classes} classes; {result.considered:,} {how} ranked by {result.model} "
        f"({left_out or 'none'} left out) in {result.seconds['search']:.2f} s, images read in "
        f"{result.seconds['features']:.1f} s."
    )
    console.print(
        "Accuracies are on the scale of the meta-training tasks (20 classes, short training): they rank networks; "
        "metad2a train measures them."
    )
    if devices:
        console.print(
            "A limit holds with the device's 95% error on top, for the benchmark's own network."
        )
    if result.far:
        console.print(
            f"This dataset is unlike those of meta-training (distance {result.distance:.1f}; 99% of them are within "
            "1): the order rests on what makes cells good in general, and the level is a guess."
        )


def _print_architectures(console: Console, texts: Mapping[str, str]) -> None:
    """One to a line, apart from the table, so that they can be copied from a narrow terminal."""
    width = max(map(len, texts))
    console.print()
    for name, text in texts.items():
        console.print(f"{name:>{width}}  {text}", soft_wrap=True)
    console.print()


def print_training(dataset: ImageDataset, names: Sequence[str], results: Sequence[TrainResult]) -> None:
    """Validation accuracy of trained architectures beside chance and the majority class."""
    console = _console()
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("", "validation accuracy", "95% interval", "balanced", "params", "MACs", "seconds"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for name, r in zip(names, results, strict=True):
        low, high = r.interval
        table.add_row(
            name,
            f"{r.accuracy:.1f}%",
            f"{low:.1f} to {high:.1f}",
            f"{r.balanced_accuracy:.1f}%",
            f"{r.params:.3f} M",
            f"{r.flops:.1f} M",
            f"{r.seconds:.0f}",
        )
    console.print(table)
    _print_architectures(console, {name: r.architecture_str for name, r in zip(names, results, strict=True)})
    first = results[0]
    console.print(
        f"{dataset.name}: {first.train_images:,} training and {first.validation_images:,} validation images; always "
        f"answering the most frequent class reaches {first.majority_accuracy:.1f}%. Accuracies are of the last epoch; "
        "the interval counts validation images only, not the spread between seeds."
    )
    for name, r in zip(names, results, strict=True):
        if r.run_dir is not None:
            console.print(f"{name}: {r.run_dir / 'network.safetensors'}")


def waiting(what: str) -> AbstractContextManager[object]:
    """Say on a terminal what takes its time."""
    return Console(stderr=True).status(what)


def print_findings(findings: Sequence[Finding]) -> None:
    """What `diagnose` has found."""
    styles = {"works": "green", "absent": "dim", "problem": "bold red"}
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        state = Text(finding.state, styles[finding.state])
        table.add_row(finding.name, state, Text("\n".join((finding.found, *(f"- {note}" for note in finding.notes)))))
    _console().print(table)


def print_metrics(checkpoint: Checkpoint) -> None:
    """What a meta-training measured."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in checkpoint.training["metrics"].items():
        table.add_row(name, f"{value:.3f}")
    _console().print(table)


@contextmanager
def stages() -> Iterator[Callable[[str, int, int, str], None]]:
    """A progress bar per stage on a terminal; elsewhere a line now and then."""
    if not sys.stderr.isatty():

        def line(stage: str, done: int, total: int, note: str) -> None:
            if done == total or done % max(1, total // 10) == 0:
                print(f"{stage} {done}/{total} {note}", file=sys.stderr, flush=True)

        yield line
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks = {}

        def report(stage: str, done: int, total: int, note: str) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, total=total, note="")
            bar.update(tasks[stage], completed=done, total=total, note=note)

        yield report
