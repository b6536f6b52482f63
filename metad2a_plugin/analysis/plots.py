"""The figures of an analysis; narrow, so that a phone shows their text in its size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from metad2a_plugin.analysis.landscape import Landscape
from metad2a_plugin.analysis.study import Analysis, Studied
from metad2a_plugin.analysis.topology import common_topologies
from metad2a_plugin.spaces.base import SearchSpace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

# Okabe and Ito's palette: told apart by colour-blind readers too; the first are the networks asked for.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
_WIDTH = 5.4  # inches
_CONTOURS = 13


def draw_place(networks: Sequence[Studied], space: SearchSpace) -> Figure:
    """How many live cells of a space have each width and depth, as areas, and where the cells of networks are."""
    figure, [axes] = _figure(2.7)
    counts = common_topologies(space)
    widths, depths = zip(*counts, strict=True)
    total = sum(counts.values())
    for (width, depth), count in counts.items():
        axes.scatter(width, depth, s=5000 * count / total, color="#56B4E9", alpha=0.55, linewidth=0)
        axes.annotate(f"{100 * count / total:.0f}%", (width, depth), ha="center", va="center", fontsize=9)
    # Cells of one place share a ring and a label.
    places: dict[tuple[float, int], list[str]] = {}
    for network in networks:
        if network.topology is not None and network.topology.depth:
            places.setdefault((network.topology.width, network.topology.depth), []).append(network.name)
    for (place, names), colour in zip(places.items(), COLOURS, strict=False):
        axes.scatter(*place, s=900, facecolor="none", edgecolor=colour, linewidth=2.5)
        offset = (0, 20) if place[1] < max(depths) else (0, -28)
        text = "this cell" if len(networks) == 1 else ", ".join(names)
        axes.annotate(text, place, offset, textcoords="offset points", ha="center", color=colour, weight="bold")
    axes.set(xlim=(min(widths) - 0.2, max(widths) + 0.22), ylim=(max(depths) + 0.6, 0.5))
    axes.set(xlabel="width (channels c)", ylabel="depth", yticks=range(1, max(depths) + 1))
    return figure


def draw_convergence(analysis: Analysis) -> Figure:
    """Training loss and validation accuracy of each epoch: means over seeds, and their ranges."""
    from matplotlib.ticker import MaxNLocator

    figure, [above, below] = _figure(5.6, 2)
    for network, style in _styled(analysis):
        histories = [run.trained.history for run in network.runs]
        epochs = [epoch.epoch for epoch in histories[0]]
        _band(above, epochs, [[epoch.loss for epoch in h] for h in histories], label=network.name, **style)
        _band(below, epochs, [[epoch.accuracy for epoch in h] for h in histories], **style)
    if len(analysis.networks) > 1 and analysis.seeds == 1:
        level = analysis.convergence[0]
        above.axhline(level, color="black", linewidth=0.8, linestyle=":", label="reached by all")
    above.set_ylabel("training loss")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    below.set(xlabel="epoch", ylabel="validation accuracy (%)")
    above.legend(frameon=False, fontsize=9)
    return figure


def draw_surfaces(analysis: Analysis) -> Figure:
    """Contours of the loss on each network's plane, in one scale of colours."""
    from matplotlib.figure import Figure

    shown = {network.name: network.landscape for network in analysis.networks}
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    # Below all of them lies the colour bar.
    figure = Figure(figsize=(_WIDTH, (2.7 if columns == 2 else 4.6) * rows + 0.9), layout="constrained")
    draw_contours(figure, shown, columns)
    return figure


def draw_contours(figure: FigureBase, surfaces: Mapping[str, Landscape], columns: int) -> None:
    """Contours of the loss around networks, by name, with one labelled scale of colours below them."""
    from matplotlib.ticker import MaxNLocator

    grids = [np.array(surface.losses) for surface in surfaces.values()]
    # Most of the plane is near the lowest losses: quantiles keep one steep network from flattening the others.
    low, high = min(grid.min() for grid in grids), float(np.quantile(grids, 0.97))
    # Levels at round numbers, of which every second or third is named.
    levels = MaxNLocator(_CONTOURS, steps=[1, 2, 2.5, 5, 10]).tick_values(low, max(high, low + 1e-6))
    plots = figure.subplots(-(-len(grids) // columns), columns, squeeze=False, sharex=True, sharey=True).flatten()
    for axes, (name, surface), grid in zip(plots, surfaces.items(), grids, strict=False):
        filled = axes.contourf(surface.steps, surface.steps, grid.T, levels, cmap="viridis", extend="max")
        axes.contour(surface.steps, surface.steps, grid.T, levels, colors="white", linewidths=0.5)
        axes.plot(0, 0, "+", color="white", markersize=9, markeredgewidth=1.6)
        axes.set_title(name, fontsize=10)
        axes.set_aspect("equal")
        axes.tick_params(labelbottom=True, labelleft=True)
    for number, axes in enumerate(plots):
        axes.set_visible(number < len(grids))
        # The lowest of each column, and the first of each row.
        if number + columns >= len(grids):
            axes.set_xlabel("first direction")
        if number % columns == 0:
            axes.set_ylabel("second direction")
    bar = figure.colorbar(
        filled, ax=list(plots), orientation="horizontal", aspect=35, ticks=levels[:: -(-len(levels) // 7)]
    )
    bar.set_label("training loss (cross-entropy, nats); brighter is higher", fontsize=10)


def draw_slices(analysis: Analysis) -> Figure:
    """Loss along each direction through the trained networks: means over seeds, and their ranges."""
    figure, [above, below] = _figure(5.2, 2)
    for network, style in _styled(analysis):
        surfaces = [run.landscape for run in network.runs]
        steps, middle = surfaces[0].steps, len(surfaces[0].steps) // 2
        _band(above, steps, [[row[middle] for row in s.losses] for s in surfaces], label=network.name, **style)
        _band(below, steps, [s.losses[middle] for s in surfaces], **style)
    above.set(ylabel="loss", title="first direction")
    below.set(ylabel="loss", title="second direction", xlabel="distance from the trained network")
    above.legend(frameon=False, fontsize=9)
    return figure


def draw_variances(analysis: Analysis) -> Figure:
    """Scaled gradient variance of each network: the mean over its planes, and the range on them."""
    networks = analysis.networks
    figure, [axes] = _figure(1.0 + 0.42 * len(networks))
    for place, (network, style) in enumerate(_styled(analysis)):
        values = np.array([run.landscape.scaled_variances for run in network.runs])
        axes.barh(place, values.mean(), color=style["color"], height=0.6)
        axes.plot([values.min(), values.max()], [place, place], color="black", linewidth=1.2, marker="|")
    axes.set_yticks(range(len(networks)), [network.name for network in networks])
    axes.invert_yaxis()
    axes.set_xlabel("scaled gradient variance: mean, and range on the plane")
    return figure


def _band(axes: Axes, x: Sequence[float], values: Sequence[Sequence[float]], **style: Any) -> None:
    """The mean of lines, in their range where there are several."""
    lines = np.array(values)
    axes.plot(x, lines.mean(0), **style)
    if len(lines) > 1:
        axes.fill_between(x, lines.min(0), lines.max(0), color=style["color"], alpha=0.15, linewidth=0)


def _styled(analysis: Analysis) -> Iterator[tuple[Studied, dict[str, Any]]]:
    for network, colour, dash in zip(analysis.networks, cycle(COLOURS), cycle(_DASHES), strict=False):
        yield network, {"color": colour, "linestyle": dash, "linewidth": 2.6 if network in analysis.subjects else 1.7}


def _figure(height: float, rows: int = 1) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    plots = figure.subplots(rows, 1, sharex=True, squeeze=False).flatten().tolist()
    for axes in plots:
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, plots
