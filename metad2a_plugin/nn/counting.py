"""What a network costs, by torch's own counter of FLOPs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


def count_activations(build: Callable[[], nn.Module], input_size: int) -> int:
    """Numbers that the layers of a network give for one image: what training has to move through memory.

    It is run on a small image, which takes less time than on the ``meta`` device.

    Args:
        build: makes the network.
        input_size: side of the square image, in pixels.
    """
    given = 0

    def hear(layer: nn.Module, arguments: Any, output: Any) -> None:
        nonlocal given
        given += output.numel()

    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        network = build().eval()
        for layer in network.modules():
            if not any(True for _ in layer.children()):
                layer.register_forward_hook(hear)
        network(torch.zeros(1, 3, input_size, input_size))
    return given
