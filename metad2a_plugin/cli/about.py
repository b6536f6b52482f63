"""Commands about the installation: ``doctor`` and ``list``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from inspect import signature
from pathlib import Path
from shutil import get_terminal_size
from types import NoneType
from typing import Annotated

import typer

from metad2a_plugin.cli.app import app
from metad2a_plugin.cli.report import Report
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.registry import BUILT_IN, DEFAULT_SPACE, available, entry, get_device_models


@app.command()
def doctor(
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="End with status 1 if there is a problem.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for each try.")] = 60,
) -> None:
    """Try this package and the toolkits it plugs into.

    What does not work is shown with how to mend it; a toolkit that is not installed is no problem.
    """
    from dataclasses import asdict

    from metad2a_plugin.cli.doctor import PROBLEM, diagnose
    from metad2a_plugin.cli.tables import print_findings
    from metad2a_plugin.utils.progress import waiting

    with waiting("trying what is installed, some seconds each"):
        findings = diagnose(timeout)
    report = Report(Path("-") if json else None)
    if json:
        report.values("findings", [asdict(finding) for finding in findings])
    else:
        print_findings(report.console, findings)
    if strict and any(finding.state == PROBLEM for finding in findings):
        raise typer.Exit(1)


@app.command("list")
def list_names(
    what: Annotated[str, typer.Argument(help="models, devices, spaces, strategies, predictors or encoders.")] = "",
    space: Annotated[
        str | None, typer.Option(help="Whose networks devices were measured with; nasbench201 by default.")
    ] = None,
) -> None:
    """Show the names that options take.

    Of strategies or predictors alone, with what their --option takes.
    """

    def models() -> list[str]:
        from metad2a_plugin.models.checkpoint import shipped

        return list(shipped())

    def devices() -> list[str]:
        from metad2a_plugin.devices.base import DeviceModel

        model: DeviceModel = get_device_models(space or DEFAULT_SPACE).load()
        return [f"{name} ({model.unit(name)})" for name in model.devices]

    kinds: dict[str, Callable[[], Sequence[str]]] = {"models": models, "devices": devices}
    kinds |= {kind: partial(available, kind) for kind in BUILT_IN if kind not in kinds}
    if what and what not in kinds:
        raise ConfigError(f"there is no list of {what!r}; the lists are {', '.join(kinds)}")
    if space is not None and what != "devices":
        raise ConfigError("--space says whose devices to list: metad2a list devices --space mobilenetv3")
    for kind in [what] if what else kinds:
        names = kinds[kind]()
        typer.echo(_wrapped(f"{kind}: ", names, 2))
        if what in ("strategies", "predictors"):
            widest = max(map(len, names))
            for name in names:
                typer.echo(_wrapped(f"  {name:{widest}}  ", _options(kind, name), widest + 4))


def _wrapped(start: str, items: Sequence[str], indent: int) -> str:
    """Items joined by commas, in lines of the terminal's width that break between items."""
    lines, width = [start], get_terminal_size().columns
    for i, item in enumerate(items):
        text = item + ("," if i < len(items) - 1 else "")
        if len(lines[-1].rstrip()) + 1 + len(text) > width and len(lines[-1]) > indent:
            lines.append(" " * indent)
        lines[-1] += ("" if lines[-1].endswith(" ") else " ") + text
    return "\n".join(line.rstrip() for line in lines)


def _options(kind: str, name: str) -> list[str]:
    """What --option takes, with the defaults; of a plug-in that is broken, what is wrong."""
    try:
        found = entry(kind, name)
        taken = list(found.parameters)
        if config := getattr(found.load(), "config_class", None):  # its settings are options too
            taken += signature(config).parameters.values()
    except ConfigError as error:
        return [str(error)]
    plain = (bool, int, float, str, NoneType)
    shown = [f"{p.name}={p.default!r}" if isinstance(p.default, plain) else p.name for p in taken if p.name != "seed"]
    return shown or ["no options"]
