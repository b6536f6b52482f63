"""The command line: ``metad2a COMMAND``; ``metad2a --help`` lists the commands.

Torch is imported by the commands that need it, so that ``--help`` is quick.
"""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Annotated, Any

import typer

# isort: off
# In the order shown.
from metad2a_plugin.cli import auto, search, train, supernet, predict, export, pages, analyze, tasks, meta, about  # noqa: F401

# isort: on
from metad2a_plugin.cli.app import app
from metad2a_plugin.cli.report import TREE, logged
from metad2a_plugin.errors import ConfigError, MetaD2AError
from metad2a_plugin.utils.installed import version as installed


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Show the version.", is_eager=True)] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show results and warnings only: no progress, no notes.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show what is done in between, and where an error comes from.")
    ] = False,
) -> None:
    if version:
        typer.echo(f"metad2a-plugin {installed()}")
        raise typer.Exit
    if quiet and verbose:
        raise ConfigError("--quiet and --verbose contradict each other; give one of them")
    if quiet or verbose:
        TREE.setLevel(logging.WARNING if quiet else logging.DEBUG)


_INTERRUPTED = 130  # what the command line library makes of Ctrl-C


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; wrong input ends in one sentence on stderr and status 2.

    Args:
        arguments: without the program's name; those of the process by default.
    """
    warnings.showwarning = _show_warning
    with logged(sys.argv[1:] if arguments is None else arguments):
        return _main(arguments)


def _main(arguments: list[str] | None) -> int:
    try:
        status = app(arguments, prog_name="metad2a", standalone_mode=False)
        if status == _INTERRUPTED:
            print("interrupted; nothing finished is lost: the same command goes on", file=sys.stderr)
        return status if isinstance(status, int) else 0
    except MetaD2AError as error:
        TREE.debug("where it was noticed:", exc_info=True)
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
