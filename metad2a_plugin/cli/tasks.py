"""Commands for the similarity of tasks: ``similar`` and ``build-tasks``."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from metad2a_plugin.cli.app import app
from metad2a_plugin.cli.options import Dataset, Device, Seed, own_images, writable
from metad2a_plugin.errors import ConfigError, require


@app.command()
def similar(
    dataset: Dataset,
    library: Annotated[
        Path | None,
        typer.Option(help="A folder of metad2a build-tasks; the shipped library by default.", show_default=False),
    ] = None,
    distance: Annotated[str, typer.Option(help="frechet or log-determinant.")] = "frechet",
    top: Annotated[int, typer.Option(help="How many tasks to show the good cells of.")] = 1,
    json: Annotated[Path | None, typer.Option(help="Write all distances here.", show_default=False)] = None,
    draw: Annotated[
        Path | None, typer.Option(help="Draw the distances as a heat map, .svg or .png.", show_default=False)
    ] = None,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Find the known tasks that are most like a dataset, and the cells that are good on them."""
    import json as text

    for path in (json, draw):
        if path is not None:
            writable(path.parent)
    if draw is not None:
        if draw.suffix not in (".svg", ".png"):
            raise ConfigError(f"{str(draw)!r} must end in .svg or .png")
        require("draw", "drawing distances", "matplotlib")
    from metad2a_plugin.cli.tables import print_similarity
    from metad2a_plugin.similarity.similar import similar_tasks
    from metad2a_plugin.utils.files import write_atomically
    from metad2a_plugin.utils.progress import waiting

    with waiting("training a small network on the dataset"):
        found = similar_tasks(dataset, library, distance=distance, seed=seed, device=device)
    print_similarity(found, found.nearest(top))
    if json is not None:
        write_atomically(json, (text.dumps(found.to_dict(), indent=1) + "\n").encode())
        typer.echo(f"distances: {json}")
    if draw is not None:
        found.draw(draw)
        typer.echo(f"heat map: {draw}")


@app.command("build-tasks")
def build_tasks(
    out: Annotated[Path, typer.Argument(help="The library's folder.", show_default=False)],
    images: Annotated[
        str | None,
        typer.Option(
            help="What the themes choose classes from; METAD2A_DATA/images/imagenet64.zip.", show_default=False
        ),
    ] = None,
    themes: Annotated[
        Path | None,
        typer.Option(help="JSON {theme: {class of the images: its name}}; each becomes a task.", show_default=False),
    ] = None,
    dataset: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=DATASET", help="Another task; may be repeated.", show_default=False),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="A folder of datasets: each folder, .zip and .npz in it is a task.", show_default=False),
    ] = None,
    backbone: Annotated[str, typer.Option(help="Small network tasks are compared by: plain or residual.")] = "plain",
    count: Annotated[int, typer.Option(help="Random cells that are trained on each task.")] = 12,
    good: Annotated[int, typer.Option(help="How many of the best are a task's good cells.")] = 4,
    epochs: Annotated[int, typer.Option(help="Of each cell's training.")] = 10,
    max_images: Annotated[int, typer.Option(help="Of a task, that cells are trained and validated on.")] = 600,
    run_dir: Annotated[
        Path | None, typer.Option(help="Finished networks; beside OUT by default.", show_default=False)
    ] = None,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Build a library of known tasks: a small network of each, and random nasbench201 cells really trained on it.

    The same command goes on after an interruption.
    """
    from metad2a_plugin.data import load_dataset
    from metad2a_plugin.similarity.build import CellConfig, build_library
    from metad2a_plugin.similarity.measure import TaskConfig
    from metad2a_plugin.similarity.themes import read_themes, theme_datasets
    from metad2a_plugin.utils.progress import stages

    config = TaskConfig(backbone=backbone, seed=seed, device=device)
    cells = CellConfig(count=count, good=good, epochs=epochs, images=max_images, seed=seed)
    writable(out)
    sources = _datasets_of(folder) if folder else {}
    for given in dataset or ():
        name, _, source = given.partition("=")
        if not name or not source:
            raise ConfigError(f"--dataset {given!r} must be NAME=DATASET, such as digits=sklearn:digits")
        sources[name] = source
    if images is not None and themes is None:
        raise ConfigError("--images are what --themes choose from; give --themes, or --dataset for a whole dataset")
    datasets = {}
    if themes is not None:
        chosen = read_themes(themes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # single-image classes of the images need not be a theme's
            pool = load_dataset(images or own_images("--images"))
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
    typer.echo(f"library: {out}, {len(datasets)} tasks")


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
