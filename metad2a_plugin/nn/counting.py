"""What a network costs, by torch's own counter of FLOPs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_cost(build: Callable[[], nn.Module], input_size: int) -> tuple[int, int]:
    """Trainable parameters, and multiply-accumulates of one image ``[1, 3, input_size, input_size]``.

    The network is made and run on the ``meta`` device: nothing is computed. Counted are convolutions and products of
    matrices, without biases; all other layers are free. A multiply-accumulate is two FLOPs of the counter.
    """
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        network = build().eval()
        network(torch.zeros(1, 3, input_size, input_size))
    return sum(p.numel() for p in network.parameters() if p.requires_grad), counter.get_total_flops() // 2
