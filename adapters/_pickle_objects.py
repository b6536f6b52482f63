"""What the pickles of NAS-Bench-201 hold beside containers, texts and numbers, each built by a function of its own."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

BLOCK = 128
"""Numbered objects that entries share as one."""
LONGEST_SHARED = 1 << 10
"""Characters of a text that entries share."""
UNREADABLE = (
    *(AttributeError, IndexError, KeyError, MemoryError, OverflowError, RecursionError, TypeError, ValueError),
    struct.error,
)
"""What handling objects of another layout can raise."""


def brief(value: Any) -> str:
    """What a value is, in a few characters: written out, hostile containers would take all memory."""
    if value is None or isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= 100):
        return repr(value)
    return f"an object of type {type(value).__name__}"


class Arguments(tuple[Any, ...]):
    """A tuple that is no key. Whoever writes a file could choose numbers whose tuples all have one hash."""

    __hash__ = None  # type: ignore[assignment]


def tuple_of(items: list[Any]) -> tuple[Any, ...]:
    """A key if it begins with a text, whose hash nobody can foresee, and at most one text or number follows."""
    if 1 <= len(items) <= 2 and type(items[0]) is str and isinstance(items[-1], (str, int)):
        return tuple(items)
    return Arguments(items)


def build_dict(items: Iterable[tuple[Any, Any]] = ()) -> dict[Any, Any]:
    return dict(items)


def build_set(items: Iterable[Any] = ()) -> set[Any]:
    return set(items)


def build_bytes(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"bytes in the encoding {brief(encoding)}")
    if len(text) > 8:
        raise ValueError(f"{len(text):,} bytes of a number")
    return text.encode("latin1")


def build_dtype(name: str, *_: Any) -> np.dtype[Any]:
    if name not in ("f4", "f8", "i4", "i8"):
        raise ValueError(f"numbers of the type {brief(name)}")
    return np.dtype(f"<{name}")


def build_scalar(dtype: np.dtype[Any], data: bytes) -> float | int:
    if not isinstance(dtype, np.dtype):
        raise TypeError(f"numbers of the type {brief(dtype)}")
    number: float | int = np.frombuffer(data, dtype).item()
    return number


def size_of(value: Any) -> int:
    """Bytes of memory of a text, or of a tuple of texts and numbers."""
    return sys.getsizeof(value) + (sum(map(sys.getsizeof, value)) if isinstance(value, tuple) else 0)


BUILDERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): build_dict,
    ("builtins", "set"): build_set,
    ("__builtin__", "set"): build_set,
    ("_codecs", "encode"): build_bytes,
    ("numpy", "dtype"): build_dtype,
    ("numpy.core.multiarray", "scalar"): build_scalar,
    ("numpy._core.multiarray", "scalar"): build_scalar,
}
