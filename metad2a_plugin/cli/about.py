"""Commands about the installation: ``doctor`` and ``list``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from metad2a_plugin.cli.app import app
from metad2a_plugin.cli.report import Report
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.registry import BUILT_IN, DEFAULT_SPACE, available, get_device_models


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
    """Show the names that options take."""

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
        typer.echo(f"{kind}: {', '.join(kinds[kind]())}")
