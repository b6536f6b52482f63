"""What models of measured devices share: their files, names, units and errors."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from metad2a_plugin._checks import did_you_mean
from metad2a_plugin._files import read_model
from metad2a_plugin.errors import CheckpointError, ConfigError

PRETRAINED = Path(__file__).parents[1] / "pretrained"
Loaded = TypeVar("Loaded", bound="FittedModel")


class FittedModel(ABC):
    """A small model in ``model.safetensors`` and ``config.json``, with the script that fits it.

    Args:
        config: the parsed ``config.json``.
    """

    folder: ClassVar[Path]
    script: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    @classmethod
    def load(cls: type[Loaded], directory: Path | None = None) -> Loaded:
        """Read ``model.safetensors`` and ``config.json`` of a directory; the shipped one by default.

        Raises:
            CheckpointError: a file is missing, damaged, or of another kind.
        """
        directory = cls.folder if directory is None else Path(directory)
        fix = "reinstall metad2a-plugin" if directory == cls.folder else f"run {cls.script} again"
        config_bytes, weight_bytes = read_model(directory, cls.title, fix)
        try:
            model = cls._restore(load_safetensors(weight_bytes), json.loads(config_bytes))
            model._check()
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, SafetensorError) as error:
            raise CheckpointError(
                f"the {cls.title} in {str(directory)!r} is damaged or of another kind "
                f"({type(error).__name__}: {str(error).splitlines()[0]}): {fix}"
            ) from error
        return model

    @classmethod
    @abstractmethod
    def _restore(cls: type[Loaded], tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> Loaded:
        """From the parts that `load` has read."""

    @abstractmethod
    def _check(self) -> None:
        """Raise ValueError, KeyError or TypeError unless the parts fit together."""


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
        """``ms`` for a latency, ``mJ`` for an energy.

        Raises:
            ConfigError: no such device.
        """
        return str(self._device(device)["unit"])

    @abstractmethod
    def check_input_size(self, device: str, size: int) -> None:
        """Refuse images of a size that the device was not measured with.

        Raises:
            ConfigError: says of which sizes it is known, in pixels; or there is no such device.
        """

    @abstractmethod
    def predict(self, device: str, vertices: torch.Tensor, input_size: int, /) -> torch.Tensor:
        """Predicted values in the device's `unit`, float32 ``[n]``, of encoded networks int64 ``[n, vertices]``.

        Raises:
            ConfigError: no such device, or another size of images.
            ArchitectureError: a row is no network.
        """

    @abstractmethod
    def upper(self, device: str, vertices: torch.Tensor, input_size: int, /) -> torch.Tensor:
        """What a hard limit is compared with, float32 ``[n]``: `predict` with the device's margin for errors on top.

        Infinite where the device does not run a network.
        """

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
    if not isinstance(limit, (int, float)) or isinstance(limit, bool) or not limit > 0:
        raise ConfigError(f"the limit for {device!r} must be a positive number of {unit}, got {limit!r}")
    return limit


def check_finite(name: str, tensor: torch.Tensor, shape: tuple[int | None, ...]) -> None:
    """Raise ValueError unless `tensor` is finite and has this shape, where None is any size."""
    fits = tensor.ndim == len(shape) and all(
        b is None or a == b for a, b in zip(tensor.shape, shape, strict=True)
    )
    if not fits or not tensor.isfinite().all():
        expected = ", ".join("n" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} of shape {list(tensor.shape)}, expected finite [{expected}]")


def device_model(space: str) -> DeviceModel:
    """The shipped model of a space's networks on measured devices.

    Raises:
        ConfigError: no device was measured with networks of that space.
    """
    from metad2a_plugin.predictors.latency import LatencyModel
    from metad2a_plugin.predictors.mobilenetv3_latency import MobileNetV3LatencyModel

    models: dict[str, type[DeviceModel]] = {"nasbench201": LatencyModel, "mobilenetv3": MobileNetV3LatencyModel}
    if space not in models:
        raise ConfigError(f"latencies are known for the spaces {' and '.join(models)}, not for {space!r}")
    return models[space].load()
