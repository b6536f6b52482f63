"""Options that several commands share, and what becomes of them; those of a config class have its defaults."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from metad2a_plugin.errors import ArchitectureError, ConfigError, MetaD2AError, said
from metad2a_plugin.plugins.budget import VALIDATION, Budget, budget_model, default_model
from metad2a_plugin.plugins.registry import DEFAULT_SPACE, available, entry, get_space
from metad2a_plugin.training.config import TrainConfig, batch_size_for
from metad2a_plugin.utils.checks import parse_options
from metad2a_plugin.utils.files import check_writable, check_writable_folder, data_folder, data_lacks, is_stream

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from metad2a_plugin.candidates.limits import Limits
    from metad2a_plugin.data import ImageDataset
    from metad2a_plugin.search.metad2a import MetaD2A
    from metad2a_plugin.spaces.base import Architecture, SearchSpace

Config = TypeVar("Config", bound="DataclassInstance")
T = TypeVar("T")


def _device(name: str) -> str:
    """The device, refused before any work where it is not there."""
    if name not in ("auto", "cpu"):  # which need no torch
        from metad2a_plugin.utils.torch_device import usable

        usable(name)
    return name


# -- what is worked on ---------------------------------------------------------------------------
_FORMATS = (
    "A folder of class folders, or of images and a CSV; a .zip or .tar of one; an .npz or .parquet with images and "
    "labels; or 'sklearn:digits'"
)
_NO_DATASET = f"{_FORMATS}; may be left out with a --predictor that needs none."
Dataset = Annotated[str, typer.Argument(help=f"{_FORMATS}.")]
MaybeDataset = Annotated[str | None, typer.Argument(help=_NO_DATASET)]
DatasetOption = Annotated[str | None, typer.Option("--dataset", "-d", help=_NO_DATASET)]
Images = Annotated[
    str | None,
    typer.Option(
        help="Images of the classes, a folder of class folders or a zip of one; METAD2A_DATA/images/imagenet64.zip."
    ),
]
MaxImagesPerClass = Annotated[int | None, typer.Option(help="Use at most so many images of a class.")]
Model = Annotated[
    str | None,
    typer.Option(
        help="A shipped checkpoint ('metad2a list models'), a folder of metad2a meta-train, or hf:user/repo; by "
        "default the one named after the space."
    ),
]
Space = Annotated[str | None, typer.Option(help=f"Search space ('metad2a list spaces'); {DEFAULT_SPACE} by default.")]
NOTATION = "in any notation: the space's text, an index, a genotype, OFA's dict, a file of one"
Predictor = Annotated[
    str | None,
    typer.Option(help="Rank by this instead of the model ('metad2a list predictors'), such as ofa-imagenet."),
]
Options = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="Of the strategy or predictor; may be repeated.")
]
SplitSeed = Annotated[int, typer.Option(min=0, help="Of the images that are held out; independent of --seed.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same result.")]
Device = Annotated[str, typer.Option(help="A torch device, such as cpu or cuda.", callback=_device)]
TrainingDevice = Annotated[
    str, typer.Option(help="A torch device; auto takes a GPU where there is one.", callback=_device)
]
Ray = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="Work on a Ray cluster; 'local' starts one here (extra ray).")
]

# -- limits and effort of a search ---------------------------------------------------------------
Top = Annotated[int, typer.Option(help="How many architectures to show.")]
Candidates = Annotated[
    int | None,
    typer.Option(
        help="Networks to generate and rank; by default all of a space of up to 20,000, else 700, but 100 with "
        "--predictor naswot."
    ),
]
Refine = Annotated[
    int | None,
    typer.Option(help="Further networks to rank, where those so far promise most; 300, but 0 with --candidates."),
]
MaxParams = Annotated[float | None, typer.Option(help="Hard limit, millions of parameters.")]
MaxFlops = Annotated[float | None, typer.Option(help="Hard limit, millions of multiply-accumulates.")]
MaxLatency = Annotated[
    list[str] | None,
    typer.Option(
        metavar="DEVICE=MS", help="Hard limit on a device ('metad2a list devices'), such as pixel3=10; may be repeated."
    ),
]
LatencyTable = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=FILE",
        help="Look-up table of a device of yours, in OFA's format, or a folder of them; may be repeated.",
    ),
]

# -- networks and their training -----------------------------------------------------------------
InputSize = Annotated[
    int | None,
    typer.Option(
        help="Side of the images the network will see, pixels; by default the space's own, such as 32 of nasbench201."
    ),
]
Channels = Annotated[int | None, typer.Option(help="Of the first stage, of nasbench201; 16 by default.")]
Cells = Annotated[int | None, typer.Option(help="Per stage, of nasbench201; 5 by default.")]
Width = Annotated[float | None, typer.Option(help="Multiplier of all channels, of mobilenetv3; 1.0 by default.")]
Network = Annotated[
    list[str] | None,
    typer.Option(
        "--network", metavar="NAME=VALUE", help="An option of the space's networks by its name; may be repeated."
    ),
]
Epochs = Annotated[int, typer.Option(help="Passes over the training part.")]
_BY_IMAGES = "by default by the number of images, 16 to 128"
BatchSize = Annotated[int | None, typer.Option(help=f"Largest batch; {_BY_IMAGES}.")]
LearningRate = Annotated[float, typer.Option("--lr", help="Highest learning rate.")]
Flip = Annotated[bool, typer.Option(help="Mirror images at random; for photographs.")]
_WITH = "to be trained with, beside --epochs"
ForEpochs = Annotated[
    int | None, typer.Option("--epochs", help="Rank for a training of so many epochs; by default for long training.")
]
WithBatchSize = Annotated[
    int | None, typer.Option("--batch-size", help=f"Largest batch {_WITH}; {_BY_IMAGES}.")
]
WithLearningRate = Annotated[
    float | None, typer.Option("--lr", help=f"Highest learning rate {_WITH}; {TrainConfig.lr} by default.")
]
Minutes = Annotated[
    float | None,
    typer.Option(
        help="Search over designs for a training of so many minutes on this machine: cells together with size of "
        "network and images, batch and epochs, but for those that are given."
    ),
]
WithFlip = Annotated[bool, typer.Option("--flip", help=f"Mirrored images {_WITH}; for photographs.")]
Validation = Annotated[float, typer.Option(help="Share of the images held out.")]

# -- files ---------------------------------------------------------------------------------------
Json = Annotated[
    Path | None,
    typer.Option(help="Write all of it as JSON here; with - to standard output, and the table to standard error."),
]
RunDir = Annotated[Path, typer.Option(help="Where runs are kept; the same command goes on from there.")]
BesideOut = Annotated[Path | None, typer.Option(help="Unfinished work; beside OUT by default.")]


def given(**options: Any) -> dict[str, Any]:
    """Those that were given, so that the others have the defaults of what they are options of."""
    return {name: value for name, value in options.items() if value is not None}


def told(context: typer.Context, name: str) -> bool:
    """Whether an option was given, where its default does not tell that."""
    source = context.get_parameter_source(name)
    return source is not None and not source.name.startswith("DEFAULT")


def given_networks(space: str | None, texts: Sequence[str]) -> tuple[SearchSpace, list[Architecture]]:
    """The search space, by default the default one, and its networks, in any notation.

    Raises:
        ArchitectureError: one is no network of that space; names the space that it is of, where none was named.
    """
    searched = get_space(space or DEFAULT_SPACE)
    found = []
    for text in texts:
        try:
            found.append(searched.parse(text))
        except ArchitectureError as error:
            others = [] if space else [name for name in available("spaces") if _reads(name, text)]
            if not others:
                raise
            name = " or ".join(others)
            hint = f"this is a network of the space {name}: give --space {others[0]}"
            raise ArchitectureError(f"{hint}; {searched.name} does not read it: {error}") from None
    return searched, found


def _reads(name: str, text: str) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            get_space(name).parse(text)
        except MetaD2AError:  # no network of that space, or a broken plug-in
            return False
    return True


def network_options(texts: list[str] | None, **shorthands: Any) -> dict[str, Any]:
    """Options of a space's networks, of ``--network NAME=VALUE`` and of the options that are shorthands of it."""
    options, short = parse_options(texts or ()), given(**shorthands)
    for name in options:
        if name in short:
            raise ConfigError(f"--{name} and --network {name}=VALUE say the same; give one of them")
    return options | short


def configured(kind: type[Config], options: Mapping[str, Any], /, **others: Any) -> Config:
    """A configuration of the options that have the names of its settings; what was not given has its default there."""
    named = {setting.name: options[setting.name] for setting in fields(kind) if setting.name in options}
    return kind(**given(**named) | others)


def supernet_file(name: str) -> str:
    """The path of a supernet; those of OFA's model zoo by a short name."""
    zoo = {"ofa": 0, "ofa-1.2": 1}
    if name not in zoo:
        return name
    from metad2a_plugin.adapters import ofa

    return str(ofa.zoo_file(ofa.ZOO[zoo[name]], download=True))


def predictor_options(predictor: str, texts: list[str] | None) -> dict[str, Any]:
    """Options that a predictor takes, none of which is what the commands have arguments for."""
    options = parse_options(texts or ())
    for name in options:
        if name in ("space", "architectures", "predictor", "dataset", "input_size", "seed"):
            raise ConfigError(f"{name!r} is no --option NAME=VALUE but an argument of this command; see --help")
    if options:
        entry("predictors", predictor).bind(**options)
    return options


def pairs(option: str, texts: list[str] | None, expected: str, read: Callable[[str], T]) -> list[tuple[str, T]]:
    """Names and values, as `read` makes them of text, of an option that is given as ``NAME=VALUE``."""
    found = []
    for text in texts or ():
        name, _, value = text.partition("=")
        try:
            found.append((name, read(value)))
        except ValueError:
            value = ""
        if not name or not value:
            raise ConfigError(f"{option} {said(text)} must be {expected}")
    return found


def limit_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Limits and network options of a search, from a command's options."""
    tables: dict[str, list[str]] = {}
    expected = "NAME=FILE, such as note10=note10/224.yaml"
    for name, path in pairs("--latency-table", settings["latency_table"], expected, str):
        tables.setdefault(name, []).append(path)
    expected = "DEVICE=MILLISECONDS, such as pixel3=10; 'metad2a list devices' shows the devices"
    latencies = dict(pairs("--max-latency", settings["max_latency"], expected, float))
    limits = {name: settings[name] for name in ("max_params", "max_flops", "input_size")}
    limits |= {"max_latency": latencies, "latency_tables": tables}
    shorthands = {name: settings[name] for name in ("channels", "cells", "width")}
    return given(**limits) | network_options(settings["network"], **shorthands)


def given_of_budget(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of a command's options, those that are settings of a budget and were given, but for its epochs and its size."""
    return given(batch_size=settings["batch_size"], lr=settings["lr"], flip=settings["flip"] or None)


def budget_of(settings: Mapping[str, Any], limits: Limits, images: ImageDataset | str | None = None) -> Budget | None:
    """The budget of ``--epochs`` and what goes with it, in the size of the limits; None without.

    Args:
        settings: the command's options.
        limits: with the size of the networks.
        images: by whose number the batch size goes where none is given, as that of a training does.

    Raises:
        ConfigError: something that goes with it is given alone, or a value is out of range.
    """
    options = given_of_budget(settings)
    if settings["epochs"] is None:
        for name in options:
            raise ConfigError(f"--{name.replace('_', '-')} is of a training to rank for; give its --epochs too")
        return None
    if images is not None and not isinstance(images, str):
        options = {"batch_size": batch_size_for(round(len(images) * (1 - VALIDATION))), **options}
    return Budget(epochs=settings["epochs"], input_size=limits.size, options=limits.options, **options)


MODEL_FREE = "naswot"
"""The predictor that ranks networks of any space for a dataset, where no model of the space is shipped."""


def no_model(space: str) -> str:
    """A sentence on what ranks where no model does."""
    return (
        f"No model is shipped for the space {space}: its networks are ranked by the predictor {MODEL_FREE}. "
        "metad2a meta-train makes a model."
    )


def find_searcher(model: str | None, space: str | None, *, prefer_budgets: bool = False) -> MetaD2A | None:
    """The model on the CPU; None where none was given and none is shipped for the space."""
    from metad2a_plugin.models.checkpoint import shipped

    name = space or DEFAULT_SPACE
    get_space(name)
    if model is None and name not in shipped():
        return None
    return load_searcher(model or (budget_model(name) if prefer_budgets else None), space, "cpu")


def load_searcher(model: str | None, space: str | None, device: str, budgeted: bool = False) -> MetaD2A:
    """The model, checked to be of the space; by default the one that knows budgets, if there is a budget."""
    from metad2a_plugin.search.metad2a import MetaD2A

    if space is not None:
        get_space(space)  # a name that is wrong is no checkpoint either
    name = model or default_model(space or DEFAULT_SPACE, budgeted)
    searcher = MetaD2A.from_pretrained(name, device)
    if space is not None and space != searcher.space.name:
        own = searcher.space.name
        raise ConfigError(f"the model {name!r} is of the space {own!r}, not {space!r}; leave --space out")
    return searcher


def check_outputs(
    *files: Path | None,
    folders: tuple[Path | None, ...] = (),
    suffixes: tuple[str, ...] = (),
    one_format: bool = False,
) -> None:
    """Refuse what cannot be written, or has none of the suffixes, before any long work; ``-`` always can.

    Args:
        *files: that will be written.
        folders: that will be written into.
        suffixes: that files must have.
        one_format: all of the suffixes are of one; devices and pipes need none then.
    """
    for path in files:
        if path is None or str(path) == "-":
            continue
        if suffixes and path.suffix not in suffixes and not (one_format and is_stream(path)):
            raise ConfigError(f"{str(path)!r} must end in {' or '.join(suffixes)}")
        check_writable(path)
    for folder in folders:
        if folder is not None:
            check_writable_folder(folder)


def own_images(options: str) -> Path:
    """ImageNet's, which must lie where the data do; `options` are those to give instead."""
    path = data_folder() / "images" / "imagenet64.zip"
    if not path.exists():
        lacks = data_lacks("images/imagenet64.zip")
        raise ConfigError(f"{lacks}; give {options}, or set METAD2A_DATA to the folder of the data")
    return path
