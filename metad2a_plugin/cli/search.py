"""Commands that rank without training: ``search``, ``pareto`` and ``score``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metad2a_plugin.cli.app import app
from metad2a_plugin.cli.options import (
    Candidates,
    Device,
    InputSize,
    LatencyTable,
    MaxFlops,
    MaxLatency,
    MaxParams,
    MaybeDataset,
    Model,
    Options,
    Predictor,
    Refine,
    Seed,
    Space,
    Top,
    Width,
    limit_options,
    load_searcher,
    predictor_options,
    writable,
)
from metad2a_plugin.errors import ConfigError, require
from metad2a_plugin.plugins.registry import DEFAULT_SPACE
from metad2a_plugin.spaces.base import random_live

if TYPE_CHECKING:
    from metad2a_plugin.plugins.predictor import Predictor as AnyPredictor
    from metad2a_plugin.spaces.base import SearchSpace

@app.command()
def search(
    dataset: MaybeDataset = None,
    model: Model = None,
    space: Space = None,
    predictor: Predictor = None,
    option: Options = None,
    candidates: Candidates = None,
    refine: Refine = None,
    top: Top = 10,
    max_params: MaxParams = None,
    max_flops: MaxFlops = None,
    max_latency: MaxLatency = None,
    latency_table: LatencyTable = None,
    input_size: InputSize = None,
    width: Width = None,
    json: Annotated[Path | None, typer.Option(help="Write the result here.", show_default=False)] = None,
    draw: Annotated[Path | None, typer.Option(help="Draw the networks into this folder.", show_default=False)] = None,
    export: Annotated[
        Path | None,
        typer.Option(help="Write the networks, untrained, into this folder.", show_default=False),
    ] = None,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Rank architectures for a dataset, without training any."""
    for folder in (draw, export, json.parent if json else None):
        if folder is not None:
            writable(folder)
    if draw is not None:
        require("draw", "drawing an architecture", "matplotlib")
    limits = limit_options(max_params, max_flops, max_latency, latency_table, input_size, width)
    effort: dict[str, Any] = {"top": top, "candidates": candidates, "refine": refine, "seed": seed}
    if dataset is not None:
        searcher = load_searcher(model, space, device)
        by = _with_options(predictor, option, searcher.space, input_size, dataset, seed)
        result = searcher.search(dataset, predictor=by, **effort, **limits)
    else:
        from metad2a_plugin.plugins.registry import get_space
        from metad2a_plugin.search.metad2a import search_space

        name, predictor = _without_dataset(model, space, predictor)
        of = get_space(name)
        by = _with_options(predictor, option, of, input_size, None, seed)
        result = search_space(of, by or predictor, **effort, **limits)
    from metad2a_plugin.cli.tables import print_search

    print_search(result)
    if json is not None:
        result.save(json)
        typer.echo(f"result: {json}")
    if draw is not None:
        typer.echo(f"drawings: {result.draw(draw)[0].parent}")
    if export is not None:
        from metad2a_plugin.plugins.registry import get_space
        from metad2a_plugin.training.classifier import ImageClassifier
        from metad2a_plugin.training.files import export_network

        for candidate in result.candidates:
            network = ImageClassifier(
                get_space(result.space),
                candidate.architecture,
                result.num_classes,
                input_size=result.input_size,
                seed=seed,
                **result.options,
            )
            export_network(export / f"{candidate.rank:02d}.safetensors", network)
        typer.echo(f"networks, untrained: {export}")


@app.command()
def pareto(
    dataset: MaybeDataset = None,
    cost: Annotated[str, typer.Option(help="flops, params, or a device ('metad2a list devices').")] = "flops",
    points: Annotated[int, typer.Option(help="Limits on the cost, from the smallest network to the largest.")] = 16,
    queries: Annotated[int, typer.Option(help="Networks that the predictor scores.")] = 1000,
    model: Model = None,
    space: Space = None,
    predictor: Predictor = None,
    max_params: MaxParams = None,
    max_flops: MaxFlops = None,
    max_latency: MaxLatency = None,
    latency_table: LatencyTable = None,
    input_size: InputSize = None,
    width: Width = None,
    out: Annotated[
        list[Path] | None,
        typer.Option(help="Write the networks as .json or .csv; may be repeated.", show_default=False),
    ] = None,
    draw: Annotated[Path | None, typer.Option(help="Draw the front as .svg or .png.", show_default=False)] = None,
    seed: Seed = 0,
    device: Device = "cpu",
) -> None:
    """Find the best architectures for a dataset from the smallest to the largest."""
    for path in (*(out or ()), *([draw] if draw else [])):
        writable(path.parent)
        known = (".svg", ".png") if path is draw else (".json", ".csv")
        if path.suffix not in known:
            raise ConfigError(f"{str(path)!r} must end in {' or '.join(known)}")
    if draw is not None:
        require("draw", "drawing a front", "matplotlib")
    limits = limit_options(max_params, max_flops, max_latency, latency_table, input_size, width)
    sweep: dict[str, Any] = {"points": points, "queries": queries, "seed": seed}
    if dataset is not None:
        front = load_searcher(model, space, device).pareto(dataset, cost, predictor=predictor, **sweep, **limits)
    else:
        from metad2a_plugin.search.metad2a import pareto_space

        of, by = _without_dataset(model, space, predictor)
        front = pareto_space(of, by, cost, **sweep, **limits)
    from metad2a_plugin.cli.tables import print_front

    print_front(front)
    for path in out or ():
        front.save(path)
        typer.echo(f"front: {path}")
    if draw is not None:
        front.draw(draw)
        typer.echo(f"figure: {draw}")


def _with_options(
    predictor: str | None,
    option: list[str] | None,
    space: SearchSpace,
    input_size: int | None,
    dataset: str | None,
    seed: int,
) -> AnyPredictor | str | None:
    """The predictor made with its options; its name where there are none."""
    if not option:
        return predictor
    if predictor is None:
        raise ConfigError("--option is for a --predictor")
    from metad2a_plugin.plugins.registry import predictor_of

    return predictor_of(predictor, space, input_size, dataset, seed, **predictor_options(option))


def _without_dataset(model: str | None, space: str | None, predictor: str | None) -> tuple[str, str]:
    """The space and the predictor of a search that needs no dataset."""
    if predictor is None or model is not None:
        raise ConfigError(
            "give a dataset; only --space with a --predictor that needs none, such as ofa-imagenet, does without"
        )
    return space or DEFAULT_SPACE, predictor


@app.command()
def score(
    architecture: Annotated[
        list[str] | None, typer.Argument(help="What to score, in the space's format.", show_default=False)
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset",
            "-d",
            help="As for the other commands; may be left out with a --predictor that needs none.",
            show_default=False,
        ),
    ] = None,
    predictor: Annotated[str, typer.Option(help="What scores ('metad2a list predictors').")] = "metad2a",
    space: Space = None,
    random: Annotated[int, typer.Option(min=0, help="Also score so many random architectures.")] = 0,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Of the predictor, such as batch-size=64 of naswot; may be repeated.",
            show_default=False,
        ),
    ] = None,
    input_size: InputSize = None,
    json: Annotated[Path | None, typer.Option(help="Write the scores here.", show_default=False)] = None,
    seed: Seed = 0,
) -> None:
    """Score given architectures by any predictor, without training any."""
    import random as randomness

    options = predictor_options(option)
    if json is not None:
        writable(json.parent)
    if not architecture and not random:
        raise ConfigError("give architectures to score, or --random with how many to draw")
    from metad2a_plugin.plugins.registry import get_space

    of = get_space(space or DEFAULT_SPACE)
    given = [of.parse(text) for text in architecture or ()]
    rng = randomness.Random(seed)
    given += [random_live(of, rng) for _ in range(random)]
    from metad2a_plugin.cli.tables import print_scores
    from metad2a_plugin.search.scoring import score_architectures

    scores = score_architectures(of, given, predictor, dataset, input_size=input_size, seed=seed, **options)
    print_scores(scores)
    if json is not None:
        scores.save(json)
        typer.echo(f"scores: {json}")
