"""What every space reads beside its own text: values, texts of values, what Python prints, and files of all of these.

`SearchSpace.parse` of every space goes through `read`. A space's own text comes first and touches no file.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

from metad2a_plugin.errors import ArchitectureError, said
from metad2a_plugin.spaces.architecture import Architecture
from metad2a_plugin.spaces.values import LONGEST, plain, values_of

_LONGEST_MESSAGE = 600
_KEYS = ("architecture", "arch_str")
"""Entries that hold the network in files of results."""
_LISTS = ("candidates", "networks")
_OWN = re.compile(r"Architecture\(space=(['\"])(?P<space>.*?)\1, choices=\((?P<choices>[\d, ]*)\)\)", re.ASCII)
_INTEGER = re.compile(r"\d{1,9}", re.ASCII)
_LIKE_A_PATH = re.compile(r"(?:\.{0,2}/|~|[A-Za-z]:\\).*|.*\.(?:json|txt|subnet|config|ya?ml|csv|arch)", re.ASCII)


class Space(Protocol):
    """What is asked of a `SearchSpace`."""

    name: str

    def validate(self, architecture: Architecture) -> Architecture: ...

    def from_values(self, values: Any) -> Architecture | None: ...


Own = Callable[[str], Architecture]


def read(space: Space, own: Own, given: Any) -> Architecture:
    """The architecture that `given` says.

    Args:
        space: the search space.
        own: reads the space's own text.
        given: an architecture; a text of the space, a text of values such as JSON or what Python prints, or the name of
            a file of one of them; or such values, as `SearchSpace.from_values` takes them.

    Raises:
        ArchitectureError: it is none of the space, or the file cannot be read.
    """
    try:
        if isinstance(given, Architecture):
            return space.validate(given)
        if isinstance(given, os.PathLike):
            return _of_file(space, own, Path(given))
        if isinstance(given, str):
            return _of_text(space, own, given, files=True)
        if callable(tostr := getattr(given, "tostr", None)):  # as the classes of NAS-Bench-201's packages
            return _of_text(space, own, _said_by(given, tostr), files=False)
        return _of_values(space, own, given)
    except ArchitectureError as error:
        if len(message := str(error)) <= _LONGEST_MESSAGE:
            raise
        raise ArchitectureError(f"{message[:_LONGEST_MESSAGE]}...") from None


def _of_text(space: Space, own: Own, text: str, *, files: bool) -> Architecture:
    if len(text) > LONGEST:
        raise ArchitectureError(f"a network is written in at most {LONGEST:,} characters, got {len(text):,}")
    text = text.strip()
    try:
        return own(text)
    except ArchitectureError as error:
        refused = error
    if found := _OWN.fullmatch(text):
        return space.validate(Architecture(found["space"], tuple(map(int, _INTEGER.findall(found["choices"])))))
    try:
        values = values_of(text)
    except ValueError:
        if files and _is_there(text):
            return _of_file(space, own, Path(text))
        if files and _LIKE_A_PATH.fullmatch(text):
            raise ArchitectureError(f"there is no file {text!r}, nor is it a network: {refused}") from None
        raise refused from None
    if isinstance(values, str):
        return own(values.strip())
    try:
        return _of_values(space, own, values)
    except _UnknownError:
        raise refused from None


def _of_file(space: Space, own: Own, path: Path) -> Architecture:
    text = _content(path)
    try:
        return _of_text(space, own, text, files=False)
    except ArchitectureError as error:
        raise ArchitectureError(f"cannot read a network of {space.name!r} from {str(path)!r}: {error}") from None


def _of_values(space: Space, own: Own, given: Any) -> Architecture:
    values = plain(given)
    if isinstance(values, dict) and (key := next((k for k in _KEYS if isinstance(values.get(k), str)), None)):
        if (other := values.get("space", space.name)) != space.name:
            raise ArchitectureError(f"it is a network of the space {said(other)}, not of {space.name!r}")
        return _of_text(space, own, values[key], files=False)
    if isinstance(values, dict) and (several := _several(values)):
        raise ArchitectureError(f"it holds {len(several)} networks; name the one to use, such as {said(several[0])}")
    found = space.from_values(values)
    if found is None:
        raise _UnknownError(
            f"expected a network of {space.name!r}, such as its text; got {type(given).__name__}: {said(given)}"
        )
    return found


def _several(values: dict[Any, Any]) -> list[str]:
    """The networks of a file of results, such as ``search --json`` writes."""
    listed: list[Any] = next((values[key] for key in _LISTS if isinstance(values.get(key), list)), [])
    found = [each.get("architecture") for each in listed if isinstance(each, dict)]
    return [text for text in found if isinstance(text, str)]


def _said_by(given: Any, tostr: Callable[[], Any]) -> str:
    try:
        return str(tostr())
    except Exception as error:  # somebody else's code can raise anything
        raise ArchitectureError(f"this {type(given).__name__} does not say what it is: {said(error)}") from error


class _UnknownError(ArchitectureError):
    """The space reads no values of that kind."""


# -- files -------------------------------------------------------------------------------------------------------------
def _is_there(name: str) -> bool:
    try:
        return bool(name.strip()) and len(name) < 4096 and os.path.lexists(name)
    except ValueError:  # a zero character
        return False


def _content(path: Path) -> str:
    """The text of a small file."""
    where = str(path)
    try:
        readable = stat.S_ISREG(path.stat().st_mode)  # a pipe would wait, a device never end
        with path.open("rb") if readable else nullcontext() as file:
            data = file.read(LONGEST + 1) if file else b""
    except (OSError, ValueError) as error:
        raise ArchitectureError(f"cannot read a network from {said(where)}: {error}") from None
    if not readable:
        raise ArchitectureError(f"cannot read a network from {where!r}, a folder, a pipe or a device; name a file")
    if len(data) > LONGEST:
        raise ArchitectureError(
            f"the file {where!r} has more than {LONGEST:,} bytes, too many for the notation of one network; if it "
            "holds weights or a list, name the network"
        )
    try:
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        raise ArchitectureError(f"the file {where!r} is no text; write the network as text or JSON") from None
