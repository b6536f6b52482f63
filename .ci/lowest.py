"""Prints a constraint for every requirement of the package and of its extras: the lowest release that is declared.

Left out are torch and torchvision, which constraints.txt holds to the CPU build at hand; the extra `nni`, which pins
what it needs and has an environment of its own; and `dev`, of which newer releases check more. Needs Python 3.11.
"""

from __future__ import annotations

import re
from pathlib import Path

import tomllib

PROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = [lines for extra, lines in PROJECT["optional-dependencies"].items() if extra not in ("dev", "nni")]

lowest = set()
for requirement in [*PROJECT["dependencies"], *(line for lines in EXTRAS for line in lines)]:
    if not requirement.startswith((f"{PROJECT['name']}[", "torch")):
        name, release = re.match(r"([\w.-]+)(?:\[\w+\])?>=([\w.]+)(?=;|$)", requirement).groups()
        lowest.add(f"{name}=={release}")
print(*sorted(lowest), sep="\n")
