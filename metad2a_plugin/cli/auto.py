"""The command ``auto``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from metad2a_plugin.cli import options as opt
from metad2a_plugin.cli.app import app
from metad2a_plugin.cli.report import Report
from metad2a_plugin.contest.config import AutoConfig, seconds_of
from metad2a_plugin.errors import require

if TYPE_CHECKING:
    from rich.console import Console

    from metad2a_plugin.contest.result import AutoResult

@app.command()
def auto(
    dataset: opt.Dataset,
    time: Annotated[str, typer.Option(help="For all of it on this machine, such as 90s, 30m or 1h30m.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; the same command goes on from there.")] = Path("auto"),
    max_params: opt.MaxParams = None,
    max_flops: opt.MaxFlops = None,
    max_latency: opt.MaxLatency = None,
    model: opt.Model = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            metavar="<str>",
            help="An image encoder to compare with and to fine-tune, such as efficientnet-lite0; may be repeated. By "
            "default the shipped one, and efficientnet-lite0 where installed."
        ),
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option(
            "--flip/--no-flip",
            help="Whether mirrored images are as good, as photographs are; by default the images decide.",
        ),
    ] = AutoConfig.flip,
    refit: Annotated[
        bool, typer.Option("--refit", help="Train the best once more at the end, on all images; half of the time.")
    ] = AutoConfig.refit,
    json: opt.Json = None,
    seed: opt.Seed = AutoConfig.seed,
    device: opt.TrainingDevice = AutoConfig.device,
    ray: opt.Ray = AutoConfig.ray,
) -> None:
    """From images to a trained network, within a time.

    It ends with OUT/network.safetensors and a page, OUT/index.html.
    """
    settings = locals()
    seconds = seconds_of(time)
    opt.check_outputs(json, folders=(out,))
    require("draw", "the page of a run", "matplotlib")
    # What else limits are made of is decided by the run.
    others = ("latency_table", "input_size", "channels", "cells", "width", "network")
    limits = opt.limit_options({**settings, **dict.fromkeys(others)})
    config = opt.configured(AutoConfig, settings, seconds=seconds, encoders=encoder)
    from metad2a_plugin.contest.page import write_page
    from metad2a_plugin.contest.run import auto as run
    from metad2a_plugin.utils.progress import stages

    with stages() as progress:
        found = run(dataset, out, config, limits=limits, model=model, progress=progress)
    report = Report(json)
    print_auto(report.console, found)
    write_page(found, out / "index.html")
    report.note(f"network: {out / 'network.safetensors'}")
    report.note(f"page: {out / 'index.html'}")
    report.values("result", found.to_dict())


def print_auto(console: Console, found: AutoResult) -> None:
    """What was tried, and what came out."""
    from metad2a_plugin.cli.tables import columns

    table = columns("", "validation", "test", "epochs", "seconds", "params", "MACs")
    for reference in found.references:
        cost = reference.network.cost if reference.network else None
        table.add_row(
            reference.name,
            f"{reference.validation:.1f}%",
            f"{reference.test:.1f}%",
            "",
            "",
            f"{cost.params:.3f} M" if cost else "",
            f"{cost.flops:.1f} M" if cost else "",
        )
    for trained in found.trained:
        chosen, cost = trained.folder == found.source, found.costs[trained.contender]
        table.add_row(
            f"{found.title(trained)}, round {trained.round}",
            f"{trained.accuracy:.1f}%",
            f"{found.test.accuracy:.1f}%" if chosen else "",
            str(trained.epochs),
            f"{trained.seconds:.0f}",
            f"{cost.params:.3f} M",
            f"{cost.flops:.1f} M",
        )
    console.print(table)
    if found.flip:
        console.print("Trainings mirrored images at random; --no-flip is for those that are other objects then.")
    low, high = found.test.interval
    console.print(
        f"{found.dataset}: the best on the {found.validation_images:,} validation images is the {found.source_title}. "
        f"On {len(found.test.labels):,} test images, by which nothing was chosen, it reaches "
        f"{found.test.accuracy:.1f}% (95% interval {low:.1f} to {high:.1f}). {found.seconds:.0f} s of work."
        + " Then it was trained once more, on all images." * found.refitted
    )
