"""How long a network takes for an image: measured here, and predicted for devices that others measured."""

from __future__ import annotations

import statistics
import time
from typing import NamedTuple

import torch

from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.training.classifier import Classifier, ImageClassifier
from metad2a_plugin.utils.torch_device import one_thread

_RUNS, _WARMING = 15, 3


class Latency(NamedTuple):
    """Of one image on a device.

    Attributes:
        device: its name.
        value: in `unit`.
        unit: ``ms``, or ``mJ`` for an energy.
        most: whether it is a bound: the network is smaller than those that were measured.
    """

    device: str
    value: float
    unit: str
    most: bool


@torch.inference_mode()
def here(network: Classifier) -> float:
    """Milliseconds for one image on a thread of this machine's CPU, the median of some runs."""
    network = network.cpu().eval()
    image = torch.zeros(1, 3, network.input_size, network.input_size, dtype=torch.uint8)
    seconds = []
    with one_thread():
        for _ in range(_WARMING + _RUNS):
            began = time.perf_counter()
            network(image)
            seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds[_WARMING:])


def predicted(network: Classifier) -> list[Latency]:
    """On each device that is known for images of this size; none for a network of no space, or larger ones."""
    if not isinstance(network, ImageClassifier):
        return []
    space, options = network.space, network.options
    limits = Limits(space, input_size=network.input_size, options=options)
    vertices, found = space.encode([network.architecture]), []
    smaller = space.cost(network.architecture, **options).params < space.cost(network.architecture).params
    try:
        names = limits.device_models.devices
    except ConfigError:
        return []
    for name in names:
        try:
            device = limits.device(name)
        except ConfigError:  # not known at this size
            continue
        value = float(device.upper(vertices)[0])
        if value < float("inf"):
            found.append(Latency(name, value if smaller else float(device.predict(vertices)[0]), device.unit, smaller))
    return found
