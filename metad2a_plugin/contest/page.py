"""A run as one HTML page: no scripts, no other files, readable on a phone."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from metad2a_plugin.contest import latencies, plots
from metad2a_plugin.contest.result import AutoResult
from metad2a_plugin.errors import require
from metad2a_plugin.spaces.interfaces import Drawable
from metad2a_plugin.training.classifier import ImageClassifier
from metad2a_plugin.utils.figures import rendered
from metad2a_plugin.utils.files import write_atomically
from metad2a_plugin.utils.templates import filled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_EXAMPLES, _SIDE = 12, 96
_CONFUSED = 6


class Picture(NamedTuple):
    """An image with what is said of it; PNG in base64."""

    png: str
    text: str


def write_page(found: AutoResult, path: str | os.PathLike[str]) -> None:
    """Write one self-contained HTML page.

    Raises:
        ConfigError: the file cannot be written.
        MissingExtraError: matplotlib is not installed (extra ``draw``).
    """
    write_atomically(path, page(found).encode())


def page(found: AutoResult) -> str:
    """The page as text.

    Raises:
        MissingExtraError: matplotlib is not installed (extra ``draw``).
    """
    require("draw", "the page of a run", "matplotlib")
    network = found.network
    return filled(
        "contest/page.html.j2",
        architecture=network.space.format(network.architecture) if isinstance(network, ImageClassifier) else None,
        confused=_confused(found),
        counts=np.bincount(found.images.labels, minlength=found.images.num_classes).tolist(),
        examples=_examples(found),
        figures=_figures(found),
        found=found,
        here=latencies.here(network),
        latencies=latencies.predicted(network),
        network=network,
        pairs=_pairs(found),
        title=f"A network for {found.dataset}",
    )


def _figures(found: AutoResult) -> dict[str, str]:
    """SVGs in base64; a network that cannot be drawn has no `drawing`."""
    makers: dict[str, Callable[[], Figure]] = {
        "costs": lambda: plots.draw_costs(found),
        "confusion": lambda: plots.draw_confusion(found),
    }
    if found.trained:
        makers["curves"] = lambda: plots.draw_curves(found)
    figures = {name: encoded(make) for name, make in makers.items()}
    network = found.network
    if isinstance(network, ImageClassifier) and isinstance(network.space, Drawable):
        figures["drawing"] = base64.b64encode(network.space.svg(network.architecture)).decode()
    return figures


def encoded(make: Callable[[], Figure]) -> str:
    """The SVG of what `make` draws, in base64."""
    return base64.b64encode(rendered(make, ".svg")).decode()


def _examples(found: AutoResult) -> list[Picture]:
    """One image of each of some classes."""
    images = found.images
    classes = np.linspace(0, images.num_classes - 1, min(images.num_classes, _EXAMPLES)).round().astype(int)
    first = [int(np.flatnonzero(images.labels == one)[0]) for one in classes]
    return [Picture(_png(images.image(i)), images.class_names[images.labels[i]]) for i in first]


def _confused(found: AutoResult) -> list[Picture]:
    """Test images whose wrong answer is surest."""
    test, names = found.test, found.network.class_names
    sure, called = test.logits.softmax(1).max(1)
    wrong = (called != test.labels).nonzero()[:, 0]
    worst = wrong[sure[wrong].argsort(descending=True)][:_CONFUSED].tolist()
    tested = found.tested
    return [
        Picture(
            _png(tested.image(i)),
            f"{names[int(test.labels[i])]}, called {names[int(called[i])]} ({100 * float(sure[i]):.0f}% sure)",
        )
        for i in worst
    ]


def _pairs(found: AutoResult) -> Sequence[tuple[str, str, float]]:
    """The classes that are taken for each other most: class, called, percent."""
    shares, names = plots.confusion(found), found.network.class_names
    shares.fill_diagonal_(0)
    values, places = shares.flatten().topk(min(5, shares.numel()))
    pairs = zip(values.tolist(), places.tolist(), strict=True)
    return [(names[p // len(names)], names[p % len(names)], 100 * v) for v, p in pairs if v > 0]


def _png(pixels: np.ndarray) -> str:
    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
