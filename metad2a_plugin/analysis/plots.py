"""The figures of an analysis; narrow, so that a phone shows their text in its size."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from metad2a_plugin.analysis.study import Analysis, Studied
from metad2a_plugin.analysis.topology import Topology, common_topologies
from metad2a_plugin.spaces.base import SearchSpace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by colour-blind readers too; the first is the network asked for.
_COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
_WIDTH = 5.4  # inches
_CONTOURS = 13


def draw_place(topology: Topology, space: SearchSpace) -> Figure:
    """How many live cells of a space have each width and depth, as areas, and where this cell is."""
    figure, [axes] = _figure(2.7)
    counts = common_topologies(space)
    widths, depths = zip(*counts, strict=True)
    total = sum(counts.values())
    for (width, depth), count in counts.items():
        axes.scatter(width, depth, s=5000 * count / total, color="#56B4E9", alpha=0.55, linewidth=0)
        axes.annotate(f"{100 * count / total:.0f}%", (width, depth), ha="center", va="center", fontsize=9)
    if topology.depth:
        axes.scatter(topology.width, topology.depth, s=900, facecolor="none", edgecolor=_COLOURS[0], linewidth=2.5)
        offset = (0, 20) if topology.depth < max(depths) else (0, -28)
        place = (topology.width, topology.depth)
        axes.annotate(
            "this cell", place, offset, textcoords="offset points", ha="center", color=_COLOURS[0], weight="bold"
        )
    axes.set(xlim=(min(widths) - 0.2, max(widths) + 0.22), ylim=(max(depths) + 0.6, 0.5))
    axes.set(xlabel="width (channels c)", ylabel="depth", yticks=range(1, max(depths) + 1))
    return figure


def draw_convergence(analysis: Analysis) -> Figure:
    """Training loss and validation accuracy of each epoch."""
    figure, [above, below] = _figure(5.6, 2)
    level = analysis.convergence[0]
    for network, style in _styled(analysis):
        epochs = [epoch.epoch for epoch in network.trained.history]
        above.plot(epochs, [epoch.loss for epoch in network.trained.history], label=network.name, **style)
        below.plot(epochs, [epoch.accuracy for epoch in network.trained.history], **style)
    if len(analysis.networks) > 1:
        above.axhline(level, color="black", linewidth=0.8, linestyle=":", label="reached by all")
    above.set_ylabel("training loss")
    below.set(xlabel="epoch", ylabel="validation accuracy (%)")
    above.legend(frameon=False, fontsize=9)
    return figure


def draw_surfaces(analysis: Analysis) -> Figure:
    """Contours of the loss on each network's plane, in one scale of colours."""
    from matplotlib.figure import Figure

    networks = analysis.networks
    columns, rows = (1, 1) if len(networks) == 1 else (2, (len(networks) + 1) // 2)
    figure = Figure(figsize=(_WIDTH, 2.7 * rows if columns == 2 else 4.2), layout="constrained")
    grids = [np.array(network.landscape.losses) for network in networks]
    # Most of the plane is near the lowest losses: quantiles keep one steep network from flattening the others.
    low, high = min(grid.min() for grid in grids), float(np.quantile(grids, 0.97))
    levels = np.linspace(low, max(high, low + 1e-6), _CONTOURS)
    plots = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, network, grid in zip(plots, networks, grids, strict=False):
        steps = network.landscape.steps
        filled = axes.contourf(steps, steps, grid.T, levels, cmap="viridis", extend="max")
        axes.contour(steps, steps, grid.T, levels, colors="white", linewidths=0.5)
        axes.plot(0, 0, "+", color="white", markersize=9, markeredgewidth=1.6)
        axes.set_title(network.name, fontsize=10)
        axes.set_aspect("equal")
    for axes in plots[len(networks) :]:
        axes.set_visible(False)
    figure.supxlabel("first direction", fontsize=10)
    figure.supylabel("second direction", fontsize=10)
    figure.colorbar(filled, ax=list(plots), label="loss", shrink=0.8, format="%.1f")
    return figure


def draw_slices(analysis: Analysis) -> Figure:
    """Loss along each direction through the trained networks."""
    figure, [above, below] = _figure(5.2, 2)
    for network, style in _styled(analysis):
        surface, middle = network.landscape, len(network.landscape.steps) // 2
        above.plot(surface.steps, [row[middle] for row in surface.losses], label=network.name, **style)
        below.plot(surface.steps, surface.losses[middle], **style)
    above.set(ylabel="loss", title="first direction")
    below.set(ylabel="loss", title="second direction", xlabel="distance from the trained network")
    above.legend(frameon=False, fontsize=9)
    return figure


def draw_variances(analysis: Analysis) -> Figure:
    """Scaled gradient variance of each network: the mean over its plane, and the range on it."""
    networks = analysis.networks
    figure, [axes] = _figure(1.0 + 0.42 * len(networks))
    for place, (network, style) in enumerate(_styled(analysis)):
        values = np.array(network.landscape.scaled_variances)
        axes.barh(place, values.mean(), color=style["color"], height=0.6)
        axes.plot([values.min(), values.max()], [place, place], color="black", linewidth=1.2, marker="|")
    axes.set_yticks(range(len(networks)), [network.name for network in networks])
    axes.invert_yaxis()
    axes.set_xlabel("scaled gradient variance: mean, and range on the plane")
    return figure


def _styled(analysis: Analysis) -> Iterator[tuple[Studied, dict[str, Any]]]:
    for network, colour, dash in zip(analysis.networks, cycle(_COLOURS), cycle(_DASHES), strict=False):
        yield network, {"color": colour, "linestyle": dash, "linewidth": 2.6 if network is analysis.subject else 1.7}


def _figure(height: float, rows: int = 1) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    plots = figure.subplots(rows, 1, sharex=True, squeeze=False).flatten().tolist()
    for axes in plots:
        axes.grid(alpha=0.3)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, plots
