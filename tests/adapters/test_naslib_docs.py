"""The page's scripts run as they stand and print what it says, where NASLib is importable."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from naslib_toys import PRESENT

PAGE = Path(__file__).parents[2] / "docs" / "naslib.md"
SCRIPTS = re.findall(r"<!-- script: (\S+) -->\n```python\n(.*?)```\n\n```\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_every_script_is_found() -> None:
    expected = ["search.py", "trace.py", "resume.py", "predict.py", "bananas.py", "one_shot.py"]
    assert [name for name, *_ in SCRIPTS] == expected


def test_the_page_says_how_to_get_naslib() -> None:
    compat = pytest.importorskip("metad2a_plugin.adapters._naslib_compat")
    assert compat.INSTALL.removeprefix("get it with: ") in PAGE.read_text()


@pytest.mark.skipif(not PRESENT, reason="NASLib is not importable")
@pytest.mark.parametrize(("name", "script", "output"), SCRIPTS, ids=[name for name, *_ in SCRIPTS])
def test_a_script_prints_what_the_page_says(
    name: str, script: str, output: str, data_root: Path, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(script)
    environment = os.environ | {"METAD2A_DATA": str(data_root.resolve()), "METAD2A_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-W", "ignore", name]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == output
