"""Accuracy against a cost: the best network within each of many limits, as a table, a file and a figure."""

from __future__ import annotations

import csv
import io
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from metad2a_plugin.candidates.chains import Chains
from metad2a_plugin.candidates.find import EXHAUSTIVE, Effort
from metad2a_plugin.candidates.front import best_within, ratios, spaced, sweep
from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.errors import ConfigError, said
from metad2a_plugin.plugins.predictor import Predictor
from metad2a_plugin.search.ranking import Origin, Ranking, rank
from metad2a_plugin.search.result import Candidate, SearchResult, Source
from metad2a_plugin.utils.figures import write_figure
from metad2a_plugin.utils.files import json_text, write_atomically

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

COSTS = ("flops", "params")


@dataclass(frozen=True)
class Front:
    """Networks that no other one found beats in both accuracy and cost.

    Attributes:
        cost: ``flops``, ``params`` or a device.
        unit: of the cost.
        result: what was searched; its candidates are the front, cheapest first.
    """

    cost: str
    unit: str
    result: SearchResult

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """Cheapest first."""
        return self.result.candidates

    @property
    def points(self) -> list[tuple[float, float]]:
        """Cost and score of each."""
        return [(c.cost(self.cost), c.score) for c in self.candidates]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"cost": self.cost, "cost_unit": self.unit, **self.result.to_dict()}

    def to_dataframe(self) -> pandas.DataFrame:
        """A row for each candidate, see `SearchResult.to_dataframe`."""
        return self.result.to_dataframe()

    def _repr_html_(self) -> str:
        return self.result._repr_html_()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write `to_dict` as JSON, or a table where `path` ends in ``.csv``.

        Raises:
            ConfigError: the file cannot be written.
        """
        text = self._csv() if os.fspath(path).endswith(".csv") else json_text(self.to_dict())
        write_atomically(path, text.encode())

    def draw(
        self, path: str | os.PathLike[str], others: Mapping[str, Sequence[tuple[float, float]]] | None = None
    ) -> None:
        """Draw accuracy against cost as ``.svg`` or ``.png``, with the intervals as a band.

        Args:
            path: the file.
            others: further points by the name of their source, each of cost and accuracy.

        Raises:
            ConfigError: another suffix, or the file cannot be written.
            MissingExtraError: matplotlib is not installed (extra ``draw``).
        """
        draw_front(self, path, others or {})

    def _csv(self) -> str:
        devices = list(self.candidates[0].latency) if self.candidates else []
        units = [f"{device}_{self.result.units[device]}" for device in devices]
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        quantity = self.result.quantity if self.result.level_unknown is None else "score"
        writer.writerow(["architecture", quantity, "low", "high", "params_m", "flops_m", *units])
        for c in self.candidates:
            low, high = c.interval or ("", "")
            latencies = [c.latency[device] for device in devices]
            writer.writerow([c.architecture_str, c.score, low, high, c.params, c.flops, *latencies])
        return stream.getvalue()


def costed(limits: Limits, cost: str) -> Limits:
    """The limits, together with the device that `cost` names, if it is one.

    Raises:
        ConfigError: no such cost.
    """
    if cost in COSTS or cost in limits.measured:
        return limits
    try:
        return replace(limits, devices=[*limits.devices, cost])
    except ConfigError as error:
        if "device" not in str(error):
            raise
        raise ConfigError(f"the cost must be {', '.join(COSTS)} or a device, got {said(cost)}: {error}") from None


def front(limits: Limits, predictor: Predictor, cost: str, effort: Effort, origin: Origin) -> Front:
    """Search for a front; `cost` is ``flops``, ``params`` or a device, made known to the limits by `costed`.

    Raises:
        ConfigError: no architecture is within the limits, or the predictor needs a task.
    """
    space, classes = limits.space, origin.classes(limits.space)
    hard = limits.limits(classes)
    most = next((limit.most for limit in hard if limit.label == cost), math.inf)
    wanted = limits.cost(cost, most, classes) if cost in COSTS else limits.latency(cost, most)
    if space.size <= EXHAUSTIVE:
        ranking = rank(limits, predictor, replace(effort, candidates=None, refine=None), origin)
        costs = wanted.measure(ranking.vertices).double()
        levels = ratios(float(costs.min()), float(costs[costs.isfinite()].max()), effort.points)
    else:
        begin, levels = time.perf_counter(), spaced(Chains(space), wanted, effort.points)
        found = sweep(space, partial(predictor.predict, origin.task), origin.draw, hard, wanted, levels, effort)
        seconds = {"features": origin.features, "search": time.perf_counter() - begin}
        source: Source = "random" if origin.draw is None else "generated"
        ranking = Ranking(limits, predictor, origin, found, source, seconds)
        costs = wanted.measure(ranking.vertices).double()
    chosen = best_within(ranking.prediction.mean.double(), costs, levels)
    return Front(cost, "M" if cost in COSTS else limits.measured[cost].unit, ranking.result(chosen))


# Okabe and Ito's palette: told apart by colour-blind readers too.
_BLUE, _OTHERS = "#0072B2", ("#D55E00", "#009E73", "#CC79A7", "#E69F00")
_BROAD = 10  # times the rise of a front that a band may be high
_COSTS = {"flops": "multiply-accumulates", "params": "parameters"}


def draw_front(front: Front, path: str | os.PathLike[str], others: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    """Accuracy against cost; arguments and errors as in `Front.draw`."""

    def make() -> Figure:
        from matplotlib.figure import Figure

        result, unit = front.result, front.result.unit
        figure = Figure(figsize=(7.2, 4.6), layout="constrained")
        axes = figure.add_subplot()
        costs, values = zip(*front.points, strict=True)
        bands = [c.interval for c in front.candidates]
        if all(bands):
            lows, highs = zip(*(band for band in bands if band), strict=True)
            half, rise = (highs[-1] - lows[-1]) / 2, max(values) - min(values)
            label = "90% of measured values"
            if 2 * half > _BROAD * rise:
                # What is not known is mostly the dataset's level, which all share: it would flatten the front.
                axes.plot([], [], " ", label=f"{label}: ±{half:.1f}, for all nearly alike")
            else:
                axes.fill_between(costs, lows, highs, color=_BLUE, alpha=0.15, linewidth=0, label=label)
        axes.plot(costs, values, "o-", color=_BLUE, markersize=4, label=f"front of {result.queries:,} predictions")
        for (name, points), colour in zip(others.items(), _OTHERS, strict=False):
            axes.plot(*zip(*points, strict=True), "x", color=colour, label=name)
        what = _COSTS.get(front.cost, front.cost)
        axes.set_xlabel(f"{what} ({front.unit}), images of {result.input_size} pixels")
        axes.set_ylabel(f"predicted by {result.predictor}" + (f" ({unit})" if unit else ""))
        axes.set_title(f"{result.dataset or result.space}: {len(costs)} networks")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="lower right", frameon=False)
        return figure

    write_figure(path, make)
