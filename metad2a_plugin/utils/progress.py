"""How long work tells how far it is; rich is imported when something is shown."""

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
def stages(wanted: bool = True, *, brief: bool = False) -> Iterator[Progress]:
    """How far stages are, on stderr: a bar each on a terminal; elsewhere, as in a log file, a line now and then.

    Args:
        wanted: False shows nothing.
        brief: of work that is soon done: the bars go with it, and elsewhere nothing is shown.
    """
    if wanted and sys.stderr.isatty():
        with _bars(brief) as report:
            yield report
    elif wanted and not brief:
        yield _line
    else:
        yield lambda stage, done, total, note: None


def _line(stage: str, done: int, total: int, note: str) -> None:
    if done == total or done % max(1, total // 10) == 0:
        print(f"{stage} {done}/{total} {note}", file=sys.stderr, flush=True)


@contextmanager
def _bars(brief: bool) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=brief) as bars:
        shown: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int, note: str) -> None:
            if stage not in shown:
                shown[stage] = bars.add_task(stage, total=total, note="")
            bars.update(shown[stage], completed=done, total=total, note=note)

        yield report
