"""What the ReLUs of a network are given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from metad2a_plugin.errors import ConfigError

Visit = Callable[[torch.Tensor, int], None]
"""Told a ReLU's input ``[images, ...]``, and how many ReLUs are given that same tensor."""


def visit_relus(network: nn.Module, images: torch.Tensor, visit: Visit) -> None:
    """Show `visit` the input of every ReLU of one forward pass in training mode, in the order of the pass.

    The network is afterwards as it was: modes, buffers such as running statistics, hooks.

    Args:
        network: any network whose ReLUs are modules, `nn.ReLU` or `nn.ReLU6`; one used twice is shown twice.
        images: ``[images, channels, height, width]``, or whatever the network takes.
        visit: see `Visit`; ReLUs may work in place, so it must not keep the tensor.

    Raises:
        ConfigError: there is no such module.
    """
    relus = [module for module in network.modules() if isinstance(module, (nn.ReLU, nn.ReLU6))]
    if not relus:
        raise ConfigError(
            f"{type(network).__name__} has no ReLU to look at: expected modules nn.ReLU or nn.ReLU6; "
            "write functional.relu as a module"
        )

    def show(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        visit(inputs[0] if inputs else named["input"], 1)

    hooks = [relu.register_forward_pre_hook(show, with_kwargs=True) for relu in relus]
    try:
        with torch.no_grad(), _training(network):
            network(images)
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _training(network: nn.Module) -> Iterator[None]:
    """Training mode; afterwards each module's mode and the buffers are as before."""
    modes = [(module, module.training) for module in network.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    network.train()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for buffer, before in buffers:
            buffer.copy_(before)
