"""Packages and entry points; everything else about the distribution is in pyproject.toml."""

from __future__ import annotations

import ast
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def built_in() -> dict[str, dict[str, str]]:
    """`BUILT_IN` of the registry, read and not imported: an isolated build has none of the dependencies."""
    source = (ROOT / "metad2a_plugin" / "plugins" / "registry.py").read_text(encoding="utf-8")
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == "BUILT_IN" and statement.value:
            found: dict[str, dict[str, str]] = ast.literal_eval(statement.value)
            return found
    raise LookupError("metad2a_plugin/plugins/registry.py must assign the literal BUILT_IN: dict[str, dict[str, str]]")


def entry_points() -> dict[str, list[str]]:
    """The console script, and a group for every kind of built-in."""
    groups = {
        f"metad2a_plugin.{kind}": [f"{name} = {target}" for name, target in members.items()]
        for kind, members in built_in().items()
    }
    return {"console_scripts": ["metad2a = metad2a_plugin.cli:main"], **groups}


setup(
    packages=[*find_packages(include=["metad2a_plugin", "metad2a_plugin.*"]), "metad2a_plugin.adapters"],
    # A top-level package called `adapters` would collide with the one of another distribution.
    package_dir={"metad2a_plugin.adapters": "adapters"},
    package_data={
        "metad2a_plugin": [
            "py.typed",
            "*/*.j2",
            *(f"pretrained/**/*.{kind}" for kind in ("json", "md", "safetensors")),
        ],
    },
    include_package_data=False,
    entry_points=entry_points(),
)
