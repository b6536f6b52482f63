"""What a training loop may leave out of a network, and an average that a CPU computes faster than torch's own.

What is left computes the same up to rounding. The average has no second derivative, so networks use it only where they
are told that a training loop runs them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


@contextmanager
def lean(network: nn.Module) -> Iterator[None]:
    """Modules that have a switch `lean` are told that only their output and first derivatives are asked for.

    They may leave out what does not reach the output, running statistics of such parts included. Nothing is told
    where a module has hooks, which would miss what is left out.
    """
    modules = list(network.modules())
    hooked = any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in modules)
    told: list[Any] = [] if hooked else [module for module in modules if hasattr(module, "lean")]
    for module in told:
        module.lean = True
    try:
        yield
    finally:
        for module in told:
            module.lean = False


def average_3x3(x: torch.Tensor) -> torch.Tensor:
    """Mean of the 3 x 3 pixels around each, those outside left out, as `nn.AvgPool2d`; keeps ``[b, c, h, w]``."""
    if x.device.type != "cpu":
        return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    average: torch.Tensor = _Average.apply(x)  # type: ignore[no-untyped-call]  # torch leaves it so
    return average


class _Average(torch.autograd.Function):
    """The sum of a window is its own transpose, and as a convolution a fraction of the time of avg_pool2d."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ones, share = _window(x.shape[1:], x.dtype)
        return F.conv2d(x, ones, padding=1, groups=len(ones)).mul_(share)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        ones, share = _window(grad.shape[1:], grad.dtype)
        return F.conv2d(grad * share, ones, padding=1, groups=len(ones))


@lru_cache(maxsize=64)
def _window(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Ones ``[c, 1, 3, 3]``, and one over how many pixels of a window are inside, ``[1, c, h, w]``."""
    channels, height, width = shape
    ones = torch.ones(channels, 1, 3, 3, dtype=dtype)
    inside = F.conv2d(torch.ones(1, 1, height, width, dtype=dtype), ones[:1], padding=1)
    share = (1 / inside).expand(1, channels, height, width)
    return ones, share.contiguous(memory_format=torch.channels_last)
