"""Packages, entry points and the long description; everything else about the distribution is in pyproject.toml."""

from __future__ import annotations

import ast
import re
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


def long_description() -> str:
    """README.md for readers elsewhere: links and pictures by their address in the repository of pyproject.toml."""
    address = re.search(r'^Repository = "(.+)"$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    if address is None:
        raise LookupError("pyproject.toml must have the line Repository = \"...\" under [project.urls]")

    def absolute(link: re.Match[str]) -> str:
        # GitHub serves a file as it is under raw/, and its page under blob/.
        return f"{link['text']}({address[1]}/{'raw' if link['picture'] else 'blob'}/main/{link['target']})"

    # The text of a link may be a picture, whose own link is then the first to be found.
    relative = r"(?P<text>(?P<picture>!)?\[[^\[\]]*\]|\])\((?P<target>(?![a-z]+:|#)[^)\s]+)\)"
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.split(r"(^```.*?^```)", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(block if block.startswith("```") else re.sub(relative, absolute, block) for block in blocks)


setup(
    long_description=long_description(),
    long_description_content_type="text/markdown",
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
