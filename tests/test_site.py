"""The site builds without a warning, and its reference has every public name."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import metad2a_plugin

pytest.importorskip("mkdocs", reason="the site needs the extra docs (pip install '.[docs]')")
mkdocstrings = pytest.importorskip("mkdocstrings")

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "metad2a_plugin"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built with links, anchors and the reference checked."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def inventory(site: Path) -> set[str]:
    """Names that the reference has."""
    with (site / "objects.inv").open("rb") as file:
        return set(mkdocstrings.Inventory.parse_sphinx(file))


def test_the_reference_has_every_name_of_the_package(inventory: set[str]) -> None:
    assert {f"metad2a_plugin.{name}" for name in metad2a_plugin.__all__} <= inventory


def test_the_reference_has_every_name_of_the_rooms(inventory: set[str]) -> None:
    missing = {name for path in modules() for name in public(path) if name not in inventory}
    assert not missing


def test_the_reference_has_every_command(site: Path) -> None:
    command = [sys.executable, "-m", "metad2a_plugin.cli", "--help"]
    environment = os.environ | {"COLUMNS": "200", "TERM": "dumb"}
    overview = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    names = re.findall(r"^(?:│ |  )([a-z][\w-]+) +\S", overview.partition("Commands")[2], re.MULTILINE)
    page = (site / "reference" / "cli" / "index.html").read_text(encoding="utf-8")
    assert names
    assert all(f"Usage: metad2a {name} " in page for name in names)


def modules() -> Iterator[Path]:
    """Of the rooms, whose names do not begin with an underscore; the command line documents itself."""
    for path in sorted((*PACKAGE.rglob("*.py"), *(ROOT / "adapters").glob("*.py"))):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if "cli" not in parts and not any(part.startswith("_") for part in parts):
            yield path


def public(path: Path) -> Iterator[str]:
    """Functions and classes of a module, and methods of these, that have a docstring."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    home = ".".join(parts if parts[0] == "metad2a_plugin" else ("metad2a_plugin", *parts))
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if named(node):
            yield f"{home}.{node.name}"
            yield from (f"{home}.{node.name}.{inner.name}" for inner in node.body if named(inner))


def named(node: ast.stmt) -> bool:
    """Whether it is a documented, public definition."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return isinstance(node, kinds) and not node.name.startswith("_") and ast.get_docstring(node) is not None


def test_pages_ask_the_network_for_nothing(site: Path) -> None:
    for page in ("index.html", "benchmarks/index.html"):
        text = (site / page).read_text(encoding="utf-8")
        loaded = [part for part in text.split("<") if part.startswith(("script", "link", "img"))]
        assert not [part for part in loaded if 'src="http' in part or ('rel="stylesheet"' in part and "http" in part)]
