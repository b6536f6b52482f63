"""How long work tells how far it is; rich is imported when something is shown."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

Progress = Callable[[str, int, int, str], None]
"""Called with the name of a stage, how much of it is done, of how much, and a note."""
_LOG = logging.getLogger(__name__)
_SILENT = 60.0  # seconds, at most, where there is something to say


def shown() -> bool:
    """Whether there is a terminal to show progress on, and nobody has set the package's log to warnings only."""
    return sys.stderr.isatty() and logging.getLogger("metad2a_plugin").level <= logging.INFO


def waiting(what: str) -> AbstractContextManager[object]:
    """Say on a terminal what takes its time."""
    if not shown():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(what)


@contextmanager
def stages(wanted: bool = True, *, brief: bool = False) -> Iterator[Progress]:
    """How far stages are: a bar each on a terminal; elsewhere, as in a log file, ten lines each, and one every minute.

    Args:
        wanted: False shows nothing.
        brief: of work that is soon done: the bars go with it, and elsewhere nothing is shown.
    """
    if wanted and shown():
        with _bars(brief) as report:
            yield report
    elif wanted and not brief:
        yield _Lines()
    else:
        yield lambda stage, done, total, note: None


class _Lines:
    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, stage: str, done: int, total: int, note: str) -> None:
        late = time.monotonic() - self._last >= _SILENT
        if late or done == total or done % max(1, total // 10) == 0:
            _LOG.info("%s %d/%d %s", stage, done, total, note)
            self._last = time.monotonic()


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
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int, note: str) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, note="")
            bars.update(tasks[stage], completed=done, total=total, note=note)

        yield report
