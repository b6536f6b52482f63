"""The command ``predict``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metad2a_plugin.cli import options as opt
from metad2a_plugin.cli.app import app
from metad2a_plugin.cli.report import Report
from metad2a_plugin.utils.checks import integer

if TYPE_CHECKING:
    from rich.console import Console

    from metad2a_plugin.training.predict import ImagePredictions

_SHOWN = 40  # images


@app.command()
def predict(
    network: Annotated[
        str,
        typer.Argument(help="A network.safetensors of metad2a train or auto, the folder it is in, or hf:user/repo."),
    ],
    images: Annotated[
        list[str],
        typer.Argument(help="Image files, a folder or a .zip of images, or a dataset; class folders are labels."),
    ],
    top: Annotated[int, typer.Option(help="How many of the most probable classes to tell of an image.")] = 3,
    csv: Annotated[Path | None, typer.Option(help="Write a line for each image here, an .csv file.")] = None,
    json: opt.Json = None,
    device: opt.Device = "cpu",
) -> None:
    """Classify images with a trained network.

    Where images lie in folders that have names of its classes, it is told how many are right.
    """
    integer("top", top, 1)
    opt.check_outputs(csv, suffixes=(".csv",), one_format=True)
    opt.check_outputs(json)
    from metad2a_plugin.training.predict import predict_images

    found = predict_images(network, images[0] if len(images) == 1 else images, device=device)
    report = Report(json)
    print_predictions(report.console, found, top)
    if csv is not None:
        found.to_csv(csv, top)
        report.note(f"table: {csv}")
    report.values("predictions", found.to_dict(top))


def print_predictions(console: Console, found: ImagePredictions, top: int) -> None:
    """The most probable classes of the first images, and how many of all are right."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("image", overflow="fold")
    if found.labelled:
        table.add_column("label", overflow="fold")
    table.add_column("most probable classes" if top > 1 else "most probable class", overflow="fold")
    for i, name in enumerate(found.images[:_SHOWN]):
        classes = ", ".join(f"{each} {100 * value:.1f}%" for each, value in found.best(i, top))
        table.add_row(name, *([found.label(i) or ""] if found.labelled else []), classes)
    console.print(table)
    if (left := len(found.images) - _SHOWN) > 0:
        console.print(f"... and {left:,} more images; --csv and --json write all.")
    console.print()
    if found.accuracy is None or found.interval is None:
        console.print(f"{len(found.images):,} images, none in a folder that has the name of a class of the network.")
    else:
        low, high = found.interval
        console.print(
            f"{found.right:,} of {found.labelled:,} images are answered as their folders say: {found.accuracy:.1f}% "
            f"(95% interval {low:.1f} to {high:.1f}). It says little of images that the network was trained on."
        )
