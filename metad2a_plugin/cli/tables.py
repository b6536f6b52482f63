"""Tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

    from metad2a_plugin.analysis import Analysis
    from metad2a_plugin.cli.doctor import Finding
    from metad2a_plugin.models.checkpoint import Checkpoint
    from metad2a_plugin.search.designs import Designs
    from metad2a_plugin.search.pareto import Front
    from metad2a_plugin.search.result import SearchResult
    from metad2a_plugin.search.scoring import Scores
    from metad2a_plugin.similarity.similar import Similarity


def columns(*names: str) -> Table:
    """A table of numbers, but for a first column of no name."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in names:
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    return table


def print_search(console: Console, result: SearchResult) -> None:
    """The ranked candidates, and what to make of them."""
    console.print(_candidates(result))
    print_architectures(console, {str(c.rank): c.architecture_str for c in result.candidates})
    _print_search_notes(console, result)


def print_front(console: Console, front: Front) -> None:
    """The networks of a front, cheapest first, and what to make of them."""
    result = front.result
    console.print(_candidates(result))
    print_architectures(console, {str(c.rank): c.architecture_str for c in result.candidates})
    console.print(f"The best within each of several limits on {front.cost}, from the smallest network to the largest.")
    _print_search_notes(console, result)


def _candidates(result: SearchResult) -> Table:
    names, rows = result.table()
    table = columns(*names)
    for row in rows:
        table.add_row(*row)
    return table


_SOURCES = {
    "exhaustive": "different networks, all of the space,",
    "generated": "generated networks",
    "random": "random networks",
}


def _print_search_notes(console: Console, result: SearchResult) -> None:
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in result.rejected.items() if count) or "none"
    further = f" and {result.refined:,} more, where these promised most," if result.refined else ""
    read = f", images read in {result.seconds['features']:.1f} s" if result.dataset else ""
    console.print(
        f"{result.dataset or result.space}: {result.num_classes:,} classes, {result.input_size} pixels; "
        f"{result.queries - result.refined:,} {_SOURCES[result.source]}{further} ranked by {result.predictor} "
        f"({left_out} left out) in {result.seconds['search']:.2f} s{read}."
    )
    console.print(result.scale)
    if result.budget is not None:
        console.print(f"Ranked for {result.budget}.")
    for note in result.notes:
        console.print(note)
    print_unknown_level(console, result)


def print_unknown_level(console: Console, result: SearchResult | Designs | Scores) -> None:
    """Why there is a dash in place of each level."""
    if result.level_unknown is not None:
        console.print(result.level_unknown)


def print_architectures(console: Console, texts: Mapping[str, str]) -> None:
    """One to a line, apart from the table, so that they can be copied from a narrow terminal."""
    width = max(map(len, texts))
    console.print()
    for name, text in texts.items():
        console.print(f"{name:>{width}}  {text}", soft_wrap=True)
    console.print()


def print_similarity(console: Console, found: Similarity, nearest: Sequence[str]) -> None:
    """The known tasks, the nearest first, and the good cells of the nearest."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("task", "distance", "images and classes"):
        table.add_column(name, justify="right" if name == "distance" else "left", no_wrap=name != "images and classes")
    tasks = {task.name: task for task in found.library.tasks}
    for name, value in found.distances.items():
        table.add_row(name, f"{value:.3f}", tasks[name].description)
    console.print(table)
    for name in nearest:
        task, cells = tasks[name], found.library.good_cells(name)
        console.print(
            f"\nGood cells of {name}, the best {len(cells)} of {len(task.cells)} trained there, with their validation "
            f"accuracy (always answering the most frequent class reaches {task.majority_accuracy:.1f}%):"
        )
        print_architectures(console, {f"{i}. {c.accuracy:.1f}%": c.architecture for i, c in enumerate(cells, 1)})
    console.print(
        f"{found.dataset}: {found.distance} distance of each known task to it, from a small network of "
        f"{found.accuracy:.1f}% validation accuracy, trained on {found.images:,} images."
    )


def print_analysis(console: Console, analysis: Analysis) -> None:
    """Wiring, speed and surroundings of networks beside the references, and what to make of them."""
    table = columns("", "width", "depth", "epochs", "early", "last", "rise", "variance", "params")
    for network, epochs in zip(analysis.networks, analysis.epochs, strict=True):
        place = network.topology
        table.add_row(
            network.name,
            *(("-", "-") if place is None else (f"{place.width:.2f}c", str(place.depth))),
            f"{sum(epochs) / len(epochs):.{int(len(epochs) > 1)}f}",
            f"{network.early_accuracy:.1f}%",
            f"{network.accuracy:.1f}%",
            f"{network.mean(lambda run: run.landscape.rise):.3f}",
            f"{network.mean(lambda run: run.landscape.scaled_variance):.3g}",
            f"{network.trained.params:.3f} M",
        )
    console.print(table)
    print_architectures(console, {n.name: n.trained.architecture_str for n in analysis.networks})
    several = analysis.seeds > 1
    level = "as low as all get with the seed" if several else f"{analysis.convergence[0]:.3f}, which all reach"
    console.print(
        f"Epochs until the training loss first is {level}; validation accuracy after a quarter of the "
        f"{analysis.config.epochs} epochs and after the last; rise of the loss around the trained network; scaled "
        f"gradient variance{f'; means over {analysis.seeds} seeds' if several else ''}."
    )
    for warning in analysis.warnings:
        console.print(warning)


def print_scores(console: Console, scores: Scores) -> None:
    """Architectures, best first, and what their scores are."""
    from metad2a_plugin.search.result import UNKNOWN

    quantity = f"{scores.quantity} ({scores.unit})" if scores.unit else scores.quantity
    table = columns("rank", quantity, "params", "MACs")
    for s in scores.scores:
        value = f"{s.score:.6g}" if scores.level_unknown is None else UNKNOWN
        table.add_row(str(s.rank), value, f"{s.params_m:.3f} M", f"{s.flops_m:.1f} M")
    console.print(table)
    print_architectures(console, {str(s.rank): s.architecture for s in scores.scores})
    console.print(
        f"{scores.dataset or scores.space}: {scores.num_classes:,} classes, {scores.input_size} pixels; "
        f"scored by {scores.predictor}. {scores.scale}".rstrip()
    )
    if scores.budget is not None:
        console.print(f"Scored for {scores.budget}.")
    for note in scores.notes:
        console.print(note)
    print_unknown_level(console, scores)


def print_findings(console: Console, findings: Sequence[Finding]) -> None:
    """What `diagnose` has found."""
    styles = {"works": "green", "absent": "dim", "problem": "bold red"}
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        state = Text(finding.state, styles[finding.state])
        table.add_row(finding.name, state, Text("\n".join((finding.found, *(f"- {note}" for note in finding.notes)))))
    console.print(table)


def print_metrics(console: Console, checkpoint: Checkpoint) -> None:
    """What a meta-training measured."""
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in checkpoint.training["metrics"].items():
        table.add_row(name, f"{value:.3f}")
    console.print(table)
