"""The page's script runs as it stands and prints what it says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "topology.md"
SCRIPTS = re.findall(r"<!-- script: (\S+) -->\n```python\n(.*?)```\n\n```\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_script_prints_what_the_page_says() -> None:
    [(name, script, output)] = SCRIPTS
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(script, name, "exec"), {"__name__": "__main__"})
    assert printed.getvalue() == output
