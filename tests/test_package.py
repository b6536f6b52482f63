"""What is installed: modules, entry points, extras and files of the distribution."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from packaging.requirements import Requirement

from metad2a_plugin.errors import HostError, MissingExtraError
from metad2a_plugin.plugins.registry import BUILT_IN, DISTRIBUTION

ROOT = Path(__file__).resolve().parents[1]
HUB = "adapters/optunahub/"
"""What is there for OptunaHub's registry, and not installed."""
# Installed name of each module, and its file.
MODULES = {
    ".".join(("metad2a_plugin", *inner.with_suffix("").parts)).removesuffix(".__init__"): file
    for folder, prefix in (("metad2a_plugin", ""), ("adapters", "adapters"))
    for file in sorted((ROOT / folder).rglob("*.py"))
    if not file.is_relative_to(ROOT / HUB)
    for inner in [prefix / file.relative_to(ROOT / folder)]
}


@pytest.fixture(scope="module")
def installed() -> Distribution:
    # A build leaves metadata in the checkout, which is no installation.
    found = [d for d in distributions(name=DISTRIBUTION) if Path(str(d.locate_file(""))).resolve() != ROOT]
    if not found:
        pytest.skip(f"{DISTRIBUTION} is not installed: this is a bare checkout")
    return found[0]


class Archives(NamedTuple):
    """Files of the checkout and of the source archive, and those of the wheel with their content."""

    checkout: set[str]
    source: set[str]
    wheel: dict[str, bytes]

    @property
    def metadata(self) -> Message:
        """As an index has it."""
        (name,) = [name for name in self.wheel if name.endswith(".dist-info/METADATA")]
        return message_from_bytes(self.wheel[name])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Archives:
    """A source archive of the checkout, and a wheel of the unpacked archive, as an installer makes it."""
    folder = tmp_path_factory.mktemp("built")
    source, unpacked = folder / "source", folder / "unpacked"
    for name in ("metad2a_plugin", "adapters", "benchmarks", "docs", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    pages = ("README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "mkdocs.yml")
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", *pages):
        shutil.copy(ROOT / name, source)
    here = {str(file.relative_to(source).as_posix()) for file in source.rglob("*") if file.is_file()}
    with tarfile.open(_build("sdist", source, folder)) as archive:
        archive.extractall(unpacked, filter="data")
    (top,) = unpacked.iterdir()
    there = {str(file.relative_to(top).as_posix()) for file in top.rglob("*") if file.is_file()}
    with zipfile.ZipFile(_build("wheel", top, folder)) as archive:
        wheel = {name: archive.read(name) for name in archive.namelist()}
    return Archives(here, there, wheel)


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
    # Without one there is no extra, and the error has a line of its own.
    extras = {node.value for node in named if isinstance(node, ast.Constant) and node.value}
    assert extras and extras <= set(installed.metadata.get_all("Provides-Extra", []))


def test_every_requirement_says_its_lowest_release(built: Archives) -> None:
    required = [Requirement(line) for line in built.metadata.get_all("Requires-Dist", [])]
    assert {"torch", "pillow", "ray", "pillow-heif", "datasets"} <= {one.name for one in required}
    for one in required:
        lowest = [part for part in one.specifier if part.operator in (">=", "==")]
        # NNI's packages are held back, wherever they begin; what is included is checked by itself.
        held_back = 'extra == "nni"' in str(one.marker)
        assert len(lowest) == 1 or held_back or one.name == DISTRIBUTION, str(one)


# -- files ---------------------------------------------------------------------------------------
def test_archives_hold_the_package_and_nothing_else(built: Archives) -> None:
    made = {name for name in built.source if name.startswith(("PKG-INFO", "setup.cfg", "metad2a_plugin.egg-info/"))}
    assert built.source - made == built.checkout
    package = {name for name in built.checkout if name.startswith("metad2a_plugin/")}
    of_hosts = {name for name in built.checkout if name.startswith("adapters/") and not name.startswith(HUB)}
    adapters = {f"metad2a_plugin/{name}" for name in of_hosts}
    assert {name for name in built.wheel if ".dist-info/" not in name} == package | adapters


def test_the_metadata_tell_the_terms_of_code_and_weights(built: Archives) -> None:
    assert built.metadata["License-Expression"] == "Apache-2.0 AND LicenseRef-metad2a-weights"
    files = built.metadata.get_all("License-File", [])
    assert files == ["LICENSE", "metad2a_plugin/pretrained/LICENSE-WEIGHTS.md"]
    for name in files:
        (content,) = [built.wheel[file] for file in built.wheel if file.endswith(f".dist-info/licenses/{name}")]
        assert content == (ROOT / name).read_bytes()
    assert b"LicenseRef-metad2a-weights" in content


def test_all_weights_have_terms_and_a_card_that_names_them() -> None:
    folder = ROOT / "metad2a_plugin" / "pretrained"
    table = re.findall(r"^\| (`.*?) \|", (folder / "LICENSE-WEIGHTS.md").read_text(encoding="utf-8"), re.MULTILINE)
    listed = sorted(name for row in table for name in re.findall(r"`([\w-]+)`", row))
    assert listed == sorted(path.name for path in folder.iterdir() if path.is_dir())
    for name in listed:
        terms = (folder / name / "README.md").read_text(encoding="utf-8").partition("\n## Terms\n")[2]
        assert "LICENSE-WEIGHTS.md" in terms, name


def test_the_metadata_name_people_and_addresses(built: Archives) -> None:
    assert built.metadata["Author"] and built.metadata["Maintainer"]
    addresses = dict(line.split(", ") for line in built.metadata.get_all("Project-URL", []))
    assert {"Repository", "Documentation", "Issues", "Changelog"} <= set(addresses)
    assert all(address.startswith(addresses["Repository"]) for address in addresses.values())


def test_links_of_the_long_description_lead_somewhere_from_any_page(built: Archives) -> None:
    assert built.metadata["Description-Content-Type"] == "text/markdown"
    text = str(built.metadata.get_payload())
    assert "](https://github.com/" in text
    assert re.findall(r"(?<!`)\]\((?!https://|#)[^)\s]*\)|(?:src|href)=\"(?!https://)[^\"]*\"", text) == []
    assert text.count("```") == (ROOT / "README.md").read_text(encoding="utf-8").count("```")


def test_pictures_of_the_long_description_are_files_and_other_links_are_pages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "metad2a_plugin" / "plugins").mkdir(parents=True)
    shutil.copy(ROOT / "metad2a_plugin" / "plugins" / "registry.py", tmp_path / "metad2a_plugin" / "plugins")
    text = "![a b](x/y.png) [c](d.md#e) [![f](g.svg)](h.md) [i](#j) <k> [l](https://m.n)\n```\n[o](p)\n```\n"
    (tmp_path / "README.md").write_text(text, encoding="utf-8")
    declared: dict[str, Any] = {}
    monkeypatch.setattr("setuptools.setup", declared.update)
    runpy.run_path(str(tmp_path / "setup.py"))
    main = "https://github.com/metad2a-plugin/metad2a-plugin/{}/main/"
    raw, blob = main.format("raw"), main.format("blob")
    line = f"![a b]({raw}x/y.png) [c]({blob}d.md#e) [![f]({raw}g.svg)]({blob}h.md) [i](#j) <k> [l](https://m.n)"
    assert declared["long_description"] == f"{line}\n```\n[o](p)\n```\n"


def _build(kind: str, source: Path, target: Path) -> Path:
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(target)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target / done.stdout.splitlines()[-1]
