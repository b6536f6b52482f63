"""Stand-ins for packages that a host imports and that are not installed: who uses one is told which it is."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

from metad2a_plugin.errors import HostError
from metad2a_plugin.utils.beside_torch import install_beside_torch


@contextmanager
def placeholders(packages: Collection[str]) -> Iterator[list[str]]:
    """Let absent packages be imported inside; afterwards others go on finding them absent.

    Args:
        packages: those that may be absent; installed ones are imported as they are.

    Yields:
        The names of the modules that were stood in for, as they are imported.
    """
    finder = _Finder(packages)
    sys.meta_path.append(finder)  # last: it is asked for what is not installed
    try:
        yield finder.found
    finally:
        sys.meta_path.remove(finder)
        for name in finder.found:
            sys.modules.pop(name, None)


def placeholder(name: str) -> ModuleType:
    """A module in which every name is there, as a class whose use is a `HostError`."""
    module = ModuleType(name)
    package = name.partition(".")[0]

    def attribute(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(name, (), {"package": package})

    module.__dict__["__getattr__"] = attribute
    return module


class _Finder(MetaPathFinder, Loader):
    """Finds placeholders of some packages and of their modules."""

    def __init__(self, packages: Collection[str]) -> None:
        self.packages, self.found = packages, list[str]()

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in self.packages:
            return None
        self.found.append(fullname)
        return ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return placeholder(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class _Absent(type):
    """Stands for a class or function of a package that is not installed."""

    package: str

    def __call__(cls, *args: Any, **kwargs: Any) -> NoReturn:
        mend = install_beside_torch(cls.package)
        raise HostError(f"this needs the package {cls.package!r}, which is not installed; {mend}, and restart")

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(name, (), {"package": cls.package})
