"""What was computed last, kept for the next call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class LastUse(Generic[Key, Value]):
    """A value that is computed again only for another key; keys are compared by identity.

    Copies and pickles begin empty.
    """

    def __init__(self) -> None:
        self._kept: tuple[Key, Value] | None = None

    def get(self, key: Key, compute: Callable[[], Value]) -> Value:
        """The value of a key, computed if the last call was for another."""
        if self._kept is None or self._kept[0] is not key:
            self._kept = key, compute()
        return self._kept[1]

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()
