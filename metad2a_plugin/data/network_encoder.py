"""What encoders have in common that are a network of torch."""

from __future__ import annotations

import copy

import torch
from torch import nn

from metad2a_plugin.plugins.encoder import TrainableEncoder
from metad2a_plugin.utils.torch_device import refuse_other_dtypes


class NetworkEncoder(TrainableEncoder):
    """An encoder that is a network; a subclass hands it over with `_set`."""

    def _set(self, network: nn.Module, device: str) -> None:
        """The network from pixels, uint8 RGB ``[n, 3, side, side]``, to features ``[n, dim]``."""
        self._network, self._device = network.eval().to(device), device

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        refuse_other_dtypes()
        return self._network(images.to(self._device)).float().cpu()

    def network(self) -> nn.Module:
        return copy.deepcopy(self._network).cpu()
