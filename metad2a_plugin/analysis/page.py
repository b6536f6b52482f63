"""An analysis as one HTML page: no scripts, no other files, readable on a phone."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from metad2a_plugin.analysis import plots
from metad2a_plugin.analysis.study import COUNTERPART, Analysis
from metad2a_plugin.analysis.topology import PUBLISHED, node_names
from metad2a_plugin.errors import require
from metad2a_plugin.spaces.interfaces import Drawable
from metad2a_plugin.utils.figures import rendered
from metad2a_plugin.utils.files import write_atomically
from metad2a_plugin.utils.templates import filled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_page(analysis: Analysis, path: str | os.PathLike[str]) -> None:
    """Write one self-contained HTML page, without scripts or other files.

    Raises:
        ConfigError: the file cannot be written.
        MissingExtraError: matplotlib is not installed (extra ``draw``).
    """
    write_atomically(path, page(analysis).encode())


def page(analysis: Analysis) -> str:
    """The page as text.

    Raises:
        MissingExtraError: matplotlib is not installed (extra ``draw``).
    """
    require("draw", "the page of an analysis", "matplotlib")
    level, epochs = analysis.convergence
    return filled(
        "analysis/page.html.j2",
        analysis=analysis,
        config=analysis.config,
        counterpart=COUNTERPART,
        epochs=epochs,
        faster=sum(epoch < epochs[0] for epoch in epochs),
        figures=_figures(analysis),
        landscape=analysis.subject.landscape,
        level=level,
        names=node_names(analysis.subject.trained.network.space),
        place=analysis.subject.topology,
        published=PUBLISHED,
        rows=_rows(analysis),
        slower=sum(epoch > epochs[0] for epoch in epochs),
        title=f"Analysis of a {analysis.space} network on {analysis.dataset}",
        trained=analysis.subject.trained,
    )


def _figures(analysis: Analysis) -> dict[str, str]:
    """SVGs in base64; a space without cells has no `place`, and one that cannot draw no `drawing`."""
    place, trained = analysis.subject.topology, analysis.subject.trained
    space = trained.network.space
    makers: dict[str, Callable[[], Figure]] = {
        "convergence": lambda: plots.draw_convergence(analysis),
        "surfaces": lambda: plots.draw_surfaces(analysis),
        "slices": lambda: plots.draw_slices(analysis),
        "variances": lambda: plots.draw_variances(analysis),
    }
    if place is not None:
        makers["place"] = lambda: plots.draw_place(place, space)
    svgs = {name: rendered(make, ".svg") for name, make in makers.items()}
    if isinstance(space, Drawable):
        svgs["drawing"] = space.svg(trained.architecture)
    return {name: base64.b64encode(svg).decode() for name, svg in svgs.items()}


def _rows(analysis: Analysis) -> dict[str, list[str]]:
    """The table, a column for each network, so that a phone shows some of them whole."""
    networks = analysis.networks
    trained, surfaces, places = zip(*((n.trained, n.landscape, n.topology) for n in networks), strict=True)
    rows: dict[str, list[str]] = {}
    if analysis.subject.topology is not None:
        rows["width"] = ["" if place is None else f"{place.width:.2f}c" for place in places]
        rows["depth"] = ["" if place is None else str(place.depth) for place in places]
    rows |= {
        "parameters (millions)": [f"{t.params:.3f}" for t in trained],
        "multiply-accumulates (millions)": [f"{t.flops:.1f}" for t in trained],
        "epochs to the common loss": [str(epoch) for epoch in analysis.convergence[1]],
        "last training loss": [f"{t.history[-1].loss:.3f}" for t in trained],
        "early accuracy": [f"{n.early_accuracy:.1f}%" for n in networks],
        "last accuracy": [f"{t.accuracy:.1f}%" for t in trained],
        "its 95% interval": [f"{t.interval[0]:.1f} to {t.interval[1]:.1f}" for t in trained],
        "rise of the loss": [f"{s.rise:.3f}" for s in surfaces],
        "curvature": [f"{s.curvature:.3g}" for s in surfaces],
        "gradient variance": [f"{s.variance:.3g}" for s in surfaces],
        "scaled gradient variance": [f"{s.scaled_variance:.3g}" for s in surfaces],
    }
    return rows
