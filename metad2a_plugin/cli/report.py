"""Where what a command says goes: tables and JSON to standard output, notes through the `logging` module."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metad2a_plugin.utils.files import json_text, write_json

if TYPE_CHECKING:
    from rich.console import Console

TREE = logging.getLogger("metad2a_plugin")
"""Of which every logger of the package is a part."""
_NOTES = logging.getLogger("metad2a_plugin.cli")
_READ = "metad2a_plugin.data.loading"
"""Who logs what was read of a dataset."""


class Report:
    """What a command says besides its table.

    Args:
        json: where the command writes JSON, if it does; with ``-`` that alone goes to standard output, and table and
            notes to standard error.
    """

    def __init__(self, json: Path | None = None) -> None:
        self.json = json
        self.aside = json is not None and str(json) == "-"

    @cached_property
    def console(self) -> Console:
        """For tables; into a file or a pipe, lines are as long as they need to be."""
        from rich.console import Console

        stream = sys.stderr if self.aside else sys.stdout
        return Console(file=stream, width=None if stream.isatty() else 200, highlight=False)

    def note(self, text: str) -> None:
        """A line on what was done, which ``--quiet`` leaves out."""
        _NOTES.info(text, extra={"aside": self.aside})

    def progress(self, text: str) -> None:
        """A line on what is done now, to standard error."""
        _NOTES.info(text)

    def values(self, title: str, values: Any) -> None:
        """Write plain values where JSON was asked for, if it was."""
        if self.aside:
            sys.stdout.write(json_text(values))
        elif self.json is not None:
            write_json(self.json, values)
            self.note(f"{title}: {self.json}")


class _Handler(logging.Handler):
    """A command's notes, and what was read of a dataset, to standard output, as part of its result.

    All else goes to standard error, and with `aside` these too.
    """

    def __init__(self, aside: bool) -> None:
        super().__init__()
        self.aside = aside

    def emit(self, record: logging.LogRecord) -> None:
        aside = getattr(record, "aside", self.aside if record.name == _READ else True)
        print(self.format(record), file=sys.stderr if aside else sys.stdout, flush=True)


@contextmanager
def logged(arguments: list[str]) -> Iterator[None]:
    """The package's log is shown, from notes on, while a command of these arguments runs."""
    aside = "--json=-" in arguments or ("--json", "-") in pairwise(arguments)
    handler, before = _Handler(aside), TREE.level
    TREE.addHandler(handler)
    TREE.setLevel(logging.INFO)
    try:
        yield
    finally:
        TREE.removeHandler(handler)
        TREE.setLevel(before)
