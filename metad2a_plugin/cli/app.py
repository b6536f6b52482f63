"""The command line application that commands register with."""

from __future__ import annotations

import typer

app = typer.Typer(
    help="From an image dataset to a neural architecture in seconds.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
