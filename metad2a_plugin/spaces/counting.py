"""What any network costs, by torch's own counter of FLOPs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from metad2a_plugin.spaces.base import Cost
from metad2a_plugin.utils.checks import integer


def count_cost(build: Callable[[], nn.Module], input_size: int) -> Cost:
    """Trainable parameters and multiply-accumulates of one image, in millions.

    The network is made and run on the ``meta`` device: nothing is computed. Counted are convolutions and products of
    matrices, without biases; all other layers are free. A multiply-accumulate is two FLOPs of the counter.

    Args:
        build: makes the network, which takes images ``[1, 3, input_size, input_size]``.
        input_size: pixels.

    Raises:
        ConfigError: `input_size` is no positive integer.
    """
    integer("input_size", input_size, 1)
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network = build().eval()
        network(torch.zeros(1, 3, input_size, input_size))
    params = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return Cost(params / 1e6, counter.get_total_flops() / 2 / 1e6)
