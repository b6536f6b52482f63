"""`Trace`: what a search looked up and was told, query by query, whatever host it ran in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

_MAY_LACK = ("told", "test", "train_seconds")
"""Sequences whose numbers can be unknown, NaN; JSON has no NaN."""


@dataclass(frozen=True)
class Trace:
    """One run of a search on a benchmark; every sequence has one entry per query, in query order.

    Attributes:
        method: name of the search.
        dataset, seed: of the run.
        cells: architecture strings.
        told: accuracy on the validation images, percent: what the search saw. NaN where it was told nothing.
        test: accuracy on the test images, percent: what it never saw.
        train_seconds: simulated seconds of the trainings that `told` would have cost; NaN where they are unknown.
        own_seconds: seconds that the search itself took to choose each cell.
        setup_seconds: seconds before the first query, such as those of reading a dataset's images.
    """

    method: str
    dataset: str
    seed: int
    cells: Sequence[str]
    told: Sequence[float]
    test: Sequence[float]
    train_seconds: Sequence[float]
    own_seconds: Sequence[float]
    setup_seconds: float = 0.0

    def __post_init__(self) -> None:
        for name in _MAY_LACK:
            values = [math.nan if value is None else value for value in getattr(self, name)]
            object.__setattr__(self, name, values)

    def incumbents(self) -> np.ndarray:
        """After each query, the index of the best cell by `told`, the earliest of equals; int64 ``[queries]``."""
        told = np.nan_to_num(np.array(self.told, dtype=float), nan=-np.inf)
        best, index = np.maximum.accumulate(told), np.arange(len(told))
        better = np.append([True], best[1:] > best[:-1])[: len(told)]
        return np.maximum.accumulate(np.where(better, index, 0))

    def curve(self, split: str = "test") -> np.ndarray:
        """Accuracy of the incumbent after each query, ``test`` or ``told``; float64 ``[queries]``."""
        return np.array(getattr(self, split), dtype=float)[self.incumbents()]

    def clock(self) -> np.ndarray:
        """Seconds after each query, own and of training, float64 ``[queries]``; NaN from the first unknown one on."""
        return self.setup_seconds + np.cumsum(np.array(self.own_seconds) + np.array(self.train_seconds))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, None for NaN; ``Trace(**values)`` reads them."""
        values = asdict(self)
        return values | {name: [None if math.isnan(v) else v for v in values[name]] for name in _MAY_LACK}
