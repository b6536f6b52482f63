"""The command ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metad2a_plugin.cli.app import app
from metad2a_plugin.cli.report import Report


@app.command("report")
def report(
    folder: Annotated[Path, typer.Argument(help="Of a run of auto, or of the trainings of train.")],
    dataset: Annotated[
        str | None, typer.Argument(help="The images of a run of auto, where they are not where they were.")
    ] = None,
) -> None:
    """Write the page of a run that is done.

    It is FOLDER/index.html; nothing is trained.
    """
    from metad2a_plugin.contest.reports import write_report

    Report().note(f"page: {write_report(folder, dataset)}")
