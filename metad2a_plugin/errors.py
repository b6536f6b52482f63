"""The errors a user can cause; each message says what was given, what was expected and how to fix it."""

from __future__ import annotations

import importlib.util


class MetaD2AError(ValueError):
    """Base of every error this package raises for wrong input."""


class DatasetError(MetaD2AError):
    """A dataset cannot be read or cannot be used as a task."""


class ArchitectureError(MetaD2AError):
    """An architecture string or encoding is not of its search space."""


class CheckpointError(MetaD2AError):
    """A checkpoint is missing, damaged, or of another kind."""


class ConfigError(MetaD2AError):
    """An option or configuration value is out of range, unknown, or contradicts another."""


class MissingExtraError(MetaD2AError, ImportError):
    """An optional package is not installed; the message names the extra that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'metad2a-plugin[{extra}]'"
        )


class HostError(MetaD2AError, ImportError):
    """A host toolkit is installed, but not one that can be used; the message says how to mend it."""


def require(extra: str, purpose: str, *packages: str) -> None:
    """Refuse early, without importing anything, what would fail later for want of a package.

    Raises:
        MissingExtraError: one of `packages` is not installed.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, extra, purpose)
