"""A benchmark of made-up numbers, and NASLib or what stands in for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import naslib_stand_in
import numpy as np

from metad2a_plugin.spaces.nasbench201.space import NASBench201

SPACE = NASBench201()
PRESENT = find_spec("naslib") is not None
OFFSETS = {"train": 5.0, "x-valid": 0.0, "x-test": -1.0, "ori-test": 1.0}


def toy_benchmark(holes: dict[int, float] | None = None) -> Any:
    """More 3x3 convolutions are better; `holes` gives some cells another validation accuracy."""
    from metad2a_plugin.adapters._benchmark import SPLITS, Benchmark

    choices = np.array([cell.choices for cell in SPACE.enumerate()])
    tie_break = choices @ 5.0 ** np.arange(-6, 0)
    quality = 60 + 4.0 * (choices == 3).sum(1) + 2.0 * (choices == 1).sum(1) + 0.01 * tie_break

    class Toy(Benchmark):
        def _values(self, index: np.ndarray, training: Any, quantity: str, seed: int | None) -> np.ndarray:
            values = np.full(len(index), 1000.0) if quantity == "seconds" else quality[index] + OFFSETS[quantity]
            if quantity == "x-valid":
                values = np.array([(holes or {}).get(int(i), v) for i, v in zip(index, values, strict=True)])
            return values * training.epochs / 200 if quantity == "seconds" else values

        def _cost(self, index: int, dataset: str, quantity: str) -> float:
            return 1.0

        def _answer(self, cells: Any, training: Any, quantity: str, seed: int | None) -> Any:
            # Lets NaN through, as a faulty source would.
            index = self.index_of(cells)
            values = self._values(np.atleast_1d(index), training, quantity, seed)
            return values if isinstance(index, np.ndarray) else values[0]

    return Toy("toy", {"cifar10": ("valid", "test"), "imagenet16-120": tuple(SPLITS["imagenet16-120"])})


@contextmanager
def naslib_adapter() -> Iterator[Any]:
    """The adapter, on NASLib where it is importable, else on the stand-in."""
    with nullcontext() if PRESENT else naslib_stand_in.installed():
        yield import_module("metad2a_plugin.adapters.naslib")
        if not PRESENT:
            import_module("metad2a_plugin.adapters._naslib_compat").prepare.cache_clear()
