"""The command line: ``metad2a COMMAND``; ``metad2a --help`` lists the commands.

Torch is imported by the commands that need it, so that ``--help`` is quick.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metad2a_plugin._checks import integer, parse_options
from metad2a_plugin._files import data_folder
from metad2a_plugin.errors import ConfigError, MetaD2AError, require

if TYPE_CHECKING:
    from metad2a_plugin.data import ImageDataset
    from metad2a_plugin.predictor import Predictor as AnyPredictor
    from metad2a_plugin.search import MetaD2A
    from metad2a_plugin.spaces.base import Architecture, SearchSpace
    from metad2a_plugin.strategy import Strategy
    from metad2a_plugin.training import TrainConfig, TrainingData

DEFAULT_SPACE = "nasbench201"

app = typer.Typer(
    help="From an image dataset to a neural architecture in seconds.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Dataset = Annotated[
    str,
    typer.Argument(
        help="A folder of class folders, a .zip of one, an .npz with images and labels, or 'sklearn:digits'.",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="A shipped checkpoint ('metad2a list models'), or a folder of metad2a meta-train; by default the one "
        "named after the space.",
        show_default=False,
    ),
]
Space = Annotated[
    str | None,
    typer.Option(help="Search space ('metad2a list spaces'); nasbench201 by default.", show_default=False),
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same result.")]
Device = Annotated[str, typer.Option(help="A torch device, such as cpu or cuda.")]
Top = Annotated[int, typer.Option(help="How many architectures to show.")]
MaybeDataset = Annotated[
    str | None,
    typer.Argument(
        help="As for the other commands; may be left out with a --predictor that needs none.",
        show_default=False,
    ),
]
Predictor = Annotated[
    str | None,
    typer.Option(
        help="Rank by this instead of the model ('metad2a list predictors'), such as ofa-imagenet.", show_default=False
    ),
]
Candidates = Annotated[
    int | None,
    typer.Option(
        help="Networks to generate and rank; by default all of a space of up to 20,000, else 700, but 100 with "
        "--predictor naswot.",
        show_default=False,
    ),
]
Refine = Annotated[
    int | None,
    typer.Option(
        help="Further networks to rank, where those so far promise most; 300, but 0 with --candidates.",
        show_default=False,
    ),
]
MaxParams = Annotated[float | None, typer.Option(help="Hard limit, millions of parameters.", show_default=False)]
MaxFlops = Annotated[
    float | None, typer.Option(help="Hard limit, millions of multiply-accumulates.", show_default=False)
]
MaxLatency = Annotated[
    list[str] | None,
    typer.Option(
        metavar="DEVICE=MS",
        help="Hard limit on a device ('metad2a list devices'), such as pixel3=10; may be repeated.",
        show_default=False,
    ),
]
LatencyTable = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=FILE",
        help="Look-up table of a device of yours, in OFA's format, or a folder of them; may be repeated.",
        show_default=False,
    ),
]
InputSize = Annotated[
    int | None,
    typer.Option(
        help="Side of the images the network will see, pixels; by default the space's own, such as 32 of nasbench201.",
        show_default=False,
    ),
]
Width = Annotated[
    float | None, typer.Option(help="Multiplier of all channels, of mobilenetv3; 1.0 by default.", show_default=False)
]

Options = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Of the strategy or predictor; may be repeated.", show_default=False),
]


# -- search --------------------------------------------------------------------------------------
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
            _writable(folder)
    if draw is not None:
        require("draw", "drawing an architecture", "matplotlib")
    limits = _bounds(max_params, max_flops, max_latency, latency_table, input_size, width)
    effort: dict[str, Any] = {"top": top, "candidates": candidates, "refine": refine, "seed": seed}
    if dataset is not None:
        searcher = _searcher(model, space, device)
        by = _with_options(predictor, option, searcher.space, input_size, dataset, seed)
        result = searcher.search(dataset, predictor=by, **effort, **limits)
    else:
        from metad2a_plugin.registry import get_space
        from metad2a_plugin.search import search_space

        name, predictor = _without_dataset(model, space, predictor)
        of = get_space(name)
        by = _with_options(predictor, option, of, input_size, None, seed)
        result = search_space(of, by or predictor, **effort, **limits)
    from metad2a_plugin.report import print_search

    print_search(result)
    if json is not None:
        result.save(json)
        typer.echo(f"result: {json}")
    if draw is not None:
        typer.echo(f"drawings: {result.draw(draw)[0].parent}")
    if export is not None:
        from metad2a_plugin.export import ImageClassifier, export_network
        from metad2a_plugin.registry import get_space

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
        _writable(path.parent)
        known = (".svg", ".png") if path is draw else (".json", ".csv")
        if path.suffix not in known:
            raise ConfigError(f"{str(path)!r} must end in {' or '.join(known)}")
    if draw is not None:
        require("draw", "drawing a front", "matplotlib")
    limits = _bounds(max_params, max_flops, max_latency, latency_table, input_size, width)
    sweep: dict[str, Any] = {"points": points, "queries": queries, "seed": seed}
    if dataset is not None:
        front = _searcher(model, space, device).pareto(dataset, cost, predictor=predictor, **sweep, **limits)
    else:
        from metad2a_plugin.search import pareto_space

        of, by = _without_dataset(model, space, predictor)
        front = pareto_space(of, by, cost, **sweep, **limits)
    from metad2a_plugin.report import print_front

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
    from metad2a_plugin.ranking import predictor_of

    return predictor_of(predictor, space, input_size, dataset, seed, **_predictor_options(option))


def _predictor_options(texts: list[str] | None) -> dict[str, Any]:
    """Options of a predictor, none of which is what the commands have arguments for."""
    options = parse_options(texts or ())
    for name in options:
        if name in ("space", "architectures", "predictor", "dataset", "input_size", "seed"):
            raise ConfigError(f"{name!r} is no --option NAME=VALUE but an argument of this command; see --help")
    return options


def _without_dataset(model: str | None, space: str | None, predictor: str | None) -> tuple[str, str]:
    """The space and the predictor of a search that needs no dataset."""
    if predictor is None or model is not None:
        raise ConfigError(
            "give a dataset; only --space with a --predictor that needs none, such as ofa-imagenet, does without"
        )
    return space or DEFAULT_SPACE, predictor


def _bounds(
    max_params: float | None,
    max_flops: float | None,
    max_latency: list[str] | None,
    latency_table: list[str] | None,
    input_size: int | None,
    width: float | None,
) -> dict[str, Any]:
    """Arguments of a search."""
    tables: dict[str, list[str]] = {}
    for text in latency_table or ():
        name, _, path = text.partition("=")
        if not name or not path:
            raise ConfigError(f"--latency-table {text!r} must be NAME=FILE, such as note10=note10/224.yaml")
        tables.setdefault(name, []).append(path)
    return {
        "max_params": max_params,
        "max_flops": max_flops,
        "max_latency": _limits(max_latency),
        "latency_tables": tables,
        "input_size": input_size,
        "width": width,
    }


def _searcher(model: str | None, space: str | None, device: str) -> MetaD2A:
    from metad2a_plugin.search import MetaD2A

    name = model or space or DEFAULT_SPACE
    searcher = MetaD2A.from_pretrained(name, device)
    if space is not None and space != searcher.space.name:
        raise ConfigError(f"the model {name!r} is of the space {searcher.space.name!r}, not {space!r}")
    return searcher


def _limits(texts: list[str] | None) -> dict[str, float]:
    limits = {}
    for text in texts or ():
        device, _, number = text.rpartition("=")
        try:
            limits[device] = float(number)
        except ValueError:
            device = ""
        if not device:
            raise ConfigError(
                f"--max-latency {text!r} must be DEVICE=MILLISECONDS, such as pixel3=10; "
                "'metad2a list devices' shows the devices"
            )
    return limits


def _writable(folder: Path) -> None:
    """Refuse a folder that cannot be made or written before any long work; makes nothing."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if os.path.lexists(parent))
    if not there.is_dir():
        raise ConfigError(f"cannot make the folder {str(folder)!r}: {str(there)!r} is a file")
    if not os.access(there, os.W_OK):
        raise ConfigError(f"the folder {str(there)!r} cannot be written; choose another")


# -- train ---------------------------------------------------------------------------------------
@app.command()
def train(
    dataset: Dataset,
    architecture: Annotated[
        list[str] | None,
        typer.Option("--architecture", "-a", help="What to train; may be repeated.", show_default=False),
    ] = None,
    result: Annotated[
        Path | None,
        typer.Option(help="Train the best of a search's --json file.", exists=False, show_default=False),
    ] = None,
    top: Annotated[int, typer.Option(help="How many of the best to train.")] = 3,
    random: Annotated[int, typer.Option(min=0, help="Also train so many random architectures, to compare.")] = 0,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="Train what a search strategy asks for ('metad2a list strategies'), which is told each accuracy.",
            show_default=False,
        ),
    ] = None,
    queries: Annotated[
        int | None,
        typer.Option(help="Architectures that the strategy asks for; 20 by default.", show_default=False),
    ] = None,
    shared_weights: Annotated[
        bool,
        typer.Option(
            "--shared-weights",
            help="Train one supernet for all queries, an epoch each, and only what the strategy recommends on its own.",
        ),
    ] = False,
    option: Options = None,
    model: Model = None,
    space: Space = None,
    epochs: Annotated[int, typer.Option(help="Passes over the training part.")] = 30,
    batch_size: Annotated[int, typer.Option(help="Largest batch.")] = 128,
    lr: Annotated[float, typer.Option(help="Highest learning rate.")] = 0.1,
    input_size: InputSize = None,
    channels: Annotated[
        int | None, typer.Option(help="Of the first stage, of nasbench201; 16 by default.", show_default=False)
    ] = None,
    cells: Annotated[
        int | None, typer.Option(help="Per stage, of nasbench201; 5 by default.", show_default=False)
    ] = None,
    width: Width = None,
    flip: Annotated[bool, typer.Option(help="Mirror images at random; for photographs.")] = False,
    validation: Annotated[float, typer.Option(help="Share of the images held out.")] = 0.2,
    max_images_per_class: Annotated[
        int | None, typer.Option(help="Use at most so many images of a class.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="Where runs are kept; the same command goes on from there.")] = Path(
        "runs/train"
    ),
    onnx: Annotated[bool, typer.Option(help="Also write network.onnx beside each network.")] = False,
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="A torch device; auto takes a GPU where there is one.")] = "auto",
) -> None:
    """Train architectures on a dataset and report their validation accuracy.

    Without --architecture or --result, the training part is searched first and the best are trained: then the search
    has not seen the validation images. With --strategy, the validation accuracies guide the search: those of the best
    are then somewhat too high.
    """
    import random as randomness

    from metad2a_plugin.data import load_dataset
    from metad2a_plugin.export import export_onnx
    from metad2a_plugin.registry import get_space
    from metad2a_plugin.report import print_training
    from metad2a_plugin.training import TrainConfig, prepare, train_many

    plan = _plan(strategy, queries, shared_weights, option, seed)
    if onnx:
        require("onnx", "ONNX export", "onnx", "onnxscript")
    integer("top", top, 1)
    if architecture and result:
        raise ConfigError("--architecture and --result both say what to train; give one of them")
    if model and (architecture or result):
        raise ConfigError("--model searches for what to train; leave it out where --architecture or --result says that")
    if plan and (architecture or result or model):
        raise ConfigError(
            "--strategy says what to train: leave --architecture and --result out; a model is --option model=NAME"
        )
    searcher = None
    searched_for = ""
    of: SearchSpace
    if architecture:
        of = get_space(space or DEFAULT_SPACE)
        best = [of.parse(text) for text in architecture]
    elif result:
        of, best, found = _best_of(result, top, space)
        searched_for = str(found.get("dataset"))
        # Trained as they were searched for, unless said otherwise.
        width = found.get("options", {}).get("width") if width is None else width
        input_size = found.get("input_size") if input_size is None else input_size
    elif plan:
        of, best = get_space(space or DEFAULT_SPACE), []
        plan.check(of)
    else:
        searcher = _searcher(model, space, "cpu")
        of, best = searcher.space, []
    config = TrainConfig(
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        flip=flip,
        input_size=of.input_size if input_size is None else input_size,
        channels=channels,
        cells=cells,
        width=width,
        validation=validation,
        seed=seed,
        device=device,
    )
    _writable(out)
    # Which images are used, and which are held out, does not depend on --seed, so that runs can be compared.
    images = load_dataset(dataset, max_images_per_class=max_images_per_class, seed=config.split_seed)
    images = images.verified(config.input_size)
    if result and searched_for != images.name:
        warnings.warn(f"{str(result)!r} was searched for {searched_for!r}, not for {images.name!r}", stacklevel=1)
    data = prepare(images, config)
    if searcher is not None:
        # Only the training part is shown to the search: the validation images stay unseen.
        train_part, _ = images.split(validation, config.split_seed)
        ranked = searcher.search(train_part, top=top, input_size=config.input_size, width=width, seed=seed)
        best = ranked.architectures
    chosen = {f"{'given' if architecture else 'rank'} {i}": cell for i, cell in enumerate(best, 1)}
    if plan:
        chosen = plan.run(of, images.split(validation, config.split_seed)[0], data, config, out, top)
    rng = randomness.Random(seed)
    chosen |= {f"random {i}": _random_live(of, rng) for i in range(1, random + 1)}
    trained = train_many(of, list(chosen.values()), data, config, out)
    print_training(images, list(chosen), trained)
    for run in trained:
        if onnx and run.run_dir is not None:
            export_onnx(run.run_dir / "network.onnx", run.network)


@dataclass(frozen=True)
class _Plan:
    """A search by training."""

    make: Callable[..., Callable[[SearchSpace], Strategy]]
    looks: bool
    keeps: bool
    queries: int
    shared: bool
    network: tuple[str, ...]
    settings: dict[str, Any]

    def check(self, space: SearchSpace) -> None:
        """Refuse early what can be told without images."""
        if self.shared and space.name != DEFAULT_SPACE:
            raise ConfigError(f"--shared-weights needs the supernet of {DEFAULT_SPACE!r}, not {space.name!r}")
        if self.shared and self.keeps:
            raise ConfigError("this strategy searches in a supernet of its own; leave --shared-weights out")
        if not self.looks:
            self.make()(space)

    def run(
        self, space: SearchSpace, images: ImageDataset, data: TrainingData, config: TrainConfig, out: Path, top: int
    ) -> dict[str, Architecture]:
        """What is recommended, where that is not the best told, and the `top` of what was trained, best first.

        `images` are the training part, for strategies that look at a dataset.
        """
        from metad2a_plugin.report import stages
        from metad2a_plugin.trained_search import Query, search_by_shared_weights, search_by_training

        given: dict[str, Any] = {"dataset": images} if self.looks else {}
        if self.keeps:
            given["run_dir"] = out
        if self.settings.get("predictor", "naswot") == "naswot":  # others may have no networks
            own = {name: getattr(config, name) for name in self.network if name not in self.settings}
            given |= {name: value for name, value in own.items() if value is not None}
        strategy = self.make(**given)(space)
        with stages() as progress:
            strategy.prepare(progress)

            def report(query: Query) -> None:
                found = max(value for _, value in strategy.history)
                note = f"validation accuracy {query.accuracy:.1f}%, best {found:.1f}%"
                progress("query", query.number, self.queries, note)

            trained: list[Architecture] = []
            if self.shared:
                search_by_shared_weights(
                    strategy, data, config, self.queries, run_dir=out, settings=self.settings, report=report
                )
            else:
                results = search_by_training(strategy, data, config, self.queries, run_dir=out, report=report)
                trained = [result.architecture for result in results]
        recommended = strategy.recommendation
        if recommended is None:
            raise ConfigError("the strategy asked for nothing that could be trained")
        ranked = {f"rank {i}": cell for i, cell in enumerate(trained[:top], 1)}
        # Of equal accuracies the incumbent is the earliest, and so is the first of the ranks.
        return ranked if trained and recommended == trained[0] else {"recommended": recommended, **ranked}


def _plan(
    strategy: str | None, queries: int | None, shared: bool, option: list[str] | None, seed: int
) -> _Plan | None:
    """With everything checked that can be checked before there is a dataset."""
    import inspect

    if strategy is None:
        if queries is not None or shared or option:
            raise ConfigError("--queries, --shared-weights and --option are for a search with --strategy")
        return None
    from metad2a_plugin.registry import bind_strategy, get_strategy

    options = parse_options(option or [])
    kind = get_strategy(strategy)
    parameters = inspect.signature(kind).parameters
    looks = "dataset" in parameters
    # A search of its own goes on where the trainings do, unless it is kept elsewhere.
    keeps = "run_dir" in parameters and "run_dir" not in options
    if "seed" in options:
        raise ConfigError("give the seed as --seed, not as --option")
    if looks and "dataset" in options:
        raise ConfigError("the strategy is shown the training part of the dataset; leave --option dataset out")
    make = partial(bind_strategy, strategy, seed=seed, **options)
    make()  # refuses what is no option of it
    queries = 20 if queries is None else queries
    integer("queries", queries, 1)
    return _Plan(make, looks, keeps, queries, shared, kind.network_settings, options)


def _best_of(path: Path, top: int, wanted: str | None) -> tuple[SearchSpace, list[Architecture], dict[str, Any]]:
    """The space, the best, and all that a search result says."""
    import json

    from metad2a_plugin.registry import get_space

    try:
        found = json.loads(path.read_bytes())
        space = get_space(found["space"])
        texts = [candidate["architecture"] for candidate in found["candidates"][:top]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"cannot read a search result from {str(path)!r} ({type(error).__name__}: {error}); "
            "write one with metad2a search --json"
        ) from error
    if not texts:
        raise ConfigError(f"the search result {str(path)!r} holds no architecture")
    if wanted not in (None, space.name):
        raise ConfigError(f"the search result {str(path)!r} is of the space {space.name!r}, not {wanted!r}")
    if len(texts) < top:
        warnings.warn(f"{str(path)!r} holds {len(texts)} architectures, fewer than --top {top}", stacklevel=2)
    return space, [space.parse(text) for text in texts], found


def _random_live(space: SearchSpace, rng: Any) -> Architecture:
    while space.is_dead(cell := space.sample(rng)):
        pass
    return cell


# -- train-supernet ------------------------------------------------------------------------------
@app.command("train-supernet")
def train_supernet(
    dataset: Dataset,
    out: Annotated[Path, typer.Argument(help="The file, which ends in .safetensors.", show_default=False)],
    epochs: Annotated[int, typer.Option(help="Passes over the training part.")] = 50,
    batch_size: Annotated[int, typer.Option(help="Largest batch.")] = 128,
    lr: Annotated[float, typer.Option(help="Highest learning rate.")] = 0.1,
    input_size: InputSize = None,
    channels: Annotated[int, typer.Option(help="Of the first stage.")] = 16,
    cells: Annotated[int, typer.Option(help="Per stage.")] = 5,
    flip: Annotated[bool, typer.Option(help="Mirror images at random; for photographs.")] = False,
    validation: Annotated[float, typer.Option(help="Share of the images held out.")] = 0.2,
    run_dir: Annotated[Path, typer.Option(help="Unfinished work; the same command goes on from there.")] = Path(
        "runs/train-supernet"
    ),
    seed: Seed = 0,
    device: Annotated[str, typer.Option(help="A torch device; auto takes a GPU where there is one.")] = "auto",
) -> None:
    """Train one network of all cells of nasbench201, whose shared weights then score any of them.

    Use the file as --predictor supernet --option weights=FILE, and in NNI's PredictorEvaluator.
    """
    from metad2a_plugin.data import load_dataset
    from metad2a_plugin.one_shot.shared_weights import SharedWeights
    from metad2a_plugin.report import stages
    from metad2a_plugin.training import Epoch, TrainConfig, prepare

    if out.suffix != ".safetensors":
        raise ConfigError(f"{str(out)!r} must end in .safetensors")
    config = TrainConfig(
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        flip=flip,
        input_size=32 if input_size is None else input_size,
        channels=channels,
        cells=cells,
        validation=validation,
        seed=seed,
        device=device,
    )
    for folder in (out.parent, run_dir):
        _writable(folder)
    shared = SharedWeights(prepare(load_dataset(dataset), config), config)
    with stages() as progress:

        def report(epoch: Epoch) -> None:
            note = f"loss {epoch.loss:.3f}, 3x3 convolutions {epoch.accuracy:.1f}%"
            progress("epoch", epoch.epoch, epochs, note)

        shared.train(report, run_dir)
    shared.save(out)
    typer.echo(f"supernet: {out}")


# -- export --------------------------------------------------------------------------------------
@app.command()
def export(
    network: Annotated[
        str, typer.Argument(help="A network.safetensors of metad2a train, or an architecture string.")
    ],
    out: Annotated[Path, typer.Argument(help="A file that ends in .safetensors or .onnx.")],
    space: Space = None,
    num_classes: Annotated[int, typer.Option(help="Outputs of a network built from a string.")] = 10,
    input_size: InputSize = None,
    width: Width = None,
    seed: Seed = 0,
) -> None:
    """Write a network as a safetensors or ONNX file that needs no code of its own to be read."""
    if out.suffix not in (".safetensors", ".onnx"):
        raise ConfigError(f"{str(out)!r} must end in .safetensors or .onnx")
    if out.suffix == ".onnx":
        require("onnx", "ONNX export", "onnx", "onnxscript")
    from metad2a_plugin.export import ImageClassifier, export_network, export_onnx, load_network
    from metad2a_plugin.registry import get_space

    _writable(out.parent)
    if network.endswith(".safetensors") or os.path.exists(network):
        classifier = load_network(network)
    else:
        of = get_space(space or DEFAULT_SPACE)
        options: dict[str, Any] = {} if width is None else {"width": width}
        classifier = ImageClassifier(
            of, of.parse(network), num_classes, input_size=input_size, seed=seed, **options
        )
    write = export_onnx if out.suffix == ".onnx" else export_network
    write(out, classifier)
    cost = classifier.cost
    typer.echo(f"{out}: {cost.params:.3f} M parameters, {cost.flops:.1f} M multiply-accumulates")


# -- build-database --------------------------------------------------------------------------------
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
    from metad2a_plugin.registry import get_space
    from metad2a_plugin.report import stages

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
    _writable(out)
    with stages() as progress:
        rows = run(
            images or _own_images("--images"),
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


def _own_images(options: str) -> Path:
    """ImageNet's, where the data lie; `options` are those to give instead.

    Raises:
        ConfigError: they are not there.
    """
    path = data_folder() / "images" / "imagenet64.zip"
    if not path.exists():
        raise ConfigError(f"no {str(path)!r}; give {options}, or set METAD2A_DATA to the folder of the data")
    return path


# -- meta-train ----------------------------------------------------------------------------------
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
    from metad2a_plugin.data import load_dataset
    from metad2a_plugin.meta.train import MetaTrainConfig
    from metad2a_plugin.meta.train import meta_train as run
    from metad2a_plugin.report import print_metrics, stages

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
    _writable(out)
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
    source = images or _own_images("--images and --database")
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


# -- convert-benchmark ---------------------------------------------------------------------------
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
    from metad2a_plugin.report import stages

    with stages() as progress:
        convert(source, out, curves=curves, progress=progress)
    benchmark = open_benchmark(out)
    typer.echo(f"{out}: {len(benchmark.indices):,} cells, {out.stat().st_size / 1e6:.1f} MB")


# -- analyze -------------------------------------------------------------------------------------
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

    from metad2a_plugin._files import write_atomically
    from metad2a_plugin.analysis import analyze as run
    from metad2a_plugin.analysis.topology import has_cells
    from metad2a_plugin.data import load_dataset
    from metad2a_plugin.registry import get_space
    from metad2a_plugin.report import print_analysis
    from metad2a_plugin.training import TrainConfig

    require("draw", "the page of an analysis", "matplotlib")
    if out.suffix not in (".html", ".htm"):
        raise ConfigError(f"{str(out)!r} must end in .html")
    for path in (out, *([json] if json else [])):
        _writable(path.parent)
        if path.is_dir():
            raise ConfigError(f"{str(path)!r} is a folder; name a file")
    _writable(run_dir)
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
    analysis.save(out)
    typer.echo(f"page: {out}")
    if json is not None:
        write_atomically(json, (text.dumps(analysis.to_dict(), indent=1) + "\n").encode())
        typer.echo(f"numbers: {json}")


# -- score ---------------------------------------------------------------------------------------
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

    options = _predictor_options(option)
    if json is not None:
        _writable(json.parent)
    if not architecture and not random:
        raise ConfigError("give architectures to score, or --random with how many to draw")
    from metad2a_plugin.registry import get_space

    of = get_space(space or DEFAULT_SPACE)
    given = [of.parse(text) for text in architecture or ()]
    rng = randomness.Random(seed)
    given += [_random_live(of, rng) for _ in range(random)]
    from metad2a_plugin.report import print_scores
    from metad2a_plugin.scoring import score_architectures

    scores = score_architectures(of, given, predictor, dataset, input_size=input_size, seed=seed, **options)
    print_scores(scores)
    if json is not None:
        scores.save(json)
        typer.echo(f"scores: {json}")


# -- similar tasks -------------------------------------------------------------------------------
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
            _writable(path.parent)
    if draw is not None:
        if draw.suffix not in (".svg", ".png"):
            raise ConfigError(f"{str(draw)!r} must end in .svg or .png")
        require("draw", "drawing distances", "matplotlib")
    from metad2a_plugin._files import write_atomically
    from metad2a_plugin.report import print_similarity, waiting
    from metad2a_plugin.similarity.similar import similar_tasks

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
    from metad2a_plugin.report import stages
    from metad2a_plugin.similarity.build import CellConfig, build_library
    from metad2a_plugin.similarity.measure import TaskConfig
    from metad2a_plugin.similarity.themes import read_themes, theme_datasets

    config = TaskConfig(backbone=backbone, seed=seed, device=device)
    cells = CellConfig(count=count, good=good, epochs=epochs, images=max_images, seed=seed)
    _writable(out)
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
            pool = load_dataset(images or _own_images("--images"))
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


# -- doctor --------------------------------------------------------------------------------------
@app.command()
def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="End with status 1 if there is a problem.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for each try.")] = 60,
) -> None:
    """Try this package and the toolkits it plugs into, and say how to mend what does not work.

    A toolkit that is not installed is no problem.
    """
    import json as text
    from dataclasses import asdict

    from metad2a_plugin.doctor import PROBLEM, diagnose
    from metad2a_plugin.report import print_findings, waiting

    with waiting("trying what is installed, some seconds each"):
        findings = diagnose(timeout)
    if json:
        typer.echo(text.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        print_findings(findings)
    if strict and any(finding.state == PROBLEM for finding in findings):
        raise typer.Exit(1)


# -- list ----------------------------------------------------------------------------------------
@app.command("list")
def list_names(
    what: Annotated[
        str, typer.Argument(help="models, devices, spaces, strategies, predictors or encoders.")
    ] = "",
    space: Annotated[
        str | None,
        typer.Option(help="Whose networks devices were measured with; nasbench201 by default.", show_default=False),
    ] = None,
) -> None:
    """Show the names that options take."""
    from metad2a_plugin.registry import BUILT_IN

    def models() -> list[str]:
        from metad2a_plugin.models.checkpoint import shipped

        return list(shipped())

    def devices() -> list[str]:
        from metad2a_plugin.predictors._devices import device_model

        model = device_model(space or DEFAULT_SPACE)
        return [f"{name} ({model.unit(name)})" for name in model.devices]

    kinds: dict[str, Callable[[], list[str]]] = {"models": models, "devices": devices}
    kinds |= {kind: partial(_available, kind) for kind in BUILT_IN}
    if what and what not in kinds:
        raise ConfigError(f"there is no list of {what!r}; the lists are {', '.join(kinds)}")
    if space is not None and what != "devices":
        raise ConfigError("--space says whose devices to list: metad2a list devices --space mobilenetv3")
    for kind in [what] if what else kinds:
        typer.echo(f"{kind}: {', '.join(kinds[kind]())}")


def _available(kind: str) -> list[str]:
    from metad2a_plugin.registry import available

    return list(available(kind))


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Show the version.", is_eager=True)] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"metad2a-plugin {installed('metad2a-plugin')}")
        raise typer.Exit


_INTERRUPTED = 130  # what the command line library makes of Ctrl-C


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; wrong input ends in one sentence on stderr and status 2.

    Args:
        arguments: without the program's name; those of the process by default.
    """
    warnings.showwarning = _show_warning
    try:
        status = app(arguments, prog_name="metad2a", standalone_mode=False)
        if status == _INTERRUPTED:
            print("interrupted; nothing finished is lost: the same command goes on", file=sys.stderr)
        return status if isinstance(status, int) else 0
    except MetaD2AError as error:
        print(f"error: {error}", file=sys.stderr)
    except Exception as error:
        if not hasattr(error, "format_message"):  # a usage error of the command line library
            raise
        if not error.format_message():  # no arguments at all: the help was shown
            return 2
        context = getattr(error, "ctx", None)
        hint = f"{context.command_path} --help" if context else "metad2a --help"
        print(f"error: {error.format_message()} ('{hint}' shows the options)", file=sys.stderr)
    return 2


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, (DeprecationWarning, PendingDeprecationWarning)):
        return
    print(f"warning: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
