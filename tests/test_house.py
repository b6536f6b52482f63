"""The house stays as drawn: no circle among files, no import that runs up a floor, no module too long to read."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import networkx as nx
import pytest

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "metad2a_plugin"
# Where the modules of a checkout lie, and their names once installed.
FOLDERS = {PACKAGE: PACKAGE, "adapters": f"{PACKAGE}.adapters"}


def modules(root: Path) -> dict[str, Path]:
    found = {}
    for folder, name in FOLDERS.items():
        for file in (root / folder).rglob("*.py"):
            parts = [name, *file.relative_to(root / folder).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def taken(module: str, file: Path) -> list[tuple[str, str | None, str]]:
    """Every import of a file, wherever it stands: a module, what is taken of it (None: itself), and its name here."""
    found: list[tuple[str, str | None, str]] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, None, alias.asname or alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            here = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
            start = here[: len(here) - node.level + 1] if node.level else []
            source = ".".join([*start, *([node.module] if node.module else [])])
            found += [(source, alias.name, alias.asname or alias.name) for alias in node.names]
    return found


def import_graph(root: Path) -> nx.DiGraph:
    """An edge for every import within the package: at the top of a file, in a function, or for types only.

    A package's `__init__` counts where a name is taken that is no submodule, and so does the file that the `__init__`
    has the name from. It does not count where a submodule is imported: Python runs the `__init__` then as well, but
    needs nothing from it, and every `__init__` that re-exports would be in a circle with its own submodules.
    """
    files = modules(root)
    imports = {module: taken(module, file) for module, file in files.items()}
    exports = {
        (module, name): (source, item)
        for module, file in files.items()
        if file.name == "__init__.py"
        for source, item, name in imports[module]
    }

    def targets(source: str, item: str | None) -> set[str]:
        if item is not None and f"{source}.{item}" in files:
            return {f"{source}.{item}"}
        if source not in files:
            return set()
        return {source} | (targets(*exports[source, item]) if item is not None and (source, item) in exports else set())

    graph = nx.DiGraph()
    graph.add_nodes_from(files)
    for module, found in imports.items():
        graph.add_edges_from(
            (module, target) for source, item, _ in found for target in targets(source, item) - {module}
        )
    return graph


def cycles(graph: nx.DiGraph) -> list[list[str]]:
    return sorted(sorted(group) for group in nx.strongly_connected_components(graph) if len(group) > 1)


def floors() -> list[list[str]]:
    """The rooms, from the top; the contract of import-linter is the one place that names them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    [layers] = [contract["layers"] for contract in settings["contracts"] if contract["type"] == "layers"]
    return [re.findall(r"\w+", layer) for layer in layers]


def room(module: str) -> str | None:
    """None for the package itself, which only names what is elsewhere."""
    return module.split(".")[1] if "." in module else None


def climbing(graph: nx.DiGraph) -> list[str]:
    """Imports from another room that does not lie lower."""
    level = {name: number for number, rooms in enumerate(floors()) for name in rooms}
    return [
        f"{importer} -> {imported}"
        for importer, imported in sorted(graph.edges)
        if (here := room(importer)) and (there := room(imported)) and here != there and level[here] >= level[there]
    ]


def long_modules(root: Path) -> dict[str, int]:
    lengths = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in modules(root).items()}
    return {name: lines for name, lines in lengths.items() if lines > 400}


def loose_modules(root: Path) -> list[str]:
    return sorted(file.name for file in (root / PACKAGE).glob("*.py"))


def test_no_cycle_among_files():
    assert cycles(import_graph(ROOT)) == []


def test_every_room_has_one_floor_of_at_most_ten():
    rooms = [name for floor in floors() for name in floor]
    assert len(floors()) <= 10
    assert sorted(rooms) == sorted({room(module) for module in modules(ROOT)} - {None})


def test_no_import_runs_up():
    assert climbing(import_graph(ROOT)) == []


def test_modules_are_read_in_one_sitting():
    assert long_modules(ROOT) == {}


def test_few_modules_stand_outside_a_room():
    assert len(loose_modules(ROOT)) <= 6


# -- the checks catch what they are for --------------------------------------------------------------------------------
@pytest.fixture
def house(tmp_path):
    """Writes a made-up tree."""

    def write(files: dict[str, str]) -> Path:
        for name in {"metad2a_plugin/__init__.py", "adapters/__init__.py", *files}:
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(files.get(name, ""), encoding="utf-8")
        return tmp_path

    return write


@pytest.mark.parametrize(
    "text",
    [
        "from metad2a_plugin.data.b import name",
        "import metad2a_plugin.data.b",
        "from .b import name as other",
        "from . import b",
        "def run():\n    from metad2a_plugin.data.b import name",
        "def run():\n    import metad2a_plugin.data.b as b",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .b import name",
    ],
)
def test_any_kind_of_import_closes_a_cycle(house, text):
    root = house(
        {
            "metad2a_plugin/data/__init__.py": "",
            "metad2a_plugin/data/a.py": text,
            "metad2a_plugin/data/b.py": "from metad2a_plugin.data.a import run\n",
        }
    )
    assert cycles(import_graph(root)) == [["metad2a_plugin.data.a", "metad2a_plugin.data.b"]]


def test_a_package_is_in_a_cycle_only_where_its_own_names_are_taken(house):
    files = {
        "metad2a_plugin/data/__init__.py": "from metad2a_plugin.data.a import name\n",
        "metad2a_plugin/data/a.py": "from metad2a_plugin.data import b\n",
        "metad2a_plugin/data/b.py": "name = 1\n",
    }
    assert cycles(import_graph(house(files))) == []
    files["metad2a_plugin/data/b.py"] = "def run():\n    from metad2a_plugin.data import name\n"
    assert cycles(import_graph(house(files))) == [
        ["metad2a_plugin.data", "metad2a_plugin.data.a", "metad2a_plugin.data.b"]
    ]


def test_an_import_by_its_name_is_none(house):
    text = "from importlib import import_module\nimport_module('metad2a_plugin.b')\n"
    root = house({"metad2a_plugin/a.py": text, "metad2a_plugin/b.py": "import metad2a_plugin.a\n"})
    assert cycles(import_graph(root)) == []


def test_imports_that_run_up_are_named(house):
    root = house(
        {
            "metad2a_plugin/__init__.py": "from metad2a_plugin.search.run import search\n",
            "metad2a_plugin/search/run.py": "import metad2a_plugin.spaces.base\n",
            "metad2a_plugin/training/run.py": "import metad2a_plugin.search.run\n",
            "metad2a_plugin/spaces/base.py": "def f():\n    from metad2a_plugin import search\n",
            "metad2a_plugin/nn/dag.py": "from metad2a_plugin.adapters import nni\n",
            "adapters/nni.py": "from metad2a_plugin.search.run import search\n",
        }
    )
    assert climbing(import_graph(root)) == [
        "metad2a_plugin.nn.dag -> metad2a_plugin.adapters.nni",
        "metad2a_plugin.spaces.base -> metad2a_plugin.search.run",
        "metad2a_plugin.training.run -> metad2a_plugin.search.run",
    ]
