"""What every space reads beside its own text: values, texts of values, what Python prints, and files of all of these.

`SearchSpace.parse` of every space goes through `read`. A space's own text comes first and touches no file.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from metad2a_plugin.errors import ArchitectureError
from metad2a_plugin.spaces.architecture import Architecture

LONGEST = 100_000
"""Characters of a text, bytes of a file and values in one network, at most; all real ones are much smaller."""
_DEEPEST = 10
_LONGEST_MESSAGE = 600
_KEYS = ("architecture", "arch_str")
"""Entries that hold the network in files of results."""
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'[^'\\]*'|"[^"\\]*")|(?P<number>[+-]?\d{1,30}(?:\.\d*)?(?:[eE][+-]?\d{1,3})?)(?![\w.])|"""
    r"""(?P<name>None|True|False|null|true|false)\b|(?P<mark>[\[\](){},:]))\s*""",
    re.ASCII,
)
_NAMES = {"None": "null", "True": "true", "False": "false"}
_MARKS = {"(": "[", ")": "]"}
_NUMPY = re.compile(r"\b(?:np|numpy|torch)\.\w+\(([^()]*)\)|\b(?:array|tensor)\((\[[^()\[\]]*\])[^()\[\]]*\)", re.ASCII)
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
    found = space.from_values(values)
    if found is None:
        raise _UnknownError(
            f"expected a network of {space.name!r}, such as its text; got {type(given).__name__}: {said(given)}"
        )
    return found


def _said_by(given: Any, tostr: Callable[[], Any]) -> str:
    try:
        return str(tostr())
    except Exception as error:  # somebody else's code can raise anything
        raise ArchitectureError(f"this {type(given).__name__} does not say what it is: {said(error)}") from error


class _UnknownError(ArchitectureError):
    """The space reads no values of that kind."""


# -- values ------------------------------------------------------------------------------------------------------------
def plain(value: Any) -> Any:
    """Nested tuples, mappings, arrays and tensors as the lists, dicts and numbers of JSON.

    Raises:
        ArchitectureError: something else is in it, or it is too large or too deep.
    """
    left = LONGEST

    def walk(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > _DEEPEST:
            raise ArchitectureError(f"no network is written in more than {LONGEST:,} values, {_DEEPEST} deep")
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, Mapping):
            named = ((key if type(key) is str else said(key), item) for key, item in value.items())
            return {key: walk(item, depth + 1) for key, item in named}
        if isinstance(value, (list, tuple)):
            return [walk(item, depth + 1) for item in value]
        if callable(getattr(value, "tolist", None)) and _elements(value) <= LONGEST:
            return walk(_listed(value), depth + 1)
        raise ArchitectureError(f"a network is no {type(value).__name__}: {said(value)}")

    return walk(value, 0)


def _elements(value: Any) -> int:
    """Of an array or a tensor, before it is copied; of others more than there may be."""
    counted = value.numel() if hasattr(value, "numel") else getattr(value, "size", None)
    return counted if isinstance(counted, int) else LONGEST + 1


def _listed(value: Any) -> Any:
    try:
        return value.tolist()
    except Exception as error:  # such as of a tensor without data
        raise ArchitectureError(f"this {type(value).__name__} has no values: {said(error)}") from error


def values_of(text: str) -> Any:
    """Values written as JSON or as Python prints them, also those of numpy; none of it is executed.

    >>> values_of("[(('skip_connect', 0),), (np.int64(2), None)]")
    [[['skip_connect', 0]], [2, None]]
    >>> values_of("2 3 1")
    [2, 3, 1]

    Raises:
        ValueError: it is nothing of that kind.
    """
    text = _NUMPY.sub(lambda found: found[1] or found[2] or "", text)
    tokens: list[str] = []
    place = depth = 0
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            raise ValueError(f"no value at character {place}")
        place = found.end()
        token, kind = found[found.lastgroup or 0], found.lastgroup
        if kind == "number":
            token = _number(token)
        elif kind == "text":
            token = json.dumps(token[1:-1])
        token = _NAMES.get(token, _MARKS.get(token, token))
        depth += (token in "[{") - (token in "]}")
        if depth > _DEEPEST:
            raise ValueError(f"deeper than {_DEEPEST}")
        if tokens and token in "]}" and tokens[-1] == ",":  # as in (1,)
            tokens.pop()
        tokens.append(token)
    spaced = "".join(a + ("," if _ends(a) and _begins(b) else "") for a, b in pairwise([*tokens, ""]))
    try:
        return json.loads(spaced)
    except ValueError:
        if "," not in spaced:
            raise
        return json.loads(f"[{spaced}]")


def _number(token: str) -> str:
    """As JSON writes it: no plus sign, no zeros in front, digits after the point."""
    return str(int(token)) if token.lstrip("+-").isdigit() else repr(float(token))


def _ends(token: str) -> bool:
    return token not in "[{,:"


def _begins(token: str) -> bool:
    return token != "" and token not in "]},:"


def said(value: Any) -> str:
    """What a value looks like, for messages: short, whatever it is."""
    try:
        text = repr(value)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError):  # a number of thousands of digits
        return f"an object of type {type(value).__name__}"
    return text if len(text) <= 200 else f"{text[:200]}..."


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
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would wait, a device never end
            raise ArchitectureError(f"cannot read a network from {where!r}, a folder, a pipe or a device; name a file")
        with path.open("rb") as file:
            data = file.read(LONGEST + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, ArchitectureError):
            raise
        raise ArchitectureError(f"cannot read a network from {said(where)}: {error}") from None
    if len(data) > LONGEST:
        raise ArchitectureError(
            f"the file {where!r} has more than {LONGEST:,} bytes, too many for the notation of one network; if it "
            "holds weights or a list, name the network"
        )
    try:
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        raise ArchitectureError(f"the file {where!r} is no text; write the network as text or JSON") from None
