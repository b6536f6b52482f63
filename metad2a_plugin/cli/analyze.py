"""The command ``analyze``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metad2a_plugin.cli.app import app
from metad2a_plugin.cli.options import Seed, Space, Width, writable
from metad2a_plugin.errors import ConfigError, require
from metad2a_plugin.plugins.registry import DEFAULT_SPACE

if TYPE_CHECKING:
    pass

@app.command()
def analyze(
    architecture: Annotated[str, typer.Argument(help="An architecture string, as a search prints it.")],
    dataset: Annotated[str, typer.Option(help="What to train on, as for the other commands.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The page, an .html file.")] = Path("analysis.html"),
    space: Space = None,
    references: Annotated[
        int, typer.Option(help="Networks to compare with: the same operations wired otherwise, then random ones.")
    ] = 2,
    epochs: Annotated[int, typer.Option(help="Passes over the training part.")] = 12,
    input_size: Annotated[int, typer.Option(help="Side of the images, pixels.")] = 32,
    channels: Annotated[
        int | None, typer.Option(help="Of the first stage, of nasbench201; 8 by default.", show_default=False)
    ] = None,
    cells: Annotated[
        int | None, typer.Option(help="Per stage, of nasbench201; 1 by default.", show_default=False)
    ] = None,
    width: Width = None,
    flip: Annotated[bool, typer.Option(help="Mirror images at random; for photographs.")] = False,
    max_images_per_class: Annotated[int, typer.Option(help="Use at most so many images of a class.")] = 100,
    json: Annotated[Path | None, typer.Option(help="Write the numbers here.", show_default=False)] = None,
    run_dir: Annotated[Path, typer.Option(help="Where runs are kept; the same command goes on from there.")] = Path(
        "runs/analyze"
    ),
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="A torch device; auto takes a GPU where there is one.")] = "auto",
) -> None:
    """Show why an architecture trains fast or slowly: its wiring, convergence and loss surface, on one page."""
    import json as text

    from metad2a_plugin.analysis import analyze as run
    from metad2a_plugin.analysis import write_page
    from metad2a_plugin.analysis.topology import has_cells
    from metad2a_plugin.cli.tables import print_analysis
    from metad2a_plugin.data import load_dataset
    from metad2a_plugin.plugins.registry import get_space
    from metad2a_plugin.training.config import TrainConfig
    from metad2a_plugin.utils.files import write_atomically

    require("draw", "the page of an analysis", "matplotlib")
    if out.suffix not in (".html", ".htm"):
        raise ConfigError(f"{str(out)!r} must end in .html")
    for path in (out, *([json] if json else [])):
        writable(path.parent)
        if path.is_dir():
            raise ConfigError(f"{str(path)!r} is a folder; name a file")
    writable(run_dir)
    of = get_space(space or DEFAULT_SPACE)
    cell = of.parse(architecture)
    small = (8, 1) if has_cells(of) else (None, None)  # networks that train in a minute on a CPU
    config = TrainConfig(
        epochs=epochs,
        flip=flip,
        input_size=input_size,
        channels=small[0] if channels is None else channels,
        cells=small[1] if cells is None else cells,
        width=width,
        seed=seed,
        device=device,
    )
    of.cost(cell, **config.options)  # refuses options that the space does not have
    images = load_dataset(dataset, max_images_per_class=max_images_per_class, seed=config.split_seed)
    analysis = run(of, cell, images, config, references=references, run_dir=run_dir)
    print_analysis(analysis)
    write_page(analysis, out)
    typer.echo(f"page: {out}")
    if json is not None:
        write_atomically(json, (text.dumps(analysis.to_dict(), indent=1) + "\n").encode())
        typer.echo(f"numbers: {json}")
