"""Figures as files, and the one of accuracy against a cost."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metad2a_plugin._files import write_atomically
from metad2a_plugin.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from metad2a_plugin.pareto import Front

# Okabe and Ito's palette: told apart by colour-blind readers too.
_BLUE, _OTHERS = "#0072B2", ("#D55E00", "#009E73", "#CC79A7", "#E69F00")
_BROAD = 10  # times the rise of a front that a band may be high
_COSTS = {"flops": "multiply-accumulates", "params": "parameters"}


def write_figure(path: str | os.PathLike[str], make: Callable[[], Figure]) -> None:
    """Write what `make` draws as ``.svg`` or ``.png``.

    The same drawing and matplotlib version give the same bytes; the file is replaced in one step.

    Raises:
        ConfigError: another suffix, or the file cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".svg", ".png"):
        raise ConfigError(f"drawings are written as .svg or .png, got {path.name!r}; change the file's suffix")
    write_atomically(path, rendered(make, suffix))


def rendered(make: Callable[[], Figure], suffix: str) -> bytes:
    """What `make` draws as a file of that suffix, ``.svg`` or ``.png``.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib import style
    except ImportError:
        raise MissingExtraError("matplotlib", "draw", "drawing") from None
    buffer = io.BytesIO()
    # A fixed salt makes the identifiers inside an SVG the same in every run.
    with style.context(["default", {"svg.hashsalt": "metad2a"}]):
        metadata = {"Date": None} if suffix == ".svg" else {"Software": None}
        make().savefig(buffer, format=suffix[1:], dpi=200, facecolor="white", metadata=metadata)
    return buffer.getvalue()


def draw_front(
    front: Front, path: str | os.PathLike[str], others: Mapping[str, Sequence[tuple[float, float]]]
) -> None:
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
