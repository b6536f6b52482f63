"""Commands that make databases and models: ``build-database``, ``meta-train`` and ``convert-benchmark``."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from metad2a_plugin.cli import options as opt
from metad2a_plugin.cli.app import app
from metad2a_plugin.cli.report import Report
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.meta.config import MetaTrainConfig, PlanConfig, SupernetConfig
from metad2a_plugin.meta.trainings.config import TrainingsConfig
from metad2a_plugin.plugins.registry import DEFAULT_SPACE, get_space
from metad2a_plugin.utils.files import data_folder, data_lacks


@app.command("build-database")
def build_database(
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="The database's folder.")],
    images: Annotated[
        list[str] | None,
        typer.Option(
            metavar="<path>",
            help="Images, a folder of class folders or a zip of one; METAD2A_DATA/images/imagenet64.zip. Several, each "
            "with the option before it, for trainings."
        ),
    ] = None,
    space: Annotated[
        str,
        typer.Option(help="Search space. Of mobilenetv3, networks of a supernet are measured; of others, trained."),
    ] = "mobilenetv3",
    trainings: Annotated[
        int, typer.Option(help="Networks to train; more may be asked for later.")
    ] = TrainingsConfig.trainings,
    tasks_per_set: Annotated[
        int, typer.Option(help="Subsets of each image set to train on, the first of which is all of it.")
    ] = TrainingsConfig.tasks_per_set,
    shortest: Annotated[float, typer.Option(help="Least seconds of a training, roughly.")] = TrainingsConfig.shortest,
    longest: Annotated[float, typer.Option(help="Most seconds of a training, roughly.")] = TrainingsConfig.longest,
    supernet: Annotated[
        str | None,
        typer.Option(
            help="A supernet file in OFA's layout, or 'ofa' (width 1.0) or 'ofa-1.2', which are downloaded; by default "
            "one is trained on the images."
        ),
    ] = None,
    tasks: Annotated[int, typer.Option(help="Training tasks.")] = PlanConfig.tasks,
    valid_tasks: Annotated[
        int, typer.Option(help="Validation tasks, of classes of their own.")
    ] = PlanConfig.valid_tasks,
    rows_per_task: Annotated[int, typer.Option(help="Networks measured on each task.")] = PlanConfig.rows_per_task,
    classes: Annotated[int, typer.Option(help="Of a task.")] = PlanConfig.classes,
    related: Annotated[
        float, typer.Option(help="Share of tasks of neighbouring classes, fine-grained ones.")
    ] = PlanConfig.related,
    test_images: Annotated[
        int, typer.Option(help="Of a class, that accuracies are measured on.")
    ] = PlanConfig.test_images,
    calibration_images: Annotated[
        int, typer.Option(help="Of a class, for batch norm.")
    ] = PlanConfig.calibration_images,
    width: Annotated[float, typer.Option(help="Multiplier of the supernet's channels.")] = SupernetConfig.width,
    input_size: Annotated[
        int | None, typer.Option(help="Side of the images, pixels; 48, or 224 with --supernet.")
    ] = None,
    epochs: Annotated[int, typer.Option(help="Of the supernet's training.")] = SupernetConfig.epochs,
    teacher: Annotated[
        str, typer.Option(help="Image encoder that the supernet learns from besides the labels; 'none' for none.")
    ] = "default",
    workers: Annotated[int, typer.Option(help="Processes that measure.")] = 1,
    ray: opt.Ray = None,
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Measure the I-th of N parts, to share the work without Ray.")
    ] = "1/1",
    seed: opt.Seed = 0,
    device: opt.Device = "cpu",
) -> None:
    """Measure random networks on random tasks.

    That makes a meta-database, of networks of a supernet or of ones that are each trained. The same command goes on
    after an interruption; no row is lost or measured twice.
    """
    settings = {name: value for name, value in locals().items() if name != "context"}
    from metad2a_plugin.meta.build import build_database
    from metad2a_plugin.meta.trainings.build import build_trainings
    from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
    from metad2a_plugin.utils.progress import stages

    part, measured = _shard(shard), get_space(space).name == MobileNetV3Space.name
    _refuse_options(context, _OF_TRAININGS if measured else _OF_SUPERNETS, space)
    opt.check_outputs(folders=(out,))
    sets = images or [str(opt.own_images("--images"))]
    if not measured:
        trainings_config = opt.configured(TrainingsConfig, settings)
        with stages() as progress:
            rows = build_trainings(
                sets, out, trainings_config, workers=workers, ray=ray, shard=part, device=device, progress=progress
            )
        Report().note(f"rows: {rows}")
        return
    if len(sets) > 1:
        raise ConfigError(f"a supernet is trained on one image set, got {len(sets)}; give --images once")
    config = opt.configured(PlanConfig, settings)
    trained = opt.configured(SupernetConfig, settings, teacher=None if teacher == "none" else teacher)
    with stages() as progress:
        rows = build_database(
            sets[0],
            out,
            config,
            trained if supernet is None else opt.supernet_file(supernet),
            workers=workers,
            ray=ray,
            shard=part,
            input_size=224 if input_size is None else input_size,
            device=device,
            progress=progress,
        )
    Report().note(f"rows: {rows}")


_OF_TRAININGS = ("trainings", "tasks_per_set", "shortest", "longest")
_OF_SUPERNETS = (
    *("supernet", "tasks", "valid_tasks", "rows_per_task", "classes", "related", "test_images", "calibration_images"),
    *("width", "input_size", "epochs", "teacher"),
)


def _refuse_options(context: typer.Context, names: tuple[str, ...], space: str) -> None:
    """Refuse what was given and has no meaning for a space."""
    for name in names:
        if opt.told(context, name):
            how = "are each trained" if names is _OF_SUPERNETS else "are measured in a supernet"
            raise ConfigError(f"--{name.replace('_', '-')} has no meaning for {space!r}, whose networks {how}")


def _shard(text: str) -> tuple[int, int]:
    try:
        first, last = map(int, text.split("/"))
    except ValueError:
        raise ConfigError(f"--shard {text!r} must be I/N, such as 1/4") from None
    return first, last


@app.command("meta-train")
def meta_train(
    out: Annotated[Path, typer.Argument(help="The checkpoint's folder.")],
    space: opt.Space = None,
    database: Annotated[
        Path | None, typer.Option(help="Folder of rows, tasks and classes; METAD2A_DATA/metad2a for nasbench201.")
    ] = None,
    images: opt.Images = None,
    tables: Annotated[
        Path | None, typer.Option(help="A NAS-Bench-201 table (nb201.csv.gz) to learn from as well.")
    ] = None,
    table_datasets: Annotated[
        str, typer.Option(help="Which of its datasets, joined by commas.")
    ] = "cifar10,imagenet16-120",
    recipe: Annotated[
        str, typer.Option(help="default; paper (the paper's models); release (and the authors' schedule).")
    ] = MetaTrainConfig.recipe,
    encoder: Annotated[str, typer.Option(help="Image encoder.")] = MetaTrainConfig.encoder,
    protocol_step: Annotated[
        float | None,
        typer.Option(
            help="Rows whose accuracy is no multiple of it were measured otherwise; 0.2 for the released database."
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
            "hard datasets are."
        ),
    ] = None,
    generator: Annotated[bool, typer.Option(help="Train a generator too.")] = MetaTrainConfig.generator,
    targets: Annotated[
        str | None,
        typer.Option(
            help="What the generator learns: rows (the database's networks) or best-of-10 (the best predicted of ten "
            "random ones). Default: rows for nasbench201 and with --selection."
        ),
    ] = None,
    run_dir: opt.BesideOut = None,
    seed: opt.Seed = 0,
    device: opt.Device = "cpu",
) -> None:
    """Train a predictor and a generator on a meta-database.

    The same command goes on after an interruption.
    """
    settings = locals()
    from metad2a_plugin.cli.tables import print_metrics
    from metad2a_plugin.data import load_dataset
    from metad2a_plugin.meta.train import meta_train
    from metad2a_plugin.utils.progress import stages

    config = opt.configured(MetaTrainConfig, settings)
    opt.check_outputs(folders=(out,))
    if database is None and config.space != DEFAULT_SPACE:
        raise ConfigError(f"give --database, the folder of rows, tasks and classes for {config.space!r}")
    benchmark = {}
    if tables is not None:
        from metad2a_plugin.adapters.nas_bench_201 import NASBench201Table

        if config.space != (own := NASBench201Table.space.name):
            raise ConfigError(f"--tables are of {own!r} cells; leave them out for {config.space!r}")
        table = NASBench201Table.load(tables)
        names = [table.dataset(name.strip()) for name in table_datasets.split(",") if name.strip()]
        benchmark = {name: table.training_table(name) for name in names}
    source = images or opt.own_images("--images and --database")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # single-image classes are none of the database's
        dataset = load_dataset(source)
    if database is None:
        database = data_folder() / "metad2a"
        if not database.is_dir():
            raise ConfigError(f"give --database, the folder of rows, tasks and classes: {data_lacks('metad2a')}")
    with stages() as progress:
        checkpoint = meta_train(
            database,
            dataset,
            out,
            config,
            tables=benchmark,
            run_dir=run_dir,
            progress=progress,
            command=" ".join(["metad2a", *sys.argv[1:]]),
        )
    report = Report()
    print_metrics(report.console, checkpoint)
    report.note(f"checkpoint: {out}")


@app.command("convert-benchmark")
def convert_benchmark(
    source: Annotated[
        Path,
        typer.Argument(
            help="NAS-Bench-201-v1_1-096897.pth, NATS-tss-v1_0-3ffb9.pickle.pbz2 or the folder of that -simple."
        ),
    ],
    out: Annotated[Path, typer.Argument(help="The compact file, such as nb201.npz.")],
    curves: Annotated[
        bool, typer.Option("--curves", help="Keep the accuracy after every epoch too; 130 MB instead of 7.")
    ] = False,
) -> None:
    """Turn the published NAS-Bench-201 into a compact file.

    That loads at once. Turning takes minutes and little memory; nothing in the file is executed.
    """
    from metad2a_plugin.adapters.nas_bench_201 import convert, open_benchmark
    from metad2a_plugin.utils.files import is_stream
    from metad2a_plugin.utils.progress import stages

    with stages() as progress:
        convert(source, out, curves=curves, progress=progress)
    if not is_stream(out):  # what went into a pipe cannot be read again
        benchmark = open_benchmark(out)
        Report().note(f"{out}: {len(benchmark.indices):,} cells, {out.stat().st_size / 1e6:.1f} MB")
