"""Options that several commands share, and what becomes of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.registry import DEFAULT_SPACE
from metad2a_plugin.utils.checks import parse_options
from metad2a_plugin.utils.files import data_folder

if TYPE_CHECKING:
    from metad2a_plugin.search.metad2a import MetaD2A

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


def predictor_options(texts: list[str] | None) -> dict[str, Any]:
    """Options of a predictor, none of which is what the commands have arguments for."""
    options = parse_options(texts or ())
    for name in options:
        if name in ("space", "architectures", "predictor", "dataset", "input_size", "seed"):
            raise ConfigError(f"{name!r} is no --option NAME=VALUE but an argument of this command; see --help")
    return options


def limit_options(
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


def load_searcher(model: str | None, space: str | None, device: str) -> MetaD2A:
    """The model, and its check against the space.

    Raises:
        ConfigError: it is of another space.
    """
    from metad2a_plugin.search.metad2a import MetaD2A

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


def writable(folder: Path) -> None:
    """Refuse a folder that cannot be made or written before any long work; makes nothing."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if os.path.lexists(parent))
    if not there.is_dir():
        raise ConfigError(f"cannot make the folder {str(folder)!r}: {str(there)!r} is a file")
    if not os.access(there, os.W_OK):
        raise ConfigError(f"the folder {str(there)!r} cannot be written; choose another")


def own_images(options: str) -> Path:
    """ImageNet's, where the data lie; `options` are those to give instead.

    Raises:
        ConfigError: they are not there.
    """
    path = data_folder() / "images" / "imagenet64.zip"
    if not path.exists():
        raise ConfigError(f"no {str(path)!r}; give {options}, or set METAD2A_DATA to the folder of the data")
    return path
