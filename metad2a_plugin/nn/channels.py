"""Numbers of channels."""

from __future__ import annotations


def divisible(channels: float) -> int:
    """The multiple of 8 nearest to `channels`, but not more than a tenth below it (Sandler et al., CVPR 2018).

    >>> [divisible(c) for c in (3, 19.2, 28.8, 60)]
    [8, 24, 32, 64]
    """
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8
