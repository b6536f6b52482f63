"""What a forked child needs, so that torch goes on in it."""

from __future__ import annotations

import os
import sys


def _one_thread() -> None:
    """In a child, take torch's threads off it: a fork does not copy them, and OpenMP would wait for them for ever."""
    set_threads = getattr(sys.modules.get("torch"), "set_num_threads", None)
    if set_threads is not None:
        set_threads(1)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_one_thread)
