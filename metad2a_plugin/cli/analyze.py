"""The command ``analyze``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from metad2a_plugin.cli import options as opt
from metad2a_plugin.cli.app import app
from metad2a_plugin.cli.report import Report
from metad2a_plugin.errors import ConfigError, require
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.training.config import TrainConfig


@app.command()
def analyze(
    architectures: Annotated[list[str], typer.Argument(help=f"Networks {opt.NOTATION}, one or several.")],
    dataset: Annotated[str, typer.Option(help="What to train on, as for the other commands.")],
    out: Annotated[Path, typer.Option(help="The page, an .html file.")] = Path("analysis.html"),
    space: opt.Space = None,
    reference: Annotated[
        list[str] | None, typer.Option(metavar="<str>", help="A network to compare with, of your choice; repeatable.")
    ] = None,
    references: Annotated[
        int | None,
        typer.Option(
            help="Networks to compare with: the same operations wired otherwise, then random ones. 2 by default for a "
            "single network without a chosen one."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Train each network so often, with --seed and those after it.")] = 1,
    epochs: opt.Epochs = 12,
    input_size: Annotated[int, typer.Option(help="Side of the images, pixels.")] = TrainConfig.input_size,
    channels: Annotated[int | None, typer.Option(help="Of the first stage, of nasbench201; 8 by default.")] = None,
    cells: Annotated[int | None, typer.Option(help="Per stage, of nasbench201; 1 by default.")] = None,
    width: opt.Width = None,
    network: opt.Network = None,
    flip: opt.Flip = TrainConfig.flip,
    max_images_per_class: Annotated[int, typer.Option(help="Use at most so many images of a class.")] = 100,
    json: opt.Json = None,
    run_dir: opt.RunDir = Path("runs/analyze"),
    seed: opt.Seed = TrainConfig.seed,
    device: opt.TrainingDevice = TrainConfig.device,
) -> None:
    """Show why architectures train fast or slowly.

    One page has their wiring, convergence and loss surfaces.
    """
    settings = locals()
    from metad2a_plugin.analysis import analyze, write_page
    from metad2a_plugin.cli.tables import print_analysis
    from metad2a_plugin.data import load_dataset

    require("draw", "the page of an analysis", "matplotlib")
    opt.check_outputs(out, suffixes=(".html", ".htm"), one_format=True)
    opt.check_outputs(json, folders=(run_dir,))
    if reference and references is not None:
        raise ConfigError("give --reference, networks of your choice, or --references, their number, not both")
    searched, cells_given = opt.given_networks(space, [*architectures, *(reference or ())])
    asked, chosen = cells_given[: len(architectures)], cells_given[len(architectures) :]
    options = _small(searched) | opt.network_options(network, channels=channels, cells=cells, width=width)
    config = opt.configured(TrainConfig, settings, options=searched.check_options(options))
    images = load_dataset(dataset, max_images_per_class=max_images_per_class, seed=config.split_seed)
    analysis = analyze(
        searched, asked, images, config, references=chosen or references, seeds=seeds, run_dir=run_dir
    )
    report = Report(json)
    print_analysis(report.console, analysis)
    write_page(analysis, out)
    report.note(f"page: {out}")
    report.values("numbers", analysis.to_dict())


def _small(space: SearchSpace) -> dict[str, Any]:
    """Options of networks that train in a minute on a CPU, where the space has these."""
    try:
        return space.check_options({"channels": 8, "cells": 1})
    except ConfigError:
        return {}
