"""Commands that make databases and models: ``build-database``, ``meta-train`` and ``convert-benchmark``."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from metad2a_plugin.cli.app import app
from metad2a_plugin.cli.options import Device, Seed, Space, own_images, writable
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.registry import DEFAULT_SPACE
from metad2a_plugin.utils.files import data_folder


@app.command("build-database")
def build_database(
    out: Annotated[Path, typer.Argument(help="The database's folder.", show_default=False)],
    images: Annotated[
        str | None,
        typer.Option(
            help="A folder of class folders, or a zip of one; METAD2A_DATA/images/imagenet64.zip.", show_default=False
        ),
    ] = None,
    space: Annotated[str, typer.Option(help="Search space; mobilenetv3 has a supernet.")] = "mobilenetv3",
    supernet: Annotated[
        str | None,
        typer.Option(
            help="A supernet file in OFA's layout, or 'ofa' (width 1.0) or 'ofa-1.2', which are downloaded; by default "
            "one is trained on the images.",
            show_default=False,
        ),
    ] = None,
    tasks: Annotated[int, typer.Option(help="Training tasks.")] = 1000,
    valid_tasks: Annotated[int, typer.Option(help="Validation tasks, of classes of their own.")] = 200,
    rows_per_task: Annotated[int, typer.Option(help="Networks measured on each task.")] = 5,
    classes: Annotated[int, typer.Option(help="Of a task.")] = 20,
    related: Annotated[float, typer.Option(help="Share of tasks of neighbouring classes, fine-grained ones.")] = 0.5,
    test_images: Annotated[int, typer.Option(help="Of a class, that accuracies are measured on.")] = 15,
    calibration_images: Annotated[int, typer.Option(help="Of a class, for batch norm.")] = 10,
    width: Annotated[float, typer.Option(help="Multiplier of the supernet's channels.")] = 0.35,
    input_size: Annotated[
        int | None,
        typer.Option(help="Side of the images, pixels; 48, or 224 with --supernet.", show_default=False),
    ] = None,
    epochs: Annotated[int, typer.Option(help="Of the supernet's training.")] = 20,
    teacher: Annotated[
        str, typer.Option(help="Image encoder that the supernet learns from besides the labels; 'none' for none.")
    ] = "default",
    workers: Annotated[int, typer.Option(help="Processes that measure.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option(help="Measure on a Ray cluster: its address, or 'local' (extra ray).", show_default=False),
    ] = None,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Measure the I-th of N parts, to share the work without Ray.")
    ] = "1/1",
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Build a meta-database: random networks of a supernet, measured on random tasks.

    The same command goes on after an interruption; no row is lost or measured twice.
    """
    from metad2a_plugin.meta.build import build_database as run
    from metad2a_plugin.meta.plan import PlanConfig
    from metad2a_plugin.meta.supernet import SupernetConfig
    from metad2a_plugin.plugins.registry import get_space
    from metad2a_plugin.utils.progress import stages

    if get_space(space).name != "mobilenetv3":
        raise ConfigError(f"databases are built of the space 'mobilenetv3', which has a supernet, not of {space!r}")
    part = _shard(shard)
    config = PlanConfig(
        tasks=tasks,
        valid_tasks=valid_tasks,
        rows_per_task=rows_per_task,
        classes=classes,
        related=related,
        test_images=test_images,
        calibration_images=calibration_images,
        seed=seed,
    )
    trained = SupernetConfig(
        width=width,
        input_size=48 if input_size is None else input_size,
        epochs=epochs,
        teacher=None if teacher == "none" else teacher,
        seed=seed,
        device=device,
    )
    writable(out)
    with stages() as progress:
        rows = run(
            images or own_images("--images"),
            out,
            config,
            trained if supernet is None else _supernet_file(supernet),
            workers=workers,
            ray=ray,
            shard=part,
            input_size=224 if input_size is None else input_size,
            device=device,
            progress=progress,
        )
    typer.echo(f"rows: {rows}")


def _shard(text: str) -> tuple[int, int]:
    try:
        first, last = map(int, text.split("/"))
    except ValueError:
        raise ConfigError(f"--shard {text!r} must be I/N, such as 1/4") from None
    return first, last


def _supernet_file(name: str) -> str:
    """The path of a supernet; those of OFA's model zoo by a short name."""
    zoo = {"ofa": 0, "ofa-1.2": 1}
    if name not in zoo:
        return name
    from metad2a_plugin.adapters import ofa

    return str(ofa.zoo_file(ofa.ZOO[zoo[name]], download=True))


@app.command("meta-train")
def meta_train(
    out: Annotated[Path, typer.Argument(help="The checkpoint's folder.")],
    space: Space = None,
    database: Annotated[
        Path | None,
        typer.Option(
            help="Folder of rows, tasks and classes; METAD2A_DATA/metad2a for nasbench201.", show_default=False
        ),
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            help="Images of the classes, a folder or zip; METAD2A_DATA/images/imagenet64.zip.", show_default=False
        ),
    ] = None,
    tables: Annotated[
        Path | None,
        typer.Option(help="A NAS-Bench-201 table (nb201.csv.gz) to learn from as well.", show_default=False),
    ] = None,
    table_datasets: Annotated[
        str, typer.Option(help="Which of its datasets, joined by commas.")
    ] = "cifar10,imagenet16-120",
    recipe: Annotated[
        str, typer.Option(help="default; paper (the paper's models); release (and the authors' schedule).")
    ] = "default",
    encoder: Annotated[str, typer.Option(help="Image encoder.")] = "default",
    protocol_step: Annotated[
        float | None,
        typer.Option(
            help="Rows whose accuracy is no multiple of it were measured otherwise; 0.2 for the released database.",
            show_default=False,
        ),
    ] = None,
    selection: Annotated[
        bool,
        typer.Option(
            "--selection",
            help="The database holds cells that were chosen for being good, so being in it is evidence; true of the "
            "released database.",
        ),
    ] = False,
    quality: Annotated[
        str | None,
        typer.Option(
            help="A predictor whose order of networks is taken over, such as ofa-imagenet; the database then tells how "
            "hard datasets are.",
            show_default=False,
        ),
    ] = None,
    generator: Annotated[bool, typer.Option(help="Train a generator too.")] = True,
    targets: Annotated[
        str | None,
        typer.Option(
            help="What the generator learns: rows (the database's networks) or best-of-10 (the best predicted of ten "
            "random ones). Default: rows for nasbench201 and with --selection.",
            show_default=False,
        ),
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="Unfinished work; beside OUT by default.", show_default=False)
    ] = None,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Meta-train a predictor and a generator on a meta-database; the same command goes on after an interruption."""
    from metad2a_plugin.cli.tables import print_metrics
    from metad2a_plugin.data import load_dataset
    from metad2a_plugin.meta.train import MetaTrainConfig
    from metad2a_plugin.meta.train import meta_train as run
    from metad2a_plugin.utils.progress import stages

    config = MetaTrainConfig(
        space=space or DEFAULT_SPACE,
        recipe=recipe,
        encoder=encoder,
        protocol_step=protocol_step,
        selection=selection,
        quality=quality,
        generator=generator,
        targets=targets,
        seed=seed,
        device=device,
    )
    writable(out)
    if database is None:
        if config.space != DEFAULT_SPACE:
            raise ConfigError(f"give --database, the folder of rows, tasks and classes for {config.space!r}")
        database = data_folder() / "metad2a"
    benchmark = {}
    if tables is not None:
        if config.space != DEFAULT_SPACE:
            raise ConfigError(f"--tables are of {DEFAULT_SPACE!r} cells; leave them out for {config.space!r}")
        from metad2a_plugin.adapters.nas_bench_201 import NASBench201Table

        table = NASBench201Table.load(tables)
        benchmark = {name: table.training_table(name) for name in table_datasets.split(",") if name}
    source = images or own_images("--images and --database")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # single-image classes are none of the database's
        dataset = load_dataset(source)
    with stages() as progress:
        checkpoint = run(
            database,
            dataset,
            out,
            config,
            tables=benchmark,
            run_dir=run_dir,
            progress=progress,
            command=" ".join(["metad2a", *sys.argv[1:]]),
        )
    print_metrics(checkpoint)
    typer.echo(f"checkpoint: {out}")


@app.command("convert-benchmark")
def convert_benchmark(
    source: Annotated[
        Path,
        typer.Argument(
            help="NAS-Bench-201-v1_1-096897.pth, NATS-tss-v1_0-3ffb9.pickle.pbz2 or the folder of that -simple.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Argument(help="The compact file, such as nb201.npz.", show_default=False)],
    curves: Annotated[
        bool, typer.Option("--curves", help="Keep the accuracy after every epoch too; 130 MB instead of 7.")
    ] = False,
) -> None:
    """Read the published results of NAS-Bench-201 once, into a compact file that loads at once.

    Takes minutes and little memory; nothing in the file is executed.
    """
    from metad2a_plugin.adapters.nas_bench_201 import convert, open_benchmark
    from metad2a_plugin.utils.progress import stages

    with stages() as progress:
        convert(source, out, curves=curves, progress=progress)
    benchmark = open_benchmark(out)
    typer.echo(f"{out}: {len(benchmark.indices):,} cells, {out.stat().st_size / 1e6:.1f} MB")
