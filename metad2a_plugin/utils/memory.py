"""Memory that is free, given back to the system."""

from __future__ import annotations

import ctypes
from contextlib import suppress


def give_back() -> None:
    """Give freed memory back to the system: glibc keeps what each thread freed, which adds up."""
    with suppress(AttributeError, OSError, TypeError):  # another C library, which keeps less
        ctypes.CDLL(None).malloc_trim(0)
