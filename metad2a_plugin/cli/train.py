"""The command ``train``."""

from __future__ import annotations

import random as randomness
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from metad2a_plugin.cli import options as opt
from metad2a_plugin.cli.app import app
from metad2a_plugin.cli.report import Report
from metad2a_plugin.errors import ConfigError, require
from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.plugins.registry import bind_strategy, get_space
from metad2a_plugin.spaces.base import random_live
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.utils import schema
from metad2a_plugin.utils.checks import integer, parse_options

if TYPE_CHECKING:
    from metad2a_plugin.spaces.base import Architecture, SearchSpace
    from metad2a_plugin.strategies.trained_search import TrainedSearch
    from metad2a_plugin.training.result import TrainResult

T = TypeVar("T")


@app.command()
def train(
    context: typer.Context,
    dataset: opt.Dataset,
    architecture: Annotated[
        list[str] | None,
        typer.Option("--architecture", "-a", metavar="<str>", help=f"What to train, {opt.NOTATION}; may be repeated."),
    ] = None,
    result: Annotated[Path | None, typer.Option(help="Train the best of a search's --json file.")] = None,
    top: Annotated[int, typer.Option(help="How many of the best to train.")] = 3,
    random: Annotated[int, typer.Option(min=0, help="Also train so many random architectures, to compare.")] = 0,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="Train what a search strategy asks for ('metad2a list strategies'), which is told each accuracy."
        ),
    ] = None,
    queries: Annotated[
        int | None, typer.Option(help="Architectures that the strategy asks for; 20 by default.")
    ] = None,
    shared_weights: Annotated[
        bool,
        typer.Option(
            "--shared-weights",
            help="Train one supernet for all queries, an epoch each, and only what the strategy recommends on its own.",
        ),
    ] = False,
    option: opt.Options = None,
    model: opt.Model = None,
    space: opt.Space = None,
    epochs: opt.Epochs = TrainConfig.epochs,
    batch_size: opt.BatchSize = TrainConfig.batch_size,
    lr: opt.LearningRate = TrainConfig.lr,
    input_size: opt.InputSize = None,
    channels: opt.Channels = None,
    cells: opt.Cells = None,
    width: opt.Width = None,
    network: opt.Network = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Networks begin with these: 'shipped', the file of a supernet, or ofa or ofa-1.2, OFA's own (a "
            "download). The learning rate is then 0.05 by default."
        ),
    ] = None,
    flip: opt.Flip = TrainConfig.flip,
    validation: opt.Validation = TrainConfig.validation,
    split_seed: opt.SplitSeed = TrainConfig.split_seed,
    validation_data: Annotated[
        str | None,
        typer.Option(help="Images of the same classes to validate with; by default a validation part beside train/."),
    ] = None,
    max_images_per_class: opt.MaxImagesPerClass = None,
    out: opt.RunDir = Path("runs/train"),
    log: Annotated[
        list[str] | None,
        typer.Option(
            metavar="<csv|tensorboard>",
            help="Log every epoch in --out, as log.csv or in tensorboard/; may be repeated.",
        ),
    ] = None,
    onnx: Annotated[bool, typer.Option(help="Also write network.onnx beside each network.")] = False,
    encoder: Annotated[
        str,
        typer.Option(
            help="Image encoder ('metad2a list encoders') on whose features the linear classifier is fitted that "
            "networks are compared with."
        ),
    ] = "default",
    json: opt.Json = None,
    seed: opt.Seed = TrainConfig.seed,
    device: opt.TrainingDevice = TrainConfig.device,
    ray: opt.Ray = None,
) -> None:
    """Train architectures and report their accuracy.

    Accuracies are of validation images. Without --architecture or --result, the training part is searched first and the
    best are trained: then the search has not seen these. With --strategy, the accuracies guide the search: those of the
    best are then somewhat too high.
    """
    settings, begin = locals(), time.perf_counter()
    _one_subject(architecture, result, model, strategy)
    if strategy is None and (queries is not None or shared_weights or option):
        raise ConfigError("--queries, --shared-weights and --option are for a search with --strategy")
    if strategy is not None:
        bind_strategy(strategy, **parse_options(option or ()))  # a wrong option is said before any work
    if validation_data is not None and opt.told(context, "validation"):
        raise ConfigError("--validation-data and --validation both say what to validate with; give one of them")
    integer("top", top, 1)
    if ray is not None:
        if log:
            raise ConfigError("--log tells of trainings in this process; leave it out, or --ray")
        require("ray", "training at once", "ray")
        if shared_weights:
            raise ConfigError("--shared-weights trains one supernet, query by query; leave it or --ray out")
    if onnx:
        require("onnx", "ONNX export", "onnx", "onnxscript")
    from metad2a_plugin.candidates.find import Effort
    from metad2a_plugin.candidates.limits import Limits
    from metad2a_plugin.cli.trained import Trained, few_steps, print_trained
    from metad2a_plugin.data import get_encoder, load_dataset
    from metad2a_plugin.search.metad2a import search_space
    from metad2a_plugin.spaces.interfaces import transferable
    from metad2a_plugin.strategies.trained_search import train_search
    from metad2a_plugin.training.at_once import train_at_once
    from metad2a_plugin.training.files import export_onnx
    from metad2a_plugin.training.images import check_classes, prepare
    from metad2a_plugin.training.loggers import loggers
    from metad2a_plugin.training.references import fit_references
    from metad2a_plugin.training.run import train_many
    from metad2a_plugin.training.starting import LR, SHIPPED, check_weights, shipped_sizes
    from metad2a_plugin.utils.progress import stages

    found = _read_result(result, space) if result else {}
    searching = not (architecture or result or strategy)
    # For the budget of this training, where a model of the space knows budgets.
    searcher = opt.find_searcher(model, space, prefer_budgets=True) if searching else None
    searched, given = opt.given_networks(found.get("space") or space, architecture or ())
    searched = searcher.space if searcher else searched
    named = {f"given {i}": one for i, one in enumerate(given, 1)}
    if result:
        named = _ranks(_best_of(result, found, searched, top))
    # Networks of a result are trained as they were searched for, unless said otherwise.
    sizes = (input_size, found.get("input_size"), searched.input_size)
    options = found.get("options", {}) | opt.network_options(network, channels=channels, cells=cells, width=width)
    size = next(size for size in sizes if size is not None)
    if (budget := Budget.of(found.get("budget"))) is not None:
        names = ("epochs", "batch_size", "lr", "flip")
        settings |= {name: getattr(budget, name) for name in names if not opt.told(context, name)}
    if weights is not None:
        transferable(searched)
        if weights == SHIPPED and not options:
            # The largest that they are of.
            options = dict(next(iter(shipped_sizes(searched)), {}))
        settings |= {"weights": opt.supernet_file(weights)} | ({} if opt.told(context, "lr") else {"lr": LR})
        check_weights(searched, settings["weights"], options)
    if not shared_weights:  # the supernet has its own
        searched.check_options(options)
    config = opt.configured(TrainConfig, settings, options=options, input_size=size)
    opt.check_outputs(json, folders=(out,))
    callbacks = loggers(log or (), out)
    report = Report(json)
    get_encoder(encoder)  # one that is not there is refused now
    # Which images are used, and which are held out, does not depend on --seed, so that runs can be compared.
    images = load_dataset(dataset, max_images_per_class=max_images_per_class, seed=config.split_seed)
    if validation_data is not None:
        images.validation = load_dataset(validation_data)
        check_classes(images.validation, images)
    elif opt.told(context, "validation"):
        images = images.alone()  # a share of these instead of a part beside them
    if result and found.get("dataset") != images.name:
        text = f"{str(result)!r} was searched for {str(found.get('dataset'))!r}, not for {images.name!r}"
        warnings.warn(text, stacklevel=1)
    trained: dict[str, TrainResult] = {}
    if strategy:
        with stages() as progress:
            search = train_search(
                searched,
                strategy,
                images,
                config,
                shared_weights=shared_weights,
                options=parse_options(option or ()),
                run_dir=out,
                progress=progress,
                callbacks=callbacks,
                ray=ray,
                **opt.given(queries=queries),
            )
        data, trained = search.data, _best_asked(search, top)
    else:
        data = prepare(images, config, stream=True)
    config = config.resolved(len(data.labels))
    notes = [note for note in (few_steps(config, len(data.labels)),) if note]
    for note in notes:
        report.progress(note)
    if searching:
        # Only the training part is shown to the search: the validation images stay unseen.
        limits = Limits(searched, input_size=config.input_size, options=options)
        how: dict[str, Any] = {"top": top, "limits": limits, "effort": Effort(seed=seed)}
        report.progress(f"searching for networks by {len(data.labels):,} training images")
        if searcher is None:
            found_best = search_space(searched, opt.MODEL_FREE, data.train, **how)
            notes.append(opt.no_model(searched.name))
            warnings.warn(notes[-1], stacklevel=1)
        else:
            own = replace(config.budget, images=len(data.labels)) if searcher.predictor.knows_budgets else None
            found_best = searcher.search(data.train, budget=own, **how)
        named = _ranks(found_best.architectures)
    rng = randomness.Random(seed)
    named |= {f"random {i}": random_live(searched, rng) for i in range(1, random + 1)}
    if named:
        subjects = list(named.values())
        if ray is None:
            results = train_many(searched, subjects, data, config, out, callbacks=callbacks)
        else:
            with stages() as progress:
                results = train_at_once(ray, searched, subjects, data, config, out, progress=progress)
        trained |= zip(named, results, strict=True)
    report.progress("fitting the references")
    known = fit_references(data, encoder)
    found_all = Trained(images.name, data, config, trained, known, notes, time.perf_counter() - begin)
    print_trained(report.console, found_all)
    report.values("summary", found_all.to_dict())
    for run in trained.values():
        if onnx and run.run_dir is not None:
            export_onnx(run.run_dir / "network.onnx", run.network)


def _ranks(best: Sequence[T]) -> dict[str, T]:
    return {f"rank {i}": found for i, found in enumerate(best, 1)}


def _best_asked(search: TrainedSearch, top: int) -> dict[str, TrainResult]:
    """What is recommended, where that is not the best told, and the `top` of what was trained."""
    ranks = _ranks(search.trained[:top])
    # Of equal accuracies the incumbent is the earliest, and so is the first of the ranks.
    same = bool(search.trained) and search.recommended is search.trained[0]
    return ranks if same else {"recommended": search.recommended, **ranks}


def _one_subject(architecture: list[str] | None, result: Path | None, model: str | None, strategy: str | None) -> None:
    """Refuse more than one answer to what is to be trained."""
    if architecture and result:
        raise ConfigError("--architecture and --result both say what to train; give one of them")
    if model and (architecture or result):
        raise ConfigError("--model searches for what to train; leave it out where --architecture or --result says that")
    if strategy and (architecture or result or model):
        raise ConfigError(
            "--strategy says what to train: leave --architecture and --result out; a model is --option model=NAME"
        )


def _read_result(path: Path, wanted: str | None) -> dict[str, Any]:
    """A file of a search's results, which must be of the space that was asked for, if one was."""
    candidate = schema.record({"architecture": schema.text(1)})
    result = schema.record({"space": schema.text(1, 200), "candidates": schema.list_of(candidate)})
    try:
        found = result(schema.read_json(path), "")
        space = get_space(found["space"])
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot read a search result from {str(path)!r} ({schema.why(error)}); "
            "write one with metad2a search --json"
        ) from error
    if not found["candidates"]:
        raise ConfigError(f"the search result {str(path)!r} holds no architecture")
    if wanted not in (None, space.name):
        raise ConfigError(f"the search result {str(path)!r} is of the space {space.name!r}, not {wanted!r}")
    return found


def _best_of(path: Path, found: dict[str, Any], space: SearchSpace, top: int) -> list[Architecture]:
    texts = [candidate["architecture"] for candidate in found["candidates"][:top]]
    if len(texts) < top:
        warnings.warn(f"{str(path)!r} holds {len(texts)} architectures, fewer than --top {top}", stacklevel=2)
    return [space.parse(text) for text in texts]
