"""An image encoder with a linear classifier on its features: what can be told without training, and fine-tuned."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from metad2a_plugin.data.encoders import get_encoder, get_untrained_encoder
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.nn.counting import count_cost
from metad2a_plugin.nn.probe import RidgeClassifier
from metad2a_plugin.plugins.encoder import TrainableEncoder
from metad2a_plugin.spaces.base import Cost
from metad2a_plugin.training.classifier import Classifier

if TYPE_CHECKING:
    from typing_extensions import Self


class EncoderClassifier(Classifier):
    """The network of an encoder, and a linear classifier of its features.

    Args:
        encoder: its registry name.
        class_names: one per output.
        input_size: side of the square images, in pixels; None takes the encoder's own.
        head: the classifier to begin with; None begins with one that knows nothing.
        pretrained: leave the encoder's weights out where others will be loaded.

    Raises:
        ConfigError: the encoder has no network that can be trained.
    """

    def __init__(
        self,
        encoder: str,
        class_names: Sequence[str],
        *,
        input_size: int | None = None,
        head: RidgeClassifier | None = None,
        pretrained: bool = True,
    ) -> None:
        super().__init__()
        found = get_encoder(encoder) if pretrained else get_untrained_encoder(encoder)
        if not isinstance(found, TrainableEncoder):
            raise ConfigError(f"the encoder {encoder!r} has no network to train; use another, such as 'default'")
        self.encoder, self.class_names = encoder, tuple(class_names)
        self.input_size = found.size if input_size is None else input_size
        linear = nn.Linear(found.dim, len(self.class_names))
        with torch.no_grad():
            linear.weight.zero_()
            linear.bias.zero_()
            if head is not None:
                linear.weight.copy_(head.sharpness * head.weight.T)
                linear.bias.copy_(head.sharpness * head.bias)
        self.network = nn.Sequential(found.network(), linear)
        params, flops = count_cost(lambda: _copy_on_meta(self.network), self.input_size)
        self.cost = Cost(params / 1e6, flops / 1e6)

    def train(self, mode: bool = True) -> Self:
        """As any module's, but for batch norm: few images are no match for the statistics that it has learned."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(self.pixels(images))
        return logits

    def metadata(self) -> dict[str, Any]:
        return {"encoder": self.encoder, **super().metadata()}


def _copy_on_meta(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).to("meta")
