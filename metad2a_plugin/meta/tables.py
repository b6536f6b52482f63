"""The tables of a meta-database's folder: CSV files that may be compressed, or in several parts."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO

from metad2a_plugin.errors import DatasetError, said

Place = tuple[str, dict[str, str]]
"""A row of a file, and where it is, for messages."""
_LONGEST_LINE, _MOST_LINES, _LARGEST = 200_000, 500_000, 100_000_000
_SHARD = re.compile(r"rows\.(\d+)-of-(\d+)\.csv(\.gz)?")


def table_file(folder: Path, name: str) -> Path:
    """A file that may be compressed."""
    path = next((p for p in (folder / f"{name}.csv.gz", folder / f"{name}.csv") if p.exists()), None)
    if path is None:
        raise DatasetError(f"no {name}.csv or {name}.csv.gz in {folder}; a meta-database needs it")
    return path


def _row_files(folder: Path) -> list[Path]:
    """``rows.csv``, or all of its shards in order."""
    found = sorted((int(m[2]), int(m[1]), p) for p in folder.glob("rows.*") if (m := _SHARD.fullmatch(p.name)))
    if not found:
        return [table_file(folder, "rows")]
    whole = [p.name for p in (folder / "rows.csv", folder / "rows.csv.gz") if p.exists()]
    names, total = ", ".join([*whole, *(p.name for _, _, p in found)]), found[0][0]
    shards = [i for _, i, _ in found]
    if whole or found[-1][0] != total or len(set(shards)) < len(shards):
        raise DatasetError(f"{folder} holds rows more than once: {names}; keep one set of files")
    if missing := set(range(1, total + 1)) - set(shards):
        lacking = ", ".join(f"rows.{i}-of-{total}.csv" for i in sorted(missing))
        raise DatasetError(f"{folder} lacks {lacking}; it has {names}")
    if len(shards) > total:
        raise DatasetError(f"{folder} has {names}, of which some are numbered otherwise than 1 to {total}; rename them")
    return [path for _, _, path in found]


def table_rows(path: Path, columns: tuple[str, ...]) -> Iterator[Place]:
    """Each row of a file."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        if not path.is_file():
            raise DatasetError(f"{path} is no regular file")
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            reader = csv.DictReader(_lines(path, file))
            names = reader.fieldnames or ()
            missing = set(columns) - set(names)
            if missing:
                raise DatasetError(f"{path.name} lacks the columns {sorted(missing)}; it has {said(list(names))}")
            for row in reader:
                place = f"{path.name}, line {reader.line_num}"
                if None in row or None in row.values():
                    raise DatasetError(f"{place}: expected {len(names)} values, one for each column of the first line")
                yield place, row
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read ({type(error).__name__}: {error}); is it damaged?") from error


def whole_number(text: str) -> int:
    """An integer that a tensor holds; ValueError for anything else."""
    if not re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
        raise ValueError(f"{said(text)} is no integer")
    return int(text)


def _lines(path: Path, file: IO[str]) -> Iterator[str]:
    """The lines of a file, which compressed can be a thousand times as large as it looks."""
    left = _LARGEST
    for number in range(_MOST_LINES):
        line = file.readline(_LONGEST_LINE + 1)
        left -= len(line)
        if len(line) > _LONGEST_LINE or left < 0:
            what = f"line {number + 1} of more than {_LONGEST_LINE:,}" if left >= 0 else f"more than {_LARGEST:,}"
            raise DatasetError(f"{path} has {what} characters; is it a table of a meta-database?")
        if not line:
            return
        yield line
    raise DatasetError(f"{path} has more than {_MOST_LINES:,} lines; divide it into databases of fewer rows")


def database_rows(folder: Path, columns: tuple[str, ...]) -> list[Place]:
    """The rows of all files, in the order of their numbers where they have such."""
    files = _row_files(folder)
    rows = list(islice((row for path in files for row in table_rows(path, columns)), _MOST_LINES + 1))
    if len(rows) > _MOST_LINES:
        raise DatasetError(f"{folder} has more than {_MOST_LINES:,} rows; divide it into databases of fewer")
    if not any("row" in row for _, row in rows):
        return rows
    numbered: dict[int, Place] = {}
    for place, row in rows:
        try:
            number = whole_number(row["row"])
        except (KeyError, ValueError):
            raise DatasetError(f"{place}: row must be an integer, got {said(row.get('row'))}") from None
        if number in numbered:
            raise DatasetError(f"{place}: row {number} is there already ({numbered[number][0]}); remove one")
        numbered[number] = place, row
    return [numbered[number] for number in sorted(numbered)]
