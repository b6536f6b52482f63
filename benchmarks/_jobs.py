"""Many parts of a benchmark at once, fast convolutions for small networks, and differences that are paired by seed."""

from __future__ import annotations

import math
import statistics
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

import torch

_Job = TypeVar("_Job")
_Value = TypeVar("_Value")


def each(compute: Callable[[_Job], _Value], jobs: Sequence[_Job], workers: int) -> list[_Value]:
    """The values of all jobs, in their order, in so many processes of one thread; in this one for one worker."""
    if workers == 1:
        return [compute(job) for job in jobs]
    with ProcessPoolExecutor(workers, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        return list(pool.map(compute, jobs))


@contextmanager
def without_onednn() -> Iterator[None]:
    """Convolutions of a few channels and images take a quarter less time by torch's own code."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "TF32")
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def interval(differences: Sequence[float]) -> tuple[float, float, float]:
    """Mean of paired differences, and the ends of its 95% interval by Student's t; a single one has no ends."""
    from scipy.stats import t

    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return mean, -math.inf, math.inf
    half = float(t.ppf(0.975, len(differences) - 1)) * statistics.stdev(differences) / math.sqrt(len(differences))
    return mean, mean - half, mean + half


def seeds_to_tell(differences: Sequence[float]) -> str:
    """How many seeds it takes until the 95% interval of such a mean and spread leaves out 0."""
    from scipy.stats import t

    mean, spread = abs(statistics.fmean(differences)), statistics.stdev(differences) if len(differences) > 1 else 0.0
    if spread == 0:
        return "" if mean == 0 or len(differences) < 2 else "2"
    for count in range(2, 1001):
        if t.ppf(0.975, count - 1) * spread / math.sqrt(count) < mean:
            return str(count)
    return "over 1000"


def shown(differences: Sequence[float], digits: int = 2, sign: str = "") -> str:
    """``1.20 [0.35, 2.05]``; with the sign ``+`` that of positive numbers too."""
    mean, low, high = (f"{value:{sign}.{digits}f}" for value in interval(differences))
    return mean if len(differences) < 2 else f"{mean} [{low}, {high}]"


def verdict(differences: Sequence[float]) -> str:
    _, low, high = interval(differences)
    return "better" if low > 0 else "worse" if high < 0 else "cannot be told"
