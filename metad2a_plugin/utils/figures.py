"""Figures as files."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from metad2a_plugin.errors import ConfigError, MissingExtraError, said
from metad2a_plugin.utils.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_figure(path: str | os.PathLike[str], make: Callable[[], Figure]) -> None:
    """Write what `make` draws as ``.svg`` or ``.png``.

    The same drawing and matplotlib version give the same bytes; the file is replaced in one step.

    Raises:
        ConfigError: another suffix, or the file cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".svg", ".png"):
        raise ConfigError(f"drawings are written as .svg or .png, got {said(path.name)}; change the file's suffix")
    write_atomically(path, rendered(make, suffix))


def rendered(make: Callable[[], Figure], suffix: str) -> bytes:
    """What `make` draws as a file of that suffix, ``.svg`` or ``.png``.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib import style
    except ImportError:
        raise MissingExtraError("matplotlib", "draw", "drawing") from None
    buffer = io.BytesIO()
    # A fixed salt makes the identifiers inside an SVG the same in every run.
    with style.context(["default", {"svg.hashsalt": "metad2a"}]):
        metadata = {"Date": None} if suffix == ".svg" else {"Software": None}
        make().savefig(buffer, format=suffix[1:], dpi=200, facecolor="white", metadata=metadata)
    return buffer.getvalue()
