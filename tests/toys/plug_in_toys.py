"""What somebody else's distribution could bring: a space, an encoder and a predictor, with public names only."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import torch
from torch import nn

from metad2a_plugin import Prediction, Predictor
from metad2a_plugin.errors import ArchitectureError
from metad2a_plugin.plugins.encoder import ImageEncoder
from metad2a_plugin.spaces import Architecture, ChoiceSpace

DEPTHS, WIDTHS, KERNELS = (1, 2, 3), (4, 8), (1, 3, 5, 7)


class Towers(ChoiceSpace):
    """Convolutions one after the other, written ``d2-w8-k3``: how many, how wide, how large."""

    name = "towers"
    options = (len(DEPTHS), len(WIDTHS), len(KERNELS))

    def parse(self, text: str) -> Architecture:
        for architecture in self.enumerate():
            if self.format(architecture) == text:
                return architecture
        raise ArchitectureError(f"expected text like d2-w8-k3, got {text!r}")

    def format(self, architecture: Architecture) -> str:
        return "d{}-w{}-k{}".format(*self._numbers(architecture))

    def build(self, architecture: Architecture, num_classes: int, *, stride: int = 2) -> nn.Module:
        depth, width, kernel = self._numbers(architecture)
        layers: list[nn.Module] = []
        for inputs in (3, *[width] * (depth - 1)):
            layers += [nn.Conv2d(inputs, width, kernel, stride, padding=kernel // 2), nn.ReLU()]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))

    def _numbers(self, architecture: Architecture) -> tuple[int, int, int]:
        depth, width, kernel = self.validate(architecture).choices
        return DEPTHS[depth], WIDTHS[width], KERNELS[kernel]


class MeanColour(ImageEncoder):
    """Three numbers an image."""

    name, dim, size, fingerprint = "mean-colour", 3, 8, "1"

    def __init__(self, device: str = "cpu") -> None:
        pass

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean(dim=(2, 3)) / 255


class Fits(Predictor):
    """Larger networks, the more so the wider the features: it needs a task and has no encoder of its own."""

    needs_task = True

    def predict(self, task, architectures):
        params, _ = self.space.costs(self.space.encode(architectures))
        return Prediction(params.float() * task.features.shape[1])


def entry_points(group: str) -> list[EntryPoint]:
    """In place of `importlib.metadata.entry_points`: those of the toys."""
    toys = {"spaces": ("towers", "Towers"), "encoders": ("mean-colour", "MeanColour"), "predictors": ("fits", "Fits")}
    kind = group.rpartition(".")[2]
    if kind not in toys:
        return []
    name, attribute = toys[kind]
    return [EntryPoint(name, f"plug_in_toys:{attribute}", group)]
