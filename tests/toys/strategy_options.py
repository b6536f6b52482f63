"""What it takes to make any strategy small enough for a test in a host."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
from similarity_toys import build

from metad2a_plugin.plugins.registry import get_strategy

_SUPERNET = {"epochs": 1, "batch_size": 8, "channels": 2, "cells": 1, "input_size": 8}
_SCORES = {"batch_size": 8, "channels": 2, "cells": 1, "input_size": 8}
_FEW: dict[str, dict[str, Any]] = {
    "area": {**_SCORES, "candidates": 12},
    "darts": _SUPERNET,
    "fuse": {**_SUPERNET, "rounds": 13},  # two new ones each, and a host asks for 25
    "lpt": _SUPERNET,
    "naswot": {**_SCORES, "candidates": 30},
}


def small(name: str, folder: Path) -> dict[str, Any]:
    """Options of a strategy of ``nasbench201``; those that need images get a file in `folder`."""
    if name == "metad2a" or "dataset" not in inspect.signature(get_strategy(name)).parameters:
        return {}
    pixels = np.random.default_rng(0).integers(0, 255, (40, 16, 16, 3), dtype=np.uint8)
    path = folder / "few.npz"
    np.savez(path, images=pixels, labels=np.arange(40) % 4)
    few = _FEW.get(name, {})
    if name == "task-similarity":
        build(folder)
        few = {"library": folder / "library"}
    return {"dataset": str(path), **few}
