"""The shipped models of measured devices, by search space."""

from __future__ import annotations

from metad2a_plugin.devices.base import DeviceModel
from metad2a_plugin.errors import ConfigError


def device_model(space: str) -> DeviceModel:
    """The shipped model of a space's networks on measured devices.

    Raises:
        ConfigError: no device was measured with networks of that space.
    """
    from metad2a_plugin.devices.mobilenetv3 import MobileNetV3LatencyModel
    from metad2a_plugin.devices.nasbench201 import LatencyModel

    models: dict[str, type[DeviceModel]] = {"nasbench201": LatencyModel, "mobilenetv3": MobileNetV3LatencyModel}
    if space not in models:
        raise ConfigError(f"latencies are known for the spaces {' and '.join(models)}, not for {space!r}")
    return models[space].load()
