"""The figures of a run's page; narrow, so that a phone shows their text in its size."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from metad2a_plugin.contest.result import AutoResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette: told apart by colour-blind readers too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_WIDTH = 5.4  # inches
_NAMED = 25  # classes whose names fit beside a matrix


def draw_curves(found: AutoResult) -> Figure:
    """Validation accuracy of every training, over the seconds since the first began."""
    figure, axes = _figure(3.4)
    colours = dict(zip(found.contenders, _COLOURS, strict=False))
    begin, seen = 0.0, set()
    for trained in found.trained:
        ends = begin + trained.seconds * np.arange(1, trained.epochs + 1) / trained.epochs
        name = None if trained.contender in seen else found.title(trained)
        seen.add(trained.contender)
        chosen = trained.folder == found.source
        axes.plot(
            ends, trained.curve, color=colours.get(trained.contender, "grey"), label=name, marker=".",
            markersize=3, linewidth=2.2 if chosen else 1.0,
        )  # fmt: skip
        begin += trained.seconds
    for reference, dash in zip(found.references, itertools.cycle((":", "--", "-."))):
        axes.axhline(reference.validation, color="grey", linestyle=dash, linewidth=1, label=reference.name)
    axes.set(xlabel="seconds of training", ylabel="validation accuracy (%)")
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    return figure


def draw_trainings(runs: Sequence[Mapping[str, Any]]) -> Figure:
    """Validation accuracy over epochs of the trainings of `reports.trainings`, the best in the first colour."""
    figure, axes = _figure(3.4)
    for place, run in enumerate(runs):
        colour, curve = _COLOURS[place] if place < len(_COLOURS) else "lightgrey", run["curve"]
        label = run["folder"] if place < len(_COLOURS) else None
        axes.plot(range(1, len(curve) + 1), curve, color=colour, label=label, marker=".", markersize=3, linewidth=1.2)
    axes.set(xlabel="epoch", ylabel="validation accuracy (%)")
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return figure


def draw_costs(found: AutoResult) -> Figure:
    """The best accuracy of every contender and reference over its multiply-accumulates."""
    figure, axes = _figure(3.2)
    for (name, contender), colour in zip(found.contenders.items(), _COLOURS, strict=False):
        values = [t.accuracy for t in found.trained if t.contender == name]
        if values:
            axes.scatter(found.costs[name].flops, max(values), color=colour, s=40, label=contender.title)
    for reference in found.references:
        if reference.network is not None:
            cost = reference.network.cost.flops
            axes.scatter(cost, reference.validation, color="grey", marker="x", label=reference.name)
        else:
            axes.axhline(reference.validation, color="grey", linestyle=":", linewidth=1, label=reference.name)
    axes.set(xscale="log", xlabel="million multiply-accumulates", ylabel="validation accuracy (%)")
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    return figure


def draw_confusion(found: AutoResult) -> Figure:
    """Share of each class's test images that are called each class."""
    names = found.network.class_names
    shares = confusion(found).numpy()
    figure, axes = _figure(min(8.0, 2.5 + 0.16 * min(len(names), _NAMED)))
    picture = axes.imshow(100 * shares, vmin=0, vmax=100, cmap="Blues", aspect="auto")
    if len(names) <= _NAMED:
        short = [name if len(name) <= 14 else f"{name[:13]}…" for name in names]
        axes.set_xticks(range(len(names)), short, rotation=90, fontsize=8)
        axes.set_yticks(range(len(names)), short, fontsize=8)
    axes.set(xlabel="called", ylabel="class")
    figure.colorbar(picture, ax=axes, label="% of the class")
    return figure


def confusion(found: AutoResult) -> torch.Tensor:
    """Share of each class's test images that are called each class, ``[classes, classes]``; 0 without images."""
    count = len(found.network.class_names)
    pairs = found.test.labels * count + found.test.logits.argmax(1)
    table = pairs.bincount(minlength=count**2).view(count, count).double()
    return table / table.sum(1, keepdim=True).clamp(min=1)


def _figure(height: float) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
