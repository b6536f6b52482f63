"""Which of several methods can be told apart, by differences that are paired by seed within each dataset."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

Scores = Mapping[str, Mapping[str, Sequence[float]]]
"""Of each method, by dataset, a value for each seed; higher is better."""
LEVEL = 0.05


class Difference(NamedTuple):
    """A mean over datasets and seeds, the half of its 95% interval, and how likely it is by chance (Student's t)."""

    mean: float
    half: float
    p: float


def difference(left: Mapping[str, Sequence[float]], right: Mapping[str, Sequence[float]]) -> Difference:
    """Of two methods; what a dataset adds to all of its seeds is no noise: the spread within datasets counts."""
    from scipy.stats import t

    blocks = [[a - b for a, b in zip(left[name], right[name], strict=True)] for name in left]
    mean, count = statistics.fmean(map(statistics.fmean, blocks)), sum(map(len, blocks))
    freedom = count - len(blocks)
    if freedom < 1:
        return Difference(mean, math.inf, 1.0)
    spread = math.sqrt(sum((len(b) - 1) * statistics.variance(b) for b in blocks) / freedom)
    error = spread * math.sqrt(sum(1 / len(b) for b in blocks)) / len(blocks)
    if error == 0:
        return Difference(mean, 0.0, 1.0 if mean == 0 else 0.0)
    return Difference(mean, float(t.ppf(0.975, freedom)) * error, float(2 * t.sf(abs(mean) / error, freedom)))


def holm(values: Sequence[float]) -> list[float]:
    """Chances corrected for their number, by Holm's step-down procedure.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    found, most = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        most = max(most, min(1.0, (len(values) - rank) * values[place]))
        found[place] = most
    return found


def ahead(scores: Scores) -> dict[str, list[str]]:
    """Of each method, those that it is surely better than: all pairs are compared, and corrected for their number."""
    pairs = list(combinations(scores, 2))
    found = [difference(scores[a], scores[b]) for a, b in pairs]
    better: dict[str, list[str]] = {name: [] for name in scores}
    for (a, b), one, p in zip(pairs, found, holm([one.p for one in found]), strict=True):
        if p < LEVEL:
            first, second = (a, b) if one.mean > 0 else (b, a)
            better[first].append(second)
    return better
