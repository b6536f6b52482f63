"""The rows of a meta-database as files: appended to, counted, and written by one process at a time."""

from __future__ import annotations

import csv
import errno
import os
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from metad2a_plugin.errors import ConfigError, DatasetError, said
from metad2a_plugin.utils.files import write_atomically
from metad2a_plugin.utils.schema import anything, mapping_of, read_json, record, why


def append(file: IO[bytes], row: Sequence[str]) -> None:
    """One write, and on the disk when it returns: a row is there or not."""
    line = (",".join(row) + "\n").encode()
    if file.write(line) < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(file.fileno())


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Raises `ConfigError` where a row cannot be written; what was written of it is cut off by the next call."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"cannot write {str(path)!r}: {reason}; mend that and run the same command again") from error


def finished(path: Path, numbers: Container[int], columns: Sequence[str]) -> set[int]:
    """Numbers of the rows in a file, of which a last line without an end is cut off.

    Args:
        path: written with nothing but the names of the columns where it is not there.
        numbers: that rows may have.
        columns: their names; the first is ``row``, the number.

    Raises:
        DatasetError: the file holds something else; nothing of it is changed.
    """
    header = ",".join(columns) + "\n"
    if not path.exists():
        with written(path):
            write_atomically(path, header.encode())
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    try:
        lines = list(csv.reader(whole.decode().splitlines()))
        found = [int(line[0]) for line in lines[1:]]
    except (csv.Error, ValueError, IndexError):
        lines, found = [], []
    if lines[:1] != [list(columns)] or len(set(found)) < len(found) or not all(n in numbers for n in found):
        raise DatasetError(
            f"{str(path)!r} holds something else than rows of this database; move it away, and the rows are measured "
            "again"
        )
    if whole != content:
        os.truncate(path, len(whole))
    return set(found)


def row_files(shard: tuple[int, int]) -> list[str]:
    """Names of the files of all shards, of which ``shard[0] - 1`` is one's own.

    Raises:
        ConfigError: `shard` is not ``(i, n)`` with ``1 <= i <= n``.
    """
    if not 1 <= shard[0] <= shard[1]:
        raise ConfigError(f"the shard must be I of N with 1 <= I <= N, such as 1/4, got {shard[0]}/{shard[1]}")
    return [f"rows.{i}-of-{shard[1]}.csv" if shard[1] > 1 else "rows.csv" for i in range(1, shard[1] + 1)]


def check_folder(out: Path, made_of: Mapping[str, Any], files: Sequence[str]) -> None:
    """Refuse a folder of something else, before anything is written; says what it holds, or which setting differs.

    Args:
        out: the database's folder.
        made_of: what its ``build.json`` must hold: parts, and the settings of each.
        files: that rows may be in.
    """
    path = out / "build.json"
    held = [found.name for kind in ("tasks.csv*", "map_clsloc.txt", "rows*.csv*") for found in sorted(out.glob(kind))]
    held = [name for name in held if not name.endswith(".lock")]
    if not path.exists():
        if held:
            raise ConfigError(f"{str(out)!r} holds {held[0]} of another database; choose another folder")
        return
    parts = {part: settings for part, settings in made_of.items() if isinstance(settings, dict)}
    try:
        before = record(dict.fromkeys(parts, mapping_of(anything)))(read_json(path), "")
        pairs = [
            (part, name, before[part].get(name), value)
            for part, settings in parts.items()
            for name, value in settings.items()
        ]
    except (OSError, ValueError) as error:
        advice = "choose another folder, or remove it"
        raise ConfigError(f"{str(path)!r} cannot be read ({why(error)}); {advice}") from error
    for part, name, was, value in pairs:
        if was != value:
            raise ConfigError(
                f"{str(out)!r} holds a database with other {part}: {name} is {said(was)} there and {said(value)} here; "
                "choose another folder, or the same settings"
            )
    if other := [name for name in held if name.startswith("rows") and name not in files]:
        raise ConfigError(f"{str(out)!r} holds {other[0]}, of another division into shards; go on with that one")
