"""The page's script runs as it stands and prints what it says, where neps is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from page_scripts import DOCS, scripts_of

SCRIPTS = scripts_of("neps.md")


def test_the_page_says_how_to_get_neps() -> None:
    compat = pytest.importorskip("metad2a_plugin.adapters._neps_compat")
    assert [name for name, *_ in SCRIPTS] == ["search.py"]
    assert compat.INSTALL.removeprefix("get it with: ") in (DOCS / "neps.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "script", "output"), SCRIPTS, ids=[name for name, *_ in SCRIPTS])
def test_a_script_prints_what_the_page_says(name: str, script: str, output: str, tmp_path: Path) -> None:
    pytest.importorskip(
        "metad2a_plugin.adapters.neps", reason="neps is not installed, or does not import", exc_type=ImportError
    )
    (tmp_path / name).write_text(script)
    command = [sys.executable, "-W", "ignore", name]
    done = subprocess.run(command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == output
