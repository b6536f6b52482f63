"""Pictures of architectures: NAS-Bench-201 cells, and networks of stages of layers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from metad2a_plugin.utils.figures import write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by colour-blind readers too.
_STYLES = {
    "skip_connect": ("skip", "#009E73"),
    "nor_conv_1x1": ("conv 1×1", "#56B4E9"),
    "nor_conv_3x3": ("conv 3×3", "#0072B2"),
    "avg_pool_3x3": ("avg pool 3×3", "#E69F00"),
}
_KERNELS = {3: "#0072B2", 5: "#009E73", 7: "#D55E00"}
_GREY, _FAINT, _INK = "#A6A6A6", "#DADADA", "#222222"
_SPACING, _RADIUS, _WIDTH = 2.6, 0.34, 9.2
_INCHES = 7.2  # width of the figure
# Bend of each arc, as a fraction of its length: positive bows below the row of nodes.
_BENDS = {(0, 1): 0.0, (1, 2): 0.0, (2, 3): 0.0, (0, 2): -0.35, (1, 3): 0.35, (0, 3): -0.5}


class _Edge(NamedTuple):
    source: int
    target: int
    op: str
    live: bool


def draw_cell(
    ops: Sequence[str], cell_edges: Sequence[tuple[int, int]], path: str | os.PathLike[str], title: str | None = None
) -> None:
    """Write the picture of the cell with operation `ops[i]` on `cell_edges[i]` to `path` (``.svg`` or ``.png``).

    Nodes are in a row and operations are arcs; what cannot matter is grey. See `_write` for the rest.
    """
    left = 1.5 * _SPACING - _WIDTH / 2
    _write(path, title, lambda axes: _draw(axes, _edges(ops, cell_edges)), (left, left + _WIDTH), (-1.45, 2.35))


def draw_stages(
    stages: Sequence[Sequence[tuple[int, int]]], layers: int, path: str | os.PathLike[str], title: str | None = None
) -> None:
    """Write the picture of the (kernel, expand ratio) of each layer of each stage to `path` (``.svg`` or ``.png``).

    A layer is as high as its expand ratio and has the colour of its kernel; places for up to `layers` in a stage are
    in a row, those that are not used empty. See `_write` for the rest.
    """
    step, gap = 0.42, 0.25
    width = len(stages) * (layers * step + gap) + gap

    def paint(axes: Axes) -> None:
        for number, stage in enumerate(stages):
            left = gap + number * (layers * step + gap)
            axes.text(left + layers * step / 2, -0.2, f"stage {number + 1}", ha="center", va="top", size=9, color=_INK)
            for place in range(layers):
                _draw_layer(axes, left + place * step, step, stage[place] if place < len(stage) else None)

    _write(path, title, paint, (0, width), (-0.6, 3.0))


def _draw_layer(axes: Axes, left: float, step: float, layer: tuple[int, int] | None) -> None:
    from matplotlib.patches import Rectangle

    if layer is None:
        axes.plot([left + 0.1 * step, left + 0.9 * step], [0, 0], color=_FAINT, linewidth=1.6)
        return
    kernel, expand = layer
    height = 0.4 * expand
    axes.add_patch(Rectangle((left + 0.04, 0), step - 0.08, height, facecolor=_KERNELS[kernel], edgecolor=_INK))
    axes.text(left + step / 2, height / 2, f"{kernel}×{kernel}", ha="center", va="center", size=7, color="white")
    axes.text(left + step / 2, height + 0.06, f"×{expand}", ha="center", va="bottom", size=7, color=_INK)


def _write(
    path: str | os.PathLike[str],
    title: str | None,
    paint: Callable[[Axes], None],
    across: tuple[float, float],
    up: tuple[float, float],
) -> None:
    """Write what `paint` draws within the limits `across` and `up`, under a title; see `write_figure`."""

    def make() -> Figure:
        from matplotlib.figure import Figure

        (left, right), (bottom, top) = across, up
        strip = 0.054 * (right - left) if title else 0
        figure = Figure(figsize=(_INCHES, _INCHES * (top + strip - bottom) / (right - left)))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_aspect("equal")
        axes.set_xlim(left, right)
        axes.set_ylim(bottom, top + strip)
        paint(axes)
        if title:
            size = min(12, 760 / len(title))
            axes.text(
                (left + right) / 2,
                top + 0.3 * strip,
                title,
                ha="center",
                va="center",
                size=size,
                color=_INK,
                parse_math=False,
            )
        return figure

    write_figure(path, make)


def _edges(ops: Sequence[str], cell_edges: Sequence[tuple[int, int]]) -> list[_Edge]:
    """The edges, live where they lie on a path of operations from node 0 to node 3."""
    links = sorted(edge for edge, op in zip(cell_edges, ops, strict=True) if op != "none")
    fed, used = {0}, {3}
    # Edges run from lower to higher nodes, so one pass in each direction finds everything.
    for source, target in links:
        if source in fed:
            fed.add(target)
    for source, target in reversed(links):
        if target in used:
            used.add(source)
    return [
        _Edge(s, t, op, op != "none" and s in fed and t in used) for (s, t), op in zip(cell_edges, ops, strict=True)
    ]


def _draw(axes: Axes, edges: Sequence[_Edge]) -> None:
    from matplotlib.patches import Circle

    for edge in edges:
        _draw_edge(axes, edge)
    live = {node for edge in edges if edge.live for node in (edge.source, edge.target)}
    for node, name in enumerate(("in", "1", "2", "out")):
        dead = node not in live
        axes.add_patch(
            Circle(
                (node * _SPACING, 0),
                _RADIUS,
                facecolor="#F4F4F4" if dead else "white" if name in "12" else _INK,
                edgecolor=_GREY if dead else _INK,
                linewidth=1.6,
                zorder=4,
            )
        )
        colour = _GREY if dead else _INK if name in "12" else "white"
        axes.text(
            node * _SPACING, -0.01, name, ha="center", va="center", fontsize=11, color=colour, weight="bold", zorder=5
        )


def _draw_edge(axes: Axes, edge: _Edge) -> None:
    from matplotlib.patches import FancyArrowPatch

    start, end = edge.source * _SPACING, edge.target * _SPACING
    bend = _BENDS[edge.source, edge.target]
    none = edge.op == "none"
    label, colour = ("none", _FAINT) if none else _STYLES[edge.op]
    if not edge.live and not none:
        colour = _GREY
    shrink = _RADIUS * _INCHES * 72 / _WIDTH + 2  # in points: arrows end just outside the circles
    axes.add_patch(
        FancyArrowPatch(
            (start, 0),
            (end, 0),
            connectionstyle=f"arc3,rad={bend}",
            arrowstyle="-" if none else "-|>",
            mutation_scale=15,
            shrinkA=shrink,
            shrinkB=shrink,
            linewidth=1.0 if none else 2.4 if edge.live else 1.6,
            linestyle=(0, (1, 3)) if none else "-" if edge.live else (0, (5, 2)),
            color=colour,
            zorder=1 if none else 2,
        )
    )
    if none:
        return
    # The curve is quadratic: its middle lies half way to the control point.
    axes.text(
        (start + end) / 2,
        -bend * (end - start) / 2,
        label,
        ha="center",
        va="center",
        fontsize=9.5,
        color=_INK if edge.live else "#7F7F7F",
        weight="bold" if edge.live else "normal",
        zorder=6,
        bbox={
            "boxstyle": "round,pad=0.28",
            "facecolor": "white",
            "edgecolor": colour,
            "linewidth": 1.6 if edge.live else 1.0,
        },
    )
