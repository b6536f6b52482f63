"""The MobileNetV3 network of Once-for-All (Cai et al., ICLR 2020), its weights named as in the package ``ofa``."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from metad2a_plugin.nn.channels import divisible
from metad2a_plugin.spaces.mobilenetv3.layout import halved, layout


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that also trains quickly on a CPU where its kernel is larger than the image."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel, least = self.kernel_size[0], min(x.shape[-2:])
        if kernel <= least or not (self.training and x.device.type == "cpu"):
            return super().forward(x)
        # oneDNN takes ten times as long for such gradients: cut off the taps that only ever see the padding, and
        # lay zeros around what is still smaller than the kernel.
        cut = max(0, (kernel - (2 * max(x.shape[-2:]) - 1)) // 2)
        kernel -= 2 * cut
        weight = self.weight[:, :, cut : cut + kernel, cut : cut + kernel]
        height, width = x.shape[-2:]
        padded = F.pad(x, (0, max(0, kernel - width), 0, max(0, kernel - height)))
        y = F.conv2d(padded, weight, None, self.stride, kernel // 2, groups=self.groups)
        stride = self.stride[0]
        return y[:, :, : halved(height, stride), : halved(width, stride)]


def convolution(
    inputs: int,
    outputs: int,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    activation: type[nn.ReLU | nn.Hardswish] | None = None,
) -> nn.Sequential:
    """Convolution, batch norm and activation; ``[b, inputs, h, w]`` to ``[b, outputs, h / stride, w / stride]``."""
    kind = DepthwiseConv2d if groups == inputs == outputs and kernel > 1 else nn.Conv2d
    conv = kind(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv, bn=nn.BatchNorm2d(outputs))
    if activation is not None:
        layers["act"] = activation(inplace=True)
    return nn.Sequential(layers)


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate that reads all of them (Hu et al., CVPR 2018); keeps ``[b, channels, h, w]``."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = divisible(channels // 4)
        self.fc = nn.Sequential(
            OrderedDict(
                reduce=nn.Conv2d(channels, squeezed, 1),
                relu=nn.ReLU(inplace=True),
                expand=nn.Conv2d(squeezed, channels, 1),
                h_sigmoid=nn.Hardsigmoid(inplace=True),
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.fc(x.mean((2, 3), keepdim=True))


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution and projection (Sandler et al., CVPR 2018), with a shortcut where it fits.

    ``[b, inputs, h, w]`` to ``[b, outputs, h / stride, w / stride]``; without expansion where `expand` is 1.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        expand: int,
        stride: int,
        squeeze: bool,
        activation: type[nn.ReLU | nn.Hardswish],
    ) -> None:
        super().__init__()
        self.shortcut = stride == 1 and inputs == outputs
        middle = inputs if expand == 1 else divisible(inputs * expand)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if expand != 1:
            layers["inverted_bottleneck"] = convolution(inputs, middle, activation=activation)
        layers["depth_conv"] = convolution(middle, middle, kernel, stride, middle, activation)
        if squeeze:
            layers["depth_conv"].add_module("se", SqueezeExcite(middle))
        layers["point_linear"] = convolution(middle, outputs)
        self.conv = nn.Sequential(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return x + y if self.shortcut else y


class MobileNetV3(nn.Module):
    """The network; input ``[batch, 3, height, width]``, output ``[batch, num_classes]``.

    Args:
        stages: for each of the five stages, the (kernel, expand ratio) of its layers.
        num_classes: outputs of the classifier.
        width: multiplier of all channels.
    """

    def __init__(self, stages: Sequence[Sequence[tuple[int, int]]], num_classes: int, width: float = 1.0) -> None:
        super().__init__()
        channels = layout(width)
        self.first_conv = convolution(3, channels.stem, 3, stride=2, activation=nn.Hardswish)
        self.blocks = nn.ModuleList([InvertedResidual(channels.stem, channels.stem, 3, 1, 1, False, nn.ReLU)])
        inputs = channels.stem
        for stage, layers in zip(channels.stages, stages, strict=True):
            activation = nn.Hardswish if stage.hard_swish else nn.ReLU
            for number, (kernel, expand) in enumerate(layers):
                stride = 1 if number else stage.stride
                self.blocks.append(
                    InvertedResidual(inputs, stage.width, kernel, expand, stride, stage.squeeze, activation)
                )
                inputs = stage.width
        self.final_expand_layer = convolution(inputs, channels.head, activation=nn.Hardswish)
        self.feature_mix_layer = nn.Sequential(
            OrderedDict(conv=nn.Conv2d(channels.head, channels.features, 1, bias=False), act=nn.Hardswish(inplace=True))
        )
        self.classifier: nn.Module = nn.Sequential(OrderedDict(linear=nn.Linear(channels.features, num_classes)))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.first_conv(images)
        for block in self.blocks:
            x = block(x)
        x = self.final_expand_layer(x).mean((2, 3), keepdim=True)
        return self.classifier(self.feature_mix_layer(x).flatten(1))

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As of any module; weights of both namings of ``ofa`` are read."""
        # Releases before 2021 call the layers of a block `mobile_inverted_conv`.
        renamed = {name.replace(".mobile_inverted_conv.", ".conv."): value for name, value in state_dict.items()}
        return super().load_state_dict(renamed, strict, assign)
