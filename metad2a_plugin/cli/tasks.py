"""Commands for the similarity of tasks: ``similar`` and ``build-tasks``."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from metad2a_plugin.cli import options as opt
from metad2a_plugin.cli.app import app
from metad2a_plugin.cli.report import Report
from metad2a_plugin.errors import ConfigError, require
from metad2a_plugin.similarity.config import CellConfig, TaskConfig


@app.command()
def similar(
    dataset: opt.Dataset,
    library: Annotated[
        Path | None, typer.Option(help="A folder of metad2a build-tasks; the shipped library by default.")
    ] = None,
    distance: Annotated[str, typer.Option(help="frechet or log-determinant.")] = "frechet",
    top: Annotated[int, typer.Option(help="How many tasks to show the good cells of.")] = 1,
    json: opt.Json = None,
    draw: Annotated[Path | None, typer.Option(help="Draw the distances as a heat map, .svg or .png.")] = None,
    seed: opt.Seed = 0,
    device: opt.Device = "cpu",
) -> None:
    """Find the known tasks most like a dataset.

    Shown are their distances, and the cells that are good on the nearest.
    """
    opt.check_outputs(json)
    opt.check_outputs(draw, suffixes=(".svg", ".png"))
    if draw is not None:
        require("draw", "drawing distances", "matplotlib")
    from metad2a_plugin.cli.tables import print_similarity
    from metad2a_plugin.similarity.similar import similar_tasks
    from metad2a_plugin.utils.progress import waiting

    with waiting("training a small network on the dataset"):
        found = similar_tasks(dataset, library, distance=distance, seed=seed, device=device)
    report = Report(json)
    print_similarity(report.console, found, found.nearest(top))
    report.values("distances", found.to_dict())
    if draw is not None:
        found.draw(draw)
        report.note(f"heat map: {draw}")


@app.command("build-tasks")
def build_tasks(
    out: Annotated[Path, typer.Argument(help="The library's folder.")],
    images: opt.Images = None,
    themes: Annotated[
        Path | None, typer.Option(help="JSON {theme: {class of the images: its name}}; each becomes a task.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(metavar="NAME=DATASET", help="Another task; may be repeated.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="A folder of datasets: each folder, .zip and .npz in it is a task.")
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="Small network tasks are compared by: plain or residual.")
    ] = TaskConfig.backbone,
    count: Annotated[int, typer.Option(help="Random cells that are trained on each task.")] = CellConfig.count,
    good: Annotated[int, typer.Option(help="How many of the best are a task's good cells.")] = CellConfig.good,
    epochs: Annotated[int, typer.Option(help="Of each cell's training.")] = CellConfig.epochs,
    max_images: Annotated[
        int, typer.Option(help="Of a task, that cells are trained and validated on.")
    ] = CellConfig.images,
    run_dir: opt.BesideOut = None,
    seed: opt.Seed = TaskConfig.seed,
    device: opt.Device = TaskConfig.device,
) -> None:
    """Build a library of known tasks.

    Of each there is a small network, and random nasbench201 cells are really trained on it. The same command goes on
    after an interruption.
    """
    from metad2a_plugin.data import load_dataset
    from metad2a_plugin.similarity.build import build_library
    from metad2a_plugin.similarity.themes import read_themes, theme_datasets
    from metad2a_plugin.utils.progress import stages

    config = TaskConfig(backbone=backbone, seed=seed, device=device)
    cells = CellConfig(count=count, good=good, epochs=epochs, images=max_images, seed=seed)
    opt.check_outputs(folders=(out,))
    sources = _datasets_of(folder) if folder else {}
    sources |= opt.pairs("--dataset", dataset, "NAME=DATASET, such as digits=sklearn:digits", str)
    if images is not None and themes is None:
        raise ConfigError("--images are what --themes choose from; give --themes, or --dataset for a whole dataset")
    datasets = {}
    if themes is not None:
        chosen = read_themes(themes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # single-image classes of the images need not be a theme's
            pool = load_dataset(images or opt.own_images("--images"))
        datasets = theme_datasets(pool, chosen)
    datasets |= {name: load_dataset(source, name=name) for name, source in sources.items()}
    with stages() as progress:
        build_library(
            datasets,
            out,
            config,
            cells,
            run_dir=run_dir or out.with_name(out.name + ".runs"),
            command=" ".join(["metad2a", *sys.argv[1:]]),
            progress=progress,
        )
    Report().note(f"library: {out}, {len(datasets)} tasks")


def _datasets_of(folder: Path) -> dict[str, str]:
    """The datasets in a folder, by name."""
    if not folder.is_dir():
        raise ConfigError(f"--folder {str(folder)!r} is no folder; it must hold one folder, .zip or .npz per task")
    found = {
        path.stem: str(path)
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".") and (path.is_dir() or path.suffix in (".zip", ".npz"))
    }
    if not found:
        raise ConfigError(f"--folder {str(folder)!r} holds no dataset: no folder, .zip or .npz")
    return found
