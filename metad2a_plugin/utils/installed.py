"""What is installed, and in which version."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_DISTRIBUTION = "metad2a-plugin"


def version() -> str:
    """Of this package's distribution; ``unknown`` where a source tree is run without one."""
    return version_of(_DISTRIBUTION, "unknown")


def version_of(distribution: str, unknown: str = "of unknown version") -> str:
    """Of an installed distribution; `unknown` where there is none of that name."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return unknown


def folder_of(module: str) -> str:
    """Where a module lies, which is not imported; empty where it is not installed."""
    spec = find_spec(module)
    return ", ".join(spec.submodule_search_locations or [str(spec.origin)]) if spec else ""


def violated(extra: str) -> Iterator[Requirement]:
    """Requirements of an extra of this package that the installed version of a distribution does not meet."""
    from packaging.requirements import Requirement

    for requirement in map(Requirement, metadata.requires(_DISTRIBUTION) or ()):
        have = version_of(requirement.name, "")
        of_extra = requirement.marker is not None and requirement.marker.evaluate({"extra": extra})
        if have and of_extra and not requirement.specifier.contains(have, prereleases=True):
            yield requirement
