"""Commands that train: ``train`` and ``train-supernet``."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metad2a_plugin.cli.app import app
from metad2a_plugin.cli.options import Dataset, InputSize, Model, Options, Seed, Space, Width, load_searcher, writable
from metad2a_plugin.errors import ConfigError, require
from metad2a_plugin.plugins.registry import DEFAULT_SPACE
from metad2a_plugin.spaces.base import random_live
from metad2a_plugin.utils.checks import integer

if TYPE_CHECKING:
    from metad2a_plugin.spaces.base import Architecture, SearchSpace

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

    from metad2a_plugin.cli.tables import print_training
    from metad2a_plugin.data import load_dataset
    from metad2a_plugin.plugins.registry import get_space
    from metad2a_plugin.strategies.plan import make_plan
    from metad2a_plugin.training.config import TrainConfig
    from metad2a_plugin.training.files import export_onnx
    from metad2a_plugin.training.images import prepare
    from metad2a_plugin.training.run import train_many

    plan = make_plan(strategy, queries, shared_weights, option, seed)
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
        searcher = load_searcher(model, space, "cpu")
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
    writable(out)
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
    chosen |= {f"random {i}": random_live(of, rng) for i in range(1, random + 1)}
    trained = train_many(of, list(chosen.values()), data, config, out)
    print_training(images, list(chosen), trained)
    for run in trained:
        if onnx and run.run_dir is not None:
            export_onnx(run.run_dir / "network.onnx", run.network)


def _best_of(path: Path, top: int, wanted: str | None) -> tuple[SearchSpace, list[Architecture], dict[str, Any]]:
    """The space, the best, and all that a search result says."""
    import json

    from metad2a_plugin.plugins.registry import get_space

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
    from metad2a_plugin.training.config import TrainConfig
    from metad2a_plugin.training.fit import Epoch
    from metad2a_plugin.training.images import prepare
    from metad2a_plugin.utils.progress import stages

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
        writable(folder)
    shared = SharedWeights(prepare(load_dataset(dataset), config), config)
    with stages() as progress:

        def report(epoch: Epoch) -> None:
            note = f"loss {epoch.loss:.3f}, 3x3 convolutions {epoch.accuracy:.1f}%"
            progress("epoch", epoch.epoch, epochs, note)

        shared.train(report, run_dir)
    shared.save(out)
    typer.echo(f"supernet: {out}")
