"""Prints a constraint for every requirement of the package and its extra `test`: the lowest release that is declared.

Torch is left out: constraints.txt names the one whose CPU build is at hand. Needs Python 3.11.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import tomllib

PROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
LEFT_OUT = {"torch", "torchvision"}


def requirements(extra: str | None = None) -> Iterator[str]:
    """Of the package itself or of an extra, and of the extras that it includes."""
    for requirement in PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]:
        if included := re.fullmatch(rf"{PROJECT['name']}\[(.+)\]", requirement):
            for name in included[1].split(","):
                yield from requirements(name)
        else:
            yield requirement


for requirement in sorted({*requirements(), *requirements("test")}):
    name, lowest = re.match(r"([\w.-]+)\s*>=\s*([\w.]+)", requirement).groups()
    if name not in LEFT_OUT:
        print(f"{name}=={lowest}.*")
