"""Whether the layers of an NNI model space are what its labels say."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from nni.nas.hub.pytorch import MobileNetV3Space, NasBench201
from nni.nas.nn.pytorch import LayerChoice
from nni.nas.space import ExecutableModelSpace
from torch import nn
from torch.nn import functional

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.spaces.nasbench201.cell import OPS

from ._nni_bridge import Bridge, CellBridge
from ._nni_mobilenetv3 import MEND
from ._nni_space import kind_of, traced

KERNELS = {"nor_conv_1x1": 1, "nor_conv_3x3": 3}
"""Sides of the kernels of NAS-Bench-201's convolutions."""
_MEANT = {
    "none": "zeros",
    "skip_connect": "its input",
    "avg_pool_3x3": "a 3x3 average of stride 1, padding left out",
    **{name: f"a ReLU, a {k}x{k} convolution of stride 1 without bias, and batch norm" for name, k in KERNELS.items()},
}
CANNOT_RUN = (ArithmeticError, AttributeError, LookupError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""What a network of a user's own can raise when it is made or run."""


def check_operations(model_space: ExecutableModelSpace, bridge: Bridge) -> None:
    """Refuse a model space whose layers are not what its labels and their options say.

    Of cells, every operation is looked at: what has no weights by what it computes, a convolution by its layers too.
    How cells are wired and stacked is taken on trust.

    Raises:
        ConfigError: says which operation is another, or cannot be read.
    """
    kind = kind_of(model_space)
    if isinstance(bridge, CellBridge):
        if kind is not NasBench201:
            _check_cells(_made(model_space), bridge)
    elif kind is not MobileNetV3Space:
        raise ConfigError(
            f"the labels are those of NNI's MobileNetV3Space, but the model space is {kind.__name__}, whose layers the "
            f"strategies cannot read: {MEND}"
        )


def _made(model_space: ExecutableModelSpace) -> nn.Module:
    """The module with all candidates."""
    made = traced(model_space)
    if isinstance(made, nn.Module):
        return made
    with torch.random.fork_rng(devices=[]):
        module: nn.Module = made.get()
    return module


def _check_cells(module: nn.Module, bridge: CellBridge) -> None:
    choices: dict[str, list[LayerChoice]] = {label: [] for label in bridge.names}
    for choice in module.modules():
        if isinstance(choice, LayerChoice) and choice.label in choices:
            choices[choice.label].append(choice)
    for label, names in bridge.names.items():
        if not choices[label]:
            raise ConfigError(
                f"what the options of {label!r} do cannot be read: {type(module).__name__} has no LayerChoice of that "
                "label; known are NasBench201, and model spaces whose LayerChoices have its operations"
            )
        for index, name in names.items():
            for choice in choices[label]:
                if not _is_operation(OPS[index], choice[name]):
                    raise ConfigError(
                        f"{name!r} of {label!r} is another operation than NAS-Bench-201's, which gives "
                        f"{_MEANT[OPS[index]]}, in as many channels as it gets; it is {_said(choice[name])}. Give it "
                        "that operation: the strategies know how good cells of these are, and of no others"
                    )


def _said(module: nn.Module) -> str:
    text = " ".join(repr(module).split())
    return text if len(text) <= 200 else f"{text[:200]}..."


@torch.no_grad()
def _is_operation(name: str, module: nn.Module) -> bool:
    """Whether a module computes an operation of NAS-Bench-201, with any weights."""
    module = deepcopy(module).cpu().float().eval()
    layers = [layer for layer in module.modules() if not any(True for _ in layer.children())]
    channels = next((layer.in_channels for layer in layers if isinstance(layer, nn.Conv2d)), 4)
    images = torch.randn(2, channels, 5, 5, generator=torch.Generator().manual_seed(0))
    expected = _expected(name, layers, images)
    if expected is None:
        return False
    try:
        found: Any = module(images.clone())
    except CANNOT_RUN:
        return False
    same = isinstance(found, torch.Tensor) and found.shape == expected.shape
    return same and torch.allclose(found, expected, atol=1e-5)


def _expected(name: str, layers: list[nn.Module], images: torch.Tensor) -> torch.Tensor | None:
    """What an operation with these layers gives; None where they are not its layers."""
    if name not in KERNELS:
        if any(True for layer in layers for _ in layer.parameters()):
            return None
        pooled = functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
        return {"none": torch.zeros_like(images), "skip_connect": images, "avg_pool_3x3": pooled}[name]
    relu_conv_norm = [layer for layer in layers if not isinstance(layer, nn.Identity)]
    kinds = (nn.ReLU, nn.Conv2d, nn.BatchNorm2d)
    if len(relu_conv_norm) != 3 or not all(map(isinstance, relu_conv_norm, kinds)):
        return None
    _, convolution, norm = relu_conv_norm
    channels, kernel = images.shape[1], KERNELS[name]
    if convolution.bias is not None or convolution.weight.shape != (channels, channels, kernel, kernel):
        return None
    normed: torch.Tensor = norm(functional.conv2d(images.relu(), convolution.weight, padding=kernel // 2))
    return normed
