"""Plain values, those of JSON, from objects of Python and from text; nothing of a text is executed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from metad2a_plugin.errors import ArchitectureError, said

LONGEST = 100_000
"""Characters of a text, bytes of a file and values in one network, at most; all real ones are much smaller."""
_DEEPEST = 10
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>'[^'\\]*'|"[^"\\]*")|(?P<number>[+-]?\d{1,30}(?:\.\d*)?(?:[eE][+-]?\d{1,3})?)(?![\w.])|"""
    r"""(?P<name>None|True|False|null|true|false)\b|(?P<mark>[\[\](){},:]))\s*""",
    re.ASCII,
)
_NAMES = {"None": "null", "True": "true", "False": "false"}
_MARKS = {"(": "[", ")": "]"}
_NUMPY = re.compile(r"\b(?:np|numpy|torch)\.\w+\(([^()]*)\)|\b(?:array|tensor)\((\[[^()\[\]]*\])[^()\[\]]*\)", re.ASCII)


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
            raise ArchitectureError(f"a network has at most {LONGEST:,} values, {_DEEPEST} deep")
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, Mapping):
            named = ((key if type(key) is str else said(key), item) for key, item in value.items())
            return {key: walk(item, depth + 1) for key, item in named}
        if isinstance(value, (list, tuple)):
            return [walk(item, depth + 1) for item in value]
        if callable(getattr(value, "tolist", None)):
            return walk(_listed(value), depth + 1)
        raise ArchitectureError(f"a network is no {type(value).__name__}: {said(value)}")

    return walk(value, 0)


def _listed(value: Any) -> Any:
    """What is in an array or a tensor, if that is not too much to copy."""
    try:
        if (count := value.numel() if hasattr(value, "numel") else value.size) <= LONGEST:
            return value.tolist()
    except Exception as error:  # such as of a tensor without data
        raise ArchitectureError(f"this {type(value).__name__} has no values: {said(error)}") from error
    raise ArchitectureError(f"a network has at most {LONGEST:,} values, this {type(value).__name__} has {count:,}")


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
