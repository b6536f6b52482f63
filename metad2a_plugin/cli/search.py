"""Commands that rank without training: ``search``, ``pareto`` and ``score``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metad2a_plugin.cli import options as opt
from metad2a_plugin.cli.app import app
from metad2a_plugin.cli.designs import search_designs
from metad2a_plugin.cli.report import Report
from metad2a_plugin.errors import ConfigError, require
from metad2a_plugin.plugins.registry import DEFAULT_SPACE, get_space, predictor_of
from metad2a_plugin.spaces.base import random_live

if TYPE_CHECKING:
    from metad2a_plugin.candidates.limits import Limits
    from metad2a_plugin.data import ImageDataset
    from metad2a_plugin.plugins.budget import Budget
    from metad2a_plugin.plugins.predictor import Predictor
    from metad2a_plugin.search.metad2a import MetaD2A
    from metad2a_plugin.search.result import SearchResult


@app.command()
def search(
    dataset: opt.MaybeDataset = None,
    model: opt.Model = None,
    space: opt.Space = None,
    predictor: opt.Predictor = None,
    option: opt.Options = None,
    candidates: opt.Candidates = None,
    refine: opt.Refine = None,
    top: opt.Top = 10,
    max_params: opt.MaxParams = None,
    max_flops: opt.MaxFlops = None,
    max_latency: opt.MaxLatency = None,
    latency_table: opt.LatencyTable = None,
    input_size: opt.InputSize = None,
    channels: opt.Channels = None,
    cells: opt.Cells = None,
    width: opt.Width = None,
    network: opt.Network = None,
    minutes: opt.Minutes = None,
    epochs: opt.ForEpochs = None,
    batch_size: opt.WithBatchSize = None,
    lr: opt.WithLearningRate = None,
    flip: opt.WithFlip = False,
    json: opt.Json = None,
    draw: Annotated[Path | None, typer.Option(help="Draw the networks into this folder.")] = None,
    export: Annotated[Path | None, typer.Option(help="Write the networks, untrained, into this folder.")] = None,
    seed: opt.Seed = 0,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Image encoder ('metad2a list encoders'): also tell how well a linear classifier on it does. "
            "A --predictor that reads features reads these; a model has an encoder of its own."
        ),
    ] = None,
    device: opt.Device = "cpu",
) -> None:
    """Rank architectures for a dataset, without training any."""
    settings = locals()
    opt.check_outputs(json, folders=(draw, export))
    if draw is not None:
        require("draw", "drawing an architecture", "matplotlib")
    if option and predictor is None and minutes is None:
        raise ConfigError("--option is for a --predictor")
    asked = opt.limit_options(settings)
    if minutes is not None:
        search_designs(settings, asked)
        return
    from metad2a_plugin.candidates.find import Effort
    from metad2a_plugin.candidates.limits import Limits
    from metad2a_plugin.cli.tables import print_search
    from metad2a_plugin.data import get_encoder, load_dataset
    from metad2a_plugin.search.metad2a import search_space

    effort = opt.configured(Effort, settings)
    if encoder is not None:
        if dataset is None:
            raise ConfigError("--encoder is for a dataset; give one")
        get_encoder(encoder, device)  # one that is not there is refused now
    predictor = predictor or _model_free(dataset, model, space)
    # A predictor that is given with an encoder needs no model.
    given = None if encoder and predictor and model is None else dataset
    searcher = _searcher(given, model, space, predictor, device, epochs is not None)
    searched = searcher.space if searcher else get_space(space or DEFAULT_SPACE)
    limits = Limits.of(searched, asked)
    options = opt.predictor_options(predictor, option) if predictor else {}
    # Once, for a predictor made here, for the features and for the batch size.
    images = load_dataset(dataset) if dataset and (options or encoder or epochs is not None) else dataset
    budget = opt.budget_of(settings, limits, images)
    ranker = _with_options(predictor, options, limits, images, seed, budget)
    if searcher:
        result = searcher.search(images, predictor=ranker, budget=budget, top=top, limits=limits, effort=effort)
    else:
        assert ranker is not None  # else there is a searcher
        how: dict[str, Any] = {"budget": budget, "top": top, "limits": limits, "effort": effort}
        result = search_space(searched, ranker, images, encoder=encoder or "default", **how)
    report, values = Report(json), result.to_dict()
    print_search(report.console, result)
    if encoder is not None:
        values["linear_classifier"] = reference = _linear(images, encoder, device, seed)
        report.console.print(
            f"A linear classifier of features of the encoder {encoder} gets {reference['accuracy']:.1f}% of the images "
            "right, each left out in turn: what is trained should be better."
        )
    report.values("result", values)
    if draw is not None:
        report.note(f"drawings: {result.draw(draw)[0].parent}")
    if export is not None:
        _export(result, export, seed)
        report.note(f"networks, untrained: {export}")


def _linear(images: Any, encoder: str, device: str, seed: int) -> dict[str, Any]:
    """How well a linear classifier of an encoder's features does."""
    from metad2a_plugin.data import extract_task
    from metad2a_plugin.nn.probe import linear_probe

    task = extract_task(images, encoder, device=device, seed=seed)
    return {"encoder": encoder, "accuracy": 100 * linear_probe(task.features, task.labels), "images": len(task.labels)}


def _model_free(dataset: str | None, model: str | None, space: str | None) -> str | None:
    """What ranks where there is no model of the space: a predictor of any space, and it is said."""
    from metad2a_plugin.models.checkpoint import shipped

    name = space or DEFAULT_SPACE
    if dataset is None or model is not None or name in shipped():
        return None
    get_space(name)
    warnings.warn(opt.no_model(name), stacklevel=1)
    return opt.MODEL_FREE


def _export(result: SearchResult, folder: Path, seed: int) -> None:
    from metad2a_plugin.training.classifier import ImageClassifier
    from metad2a_plugin.training.files import export_network

    space, size = get_space(result.space), result.input_size
    for candidate in result.candidates:
        network = ImageClassifier(
            space, candidate.architecture, result.num_classes, input_size=size, seed=seed, options=result.options
        )
        export_network(folder / f"{candidate.rank:02d}.safetensors", network)


@app.command()
def pareto(
    dataset: opt.MaybeDataset = None,
    cost: Annotated[str, typer.Option(help="flops, params, or a device ('metad2a list devices').")] = "flops",
    points: Annotated[
        int | None, typer.Option(help="Limits on the cost, from the smallest network to the largest; 16 by default.")
    ] = None,
    queries: Annotated[int | None, typer.Option(help="Networks that the predictor scores; 1000 by default.")] = None,
    model: opt.Model = None,
    space: opt.Space = None,
    predictor: opt.Predictor = None,
    max_params: opt.MaxParams = None,
    max_flops: opt.MaxFlops = None,
    max_latency: opt.MaxLatency = None,
    latency_table: opt.LatencyTable = None,
    input_size: opt.InputSize = None,
    channels: opt.Channels = None,
    cells: opt.Cells = None,
    width: opt.Width = None,
    network: opt.Network = None,
    epochs: opt.ForEpochs = None,
    batch_size: opt.WithBatchSize = None,
    lr: opt.WithLearningRate = None,
    flip: opt.WithFlip = False,
    json: opt.Json = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(metavar="<path>", help="Write the networks as .json or .csv; may be repeated."),
    ] = None,
    draw: Annotated[Path | None, typer.Option(help="Draw the front as .svg or .png.")] = None,
    seed: opt.Seed = 0,
    device: opt.Device = "cpu",
) -> None:
    """Find the best architectures from small to large.

    A front is of one dataset, and has the best within each of several limits on a cost.
    """
    settings = locals()
    opt.check_outputs(*(out or ()), suffixes=(".json", ".csv"))
    opt.check_outputs(draw, suffixes=(".svg", ".png"))
    opt.check_outputs(json)
    if draw is not None:
        require("draw", "drawing a front", "matplotlib")
    asked = opt.limit_options(settings)
    from metad2a_plugin.candidates.find import Effort
    from metad2a_plugin.candidates.limits import Limits
    from metad2a_plugin.cli.tables import print_front
    from metad2a_plugin.data import load_dataset
    from metad2a_plugin.search.metad2a import pareto_space

    effort = opt.configured(Effort, settings)
    predictor = predictor or _model_free(dataset, model, space)
    searcher = _searcher(dataset, model, space, predictor, device, epochs is not None)
    searched = searcher.space if searcher else get_space(space or DEFAULT_SPACE)
    limits = Limits.of(searched, asked)
    images = load_dataset(dataset) if dataset and epochs is not None else dataset
    budget = opt.budget_of(settings, limits, images)
    if searcher:
        front = searcher.pareto(images, cost, predictor=predictor, budget=budget, limits=limits, effort=effort)
    else:
        assert predictor is not None  # else there is a searcher
        front = pareto_space(searched, predictor, cost, images, budget=budget, limits=limits, effort=effort)
    report = Report(json)
    print_front(report.console, front)
    report.values("front", front.to_dict())
    for path in out or ():
        front.save(path)
        report.note(f"front: {path}")
    if draw is not None:
        front.draw(draw)
        report.note(f"figure: {draw}")


def _with_options(
    predictor: str | None,
    options: dict[str, Any],
    limits: Limits,
    images: ImageDataset | str | None,
    seed: int,
    budget: Budget | None,
) -> Predictor | str | None:
    """The predictor made with its options; its name where there are none."""
    if not options or predictor is None:
        return predictor
    return predictor_of(predictor, limits.space, limits.size, images, seed, limits.options, budget, **options)


def _searcher(
    dataset: str | None, model: str | None, space: str | None, predictor: str | None, device: str, budgeted: bool
) -> MetaD2A | None:
    """The model; None where a predictor ranks without one: there is no dataset, or no model of the space."""
    from metad2a_plugin.models.checkpoint import shipped

    if dataset is None and (predictor is None or model is not None):
        raise ConfigError(
            "give a dataset; only --space with a --predictor that needs none, such as ofa-imagenet, does without"
        )
    if dataset is None or (predictor and model is None and (space or DEFAULT_SPACE) not in shipped()):
        return None
    # A predictor that is given answers for the budget itself.
    return opt.load_searcher(model, space, device, budgeted and predictor is None)


@app.command()
def score(
    architecture: Annotated[list[str] | None, typer.Argument(help=f"What to score, {opt.NOTATION}.")] = None,
    dataset: opt.DatasetOption = None,
    predictor: Annotated[str, typer.Option(help="What scores ('metad2a list predictors').")] = "metad2a",
    space: opt.Space = None,
    random: Annotated[int, typer.Option(min=0, help="Also score so many random architectures.")] = 0,
    option: opt.Options = None,
    input_size: opt.InputSize = None,
    channels: opt.Channels = None,
    cells: opt.Cells = None,
    epochs: opt.ForEpochs = None,
    batch_size: opt.WithBatchSize = None,
    lr: opt.WithLearningRate = None,
    flip: opt.WithFlip = False,
    json: opt.Json = None,
    seed: opt.Seed = 0,
) -> None:
    """Score given architectures, without training any."""
    import random as randomness

    settings = locals()
    options = opt.predictor_options(predictor, option)
    opt.check_outputs(json)
    if not architecture and not random:
        raise ConfigError("give architectures to score, or --random with how many to draw")
    searched, given = opt.given_networks(space, architecture or ())
    rng = randomness.Random(seed)
    given += [random_live(searched, rng) for _ in range(random)]
    from metad2a_plugin.candidates.limits import Limits
    from metad2a_plugin.cli.tables import print_scores
    from metad2a_plugin.data import load_dataset
    from metad2a_plugin.search.scoring import score_architectures

    limits = Limits(searched, input_size=input_size, options=opt.network_options(None, channels=channels, cells=cells))
    images = load_dataset(dataset) if dataset and epochs is not None else dataset
    budget = opt.budget_of(settings, limits, images)
    if limits.options and budget is None:
        raise ConfigError(f"--{next(iter(limits.options))} is of a training to score for; give its --epochs too")
    scores = score_architectures(
        searched, given, predictor, images, input_size=input_size, budget=budget, seed=seed, **options
    )
    report = Report(json)
    print_scores(report.console, scores)
    report.values("scores", scores.to_dict())
