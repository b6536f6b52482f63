"""Latency of MobileNetV3 networks on GPUs, predicted by look-up tables fitted to measurements of whole networks.

A layer takes ``a + b (r / 224)^2`` milliseconds by its place, kernel and expand ratio, where `r` is the resolution; the
rest of the network takes a time for each resolution; a network takes the sum. Fitted by
``benchmarks/train_latency_mobilenetv3.py``. Tables of your own device are read by
`metad2a_plugin.devices.lookup_table`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import one_hot

from metad2a_plugin.devices.base import DeviceModel
from metad2a_plugin.devices.fitted import check_finite
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.spaces.mobilenetv3.descriptors import KINDS, PLACES, layer_kinds
from metad2a_plugin.spaces.mobilenetv3.layout import DEPTHS, LAYERS, RESOLUTIONS
from metad2a_plugin.utils.files import PRETRAINED


def check_resolution(what: str, resolution: Any) -> None:
    """Refuse a resolution that no network was measured at, with a `ConfigError` on `what`, such as ``"latencies"``."""
    if isinstance(resolution, bool) or resolution not in RESOLUTIONS:
        raise ConfigError(
            f"{what} are known for images of {RESOLUTIONS[0]} to {RESOLUTIONS[-1]} pixels in steps of "
            f"{RESOLUTIONS.step}, not of {resolution!r}"
        )


def layer_features(vertices: torch.Tensor) -> torch.Tensor:
    """Which layers a network has, float64 ``[n, 20, 9]`` of zeros and ones; see `layer_kinds`."""
    kinds, there = layer_kinds(vertices)
    return (one_hot(kinds, KINDS) * there[:, :, None]).double()


class MobileNetV3LatencyModel(DeviceModel):
    """Predicts what a device would measure for a network; `MobileNetV3LatencyModel.load` reads the shipped one.

    >>> model = MobileNetV3LatencyModel.load()
    >>> model.unit("v100_64"), model.batch_size("v100_64")
    ('ms', 64)

    Args:
        layers: milliseconds of layers, float32 ``[devices, 2, 20, 9]``: the part that does not depend on the
            resolution, and the part that grows with its square.
        rest: of all else, float32 ``[devices, 25]``, by resolution.
        config: the parsed ``config.json``; its ``devices`` are in the order of the rows.
    """

    folder = PRETRAINED / "latency-mobilenetv3"
    script = "benchmarks/train_latency_mobilenetv3.py"
    note = (
        "A limit on a device holds with its 95% error on top, for a whole batch and networks like those measured, most "
        "likely of width 1.2."
    )

    def __init__(self, layers: torch.Tensor, rest: torch.Tensor, config: dict[str, Any]) -> None:
        super().__init__(config)
        self._layers, self._rest = layers, rest

    @classmethod
    def _restore(cls, tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> MobileNetV3LatencyModel:
        return cls(tensors["layers"], tensors["rest"], config)

    def batch_size(self, device: str) -> int:
        """Images that are timed together: the milliseconds are of all of them."""
        return int(self._device(device)["batch_size"])

    def predict(self, device: str, vertices: torch.Tensor, resolution: int = 224) -> torch.Tensor:
        """Predicted milliseconds of a whole batch, float32 ``[n]``.

        Args:
            device: one of `devices`.
            vertices: encoded networks, int64 ``[n, 22]``.
            resolution: side of the images in pixels, 128 to 224 in steps of 4, as measured.
        """
        table = self._milliseconds(device, resolution)
        kinds, there = layer_kinds(vertices.cpu())
        return (table[torch.arange(PLACES), kinds] * there).sum(1) + self._fixed(device, resolution)

    def upper(self, device: str, vertices: torch.Tensor, resolution: int = 224) -> torch.Tensor:
        """``predicted * (1 + margin)``, float32 ``[n]``; arguments and errors as in `predict`.

        The margin is the 95th percentile of the relative error in cross-validation.
        """
        return self.predict(device, vertices, resolution) * (1 + self._device(device)["margin"])

    def vertex_costs(self, device: str, input_size: int) -> torch.Tensor:
        """Milliseconds of each type at each vertex that `upper` is the sum of, float64 ``[22, 29]``."""
        table = self._milliseconds(device, input_size).double()
        costs = torch.zeros(PLACES + 2, 2 + len(DEPTHS) * KINDS, dtype=torch.float64)
        costs[0, 0] = float(self._fixed(device, input_size))
        for depth in DEPTHS:
            there = torch.arange(PLACES) % LAYERS < depth
            first = 2 + DEPTHS.index(depth) * KINDS
            costs[1:-1, first : first + KINDS] = table * there[:, None]
        return costs * (1 + self._device(device)["margin"])

    def check_input_size(self, device: str, size: int) -> None:
        self._device(device)
        check_resolution("latencies", size)

    # -- private -----------------------------------------------------------------------------
    def _milliseconds(self, device: str, resolution: int) -> torch.Tensor:
        """Of each layer by its kind, float32 ``[20, 9]``."""
        self.check_input_size(device, resolution)
        flat, square = self._layers[self.devices.index(device)]
        return flat + square * (resolution / 224) ** 2

    def _fixed(self, device: str, resolution: int) -> torch.Tensor:
        """Milliseconds of all but the searched layers, a scalar."""
        return self._rest[self.devices.index(device), RESOLUTIONS.index(resolution)]

    def _check(self) -> None:
        check_finite("layers", self._layers, (len(self._devices), 2, PLACES, KINDS))
        check_finite("rest", self._rest, (len(self._devices), len(RESOLUTIONS)))
        for name, entry in self._devices.items():
            if entry["unit"] != "ms" or not int(entry["batch_size"]) > 0 or not float(entry["margin"]) >= 0:
                raise ValueError(f"device {name!r} has {entry}")
            float(entry["error"]["p95"])
