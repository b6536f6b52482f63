"""Hard limits of a search: parameters, FLOPs, and latency on devices that were measured."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from metad2a_plugin.devices.base import checked_limit
from metad2a_plugin.devices.lookup_table import LookUpTable
from metad2a_plugin.devices.shipped import device_model
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.utils.checks import integer, one_of

Tables = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | LookUpTable
"""Look-up tables of a device: a file, a folder, several of them, or what `LookUpTable.read` has read."""


@dataclass(frozen=True)
class Device:
    """Predicts what a device would measure, for images of one size.

    Attributes:
        unit: ``ms`` or ``mJ``.
        note: a sentence on what a limit on it means.
        predict: values of encoded networks, int64 ``[n, vertices]`` to ``[n]``.
        upper: what limits are compared with: `predict` with a margin for its error, infinite for what cannot run.
        table: values of each type at each vertex, ``[vertices, types]``, of which `upper` is the sum; None if none are.
    """

    unit: str
    note: str
    predict: Callable[[torch.Tensor], torch.Tensor]
    upper: Callable[[torch.Tensor], torch.Tensor]
    table: torch.Tensor | None


@dataclass(frozen=True)
class Limit:
    """One hard limit.

    Attributes:
        name: as the result calls it, such as ``max_flops``.
        label: as messages about costs call it, such as ``flops`` or a device.
        most: the limit.
        measure: what is compared with it, encoded networks int64 ``[n, vertices]`` to ``[n]``.
        table: numbers of each type at each vertex, float64 ``[vertices, types]``, of which `measure` is the sum up to
            rounding; None where it is no such sum.
    """

    name: str
    label: str
    most: float
    measure: Callable[[torch.Tensor], torch.Tensor]
    table: torch.Tensor | None

    def within(self, vertices: torch.Tensor) -> torch.Tensor:
        """Whether networks keep to it, bool ``[n]``; one that costs infinitely much never does."""
        return self.allows(self.measure(vertices))

    def allows(self, costs: torch.Tensor) -> torch.Tensor:
        """`within` for what `measure` gives."""
        return (costs <= self.most) & costs.isfinite()


class Bounds:
    """The limits that were asked for, checked before any long work.

    Args:
        space: the search space.
        max_params, max_flops: in millions.
        max_latency: by device, in milliseconds (millijoules for energies).
        latency_tables: files of look-up tables, in OFA's format, of devices of yours; see `LookUpTable`.
        devices: further ones whose values are wanted, without a limit.
        input_size: side of the images, in pixels; None takes the space's own.
        width: multiplier of all channels, where the space has that option; None leaves the space's own.

    Raises:
        ConfigError: a number is no limit, a device is not known or not at this size, or a table is of another width.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        max_params: float | None = None,
        max_flops: float | None = None,
        max_latency: Mapping[str, float] | None = None,
        latency_tables: Mapping[str, Tables] | None = None,
        devices: Sequence[str] = (),
        input_size: int | None = None,
        width: float | None = None,
    ) -> None:
        self.space = space
        self.input_size = space.input_size if input_size is None else input_size
        integer("input_size", self.input_size, 8)
        self.options: dict[str, Any] = {} if width is None else {"width": width}
        self.space.costs(space.encode([]), input_size=self.input_size, **self.options)  # refuses a wrong width
        self._costs = {"params": _millions("max_params", max_params), "flops": _millions("max_flops", max_flops)}
        tables = dict(latency_tables or {})
        names = dict.fromkeys([*tables, *(max_latency or {}), *devices])
        self.devices = {name: self.device(name, tables.get(name)) for name in names}
        self.max_latency = {
            name: checked_limit(name, limit, self.devices[name].unit) for name, limit in (max_latency or {}).items()
        }

    @classmethod
    def named(cls, space: SearchSpace, limits: Mapping[str, Any]) -> Bounds:
        """From arguments by name.

        Raises:
            ConfigError: there is no such argument, or as above.
        """
        for name in limits:
            one_of("limit", name, tuple(inspect.signature(cls).parameters)[1:])
        return cls(space, **limits)

    def device(self, name: str, tables: Tables | None = None) -> Device:
        """A device by its name, or by look-up tables of it.

        Raises:
            ConfigError: it is not known, or not for this size of images, or the tables are of another width.
        """
        size = self.input_size
        if tables is not None:
            width = float(self.options.get("width", 1.0))
            paths = [tables] if isinstance(tables, (str, os.PathLike)) else tables
            read = paths if isinstance(paths, LookUpTable) else LookUpTable.read(*paths, width=width)
            return _of_tables(self.space, read, width, size)
        model = device_model(self.space.name)
        model.check_input_size(name, size)
        return Device(
            unit=model.unit(name),
            note=model.note,
            predict=lambda vertices: model.predict(name, vertices, size),
            upper=lambda vertices: model.upper(name, vertices, size),
            table=model.vertex_costs(name, size),
        )

    def cost_options(self, num_classes: int | None = None) -> dict[str, Any]:
        """Options of the space's `costs`; its own number of classes if None."""
        classes = {} if num_classes is None else {"num_classes": num_classes}
        return {"input_size": self.input_size} | self.options | classes

    def limits(self, num_classes: int | None = None) -> list[Limit]:
        """What was asked for, with costs counted for so many classes; the space's own number if None."""
        return [
            *(self.cost(label, most, num_classes) for label, most in self._costs.items() if most is not None),
            *(self.latency(device, most) for device, most in self.max_latency.items()),
        ]

    def cost(self, label: str, most: float, num_classes: int | None = None) -> Limit:
        """A limit of ``params`` or ``flops``."""
        options, which = self.cost_options(num_classes), ("params", "flops").index(label)
        tables = self.space.vertex_costs(**options)

        def measure(vertices: torch.Tensor) -> torch.Tensor:
            return self.space.costs(vertices, **options)[which]

        return Limit(f"max_{label}", label, most, measure, None if tables is None else tables[which])

    def latency(self, name: str, most: float) -> Limit:
        """A limit on one of `devices`."""
        device = self.devices[name]
        table = None if device.table is None else _finite(device.table)
        return Limit(f"max_latency {name}", name, most, device.upper, table)

    def units(self) -> dict[str, str]:
        """Of the devices' values."""
        return {name: device.unit for name, device in self.devices.items()}

    def notes(self) -> tuple[str, ...]:
        """What to know of the devices, in sentences."""
        return tuple(dict.fromkeys(device.note for device in self.devices.values()))

    def to_dict(self) -> dict[str, float]:
        """The limits by name."""
        return {limit.name: float(limit.most) for limit in self.limits()}


def _of_tables(space: SearchSpace, tables: LookUpTable, width: float, size: int) -> Device:
    if space.name != "mobilenetv3":
        raise ConfigError(f"look-up tables are read for networks of the space 'mobilenetv3', not of {space.name!r}")
    if tables.width != width:
        raise ConfigError(
            f"the look-up tables are of networks of width {tables.width:g}, the search is of width {width:g}; "
            f"set width to {tables.width:g}"
        )
    table = tables.vertex_costs(size)
    places = torch.arange(len(table))

    def total(vertices: torch.Tensor) -> torch.Tensor:
        return table[places, space.simplify(vertices).cpu()].sum(1)

    note = "A limit on a look-up table of yours holds for the sum of its entries."
    return Device(unit=tables.unit, note=note, predict=total, upper=total, table=table)


def _finite(table: torch.Tensor) -> torch.Tensor:
    """With ten times the highest number in place of infinity: what `Limit.measure` refuses is steered away from."""
    return table.masked_fill(table.isinf(), 10 * float(table[1:][table[1:].isfinite()].max()))


def _millions(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if not isinstance(value, (int, float)) or not (math.isfinite(value) and value > 0):
        raise ConfigError(f"{name} must be a positive number of millions, such as 0.5, got {value!r}")
    if value > 1e5:
        raise ConfigError(f"{name} is counted in millions, and {value:g} million is more than any network here")
    return value

