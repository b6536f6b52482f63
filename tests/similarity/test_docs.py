"""The page's scripts run as they stand and print what it says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "task_similarity.md"
SCRIPTS = re.findall(r"<!-- script: (\S+) -->\n```python\n(.*?)```\n\n```\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize(("name", "script", "output"), SCRIPTS, ids=[name for name, *_ in SCRIPTS])
def test_a_script_prints_what_the_page_says(name: str, script: str, output: str) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(script, name, "exec"), {"__name__": "__main__"})
    assert printed.getvalue() == output


def test_every_script_is_found() -> None:
    assert [name for name, *_ in SCRIPTS] == ["part.py"]
