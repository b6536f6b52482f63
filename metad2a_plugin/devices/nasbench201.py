"""Latency (and energy) of NAS-Bench-201 cells on real devices, predicted by small linear models.

Features of a cell are fixed functions of its six operations, the same for every device; the logarithm of a
device's latency is one weight vector times them. So the shipped file is one matrix, and the predictions for
all 15,625 cells and all devices are one matmul. Fitted by ``benchmarks/train_latency.py``.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch

from metad2a_plugin.devices.base import DeviceModel
from metad2a_plugin.devices.fitted import check_finite
from metad2a_plugin.devices.nasbench201_features import NUM_FEATURES, cell_features, cell_ranks
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.utils.files import PRETRAINED

SUPPORTED = 0.75
"""A cell counts as supported from this score on; the scores are fitted to 1 (supported) and 0 (not)."""


class LatencyModel(DeviceModel):
    """Predicts what a device would measure for a cell; `LatencyModel.load` reads the shipped one.

    >>> model = LatencyModel.load()
    >>> model.unit("pixel3"), model.unit("edgegpu_energy")
    ('ms', 'mJ')

    Of its devices ``pixel3`` is a latency, ``eyeriss_energy`` an energy, ``titanx_32`` a batch of 32 images, and
    ``pixel3_imagenet16`` a network for 16 x 16 images of 120 classes; the rest is for CIFAR-10.

    Args:
        weights: float32 ``[devices, NUM_FEATURES]``, of the logarithm of the measured value.
        support: float32 ``[m, NUM_FEATURES]``, one row for each device that cannot run every cell.
        config: the parsed ``config.json``; its ``devices`` are in the order of the rows of `weights`.
    """

    folder = PRETRAINED / "latency"
    script = "benchmarks/train_latency.py"
    note = "A limit on a device holds with its 95% error on top, for the benchmark's own network."

    def __init__(self, weights: torch.Tensor, support: torch.Tensor, config: dict[str, Any]) -> None:
        super().__init__(config)
        self._weights = weights
        self._support = support

    @classmethod
    def _restore(cls, tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> LatencyModel:
        return cls(tensors["weights"], tensors["support"], config)

    def input_size(self, device: str) -> int:
        """Side, in pixels, of the images that the measured network takes."""
        self._device(device)
        return 16 if device.endswith("_imagenet16") else 32

    def check_input_size(self, device: str, size: int) -> None:
        side = self.input_size(device)
        if size != side:
            raise ConfigError(
                f"the latency of {device!r} is known for images of {side} pixels, not of {size}; "
                f"set input_size to {side}, or limit max_flops instead"
            )

    def predict(self, device: str, vertices: torch.Tensor, input_size: int | None = None) -> torch.Tensor:
        """Predicted values, float32 ``[n]``, in the device's `unit`, for encoded cells int64 ``[n, 8]``.

        Dead cells and cells the device does not support get a number too, but an unchecked one.

        Raises:
            ConfigError: no such device, or `input_size` is not `input_size` of the device.
        """
        self._device(device)
        if input_size is not None:
            self.check_input_size(device, input_size)
        return self._tables[0][cell_ranks(vertices), self.devices.index(device)]

    def supported_mask(self, device: str, vertices: torch.Tensor) -> torch.Tensor:
        """Whether the device is predicted to run each cell, bool ``[n]``, for vertices int64 ``[n, 8]``."""
        row = self._device(device)["support"]
        ranks = cell_ranks(vertices)
        if row is None:
            return torch.ones(len(ranks), dtype=torch.bool)
        return self._tables[1][ranks, row]

    def upper(self, device: str, vertices: torch.Tensor, input_size: int | None = None) -> torch.Tensor:
        """``predicted * (1 + p95)``, float32 ``[n]``, with `error`'s ``p95``; arguments and errors as in `predict`.

        Infinite for cells that the device is not predicted to support, and for dead ones, whose error is not known.
        """
        value = self.predict(device, vertices, input_size) * (1 + self._device(device)["error"]["p95"])
        runs = self.supported_mask(device, vertices) & ~NASBench201().dead_mask(vertices).cpu()
        return value.masked_fill(~runs, torch.inf)

    # -- private -----------------------------------------------------------------------------
    def _check(self) -> None:
        """Raise ValueError, KeyError or TypeError unless the parts fit together."""
        for name, tensor in (("weights", self._weights), ("support", self._support)):
            check_finite(name, tensor, (None, NUM_FEATURES))
        if len(self._weights) != len(self._devices):
            raise ValueError(f"{len(self._weights)} weight vectors for {len(self._devices)} devices")
        for name, entry in self._devices.items():
            row, p95 = entry["support"], float(entry["error"]["p95"])
            if entry["unit"] not in ("ms", "mJ") or not p95 >= 0:
                raise ValueError(f"device {name!r} has unit {entry['unit']!r} and p95 {p95}")
            if row is not None and not 0 <= row < len(self._support):
                raise ValueError(f"device {name!r} points at support row {row} of {len(self._support)}")

    # The space is small: the first call predicts all of it, every later one is a look-up.
    @cached_property
    def _tables(self) -> tuple[torch.Tensor, torch.Tensor]:
        features = cell_features()
        return (features @ self._weights.T).exp(), features @ self._support.T >= SUPPORTED
