"""Hard limits of a search: parameters, FLOPs, and latency on devices that were measured."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from typing import Any

import torch

from metad2a_plugin.devices.base import DeviceModel, checked_limit
from metad2a_plugin.devices.lookup_table import LookUpTable
from metad2a_plugin.errors import ConfigError, said
from metad2a_plugin.plugins.registry import get_device_models
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.spaces.given import check_size
from metad2a_plugin.utils.checks import NamedSettings, did_you_mean, instance, integer

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


_ARGUMENTS = ("adapt", "budget", "dataset", "effort", "encoder", "limits", "model", "predictor", "progress", "top")
"""What searches and strategies take besides, for those who mistype it."""


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, Sequence) else [value]


@dataclass(frozen=True)
class Limits(NamedSettings):
    """Hard limits of a search and the size of the networks they are counted for, checked before any long work.

    Attributes:
        space: the search space.
        max_params, max_flops: in millions.
        max_latency: by device, in milliseconds (millijoules for energies); they hold with the device's error on top.
        latency_tables: files of look-up tables, in OFA's format, of devices of yours; see `LookUpTable`.
        devices: further ones whose values are wanted, without a limit.
        input_size: side of the images, in pixels; None takes the space's own.
        num_classes: outputs of the networks that costs are counted for; None takes the dataset's.
        options: of the networks, where the space has such options (`SearchSpace.check_options`), such as ``width``.

    Raises:
        ConfigError: a number is no limit, a device is not known or not at this size, a table is of another width, or
            the space has no such option.
    """

    space: SearchSpace
    max_params: float | None = None
    max_flops: float | None = None
    max_latency: Mapping[str, float] = field(default_factory=dict)
    latency_tables: Mapping[str, Tables] = field(default_factory=dict)
    devices: Sequence[str] = ()
    input_size: int | None = None
    num_classes: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        instance("space", self.space, SearchSpace, "a search space, such as get_space('nasbench201')")
        instance("max_latency", self.max_latency, Mapping, "a dict by device, such as {'pixel3': 8}")
        instance("latency_tables", self.latency_tables, Mapping, "a dict of files, such as {'phone': 'phone.yaml'}")
        instance("options", self.options, Mapping, "options of the networks by name")
        if isinstance(self.devices, (str, bytes)) or not all(isinstance(name, str) for name in _listed(self.devices)):
            raise ConfigError(f"devices must be a list of names, such as ['pixel3'], got {self.devices!r}")
        integer("input_size", self.size, 8)
        if self.num_classes is not None:
            check_size("num_classes", self.num_classes)
        for name, needed in (("max_latency", "limits"), ("latency_tables", "files")):
            if not isinstance(value := getattr(self, name), Mapping):
                raise ConfigError(f"{name} must be {needed} by the name of the device, got {said(value)}")
        self.space.check_options(self.options)
        _millions("max_params", self.max_params)
        _millions("max_flops", self.max_flops)
        for name, device in self.measured.items():
            if name in self.max_latency:
                checked_limit(name, self.max_latency[name], device.unit)

    @classmethod
    def of(cls, space: SearchSpace, arguments: Mapping[str, Any], others: Sequence[str] = ()) -> Limits:
        """From arguments by name, of which those that are no attributes are options of the networks.

        Arguments of None are left out. What else the caller takes, `others`, is named in messages.

        Raises:
            ConfigError: there is no such argument or option, or as above.
        """
        given = {name: value for name, value in arguments.items() if value is not None}
        names = [attribute.name for attribute in fields(cls)][1:]
        options = {name: given.pop(name) for name in [name for name in given if name not in names]}
        for name, value in options.items():
            try:
                space.check_options({name: value})
            except ConfigError:
                known = (*names, *others)
                networks = list(inspect.signature(space.build).parameters)[2:]
                if name not in networks and (hint := did_you_mean(name, (*known, *networks, *_ARGUMENTS))):
                    raise ConfigError(f"unknown limit {name!r}{hint}; known are {', '.join(known)}") from None
                raise
        return cls(space, **given | {"options": {**given.get("options", {}), **options}})

    @property
    def size(self) -> int:
        """Side of the images, in pixels."""
        return self.space.input_size if self.input_size is None else self.input_size

    @cached_property
    def measured(self) -> dict[str, Device]:
        """The devices that are limited or wanted, by name."""
        names = dict.fromkeys([*self.latency_tables, *self.max_latency, *self.devices])
        return {name: self.device(name, self.latency_tables.get(name)) for name in names}

    @cached_property
    def device_models(self) -> DeviceModel:
        """Of all devices that were measured with networks of this space.

        Raises:
            ConfigError: no device was.
        """
        return _loaded(get_device_models(self.space.name))

    def device(self, name: str, tables: Tables | None = None) -> Device:
        """A device by its name, or by look-up tables of it.

        Raises:
            ConfigError: it is not known, or not for this size of images, or the tables are of another width.
        """
        size = self.size
        if tables is not None:
            width = float(self.options.get("width", 1.0))
            paths = [tables] if isinstance(tables, (str, os.PathLike)) else tables
            read = paths if isinstance(paths, LookUpTable) else LookUpTable.read(*paths, width=width)
            return _of_tables(self.space, read, width, size)
        model = self.device_models
        model.check_input_size(name, size)
        for option, parameter in inspect.signature(self.space.build).parameters.items():
            value, measured = self.options.get(option), parameter.default
            # Smaller networks than those that were measured are faster, so that limits hold for them.
            if value is not None and isinstance(measured, (int, float)) and value > measured:
                raise ConfigError(
                    f"the latency of {name!r} is known of networks with {option} {measured:g} or less, not {value:g}; "
                    "give at most that, or limit max_flops instead"
                )
        return Device(
            unit=model.unit(name),
            note=model.note,
            predict=lambda vertices: model.predict(name, vertices, size),
            upper=lambda vertices: model.upper(name, vertices, size),
            table=model.vertex_costs(name, size),
        )

    def cost_options(self, num_classes: int | None = None) -> dict[str, Any]:
        """Options of the space's `costs`, for the limits' own number of classes, else this one, else the space's."""
        classes = {} if (count := self.num_classes or num_classes) is None else {"num_classes": count}
        return {"input_size": self.size, **self.options, **classes}

    def limits(self, num_classes: int | None = None) -> list[Limit]:
        """What was asked for, with costs counted for so many classes; the space's own number if None."""
        costs = {"params": self.max_params, "flops": self.max_flops}
        return [
            *(self.cost(label, most, num_classes) for label, most in costs.items() if most is not None),
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
        """A limit on one of the devices `measured`."""
        device = self.measured[name]
        table = None if device.table is None else _finite(device.table)
        return Limit(f"max_latency {name}", name, most, device.upper, table)

    def units(self) -> dict[str, str]:
        """Of the devices' values."""
        return {name: device.unit for name, device in self.measured.items()}

    def notes(self) -> tuple[str, ...]:
        """What to know of the devices, in sentences."""
        return tuple(dict.fromkeys(device.note for device in self.measured.values()))

    def to_dict(self) -> dict[str, float]:
        """The limits by name."""
        return {limit.name: float(limit.most) for limit in self.limits()}


@lru_cache
def _loaded(models: type[DeviceModel]) -> DeviceModel:
    """Once in a process: of a small space, a model keeps what it says of all networks."""
    return models.load()


def _of_tables(space: SearchSpace, tables: LookUpTable, width: float, size: int) -> Device:
    if space.name != tables.space:
        raise ConfigError(f"look-up tables are read for networks of the space {tables.space!r}, not of {space.name!r}")
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


def _millions(name: str, value: Any) -> None:
    if value is None:
        return
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < math.inf:
        raise ConfigError(f"{name} must be a positive number of millions, such as 0.5, got {said(value)}")
    if value > 1e5:
        raise ConfigError(f"{name} is counted in millions, and {said(value)} million is more than any network here")
