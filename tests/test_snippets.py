"""The Python of README and guides passes type checkers, as a user's own code would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]


pytestmark = pytest.mark.slow  # a checker reads torch, too


@pytest.fixture(scope="module")
def snippets(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A file for each page; blocks of a page may use names of those above."""
    folder, files = tmp_path_factory.mktemp("snippets"), []
    for page in PAGES:
        blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        if blocks:
            files.append(folder / f"{page.stem.lower()}_page.py")
            files[-1].write_text("\n".join(blocks), encoding="utf-8")
    assert len(files) > 5
    return files


def test_snippets_pass_mypy_strict(snippets: list[Path]) -> None:
    if find_spec("mypy") is None:
        pytest.skip("mypy is not installed; see the extra 'dev'")
    settings = snippets[0].parent / "mypy.ini"
    # Hosts need not be here, and the package itself is checked elsewhere.
    settings.write_text(
        "[mypy]\nstrict = true\nfollow_imports = silent\n"
        "[mypy-nni.*,metad2a_plugin.adapters.*,pandas.*]\nignore_missing_imports = true\n"
    )
    cache = ["--cache-dir", str(settings.parent / "cache")]
    command = [sys.executable, "-m", "mypy", "--config-file", str(settings), *cache, *map(str, snippets)]
    done = subprocess.run(
        command, env=os.environ | {"MYPYPATH": str(ROOT)}, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_snippets_pass_pyright(snippets: list[Path]) -> None:
    if find_spec("pyright") is None:
        pytest.skip("pyright is not installed; see the extra 'dev'")
    pyright = [sys.executable, "-m", "pyright"]
    # The package fetches the checker itself when it first runs.
    if subprocess.run([*pyright, "--version"], check=False, capture_output=True).returncode:
        pytest.skip("pyright is installed, but cannot fetch its checker here")
    folder = snippets[0].parent
    settings = {
        "include": [file.name for file in snippets],
        "extraPaths": [str(ROOT)],
        "typeCheckingMode": "standard",
        "reportMissingImports": False,
        "reportMissingModuleSource": False,
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [*pyright, "--pythonpath", sys.executable, "-p", str(folder)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
