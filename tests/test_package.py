"""What is installed: modules, entry points, extras and files of the distribution."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

import pytest

from metad2a_plugin.errors import HostError, MissingExtraError
from metad2a_plugin.plugins.registry import BUILT_IN, DISTRIBUTION

ROOT = Path(__file__).resolve().parents[1]
# Installed name of each module, and its file.
MODULES = {
    ".".join(("metad2a_plugin", *inner.with_suffix("").parts)).removesuffix(".__init__"): file
    for folder, prefix in (("metad2a_plugin", ""), ("adapters", "adapters"))
    for file in sorted((ROOT / folder).rglob("*.py"))
    for inner in [prefix / file.relative_to(ROOT / folder)]
}


@pytest.fixture(scope="module")
def installed() -> Distribution:
    # A build leaves metadata in the checkout, which is no installation.
    found = [d for d in distributions(name=DISTRIBUTION) if Path(str(d.locate_file(""))).resolve() != ROOT]
    if not found:
        pytest.skip(f"{DISTRIBUTION} is not installed: this is a bare checkout")
    return found[0]


# -- modules -------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is_for(name: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[name].read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith("metad2a_plugin.adapters")])
def test_every_module_can_be_imported(name: str) -> None:
    importlib.import_module(name)


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("metad2a_plugin.adapters")])
def test_adapters_are_installed_inside_the_package(name: str, installed: Distribution) -> None:
    found = importlib.util.find_spec(name)
    assert found is not None and found.origin is not None and Path(found.origin).parent.name == "adapters"
    # Where a host is absent, its adapter says so; modules behind the adapter are not for users.
    private = ModuleNotFoundError if name.rpartition(".")[2].startswith("_") else HostError
    with contextlib.suppress(HostError, MissingExtraError, private):
        importlib.import_module(name)


@pytest.mark.parametrize("name", ["metad2a_plugin", "metad2a_plugin.plugins.registry", "metad2a_plugin.errors"])
def test_light_modules_stay_light(name: str) -> None:
    heavy = {"torch", "networkx", "matplotlib", "PIL", "sklearn", "scipy", "onnx", "torchvision", "typer", "rich"}
    code = f"import sys, {name}; print(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# -- metadata ------------------------------------------------------------------------------------
def test_setup_declares_the_built_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    declared: dict[str, Any] = {}
    monkeypatch.setattr("setuptools.setup", declared.update)
    runpy.run_path(str(ROOT / "setup.py"))
    groups = {
        group: dict(line.split(" = ") for line in lines) for group, lines in declared["entry_points"].items()
    }
    assert groups.pop("console_scripts") == {"metad2a": "metad2a_plugin.cli:main"}
    assert groups == {f"metad2a_plugin.{kind}": members for kind, members in BUILT_IN.items()}


def test_every_installed_entry_point_loads(installed: Distribution) -> None:
    points = installed.entry_points
    assert {"metad2a", *(name for members in BUILT_IN.values() for name in members)} == set(points.names)
    for point in points:
        assert callable(point.load())


def test_errors_name_extras_that_exist(installed: Distribution) -> None:
    position = {"MissingExtraError": 1, "require": 0}
    named = {
        call.args[position[ast.unparse(call.func)]]
        for file in MODULES.values()
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func) in position
    }
    extras = {node.value for node in named if isinstance(node, ast.Constant)}
    assert extras and extras <= set(installed.metadata.get_all("Provides-Extra", []))


# -- files ---------------------------------------------------------------------------------------
def test_archives_hold_the_package_and_nothing_else(tmp_path: Path) -> None:
    source, unpacked = tmp_path / "source", tmp_path / "unpacked"
    for name in ("metad2a_plugin", "adapters", "benchmarks", "docs", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    pages = ("README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "mkdocs.yml")
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", *pages):
        shutil.copy(ROOT / name, source)
    here = {str(file.relative_to(source).as_posix()) for file in source.rglob("*") if file.is_file()}

    with tarfile.open(_build("sdist", source, tmp_path)) as archive:
        archive.extractall(unpacked, filter="data")
    (top,) = unpacked.iterdir()
    there = {str(file.relative_to(top).as_posix()) for file in top.rglob("*") if file.is_file()}
    made = {name for name in there if name in ("PKG-INFO", "setup.cfg") or name.startswith("metad2a_plugin.egg-info/")}
    assert there - made == here

    # From the unpacked archive, as an installer does.
    with zipfile.ZipFile(_build("wheel", top, tmp_path)) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = {name for name in here if name.startswith("metad2a_plugin/")}
    assert names == package | {f"metad2a_plugin/{name}" for name in here if name.startswith("adapters/")}


def _build(kind: str, source: Path, target: Path) -> Path:
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(target)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target / done.stdout.splitlines()[-1]
