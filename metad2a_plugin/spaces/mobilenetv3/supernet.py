"""The weights of all MobileNetV3 networks in one, laid out as in Once-for-All (Cai et al., ICLR 2020, section 3.3)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from safetensors.torch import save
from torch import nn
from torch.nn import functional as F

from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.nn.channels import divisible
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.mobilenetv3.encoding import layers_of
from metad2a_plugin.spaces.mobilenetv3.layout import EXPANDS, KERNELS, LAYERS, layout
from metad2a_plugin.spaces.mobilenetv3.network import DepthwiseConv2d, MobileNetV3
from metad2a_plugin.utils.files import UNREADABLE, write_atomically
from metad2a_plugin.utils.schema import number, parse_json, why
from metad2a_plugin.utils.tensors import FLOATS, INTEGERS, TensorFile, check_weights, load_state, same_shapes, shapes_of

WIDTHS = (1.0, 1.2)
"""Width multipliers of the published supernets."""
_TRANSFORMS = tuple((large, small) for small, large in pairwise(KERNELS))[::-1]
_BLOCK = re.compile(r"blocks\.(\d+)\.conv\.(.+)")


class MobileNetV3Supernet(MobileNetV3):
    """The largest network of the space, of which every other one uses a part.

    A layer with a smaller expand ratio has the first of the channels; a smaller kernel is the centre of the next
    larger one, mapped by a matrix that all channels of the layer share. Called like a module, it is the largest
    network.

    Args:
        num_classes: outputs of the classifier.
        width: multiplier of all channels.
    """

    def __init__(self, num_classes: int, width: float = 1.0) -> None:
        super().__init__([[(KERNELS[-1], EXPANDS[-1])] * LAYERS] * len(layout(width).stages), num_classes, width)
        self.num_classes, self.width = num_classes, width
        for name, module in self.named_modules():
            if isinstance(module, DepthwiseConv2d) and not name.startswith("blocks.0."):
                for large, small in _TRANSFORMS:
                    module.register_parameter(f"{large}to{small}_matrix", nn.Parameter(torch.eye(small**2)))

    def weights(self, architecture: Architecture, classes: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        """What the network of an architecture uses of the weights, by the names of its own state dict.

        Parts of the supernet's tensors, so that gradients reach it and running statistics are its own.

        Args:
            architecture: the network.
            classes: outputs that the classifier keeps, int64 ``[k]``, in that order; None keeps all.
        """
        state = dict(self.named_parameters()) | dict(self.named_buffers())
        taken = {name: value for name, value in state.items() if not _BLOCK.match(name) or name.startswith("blocks.0.")}
        if classes is not None:
            for part in ("weight", "bias"):
                taken[f"classifier.linear.{part}"] = state[f"classifier.linear.{part}"][classes]
        parts: dict[str, dict[str, torch.Tensor]] = {}
        for name, value in state.items():
            if found := _BLOCK.match(name):
                parts.setdefault(found[1], {})[found[2]] = value
        channels = layout(self.width)
        inputs, number = channels.stem, 1
        for index, (stage, layers) in enumerate(zip(channels.stages, layers_of(architecture), strict=True)):
            for layer, (kernel, expand) in enumerate(layers):
                block = parts[str(1 + LAYERS * index + layer)]
                for name, value in _sliced(block, kernel, divisible(inputs * expand)).items():
                    taken[f"blocks.{number}.conv.{name}"] = value
                inputs, number = stage.width, number + 1
        return taken

    def extract(self, architecture: Architecture, classes: torch.Tensor | None = None) -> MobileNetV3:
        """The network of an architecture with a copy of its weights, in evaluation mode; arguments as in `weights`.

        Running statistics are those of no single network: compute them anew before accuracies are measured.
        """
        outputs = self.num_classes if classes is None else len(classes)
        with torch.device("meta"):
            network = MobileNetV3(layers_of(architecture), outputs, self.width)
        weights = {name: value.detach().clone() for name, value in self.weights(architecture, classes).items()}
        network.load_state_dict(weights, assign=True)
        return network.eval()

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As of any module; weights of all namings of ``ofa`` are read."""
        return super().load_state_dict({plain_name(name): v for name, v in state_dict.items()}, strict, assign)


def as_supernet(network: nn.Module) -> MobileNetV3Supernet:
    """The same, if it is one; else a `ConfigError`."""
    if not isinstance(network, MobileNetV3Supernet):
        raise ConfigError(f"expected a supernet of mobilenetv3, got {type(network).__name__}")
    return network


def load_supernet(path: str | os.PathLike[str]) -> MobileNetV3Supernet:
    """A supernet of a file that `save_supernet` wrote, or one of OFA's layout; in evaluation mode.

    Args:
        path: a ``.safetensors`` file of this package; otherwise a state dict of torch, or a dict that has one as
            ``state_dict``, in any of the namings that the package ``ofa`` has written. Nothing in it is executed.

    Raises:
        CheckpointError: the file cannot be read, or holds weights of something else.
    """
    try:
        if os.fspath(path).endswith(".safetensors"):
            file = TensorFile(path)
            file.require((*FLOATS, *INTEGERS))
            width = number(0.01, 100)(parse_json(file.metadata.get("width", "null")), "width")
            expected = shapes_of(lambda: MobileNetV3Supernet(file.shapes["classifier.linear.bias"][0], width))
            same_shapes(file.shapes, expected)
            found = file.read()
        else:
            found = read_weights(path)
            check_weights(found)
            width = width_of(found["classifier.linear.weight"].shape[1])
        supernet = MobileNetV3Supernet(len(found["classifier.linear.bias"]), width)
        supernet.load_state_dict(found)
    except UNREADABLE as error:
        raise CheckpointError(
            f"{os.fspath(path)!r} holds no weights of a MobileNetV3 supernet ({why(error)}); give "
            "a file that metad2a build-database wrote, or one of OFA's model zoo"
        ) from error
    return supernet.eval()


def read_weights(path: str | os.PathLike[str]) -> dict[str, torch.Tensor]:
    """Weights of a supernet in a file of OFA's layout, by their plain names; raises what a damaged file makes raise."""
    found = load_state(path)
    return {plain_name(name): tensor for name, tensor in found.get("state_dict", found).items()}


def save_supernet(
    path: str | os.PathLike[str], supernet: MobileNetV3Supernet, dtype: torch.dtype = torch.float32
) -> None:
    """Write a ``.safetensors`` file that `load_supernet` reads; `dtype` is that of its weights."""
    tensors = {
        name: (tensor.to(dtype) if tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for name, tensor in supernet.state_dict().items()
    }
    write_atomically(path, save(tensors, {"width": repr(supernet.width)}))


def width_of(features: int) -> float:
    """The width multiplier, of those published, of a network whose classifier reads `features`.

    Raises:
        ConfigError: none of them gives that.
    """
    for width in WIDTHS:
        if layout(width).features == features:
            return width
    raise ConfigError(f"the classifier reads {features} features, which no width multiplier of {WIDTHS} gives")


def plain_name(name: str) -> str:
    """The one name of a weight that all namings of ``ofa`` come to.

    >>> plain_name("blocks.1.mobile_inverted_conv.inverted_bottleneck.bn.bn.weight")
    'blocks.1.conv.inverted_bottleneck.bn.weight'
    """
    return re.sub(r"\.(conv|bn|linear)\.\1\.", r".\1.", name.replace(".mobile_inverted_conv.", ".conv."))


def _sliced(block: Mapping[str, torch.Tensor], kernel: int, middle: int) -> dict[str, torch.Tensor]:
    """Of an inverted residual layer, what a smaller kernel and `middle` channels use."""
    squeezed = divisible(middle // 4)
    parts = {
        "depth_conv.se.fc.reduce.weight": (slice(squeezed), slice(middle)),
        "depth_conv.se.fc.reduce.bias": (slice(squeezed),),
        "depth_conv.se.fc.expand.weight": (slice(middle), slice(squeezed)),
        "point_linear.conv.weight": (slice(None), slice(middle)),
    }
    taken = {}
    for name, value in block.items():
        if name.startswith("point_linear.bn") or name.endswith("num_batches_tracked"):
            taken[name] = value
        elif name == "depth_conv.conv.weight":
            taken[name] = _smaller(value[:middle], kernel, block)
        elif not name.endswith("_matrix"):
            taken[name] = value[parts.get(name, (slice(middle),))]
    return taken


def _smaller(weight: torch.Tensor, kernel: int, block: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """``[channels, 1, 7, 7]`` to a smaller kernel, one size after the other (section 3.3, elastic kernel size)."""
    for large, small in _TRANSFORMS:
        if small < kernel:
            break
        cut = (large - small) // 2
        centre = weight[:, :, cut : large - cut, cut : large - cut]
        matrix = block[f"depth_conv.conv.{large}to{small}_matrix"]
        weight = F.linear(centre.flatten(1), matrix).view(-1, 1, small, small)
    return weight
