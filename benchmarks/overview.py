"""Draw the picture of the documentation's first page, ``docs/overview.png``: a real search of scikit-learn's digits.

Needs the extra ``benchmarks``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from metad2a_plugin import MetaD2A, load_dataset

OUT = Path(__file__).resolve().parents[1] / "docs" / "overview.png"
COLOURS = {
    "none": "#e8e8e8",
    "skip_connect": "#f0c75e",
    "nor_conv_1x1": "#7fb3d5",
    "nor_conv_3x3": "#2e6da4",
    "avg_pool_3x3": "#9ccc9c",
}
CLASSES, IMAGES, TOP = 4, 4, 6


def images(axes: Axes, x: float, y: float, side: float) -> None:
    """A few images of a few classes, a class a row."""
    digits = load_dataset("sklearn:digits")
    for row in range(CLASSES):
        for column, i in enumerate(np.flatnonzero(digits.labels == row)[:IMAGES]):
            left, bottom = x + column * side, y + (CLASSES - 1 - row) * side
            extent = (left, left + 0.9 * side, bottom, bottom + 0.9 * side)
            axes.imshow(255 - digits.image(i), extent=extent, aspect="auto", interpolation="nearest", zorder=2)


def part(axes: Axes, x: float, title: str, line: str) -> None:
    """A box of the pipeline."""
    box = FancyBboxPatch((x, 0.95), 1.5, 0.9, boxstyle="round,pad=0.05", facecolor="#f4f6fb", edgecolor="#3f51b5")
    axes.add_patch(box)
    axes.text(x + 0.75, 1.58, title, ha="center", va="center", weight="bold")
    axes.text(x + 0.75, 1.22, line, ha="center", va="center", fontsize=7.5, color="#444444", linespacing=1.3)


def arrow(axes: Axes, start: float, end: float) -> None:
    """From one part to the next."""
    axes.add_patch(FancyArrowPatch((start, 1.4), (end, 1.4), arrowstyle="-|>", mutation_scale=13, color="#555555"))


def networks(axes: Axes, x: float, y: float, height: float) -> None:
    """The best cells as six coloured operations each."""
    searcher = MetaD2A.from_pretrained("nasbench201")
    found = searcher.search("sklearn:digits", top=TOP, progress=False).candidates
    for candidate in found:
        bottom = y + (TOP - candidate.rank) * height
        types = searcher.space.encode([candidate.architecture])[0, 1:-1]
        operations = [searcher.space.vertex_types[i] for i in types]
        axes.text(x - 0.1, bottom + 0.4 * height, str(candidate.rank), ha="right", va="center", color="#444444")
        for edge, operation in enumerate(operations):
            size = 0.82 * height
            axes.add_patch(Rectangle((x + edge * height, bottom), size, size, facecolor=COLOURS[operation]))
        axes.text(x + 6.2 * height, bottom + 0.4 * height, f"{candidate.accuracy:.1f}%", va="center")
    axes.text(2.25, 0.1, "a cell's six operations:", va="center", fontsize=7, color="#444444")
    for i, (name, colour) in enumerate(COLOURS.items()):
        left = 4.0 + i * 1.35
        axes.add_patch(Rectangle((left, 0.02), 0.16, 0.16, facecolor=colour))
        axes.text(left + 0.24, 0.1, name, va="center", fontsize=7, color="#444444")


def main() -> None:
    figure = Figure(figsize=(9, 2.5), layout="constrained")
    axes = figure.subplots()
    axes.set(xlim=(0, 11), ylim=(-0.1, 2.8))
    axes.axis("off")
    for x, text in ((0.85, "images by class"), (9.55, "ranked networks")):
        axes.text(x, 2.55, text, ha="center", weight="bold")
    images(axes, 0.1, 0.6, 0.42)
    parts = (
        ("set encoder", "the dataset,\nas one vector"),
        ("generator", "draws architectures\nfor it, within limits"),
        ("predictor", "their accuracy,\nand an interval"),
    )
    for i, (title, line) in enumerate(parts):
        part(axes, 2.3 + i * 2.15, title, line)
        arrow(axes, 1.85 if i == 0 else 1.75 + i * 2.15, 2.23 + i * 2.15)
    arrow(axes, 8.2, 8.6)
    networks(axes, 8.9, 0.6, 0.3)
    figure.savefig(OUT, dpi=200)


if __name__ == "__main__":
    main()
