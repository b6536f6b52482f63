"""Latency of MobileNetV3 networks from look-up tables in OFA's format, read from files of yours.

A table holds the measured milliseconds of every layer that a network of one width can have at one resolution; a network
takes the sum of its layers (Cai et al., ICLR 2020, section 4.2). OFA publishes tables of the Samsung Note 10 for
networks of width 1.2. In YAML or JSON, an entry reads::

    expanded_conv-input:28x28x48-output:14x14x96-expand:144-kernel:3-stride:2-idskip:0-se:0-hs:1:
      mean: 0.731

where `expand` counts channels, `idskip` says whether input and output are added, `se` whether there is
squeeze-and-excitation, and `hs` whether activations are hard-swish. The other layers are called ``Conv``, ``Conv_1``,
``AvgPool2D``, ``Conv_2`` and ``Logits``. A plain number instead of a mapping with `mean` is read too.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metad2a_plugin.errors import ConfigError, require, said, shortened
from metad2a_plugin.nn.channels import divisible
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.mobilenetv3.layout import (
    DEPTHS,
    EXPANDS,
    KERNELS,
    LAYERS,
    STAGES,
    Stage,
    halved,
    layout,
)
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
from metad2a_plugin.utils.lazy import torch
from metad2a_plugin.utils.schema import SchemaError, anything, mapping_of, number, parse_json, read_bytes, why

SUFFIXES = (".json", ".yaml", ".yml")
_STEM = re.compile(r"Conv-input:(\d+)x\1x3-output:\d+x\d+x(\d+)")
_SPACE = MobileNetV3Space()
_LARGEST = 2**17
_LAYERS = mapping_of(anything)
_ENTRY = number(0, 1e9)


class LookUpTable:
    """Sums a network's latency layer by layer.

    Args:
        tables: by resolution, milliseconds of each layer by OFA's name of it.
        width: multiplier of all channels, of the networks that were measured.

    Raises:
        ConfigError: there is no table, or one is of another width.
    """

    space = _SPACE.name
    unit = "ms"

    def __init__(self, tables: Mapping[int, Mapping[str, float]], width: float = 1.2) -> None:
        self.width = width
        self._layout = layout(width)
        self._tables = {resolution: tables[resolution] for resolution in sorted(tables)}
        self._sums: dict[int, tuple[float, torch.Tensor]] = {}
        if not tables:
            raise ConfigError("no look-up table; give files in OFA's format, one for each resolution")
        for resolution, table in self._tables.items():
            found = next(filter(None, map(_STEM.fullmatch, table)), None)
            if found is not None and int(found[2]) != self._layout.stem:
                raise ConfigError(
                    f"the look-up table of {resolution} pixels begins with {found[2]} channels, a network of width "
                    f"{width:g} with {self._layout.stem}; set width to that of the networks that were measured"
                )

    @classmethod
    def read(cls, *paths: str | os.PathLike[str], width: float = 1.2) -> LookUpTable:
        """Read files, or all those of folders, one for each resolution, which the table itself says.

        Args:
            *paths: ``.yaml``, ``.yml`` (extra ``ofa``) or ``.json``.
            width: as above.

        Raises:
            ConfigError: a file cannot be read or is no table, or two are of one resolution.
            MissingExtraError: a file is YAML and PyYAML is not installed.
        """
        tables: dict[int, Mapping[str, float]] = {}
        for path in _files(paths):
            resolution, table = _read(path)
            if resolution in tables:
                raise ConfigError(f"{str(path)!r} is a second look-up table of {resolution} pixels; give one of them")
            tables[resolution] = table
        return cls(tables, width)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """Sides of the images, in pixels, that there are tables of."""
        return tuple(self._tables)

    def latency(self, architecture: Architecture, resolution: int = 224) -> float:
        """Milliseconds of one network, float.

        Raises:
            ConfigError: there is no table of `resolution`, or it lacks a layer of the network.
        """
        return float(self.predict(_SPACE.encode([architecture]), resolution)[0])

    def predict(self, vertices: torch.Tensor, resolution: int = 224) -> torch.Tensor:
        """Milliseconds of encoded networks, int64 ``[n, 22]`` to float64 ``[n]``; errors as in `latency`."""
        self.check_input_size(resolution)
        layers = _SPACE.simplify(vertices)[:, 1:-1] - 2
        if resolution not in self._sums:
            self._sums[resolution] = self._summands(resolution)
        fixed, table = self._sums[resolution]
        chosen = table[torch.arange(STAGES * LAYERS), layers.cpu()]
        if chosen.isnan().any():
            row, layer = chosen.isnan().nonzero()[0].tolist()
            key = self._keys(resolution)[layer][int(layers[row, layer])]
            raise ConfigError(
                f"the look-up table of {resolution} pixels has no {key!r}: measure that layer, or set width to that "
                "of the networks that were measured"
            )
        return fixed + chosen.sum(1)

    def check_input_size(self, size: int) -> None:
        """Refuse images of a size that there is no table of.

        Raises:
            ConfigError: says of which sizes there are.
        """
        if size not in self._tables:
            known = ", ".join(map(str, self.resolutions))
            raise ConfigError(f"no look-up table of {size} pixels; there are tables of {known}")

    def vertex_costs(self, resolution: int) -> torch.Tensor:
        """Milliseconds of each type at each vertex, float64 ``[22, 29]``; infinite where the table lacks a layer.

        Raises:
            ConfigError: there is no table of `resolution`, or it lacks what every network has.
        """
        self.check_input_size(resolution)
        fixed, table = self._summands(resolution)
        costs = torch.zeros(_SPACE.num_vertices, len(_SPACE.vertex_types), dtype=torch.float64)
        costs[0, 0], costs[1:-1, 2:] = fixed, table.nan_to_num(nan=math.inf)
        return costs

    # -- private -----------------------------------------------------------------------------
    def _summands(self, resolution: int) -> tuple[float, torch.Tensor]:
        """Of all but the searched layers, and of each of these by its type, float64 ``[20, 27]``, NaN if missing."""
        table = self._tables[resolution]
        missing = [key for key in self._fixed_keys(resolution) if key not in table]
        if missing:
            raise ConfigError(
                f"the look-up table of {resolution} pixels has no {missing[0]!r}, which every network of width "
                f"{self.width:g} has; set width to that of the networks that were measured"
            )
        rows = [[0.0 if k is None else table.get(k, math.nan) for k in kinds] for kinds in self._keys(resolution)]
        return sum(table[key] for key in self._fixed_keys(resolution)), torch.tensor(rows, dtype=torch.float64)

    def _fixed_keys(self, resolution: int) -> list[str]:
        stem, stages, head, features = self._layout
        first, final = halved(resolution, 2), stages[-1].width
        last = first
        for stage in stages:
            last = halved(last, stage.stride)
        early = Stage(stem, 1, squeeze=False, hard_swish=False)
        return [
            f"Conv-input:{resolution}x{resolution}x3-output:{first}x{first}x{stem}",
            _layer_key(stem, stem, 3, 1, first, early, added=True),
            f"Conv_1-input:{last}x{last}x{final}-output:{last}x{last}x{head}",
            f"AvgPool2D-input:{last}x{last}x{head}-output:1x1x{head}",
            f"Conv_2-input:1x1x{head}-output:1x1x{features}",
            f"Logits-input:1x1x{features}-output:1000",
        ]

    def _keys(self, resolution: int) -> list[list[str | None]]:
        """Names of the searched layers, ``[20][27]``; None beyond the depth of the stage."""
        inputs, size, keys = self._layout.stem, halved(resolution, 2), []
        for stage in self._layout.stages:
            for layer in range(LAYERS):
                stride = 1 if layer else stage.stride
                kinds = [
                    _layer_key(inputs, divisible(inputs * e), k, stride, size, stage, added=layer > 0)
                    for k in KERNELS
                    for e in EXPANDS
                ]
                keys.append([kind if layer < depth else None for depth in DEPTHS for kind in kinds])
                inputs, size = stage.width, halved(size, stride)
        return keys


def _layer_key(inputs: int, middle: int, kernel: int, stride: int, size: int, stage: Stage, *, added: bool) -> str:
    out = halved(size, stride)
    return (
        f"expanded_conv-input:{size}x{size}x{inputs}-output:{out}x{out}x{stage.width}-expand:{middle}-kernel:{kernel}-"
        f"stride:{stride}-idskip:{added:d}-se:{stage.squeeze:d}-hs:{stage.hard_swish:d}"
    )


def _files(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    files: list[Path] = []
    for path in map(Path, paths):
        folder = os.path.isdir(path)  # unlike Path.is_dir, never raises
        inside = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES) if folder else [path]
        if not inside:
            raise ConfigError(f"the folder {str(path)!r} holds no look-up table, {', '.join(SUFFIXES)}")
        files += inside
    return files


def _read(path: Path) -> tuple[int, dict[str, float]]:
    """The resolution and the milliseconds of each layer."""
    if path.suffix not in SUFFIXES:
        raise ConfigError(f"a look-up table is a file {', '.join(SUFFIXES)}, got {said(str(path))}")
    if path.suffix != ".json":
        require("ofa", "reading a YAML look-up table", "yaml")
    try:
        entries = _parsed(path)
        table = {name: _milliseconds(entry, name) for name, entry in _LAYERS(entries, "the table").items()}
    except OSError as error:
        raise ConfigError(f"cannot read the look-up table {str(path)!r}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(
            f"{str(path)!r} is no look-up table in OFA's format, which maps names of layers to their mean "
            f"milliseconds ({why(error)})"
        ) from error
    sides = {int(found[1]) for found in map(_STEM.fullmatch, table) if found}
    if len(sides) != 1:
        raise ConfigError(
            f"{str(path)!r} must hold the layers of networks for images of one size: one 'Conv-input:224x224x3-...', "
            f"got {len(sides)}"
        )
    return sides.pop(), table


def _parsed(path: Path) -> Any:
    """The values of a file; `SchemaError` if it is damaged."""
    data = read_bytes(path, _LARGEST)
    if path.suffix == ".json":
        return parse_json(data)
    import yaml

    try:
        # Without aliases nothing is larger than it is written.
        if b"*" in data and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(data, yaml.SafeLoader)):
            raise SchemaError("it refers to parts of itself")
        return yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise SchemaError(f"it is no YAML: {shortened(str(error).splitlines()[0])}") from error
    except RecursionError:
        raise SchemaError("it is too deep") from None
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # of PyYAML, of numbers and dates
        raise SchemaError(f"it is no YAML of plain values ({why(error)})") from error


def _milliseconds(entry: Any, name: str) -> float:
    return _ENTRY(entry["mean"] if isinstance(entry, Mapping) and "mean" in entry else entry, name)
