"""The scripts of a page of the documentation, and what they print."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def scripts_of(page: str) -> list[tuple[str, str, str]]:
    """Name, source and expected output of each script of a page in ``docs``."""
    text = (DOCS / page).read_text()
    return re.findall(r"<!-- script: (\S+) -->\n```python\n(.*?)```\n\n```\n(.*?)```", text, re.DOTALL)


def printed_by(name: str, script: str) -> str:
    """What a script prints that runs as it stands."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(script, name, "exec"), {"__name__": "__main__"})
    return printed.getvalue()
