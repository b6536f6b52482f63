"""What models of measured devices share: their files, names, units and errors.

A device or a size of images that a model does not know is a `ConfigError`, a row that is no network an
`ArchitectureError`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch

from metad2a_plugin.devices.fitted import FittedModel
from metad2a_plugin.errors import ConfigError, said
from metad2a_plugin.utils.checks import FINITE, did_you_mean


class DeviceModel(FittedModel):
    """Predicts what devices would measure; ``devices`` in the configuration has their units and errors."""

    title = "latency model"
    note: ClassVar[str]
    """A sentence on what a hard limit on a device means."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self._devices: dict[str, dict[str, Any]] = config["devices"]

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of what can be predicted."""
        return tuple(self._devices)

    def unit(self, device: str) -> str:
        """``ms`` for a latency, ``mJ`` for an energy."""
        return str(self._device(device)["unit"])

    def error(self, device: str) -> dict[str, float]:
        """How far predictions were off on held-out networks.

        Relative errors are |predicted - measured| / measured.
        Keys: ``spearman``, ``mape`` (mean relative error), ``p95`` (95th percentile of it), ``within_10`` (share of
        networks within 10%), ``bound_violations`` and ``bound_recall`` (see the model card), how many were held out
        (``cells`` or ``networks``), and where known ``floor_mape`` (the noise of the measurements themselves) and
        ``spearman_224`` (at 224 pixels alone; the others are of all resolutions together).
        """
        return dict(self._device(device)["error"])

    @abstractmethod
    def check_input_size(self, device: str, size: int) -> None:
        """Refuse images of a size that the device was not measured with; says of which sizes it is known, in pixels."""

    @abstractmethod
    def predict(self, device: str, vertices: torch.Tensor, input_size: int, /) -> torch.Tensor:
        """Predicted values in the device's `unit`, float32 ``[n]``, of encoded networks int64 ``[n, vertices]``."""

    @abstractmethod
    def upper(self, device: str, vertices: torch.Tensor, input_size: int, /) -> torch.Tensor:
        """What a hard limit is compared with, float32 ``[n]``: `predict` with the device's margin for errors on top.

        Infinite where the device does not run a network.
        """

    def bound_mask(self, device: str, limit: float, vertices: torch.Tensor, *input_size: int) -> torch.Tensor:
        """Whether networks are safely within a hard limit in the device's `unit`, bool ``[n]``: where `upper` is.

        Raises:
            ConfigError: `limit` is not a positive number.
        """
        return self.upper(device, vertices, *input_size) <= checked_limit(device, limit, self.unit(device))

    def vertex_costs(self, device: str, input_size: int) -> torch.Tensor | None:
        """Numbers of each type at each vertex that `upper` is the sum of, float64 ``[vertices, types]``, if any."""
        return None

    def _device(self, name: str) -> dict[str, Any]:
        if name not in self._devices:
            hint = did_you_mean(name, self.devices)
            raise ConfigError(f"unknown device {name!r}{hint}; the devices are {', '.join(self.devices)}")
        return self._devices[name]


def checked_limit(device: str, limit: Any, unit: str) -> float:
    """`limit` if it is a positive number.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(limit, (int, float)) or isinstance(limit, bool) or not 0 < limit <= FINITE:
        raise ConfigError(f"the limit for {device!r} must be a positive number of {unit}, got {said(limit)}")
    return limit
