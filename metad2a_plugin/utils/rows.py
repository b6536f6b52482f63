"""Results as rows: for pandas, and as a table of HTML for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from metad2a_plugin.errors import require

if TYPE_CHECKING:
    import pandas


def data_frame(rows: Sequence[Mapping[str, Any]]) -> pandas.DataFrame:
    """One row each, a column for every name.

    Raises:
        MissingExtraError: pandas is not installed (extra ``pandas``).
    """
    require("pandas", "a data frame", "pandas")
    import pandas

    return pandas.DataFrame(list(rows))


def html_table(title: str, names: Iterable[str], rows: Iterable[Iterable[str]], notes: Iterable[str] = ()) -> str:
    """A table with a title above it and sentences below; all texts are escaped."""

    def line(kind: str, cells: Iterable[str]) -> str:
        return "<tr>" + "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in cells) + "</tr>"

    body = "".join(line("td", row) for row in rows)
    table = f"<table><caption>{escape(title)}</caption><thead>{line('th', names)}</thead><tbody>{body}</tbody></table>"
    return table + "".join(f"<p>{escape(note)}</p>" for note in notes)
