"""What methods of all spaces refuse of what they are given, before they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

from metad2a_plugin.errors import ArchitectureError
from metad2a_plugin.spaces.architecture import Architecture
from metad2a_plugin.utils.checks import integer

_MOST = {"num_classes": 10_000_000, "input_size": 100_000}


def check_size(name: str, value: Any) -> None:
    """Refuse a number of classes (`num_classes`) or of pixels (`input_size`) that no network has: `ConfigError`."""
    integer(name, value, 1, _MOST[name])


def of_several(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of several architectures that refuses what is a single one, or nothing to go through."""

    @wraps(method)
    def checked(self: Any, architectures: Any) -> Any:
        single = isinstance(architectures, (Architecture, str, bytes, Mapping))
        if single or not hasattr(architectures, "__iter__") or getattr(architectures, "ndim", 1) == 0:
            given = "a single one: put it into a list" if single else f"{architectures!r}"
            raise ArchitectureError(
                f"expected a list of architectures of the space {self.name!r}, or encoded ones, int64 "
                f"[n, {self.num_vertices}], got {given}"
            )
        return method(self, architectures)

    return checked


def of_classes(method: Callable[..., Any], place: int) -> Callable[..., Any]:
    """A method that makes networks and refuses a wrong number of classes, its argument at `place`."""

    @wraps(method)
    def checked(*arguments: Any, **options: Any) -> Any:
        for given in [*arguments[place : place + 1], *(options[name] for name in options if name == "num_classes")]:
            check_size("num_classes", given)
        return method(*arguments, **options)

    return checked
