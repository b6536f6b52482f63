"""How the time is shared out: rounds of fewer and fewer contenders that train for longer and longer.

This is successive halving (Jamieson and Talwalkar, AISTATS 2016) with one difference: in each round the learning rate
rises and falls to the end, since a training that was cut short tells little of one that was not. The next round goes on
from the network of the last (warm restarts; Loshchilov and Hutter, ICLR 2017), so that no time of the best is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_SHARES = (0.2, 0.25, 0.55)
"""Of the time, in each round."""
LAST = _SHARES[-1]
_LEFT = (6, 2, 1)
"""Contenders in each, at the most."""


@dataclass(frozen=True)
class Round:
    """Contenders that train for equally long.

    Attributes:
        seconds: for each.
        contenders: how many.
    """

    seconds: float
    contenders: int


def rounds(seconds: float, contenders: int, at_once: int = 1) -> tuple[Round, ...]:
    """Rounds that take so many seconds together; seconds that are over make none.

    Args:
        seconds: for all.
        contenders: how many there are.
        at_once: how many train at the same time.
    """
    if seconds <= 0 or not contenders:
        return ()
    counts = [min(contenders, left) for left in _LEFT]
    # A round that leaves nobody out is not worth its time.
    kept = [i for i in range(len(counts)) if i == len(counts) - 1 or counts[i] > counts[i + 1]]
    total = sum(_SHARES[i] for i in kept)
    turns = [-(-counts[i] // at_once) for i in kept]
    return tuple(Round(seconds * _SHARES[i] / total / n, counts[i]) for i, n in zip(kept, turns, strict=True))


def epochs_within(seconds: float, epoch: float, most: int) -> int:
    """Epochs that fit, one at least."""
    return max(1, min(most, int(seconds / epoch)))


def best(accuracies: Mapping[str, float], costs: Mapping[str, float], count: int) -> list[str]:
    """Names of the most accurate; of equals the cheaper."""
    return sorted(accuracies, key=lambda name: (-accuracies[name], costs[name]))[:count]
