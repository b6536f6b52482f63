"""Images that are encoded when a draw asks for them, and statistics that are computed when they are; both cached."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from metad2a_plugin.data.pixels import DatasetWarning
from metad2a_plugin.data.statistics import STATISTICS, StatisticsOf
from metad2a_plugin.data.streamed import Pixels
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.encoder import ImageEncoder
from metad2a_plugin.utils.files import write_atomically
from metad2a_plugin.utils.progress import stages
from metad2a_plugin.utils.schema import integer, mapping_of, parse_json, record, refuse, text
from metad2a_plugin.utils.tensors import TensorFile, bound_shapes

_TOLD = ("broken", "distinct", "contrary", "statistics")

_TYPES = {"features": "F32", "encoded": "BOOL", "kept": "I64"}


def _real(value: Any, where: str) -> float:
    """A statistic, which may be NaN."""
    return value if isinstance(value, float) else refuse(where, "a number", value)


_KNOWN = record(
    {
        "broken": mapping_of(text()),
        "distinct": integer(0),
        "contrary": integer(0),
        "statistics": mapping_of(_real),
    }
)


@dataclass
class Known:
    """What is known of the images of a dataset, and where it is cached.

    Attributes:
        features: float32 ``[readable images, dim]``.
        encoded: which of them are there, bool ``[readable images]``.
        kept: positions of the readable images in the sampled dataset, int64.
        broken: why others cannot be read, by name.
        distinct: how many of the readable images differ.
        contrary: how many have the same pixels as one of another class.
        statistics: of `data.statistics`; empty while they are not known.
        path: of the cache; None for no cache.
    """

    features: torch.Tensor
    encoded: torch.Tensor
    kept: torch.Tensor
    broken: dict[str, str]
    distinct: int
    contrary: int
    statistics: dict[str, float] = field(default_factory=dict)
    path: Path | None = None

    @classmethod
    def load(cls, path: Path, count: int, dim: int) -> Known | None:
        """What is cached of `count` images; None where nothing is, or (with a warning) where it is damaged."""
        if not path.exists():
            return None
        try:
            file = TensorFile(path)
            told = _KNOWN({name: parse_json(file.metadata[name], constants=True) for name in _TOLD}, "")
            sizes = {"images": count - len(told["broken"]), "dim": dim}
            bound_shapes(file.shapes, {"features": "images dim", "encoded": "images", "kept": "images"}, sizes)
            for name, dtype in _TYPES.items():
                file.require((dtype,), [name])
            tensors = file.read()
            return cls(tensors["features"], tensors["encoded"], tensors["kept"], **told, path=path)
        except (OSError, KeyError, ValueError):
            pass
        warnings.warn(f"cached features {path} are damaged and are computed again", DatasetWarning, stacklevel=4)
        return None

    def store(self) -> None:
        """Write the cache; where that cannot be, a warning says so, once."""
        if self.path is None:
            return
        tensors = {name: getattr(self, name) for name in ("features", "encoded", "kept")}
        try:
            told = {name: json.dumps(getattr(self, name)) for name in _TOLD}
            write_atomically(self.path, save(tensors, metadata=told))
        except ConfigError as error:
            warnings.warn(
                f"features could not be cached in {self.path.parent} and will be computed again next time "
                f"({error.__cause__}); set METAD2A_CACHE to a folder that can be written",
                DatasetWarning,
                stacklevel=4,
            )
            self.path = None


class EncodedRows:
    """Features of a dataset's images by row, each encoded when it is first asked for.

    Args:
        pixels: of the readable images, uint8 ``[n, 3, size, size]``.
        encoder: makes the features.
        known: those that are there.
        name: of the dataset, for the progress bar.
        batch_size: images encoded at once.
        progress: show a progress bar where stderr is a terminal.
    """

    def __init__(
        self, pixels: Pixels, encoder: ImageEncoder, known: Known, name: str, batch_size: int, progress: bool
    ) -> None:
        self.pixels, self.encoder, self.known = pixels, encoder, known
        self.name, self.batch_size, self.progress = name, batch_size, progress
        self.dim = encoder.dim

    def __len__(self) -> int:
        return len(self.known.kept)

    def __getitem__(self, rows: torch.Tensor) -> torch.Tensor:
        """Features float32 ``[..., dim]`` of rows int64 ``[...]``.

        Raises:
            ConfigError: the encoder breaks its contract.
        """
        missing = rows.unique()
        missing = missing[~self.known.encoded[missing]]
        with stages(self.progress and len(missing) > 0, brief=True) as report:
            for start in range(0, len(missing), self.batch_size):
                report(f"Encoding {self.name}", start, len(missing), "")
                part = missing[start : start + self.batch_size]
                self.known.features[part] = _checked(self.encoder, self.encoder(self.pixels[part]), len(part))
        if len(missing):
            self.known.encoded[missing] = True
            self.known.store()
        return self.known.features[rows]


def _checked(encoder: ImageEncoder, features: torch.Tensor, count: int) -> torch.Tensor:
    if tuple(features.shape) != (count, encoder.dim):
        raise ConfigError(
            f"encoder {encoder.name!r} returned shape {list(features.shape)} for {count} images, "
            f"expected [{count}, {encoder.dim}]"
        )
    if not torch.isfinite(features).all():
        raise ConfigError(f"encoder {encoder.name!r} returned NaN or infinite features; check its weights")
    return features.detach().to("cpu", torch.float32)


class PixelStatistics(Mapping[str, float]):
    """`data.statistics.image_statistics` of a dataset, computed when one is first asked for.

    Args:
        pixels: of the readable images.
        labels: class of each, int64 ``[n]``.
        known: where they are kept.
        batch_size: images at once.
    """

    def __init__(self, pixels: Pixels, labels: torch.Tensor, known: Known, batch_size: int) -> None:
        self._pixels, self._labels, self._known, self._batch_size = pixels, labels, known, batch_size

    def __getitem__(self, name: str) -> float:
        if not self._known.statistics:
            statistics = StatisticsOf()
            for part in self._pixels.split(self._batch_size):
                statistics.add(part)
            self._known.statistics = statistics.of(self._labels)
            self._known.store()
        return self._known.statistics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(STATISTICS)

    def __len__(self) -> int:
        return len(STATISTICS)

    def __reduce__(self) -> tuple[type[dict[str, float]], tuple[dict[str, float]]]:
        return dict, (dict(self),)
