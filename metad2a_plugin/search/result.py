"""What a search found: `SearchResult`, and its `Candidate`s."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.search.predictor import FAR
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.interfaces import Drawable
from metad2a_plugin.utils.files import write_json
from metad2a_plugin.utils.rows import data_frame, html_table

if TYPE_CHECKING:
    import pandas

UNKNOWN = "-"
"""In tables, in place of a level that is a guess, and of its interval."""
LEVEL = 0.9
"""Probability of the intervals that are reported."""

Source = Literal["exhaustive", "generated", "random"]


@dataclass(frozen=True)
class Candidate:
    """One ranked architecture.

    Attributes:
        rank: from 1.
        architecture, architecture_str: the same, as an object and in the field's string.
        score: what the predictor says, which orders; see `SearchResult.scale`.
        accuracy: the score where it is an accuracy, in percent, and its level is known; else None.
        interval: 90% of measured values are expected inside; None where the predictor does not know.
        params, flops: millions, of the network for this dataset's number of classes.
        latency: predicted milliseconds (or millijoules) by device, for the devices that were asked for.
        ofa_config: of ``mobilenetv3``, what the package ``ofa`` takes; None elsewhere, and at sizes it does not know.
    """

    rank: int
    architecture: Architecture
    architecture_str: str
    score: float
    accuracy: float | None
    interval: tuple[float, float] | None
    params: float
    flops: float
    latency: Mapping[str, float] = field(default_factory=dict)
    ofa_config: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        found = {
            "rank": self.rank,
            "architecture": self.architecture_str,
            "score": self.score,
            "accuracy": self.accuracy,
            "interval": None if self.interval is None else list(self.interval),
            "params_m": self.params,
            "flops_m": self.flops,
            "latency": dict(self.latency),
        }
        if self.accuracy is None:
            del found["accuracy"]
        return found if self.ofa_config is None else found | {"ofa_config": dict(self.ofa_config)}

    def cost(self, name: str) -> float:
        """``params``, ``flops``, or the latency on a device."""
        return {"params": self.params, "flops": self.flops, **self.latency}[name]


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Attributes:
        candidates: the best ones, best first.
        dataset: name of the dataset; None where the predictor needs none.
        num_classes: of the networks.
        space: search space.
        model: name of the checkpoint; None where there was none.
        predictor: name of what ranked: the checkpoint, unless another predictor was asked for.
        quantity, unit, scale: of `Candidate.score`: ``accuracy`` or ``score``, its unit, and a sentence on what it is.
        source: ``exhaustive`` (every network of the space was ranked), ``generated`` (for the dataset), or ``random``.
        considered: different networks that were ranked.
        queries: networks that the predictor has scored.
        refined: how many of them it was asked about after the first ones, where these promised most.
        rejected: how many of the networks listed or drawn were left out, by reason: ``dead``, ``duplicate``, ``bound``.
        bounds: the limits that were asked for.
        units: of the devices' latencies or energies.
        notes: what to know of the devices and of what networks are ranked for, in sentences.
        input_size: side of the images that costs are counted for, in pixels.
        options: further options of the networks, such as ``width``.
        budget: what networks are ranked for, with its number of training images; None is long training.
        distance: that the dataset may have from those of meta-training, where known; 99% of those lie within 1.
        level_unknown: why accuracies are left out and scores are of use for their order only; None where they are not.
        seconds: wall-clock time, by part: ``features`` (reading and encoding images), ``search``.
    """

    candidates: tuple[Candidate, ...]
    dataset: str | None
    num_classes: int
    space: str
    model: str | None
    predictor: str
    quantity: str
    unit: str
    scale: str
    source: Source
    considered: int
    queries: int
    refined: int
    rejected: Mapping[str, int]
    bounds: Mapping[str, float]
    units: Mapping[str, str]
    notes: tuple[str, ...]
    input_size: int
    options: Mapping[str, Any]
    budget: Budget | None
    distance: float | None
    level_unknown: str | None
    seconds: Mapping[str, float]

    @property
    def best(self) -> Candidate:
        return self.candidates[0]

    @property
    def architectures(self) -> list[Architecture]:
        """Of the candidates, best first."""
        return [candidate.architecture for candidate in self.candidates]

    @property
    def far(self) -> bool:
        """Whether the dataset is, or may be, unlike those of meta-training."""
        return self.distance is not None and self.distance > FAR

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain = {name: dict(value) if isinstance(value, Mapping) else value for name, value in vars(self).items()}
        # An accuracy that is not known is there, and null.
        unknown = {"accuracy": None} if self.quantity == "accuracy" else {}
        candidates = [unknown | candidate.to_dict() for candidate in self.candidates]
        budget = None if self.budget is None else self.budget.to_dict()
        own = {"notes": list(self.notes), "budget": budget, "interval_level": LEVEL, "candidates": candidates}
        return plain | own

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Names of the columns, and the texts of each candidate, best first; without the architectures."""
        devices = list(self.best.latency)
        intervals = any(c.interval for c in self.candidates)
        names = ["rank", self.quantity, *(["90% interval"] if intervals else []), "params", "MACs"]
        names += [f"{device} ({self.units[device]})" for device in devices]
        digits = 2 if all(c.interval and c.interval[1] - c.interval[0] < 1 for c in self.candidates) else 1
        rows = []
        for c in self.candidates:
            value = f"{c.score:.{digits}f}{self.unit}" if self.unit else f"{c.score:.4g}"
            interval = [f"{c.interval[0]:.{digits}f} to {c.interval[1]:.{digits}f}" if c.interval else ""]
            if self.level_unknown is not None:
                value, interval = UNKNOWN, [UNKNOWN]
            costs = [f"{c.params:.3f} M", f"{c.flops:.1f} M", *(f"{c.latency[device]:.3g}" for device in devices)]
            rows.append([str(c.rank), value, *(interval if intervals else []), *costs])
        return names, rows

    def to_dataframe(self) -> pandas.DataFrame:
        """A row for each candidate, best first, with its interval in two columns and each latency in one.

        Raises:
            MissingExtraError: pandas is not installed (extra ``pandas``).
        """
        rows = []
        for candidate in self.candidates:
            plain = candidate.to_dict()
            low, high = plain.pop("interval") or (None, None)
            latency = {f"{device}_{self.units[device]}": value for device, value in plain.pop("latency").items()}
            plain.pop("ofa_config", None)
            rows.append({**plain, "low": low, "high": high, **latency})
        return data_frame(rows)

    def _repr_html_(self) -> str:
        names, rows = self.table()
        rows = [[*row, candidate.architecture_str] for row, candidate in zip(rows, self.candidates, strict=True)]
        title = f"{self.dataset or self.space}: {self.num_classes:,} classes, ranked by {self.predictor}"
        return html_table(title, [*names, "architecture"], rows, (self.scale, *self.notes))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_dict` as JSON.

        Raises:
            ConfigError: the file cannot be written.
        """
        write_json(path, self.to_dict())

    def draw(
        self, directory: str | os.PathLike[str], suffix: str = ".svg", space: SearchSpace | None = None
    ) -> list[Path]:
        """Draw each candidate as ``01.svg``, ``02.svg``, ...; returns the files. An unregistered space must be given.

        Raises:
            ConfigError: the space cannot be drawn, or a file cannot be written.
            MissingExtraError: matplotlib is not installed (extra ``draw``).
        """
        space, files = space or get_space(self.space), []
        if not isinstance(space, Drawable):
            raise ConfigError(f"architectures of {self.space!r} cannot be drawn")
        for c in self.candidates:
            files.append(Path(directory) / f"{c.rank:02d}{suffix}")
            files[-1].parent.mkdir(parents=True, exist_ok=True)
            title = f"{self.dataset or self.predictor}, rank {c.rank}"
            if self.level_unknown is None:
                title += f": {c.score:.1f}{self.unit} predicted"
            space.draw(c.architecture, files[-1], title)
        return files
