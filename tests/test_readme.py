"""README and the pages that are read in the repository: their size, their links, their results and scripts."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from page_scripts import DOCS, printed_by, scripts_of

import metad2a_plugin

ROOT = DOCS.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
MAPS = [ROOT / "CONTRIBUTING.md", DOCS / "architecture.md", *sorted(DOCS.glob("extending/[!i]*.md"))]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.md"))
GUIDES = [page.relative_to(DOCS).as_posix() for part in ("guides", "extending") for page in DOCS.glob(f"{part}/*.md")]
SCRIPTS = [(page, *script) for page in sorted(GUIDES) for script in scripts_of(page)]


def test_the_readme_is_a_page_long() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 160


def test_the_readme_has_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = "pip install '.[digits,draw]' && metad2a auto sklearn:digits --time 1m"
    for command in (first, "pip install -e '.[test]' && pytest"):
        assert f"```\n{command}\n```" in text


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    declared = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert declared and citation["version"] == declared[1]
    assert all(paper["authors"] and paper["year"] and paper["title"] for paper in citation["references"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"(?<!`)\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target!r}"
        if anchor:
            assert anchor in anchors(file), f"{page.name} links to {target!r}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_what_is_imported_from_the_package_is_there(page: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    for statement in (node for block in blocks for node in ast.walk(ast.parse(block))):
        module = getattr(statement, "module", None) or ""
        if isinstance(statement, ast.ImportFrom) and module.startswith("metad2a_plugin"):
            if "adapters" in module:  # needs its host
                host = ROOT.joinpath("adapters", *module.split(".")[2:])
                assert host.is_dir() or host.with_suffix(".py").is_file(), module
            else:
                names = {alias.name for alias in statement.names} - {"adapters"}
                assert all(hasattr(import_module(module), name) for name in names), ast.unparse(statement)


def test_the_reference_begins_with_every_name_of_the_package() -> None:
    rows = re.findall(r"^\| \[`(\w+)`\]", (DOCS / "reference" / "index.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(metad2a_plugin.__all__)


@pytest.mark.parametrize("page", MAPS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_files_that_the_map_names_are_there(page: Path) -> None:
    named = re.findall(r"`((?:[\w-]+/)+(?:[\w-]+\.\w+)?)`", page.read_text(encoding="utf-8"))
    assert named
    for path in named:
        if "NAME" not in path:
            assert (ROOT / path).exists() or (ROOT / "metad2a_plugin" / path).exists(), path


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_result_is_on_a_page_as_it_was_written() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for result in RESULTS:
        table = result.read_text(encoding="utf-8").strip()
        assert f"<!-- results: {result.stem} -->\n{table}\n<!-- end -->" in text, result.name


@pytest.mark.parametrize(
    ("page", "name", "script", "output"), SCRIPTS, ids=[f"{page}:{name}" for page, name, *_ in SCRIPTS]
)
def test_a_script_prints_what_the_page_says(page: str, name: str, script: str, output: str) -> None:
    assert printed_by(name, script) == output


def test_every_script_is_found() -> None:
    names = ["encoder", "limits", "loop", "predictor", "python", "space", "strategy", "strategy_state", "train"]
    assert sorted(name for _, name, *_ in SCRIPTS) == [f"{name}.py" for name in names]


@pytest.mark.slow
def test_the_whole_plug_in_installs_is_found_and_passes_its_tests(tmp_path: Path) -> None:
    text = (DOCS / "extending" / "index.md").read_text(encoding="utf-8")
    files = dict(re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", text, re.DOTALL))
    assert sorted(files) == ["pyproject.toml", "tests/test_greedy.py"]
    [script] = [script for _, name, script, _ in SCRIPTS if name == "strategy.py"]
    kept = [part for part in ast.parse(script).body if isinstance(part, ast.ImportFrom) or _name(part) == "Greedy"]
    files |= {"my_package/__init__.py": "", "my_package/greedy.py": "\n".join(map(ast.unparse, kept))}
    for name, content in files.items():
        path = tmp_path / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")

    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=tmp_path / "source" / "tests",
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "installed"), str(ROOT)])},
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # Nothing is fetched: what it needs is there.
    offline = ("--no-deps", "--no-index", "--no-build-isolation")
    run("pip", "install", "--quiet", *offline, "--target", str(tmp_path / "installed"), str(tmp_path / "source"))
    assert "greedy" in run("metad2a_plugin.cli", "list", "strategies")
    assert "16 passed" in run("pytest", "-q", "-p", "no:cacheprovider")


def _name(part: ast.stmt) -> str:
    return part.name if isinstance(part, ast.ClassDef) else ""
