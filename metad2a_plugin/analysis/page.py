"""An analysis as one HTML page: no scripts, no other files, readable on a phone."""

from __future__ import annotations

import base64
import os
import tempfile
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from metad2a_plugin.analysis import plots
from metad2a_plugin.analysis.study import COUNTERPART, Analysis
from metad2a_plugin.analysis.topology import PUBLISHED, Topology
from metad2a_plugin.errors import require
from metad2a_plugin.utils.figures import rendered
from metad2a_plugin.utils.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 44rem; padding: 1rem; background: #fff; color: #222;
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin-top: 2rem; }
code { font-size: .85rem; overflow-wrap: anywhere; background: #f4f4f4; padding: .1rem .2rem; }
figure { margin: 1rem 0; } img { width: 100%; max-width: 36rem; height: auto; display: block; margin: 0 auto; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .3rem .5rem; text-align: right; border-bottom: 1px solid #ddd; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; } td:nth-child(2) { font-weight: bold; }
.warning { border-left: .4rem solid #d55e00; background: #fdf1e7; padding: .6rem 1rem; margin: 1rem 0; }
.small { font-size: .85rem; color: #555; }
"""


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
    title = f"Analysis of a {analysis.space} network on {analysis.dataset}"
    warnings = "".join(f'<p class="warning">{escape(text)}</p>' for text in analysis.warnings)
    parts = (_top(analysis, title), warnings, _wiring(analysis), _convergence(analysis), _surface(analysis))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join((*parts, _networks(analysis), _settings(analysis)))
        + "\n</body></html>\n"
    )


# -- sections --------------------------------------------------------------------------------------
def _top(analysis: Analysis, title: str) -> str:
    trained = analysis.subject.trained
    low, high = trained.interval
    return (
        f"<h1>{escape(title)}</h1>\n<p><code>{escape(trained.architecture_str)}</code></p>\n"
        f"<p>{trained.params:.3f} million parameters and {trained.flops:.1f} million multiply-accumulates as trained "
        f"here. After {len(trained.history)} epochs {trained.accuracy:.1f}% of {trained.validation_images:,} "
        f"validation images are classified correctly (95% interval {low:.1f} to {high:.1f}; chance is "
        f"{trained.chance_accuracy:.1f}%).</p>\n{_drawing(analysis)}"
    )


def _drawing(analysis: Analysis) -> str:
    """The space's own drawing, where it has one."""
    trained = analysis.subject.trained
    draw = getattr(trained.network.space, "draw", None)
    if draw is None:
        return ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.svg"
        draw(trained.architecture, path)
        data = path.read_bytes()
    return _image(data, f"Drawing of the architecture {trained.architecture_str}")


def _wiring(analysis: Analysis) -> str:
    place = analysis.subject.topology
    if place is None:
        return (
            "<h2>Wiring</h2>\n<p>Width and depth are those of a cell; the networks of this space have none, so this "
            "part is left out.</p>"
        )
    alt = f"Areas: share of the live cells with each width and depth; this cell has width {place.width:.2f} and depth "
    published = "; ".join(f"{name} {cell.width:g}c, {cell.depth}" for name, cell in PUBLISHED.items())
    return (
        f"<h2>Wiring: width {place.width:.2f}c, depth {place.depth}</h2>\n"
        "<p>Depth is the number of connections on the longest path from the cell's input to its output. Width adds up, "
        "over the nodes, which share of a node's inputs is the cell's input, in units of the channels c. What lies on "
        "no such path does not count, and a skip is a connection like any other.</p>\n"
        f"<p>Of all live cells {100 * place.share:.0f}% have this width and depth, {100 * place.narrower:.0f}% are "
        f"narrower and {100 * place.deeper:.0f}% are deeper.</p>\n{_pattern(place)}\n"
        f"{_figure(lambda: plots.draw_place(place), alt + str(place.depth))}\n"
        f'<p class="small">Normal cells of published searches: {published}. They have two inputs and four or five '
        "nodes, and concatenate, so their numbers compare with each other and not with the ones above.</p>"
    )


def _pattern(place: Topology) -> str:
    if not place.depth:
        return "<p>No path leads from input to output.</p>"
    names = ("the input", "node 1", "node 2", "the output")
    sources = "; ".join(
        f"{names[node]} takes {', '.join(names[source] for source in sources)}"
        for node, sources in place.sources.items()
    )
    paths = ", ".join(map(str, place.convolutions))
    return (
        f"<p>Connections: {sources}. "
        f"Convolutions on the paths from input to output, shortest path first: {paths}. "
        f"{'A skip joins' if place.direct_skip else 'No skip joins'} input and output directly.</p>"
    )


def _convergence(analysis: Analysis) -> str:
    level, epochs = analysis.convergence
    if len(analysis.networks) == 1:
        said = "Without references there is nothing to call fast or slow; ask for some."
    else:
        each = "; ".join(f"{n.name}: {e}" for n, e in zip(analysis.networks, epochs, strict=True))
        said = (
            f"{sum(e > epochs[0] for e in epochs)} of the {len(epochs) - 1} others are slower than this network and "
            f"{sum(e < epochs[0] for e in epochs)} faster, by the epoch in which the training loss first is "
            f"{level:.3f}, which all reach ({each})."
        )
    alt = "Training loss and validation accuracy after each epoch, one line a network; the numbers are in the table"
    return (
        f"<h2>Convergence</h2>\n<p>{escape(said)} Accuracies are of images that were held out.</p>\n"
        f"{_figure(lambda: plots.draw_convergence(analysis), alt)}"
    )


def _surface(analysis: Analysis) -> str:
    surface, first = analysis.surface, analysis.subject.landscape
    return (
        "<h2>Loss surface</h2>\n<p>The trained network, the cross, is moved along two random directions in which every "
        "filter is as long as its own; at distance 1 the weights have changed by as much as they are. A wide basin and "
        "even contours are called smooth. Rise: by how much the loss is higher, on average, within half the radius. "
        "Curvature: mean absolute second derivative on the plane.</p>\n"
        + _figure(
            lambda: plots.draw_surfaces(analysis),
            "Contours of the loss around each trained network, in one scale of colours",
        )
        + _figure(lambda: plots.draw_slices(analysis), "Loss along each of the two directions, one line a network")
        + "<h2>Gradient variance</h2>\n<p>How far the gradients of minibatches lie from their mean: training with a "
        "low variance is steadier. Weights are measured in units of their filter's norm, so that networks "
        "compare.</p>\n"
        + _figure(lambda: plots.draw_variances(analysis), "Gradient variance of each network, as bars; see the table")
        + f'<p class="small">{first.images} training images without augmentation, in {first.minibatches} minibatches; '
        f"{surface.points} × {surface.points} points up to distance {surface.radius:g}; batch norm uses each "
        "minibatch's statistics, as in training; directions of one seed, so small differences say little.</p>"
    )


def _networks(analysis: Analysis) -> str:
    texts = "".join(
        f"<li>{escape(n.name)}: <code>{escape(n.trained.architecture_str)}</code></li>" for n in analysis.networks
    )
    other = (
        f"<p>'{COUNTERPART}' has the operations of this cell, wired otherwise.</p>\n"
        if any(n.name == COUNTERPART for n in analysis.networks)
        else ""
    )
    return (
        "<h2>All networks</h2>\n<p>Trained once each, under the same settings. Early accuracy is that after a quarter "
        "of the epochs: where its order differs from that of the last accuracy, an early ranking would be wrong. The "
        "interval counts validation images only, not the spread between seeds.</p>\n"
        f"{_table(analysis)}\n{other}<ul>{texts}</ul>"
    )


def _table(analysis: Analysis) -> str:
    """A column for each network, so that a phone shows some of them whole."""
    networks = analysis.networks
    trained, surfaces, places = zip(*((n.trained, n.landscape, n.topology) for n in networks), strict=True)
    rows: dict[str, list[str]] = {"": [n.name for n in networks]}
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
    lines = [_row("td" if title else "th", (title, *cells)) for title, cells in rows.items()]
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'


def _settings(analysis: Analysis) -> str:
    config, trained = analysis.config, analysis.subject.trained
    options = "".join(f", {name} {value:g}" for name, value in config.options.items())
    return (
        f'<h2>Settings</h2>\n<p class="small">{escape(analysis.dataset)}: {trained.train_images:,} training and '
        f"{trained.validation_images:,} validation images at {config.input_size} pixels{options}; {config.epochs} "
        f"epochs, batches of {config.batch_size}, learning rate {config.lr:g}, seed {config.seed}. Width, depth, "
        "gradient variance and what they tell: Shu, Wang and Cai, Understanding Architectures Learnt by Cell-based "
        "Neural Architecture Search, ICLR 2020. Loss surface: Li et al., Visualizing the Loss Landscape of Neural "
        "Nets, NeurIPS 2018. Made by metad2a analyze.</p>"
    )


# -- pieces ----------------------------------------------------------------------------------------
def _figure(make: Callable[[], Figure], alt: str) -> str:
    return _image(rendered(make, ".svg"), alt)


def _image(svg: bytes, alt: str) -> str:
    data = base64.b64encode(svg).decode()
    return f'<figure><img alt="{escape(alt)}" src="data:image/svg+xml;base64,{data}"></figure>\n'


def _row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
