"""Networks that know their classes and take pixels."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from metad2a_plugin.data.pixels import DatasetWarning
from metad2a_plugin.errors import ConfigError, said
from metad2a_plugin.nn.normalized import NormalizedNetwork
from metad2a_plugin.spaces.base import Cost, Notation, SearchSpace
from metad2a_plugin.training.stored import FILE, stored
from metad2a_plugin.utils.installed import version
from metad2a_plugin.utils.sharing import Card, Shareable


class Classifier(Shareable, nn.Module):
    """A network on raw pixels that knows its classes; `training.files` writes and reads it.

    Called with RGB ``[batch, 3, height, width]``, see `pixels`, it gives logits ``[batch, classes]``.

    Attributes:
        network: what has weights; what was made around it follows from `metadata`.
        class_names: one name per output.
        input_size: side of the square images, in pixels.
        cost: parameters and multiply-accumulates at `input_size`.
    """

    network: nn.Module
    class_names: tuple[str, ...]
    input_size: int
    cost: Cost

    def pixels(self, images: torch.Tensor) -> torch.Tensor:
        """Images as the network takes them, of values 0 to 255.

        Args:
            images: RGB ``[batch, 3, height, width]``, uint8 or float; where no value of a float batch is above 1, they
                are taken to run from 0 to 1. Others than those of `input_size`, and values that are no pixels, are
                warned of.

        Raises:
            ConfigError: they have another shape.
        """
        if images.ndim != 4 or images.shape[1] != 3:
            raise ConfigError(
                f"expected images [batch, 3, height, width], got {list(images.shape)}; "
                "images.permute(0, 3, 1, 2) makes them of [batch, height, width, 3], images[None] of a single one"
            )
        if tuple(images.shape[2:]) != (self.input_size, self.input_size):
            warnings.warn(
                f"images of {images.shape[2]} x {images.shape[3]} pixels were given to a network that was made for "
                f"{self.input_size} x {self.input_size}; resize them, or its answers may be poor",
                DatasetWarning,
                stacklevel=5,
            )
        if not images.is_floating_point() or images.numel() == 0:
            return images
        low, high = images.min().item(), images.max().item()
        if low >= 0 and high <= 1:
            return images * 255
        if low < 0 or high > 255:
            warnings.warn(
                f"pixels run from {low:.3g} to {high:.3g}, expected 0 to 255 or 0 to 1: the normalisation is inside of "
                "the network, give it images before theirs",
                DatasetWarning,
                stacklevel=5,
            )
        return images

    def metadata(self) -> dict[str, Any]:
        """All but the weights, as plain JSON values."""
        return {
            "class_names": list(self.class_names),
            "input_size": self.input_size,
            "params_m": self.cost.params,
            "flops_m": self.cost.flops,
            "version": version(),
        }

    def card(self) -> Card:
        described = self.metadata()
        names, made = self.class_names, described.get("architecture") or described.get("encoder")
        return Card(
            title=f"Image classifier of {len(names)} classes",
            about=f"The network `{made}` as metad2a-plugin trains it: {self.cost.params:.3f} M parameters, "
            f"{self.cost.flops:.1f} M multiply-accumulates an image. It takes RGB of {self.input_size} x "
            f"{self.input_size} pixels, 0 to 255; the normalisation is inside.",
            use='from metad2a_plugin import load_network, predict_images\n\nnetwork = load_network("NAME")\n'
            'print(predict_images(network, "path/to/images").best(0))',
            saw={"classes": list(names), "side of images, in pixels": self.input_size},
            measured={},
            terms="Those of the images that it was trained on, and of the weights that it began with, if any.",
            tags=("image-classification", "neural-architecture-search"),
            task="image-classification",
        )

    def files(self) -> dict[str, bytes]:
        return {FILE: stored(self.network, self.metadata())}


class ImageClassifier(NormalizedNetwork, Classifier):
    """The network of an architecture together with what it takes to use it on raw pixels.

    Args:
        space: the architecture's search space.
        architecture: what to build, as `SearchSpace.parse` reads it.
        num_classes: outputs.
        class_names: one name per output; None names them ``"0"``, ``"1"``, ...
        input_size: side of the square images, in pixels; None takes the space's own.
        mean, std: of each colour channel, for pixels scaled to 0..1.
        seed: of the initial weights, which do not depend on, or change, the global generator.
        options: further ones of ``space.build``, such as NAS-Bench-201's `channels` and `cells` or the
            `width` of MobileNetV3.

    Attributes:
        network: what ``space.build`` returned.
        cost: parameters and FLOPs at `input_size`.

    Raises:
        ConfigError: an option is out of range, or the names do not fit the number of classes.

    >>> from metad2a_plugin.plugins.registry import get_space
    >>> space = get_space("nasbench201")
    >>> cell = space.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|")
    >>> classifier = ImageClassifier(space, cell, num_classes=3, options={"channels": 4, "cells": 1}).eval()
    >>> classifier(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        space: SearchSpace,
        architecture: Notation,
        num_classes: int,
        *,
        class_names: Sequence[str] | None = None,
        input_size: int | None = None,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.25, 0.25, 0.25),
        seed: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        options = dict(options or {})
        size = space.input_size if input_size is None else input_size
        architecture = space.parse(architecture)
        cost = space.cost(architecture, num_classes=num_classes, input_size=size, **options)
        names = tuple(str(name) for name in (range(num_classes) if class_names is None else class_names))
        if len(names) != num_classes:
            raise ConfigError(f"{len(names)} class names were given for {num_classes} classes")
        if len(mean) != 3 or len(std) != 3 or not all(s > 0 for s in std):
            raise ConfigError(f"mean and std are three numbers each, std positive; got {said(mean)} and {std!r}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = space.build(architecture, num_classes, **options)
        super().__init__(network, mean, std)
        self.space, self.architecture, self.input_size, self.options = space, architecture, size, options
        self.cost, self.class_names = cost, names

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(self.pixels(images))

    def metadata(self) -> dict[str, Any]:
        return {
            "space": self.space.name,
            "architecture": self.space.format(self.architecture),
            "options": self.options,
            "mean": self.mean.flatten().tolist(),
            "std": self.std.flatten().tolist(),
            **super().metadata(),
        }
