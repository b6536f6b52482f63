"""How long work tells how far it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Progress = Callable[[str, int, int, str], None]
"""Called with the name of a stage, how much of it is done, of how much, and a note."""


def waiting(what: str) -> AbstractContextManager[object]:
    """Say on a terminal what takes its time."""
    from rich.console import Console

    return Console(stderr=True).status(what)


@contextmanager
def stages() -> Iterator[Progress]:
    """A progress bar per stage on a terminal; elsewhere a line now and then."""
    if not sys.stderr.isatty():

        def line(stage: str, done: int, total: int, note: str) -> None:
            if done == total or done % max(1, total // 10) == 0:
                print(f"{stage} {done}/{total} {note}", file=sys.stderr, flush=True)

        yield line
        return
    from rich.console import Console
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


@contextmanager
def counting(title: str, total: int, wanted: bool = True) -> Iterator[Callable[[int], None]]:
    """A progress bar where stderr is a terminal, gone when done; yields what says how many more are done."""
    if not (wanted and sys.stderr.isatty()):
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda count: bar.advance(task, count)
