"""Which version of this package is installed."""

from __future__ import annotations

from importlib import metadata


def version() -> str:
    """Of the installed distribution; ``unknown`` where a source tree is run without one."""
    try:
        return metadata.version("metad2a-plugin")
    except metadata.PackageNotFoundError:
        return "unknown"
