"""What is imported when it is first asked for, so that lists of plug-ins and help texts need no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["resolver", "torch"]

if TYPE_CHECKING:
    import torch
else:

    class _Torch:
        def __getattr__(self, name: str) -> Any:
            return getattr(import_module("torch"), name)

    torch = _Torch()


def resolver(package: str, names: Mapping[str, Iterable[str]]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package; `names` are those that each module below ``metad2a_plugin`` defines."""
    homes = {name: module for module, defined in names.items() for name in defined}

    def resolve(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"metad2a_plugin.{homes[name]}"), name)

    return resolve
