"""What the pickles of NAS-Bench-201 hold beside containers, texts and numbers, each built by a function of its own."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

import numpy as np

_LONGEST_MESSAGE = 300
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


def shortened(text: object) -> str:
    """A message whose length the file decides, cut."""
    said = str(text)
    return said if len(said) <= _LONGEST_MESSAGE else f"{said[:_LONGEST_MESSAGE]}…"


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


def lasts(value: Any) -> bool:
    """Whether records may share it, unless it is a text: a type, or a tuple such as a program's text may hold."""
    if isinstance(value, tuple):
        return len(value) <= BLOCK and all(
            isinstance(item, int) or (isinstance(item, str) and len(item) <= LONGEST_SHARED) for item in value
        )
    return isinstance(value, (FunctionType, np.dtype))


BUILDERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): build_dict,
    ("builtins", "set"): build_set,
    ("__builtin__", "set"): build_set,
    ("_codecs", "encode"): build_bytes,
    ("numpy", "dtype"): build_dtype,
    ("numpy.core.multiarray", "scalar"): build_scalar,
    ("numpy._core.multiarray", "scalar"): build_scalar,
}
