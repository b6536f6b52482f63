"""The notebook of the documentation runs, and prints what it shows."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PATH = Path(__file__).parents[1] / "docs" / "tour.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    notebook = nbformat.read(PATH, as_version=4)
    folder = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    return NotebookClient(notebook, timeout=120, kernel_name="python3", resources=folder).execute()


def test_cells_print_what_the_page_shows(executed: nbformat.NotebookNode) -> None:
    shown = nbformat.read(PATH, as_version=4).cells
    for before, after in zip(shown, executed.cells, strict=True):
        if before.cell_type == "code":
            assert printed(after), before.source
            # What trained weights say differs between processors, in its numbers alone.
            said = without_numbers if "varies" in before.metadata.get("tags", []) else printed
            assert said(after) == said(before), before.source


def test_the_notebook_is_kept_small() -> None:
    cells = [cell for cell in nbformat.read(PATH, as_version=4).cells if cell.cell_type == "code"]
    assert PATH.stat().st_size < 20_000
    assert all(cell.execution_count is None and printed(cell) for cell in cells)


def printed(cell: nbformat.NotebookNode) -> str:
    """What a cell writes to standard output."""
    return "".join(output["text"] for output in cell.outputs if output.get("name") == "stdout")


def without_numbers(cell: nbformat.NotebookNode) -> str:
    return re.sub(r"\d+(\.\d+)?", "#", printed(cell))
