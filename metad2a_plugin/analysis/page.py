"""An analysis as one HTML page: no scripts, no other files, readable on a phone."""

from __future__ import annotations

import base64
import os
import statistics
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from metad2a_plugin.analysis import plots
from metad2a_plugin.analysis.study import COUNTERPART, Analysis, Run
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
    return filled(
        "analysis/page.html.j2",
        analysis=analysis,
        config=analysis.config,
        counterpart=COUNTERPART,
        epochs=_epochs(analysis),
        figures=_figures(analysis),
        landscape=analysis.subject.landscape,
        level=analysis.convergence[0],
        names=node_names(analysis.subject.trained.network.space),
        published=PUBLISHED,
        rows=_rows(analysis),
        several=analysis.asked > 1,
        title=_title(analysis),
        trained=analysis.subject.trained,
    )


def _title(analysis: Analysis) -> str:
    what = f"a {analysis.space} network" if analysis.asked == 1 else f"{analysis.asked} {analysis.space} networks"
    return f"Analysis of {what} on {analysis.dataset}"


def _figures(analysis: Analysis) -> dict[str, str]:
    """SVGs in base64; a space without cells has no `place`, and one that cannot draw no `drawing`."""
    space = analysis.subject.trained.network.space
    makers: dict[str, Callable[[], Figure]] = {
        "convergence": lambda: plots.draw_convergence(analysis),
        "surfaces": lambda: plots.draw_surfaces(analysis),
        "slices": lambda: plots.draw_slices(analysis),
        "variances": lambda: plots.draw_variances(analysis),
    }
    if analysis.subject.topology is not None:
        makers["place"] = lambda: plots.draw_place(analysis.subjects, space)
    svgs = {name: rendered(make, ".svg") for name, make in makers.items()}
    if isinstance(space, Drawable):
        svgs |= {f"drawing {n.name}": space.svg(n.trained.architecture) for n in analysis.subjects}
    return {name: base64.b64encode(svg).decode() for name, svg in svgs.items()}


def _rows(analysis: Analysis) -> dict[str, list[str]]:
    """The table, a column for each network, so that a phone shows some of them whole."""
    networks = analysis.networks
    places = [network.topology for network in networks]
    rows: dict[str, list[str]] = {}

    def add(title: str, form: str, value: Callable[[Run], float], unit: str = "") -> None:
        rows[title] = [_spread([value(run) for run in network.runs], form) + unit for network in networks]

    if analysis.subject.topology is not None:
        rows["width"] = ["" if place is None else f"{place.width:.2f}c" for place in places]
        rows["depth"] = ["" if place is None else str(place.depth) for place in places]
    rows["parameters (millions)"] = [f"{n.trained.params:.3f}" for n in networks]
    rows["multiply-accumulates (millions)"] = [f"{n.trained.flops:.1f}" for n in networks]
    rows["epochs to the common loss"] = _epochs(analysis)
    add("last training loss", ".3f", lambda run: run.trained.history[-1].loss)
    add("early accuracy", ".1f", lambda run: run.early_accuracy, "%")
    add("last accuracy", ".1f", lambda run: run.trained.accuracy, "%")
    if analysis.seeds == 1:
        ends = [n.trained.interval for n in networks]
        rows["its 95% interval"] = [f"{low:.1f} to {high:.1f}" for low, high in ends]
    add("rise of the loss", ".3f", lambda run: run.landscape.rise)
    add("curvature", ".3g", lambda run: run.landscape.curvature)
    add("gradient variance", ".3g", lambda run: run.landscape.variance)
    add("scaled gradient variance", ".3g", lambda run: run.landscape.scaled_variance)
    return rows


def _epochs(analysis: Analysis) -> list[str]:
    """To the loss that all networks reach, of each."""
    return [_spread(epochs, "g" if analysis.seeds == 1 else ".1f") for epochs in analysis.epochs]


def _spread(values: Sequence[float], form: str) -> str:
    """The mean, and with several seeds the standard deviation."""
    mean = format(statistics.fmean(values), form)
    return mean if len(values) == 1 else f"{mean} ± {format(statistics.stdev(values), form)}"
