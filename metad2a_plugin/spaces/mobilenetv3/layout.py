"""Widths and strides of the MobileNetV3 supernet of Once-for-All (Cai et al., ICLR 2020), and what its layers cost."""

from __future__ import annotations

from typing import NamedTuple

from metad2a_plugin.nn.channels import divisible


class Stage(NamedTuple):
    """What all layers of a stage share.

    Attributes:
        width: output channels.
        stride: of its first layer; the others have 1.
        squeeze: whether layers have squeeze-and-excitation.
        hard_swish: whether activations are hard-swish; ReLU otherwise.
    """

    width: int
    stride: int
    squeeze: bool
    hard_swish: bool


class Layout(NamedTuple):
    """Channels of a network.

    Attributes:
        stem: of the first convolution and the fixed layer after it.
        stages: the five searched stages.
        head: of the convolution before global pooling.
        features: of the last one, which the classifier reads.
    """

    stem: int
    stages: tuple[Stage, ...]
    head: int
    features: int


class Count(NamedTuple):
    """Parameters and multiply-accumulates, single units."""

    params: int
    macs: int


def layout(width: float) -> Layout:
    """The channels for a width multiplier.

    >>> [stage.width for stage in layout(1.2).stages]
    [32, 48, 96, 136, 192]
    """
    stem, *widths, head, features = (divisible(c * width) for c in (16, 24, 40, 80, 112, 160, 960, 1280))
    stages = map(Stage, widths, (2, 2, 2, 1, 2), (False, True, False, True, True), (False, False, True, True, True))
    return Layout(stem, tuple(stages), head, features)


def layer_count(inputs: int, kernel: int, expand: int, stride: int, size: int, stage: Stage) -> Count:
    """Of one inverted residual layer that reads `inputs` channels of `size` by `size` pixels.

    Batch norm costs two parameters a channel and, like biases, no multiply-accumulates, as OFA counts.
    """
    middle = divisible(inputs * expand)
    expansion, depthwise, projection = inputs * middle, kernel**2 * middle, middle * stage.width
    squeezed = divisible(middle // 4)
    excitation = 2 * middle * squeezed if stage.squeeze else 0
    biases = middle + squeezed if stage.squeeze else 0
    return Count(
        params=expansion + depthwise + projection + excitation + biases + 2 * (2 * middle + stage.width),
        macs=expansion * size**2 + (depthwise + projection) * halved(size, stride) ** 2 + excitation,
    )


def fixed_count(channels: Layout, num_classes: int, first: int, last: int) -> Count:
    """Of all but the searched layers, which read images of `first` by `first` pixels and leave `last` by `last`."""
    stem, final = channels.stem, channels.stages[-1].width
    early = 27 * stem + 9 * stem + stem**2
    head, mix, classifier = final * channels.head, channels.head * channels.features, channels.features * num_classes
    norms = 2 * (3 * stem + channels.head)
    return Count(
        params=early + head + mix + classifier + norms + num_classes,
        macs=early * first**2 + head * last**2 + mix + classifier,
    )


def halved(size: int, stride: int) -> int:
    """Pixels a side after a padded convolution of odd kernel."""
    return -(-size // stride)


KERNELS, EXPANDS, DEPTHS = (3, 5, 7), (3, 4, 6), (2, 3, 4)
"""Options of a layer's kernel and expand ratio and of a stage's depth; a choice is an index into one of them."""
STAGES, LAYERS = 5, 4
"""Stages, and the most layers of one."""
RESOLUTIONS = range(128, 225, 4)
"""Sides of the images, in pixels, that OFA's supernets were trained on."""
EDGES = tuple((v, v + 1) for v in range(STAGES * LAYERS + 1))
"""Edges of the 22-vertex graph that MetaD2A's models read, a chain for every network."""
SLOTS = STAGES * LAYERS
KINDS = len(KERNELS) * len(EXPANDS)
TYPES = len(DEPTHS) * KINDS
