"""What `mkdocs build` adds to the pages of this folder: files that lie elsewhere in the repository.

Pages link to them as the repository's own readers do (``../benchmarks/results/speed.png``), and both follow the link.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

from metad2a_plugin.cli import main

ROOT = Path(__file__).resolve().parents[1]


class Notebook(File):
    """A notebook is a page."""

    def is_documentation_page(self) -> bool:
        return True


@event_priority(100)  # before mkdocstrings reads its settings
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Show the reference's reader the package as it is once installed, with `adapters` inside."""
    package = Path(_TREE.name) / "metad2a_plugin"
    if not package.exists():
        package.mkdir()
        for source in (*(ROOT / "metad2a_plugin").iterdir(), ROOT / "adapters"):
            (package / source.name).symlink_to(source)
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [_TREE.name]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add figures, cards and terms of models, the notebook as a page, and the two pages of the root."""
    for figure in sorted((ROOT / "benchmarks" / "results").glob("*.png")):
        files.append(_elsewhere(config, figure, f"results/{figure.name}"))
    for card in sorted((ROOT / "metad2a_plugin" / "pretrained").glob("*/README.md")):
        files.append(_elsewhere(config, card, f"models/{card.parent.name}/index.html"))
    terms = ROOT / "metad2a_plugin" / "pretrained" / "LICENSE-WEIGHTS.md"
    files.append(_elsewhere(config, terms, "models/terms/index.html"))
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        page = _elsewhere(config, ROOT / name, f"{name.removesuffix('.md').lower()}/index.html")
        page.content_string = page.content_string.replace("](docs/", "](/")
        files.append(page)
    for notebook in sorted((ROOT / "docs").glob("*.ipynb")):
        files.remove(files.src_uris[notebook.name])
        files.append(Notebook.generated(config, notebook.name, content=_as_markdown(notebook)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put a room's public modules for ``::: metad2a_plugin.ROOM``, a command's help for ``::: metad2a COMMAND``.

    A number and its spread stay on one line.
    """

    def modules(room: re.Match[str]) -> str:
        folder = ROOT / room[1].replace(".", "/")
        found = [path.relative_to(ROOT).with_suffix("").parts for path in sorted(folder.rglob("*.py"))]
        names = [".".join(parts) for parts in found if not any(part.startswith("_") for part in parts)]
        alone = f"::: {room[1]}\n    options: {{members: false, show_submodules: false}}"
        return "\n\n".join([alone, *(f"::: {name}" for name in names)]) if names else room[0]

    markdown = markdown.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}")
    markdown = re.sub(r"^::: metad2a ([\w-]+)$", lambda command: _help(command[1]), markdown, flags=re.MULTILINE)
    return re.sub(r"^::: (metad2a_plugin\.\w+)$", modules, markdown, flags=re.MULTILINE)


def _help(command: str) -> str:
    """What a command says of itself."""
    printed = io.StringIO()
    with mock.patch.dict(os.environ, COLUMNS="100", TERM="dumb"), contextlib.redirect_stdout(printed):
        if main([command, "--help"]) != 0:
            raise PluginError(f"metad2a has no command {command!r}")
    return f"```text\n{printed.getvalue().strip()}\n```"


def _elsewhere(config: MkDocsConfig, path: Path, url: str) -> File:
    """A file that links from pages find by its place in the repository, and readers of the site at `url`."""
    place = f"../{path.relative_to(ROOT).as_posix()}"
    file = File.generated(config, place, abs_src_path=str(path), inclusion=InclusionLevel.INCLUDED)
    file.dest_uri = url
    return file


def _as_markdown(notebook: Path) -> str:
    """Its cells in order, with what they print."""
    parts = []
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        printed = "".join(output.get("text", "") for output in cell.outputs if output.output_type == "stream")
        if printed:
            parts.append(f"```text\n{printed.rstrip()}\n```")
    return "\n\n".join(parts) + "\n"


_TREE = TemporaryDirectory(prefix="metad2a-docs-")
