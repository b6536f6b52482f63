"""Flat images and a table that names the class of each: CSV, TSV, JSON lines, or a text list of paths and labels."""

from __future__ import annotations

import codecs
import csv
import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

import numpy as np

from metad2a_plugin.data.json_rows import json_rows
from metad2a_plugin.data.labels import index_labels
from metad2a_plugin.data.pixels import few
from metad2a_plugin.data.sources import _warn
from metad2a_plugin.data.splits import split_of, training_names
from metad2a_plugin.data.words import FOLD, TRAIN, bare, role
from metad2a_plugin.errors import DatasetError

SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".txt")
_MOST = 50
LARGEST, LARGEST_JSON = 2**27, 2**24
"""Bytes of a table."""
_CELLS, _ROW, _CELL = 2**28, 100, 60
"""Bytes of memory for the cells of a table; those that a row and a cell take beside their text."""
_IDS = ("id", "imageid", "filename", "file", "image", "img", "path", "filepath", "imagepath", "imagename", "imgname",
        "imgpath", "filenames", "filepaths", "name", "imgid", "fname", "images")  # fmt: skip
_LABELS = ("label", "labels", "class", "category", "target", "classname", "labelname", "categoryname", "classlabel",
           "classid", "labelid", "categoryid", "targets", "y")  # fmt: skip
_BOXES = re.compile(r".*\S( -?\d+(\.\d+)?){2,} ?")
_SPLITS = ("split", "dataset", "set", "subset", "partition", "phase", "usage")
_MARKS = frozenset(("0", "1", "0.0", "1.0", "true", "false"))
_HELP = "rename that column to 'label', and the one of the files to 'id', in the first line"


@dataclass(frozen=True)
class Table:
    """Texts in columns.

    Attributes:
        name: of its file.
        header: names of the columns; empty where the first line is no header.
        rows: texts, each as long as the header.
    """

    name: str
    header: list[str]
    rows: list[list[str]]

    def column(self, i: int) -> list[str]:
        return [row[i] for row in self.rows]

    def replaced(self, i: int, texts: Sequence[str]) -> Table:
        """With other texts in column `i`."""
        rows = [[*row[:i], text, *row[i + 1 :]] for row, text in zip(self.rows, texts, strict=True)]
        return Table(self.name, self.header, rows)

    @property
    def width(self) -> int:
        return len(self.rows[0])


def parse_table(data: bytes, name: str) -> Table | None:
    r"""A table from the bytes of a file; None for what is none.

    The delimiter is the one that cuts all of the first lines, or most, into equally many parts, at least two.

    >>> parse_table(b"id;label\n1;cat\n2;dog\n", "labels.csv")
    Table(name='labels.csv', header=['id', 'label'], rows=[['1', 'cat'], ['2', 'dog']])
    """
    if len(data) >= LARGEST:
        raise DatasetError(f"{name!r} has {len(data) >> 20} MiB, more than the {LARGEST >> 20} that a table may have")
    encoding = "utf-8-sig" if _is_utf8(data) else "latin-1"
    if name.lower().endswith((".json", ".jsonl")):
        if len(data) >= LARGEST_JSON:
            _warn(f"{name!r}: JSON of {len(data) >> 20} MiB is not read; save it as CSV, if it has the labels")
            return None
        found = json_rows(data.decode(encoding), lines=name.lower().endswith(".jsonl"))
        return None if found is None else Table(name, *found)
    if name.lower().endswith(".txt") and (table := _listing(_lines(data, encoding), name)) is not None:
        return table
    lines = [line for line in islice(_lines(data, encoding), 20) if line.strip()]
    best: tuple[bool, int, str] | None = None
    for delimiter in ",;\t|":
        try:
            parts = Counter(len(row) for row in csv.reader(lines, delimiter=delimiter))
        except csv.Error:
            continue
        (width, often), *_ = parts.most_common(1) or [(0, 0)]
        way = often == len(lines), width, delimiter
        if width > 1 and often > len(lines) // 2 and (best is None or way[:2] > best[:2]):
            best = way
    if best is None:
        return None
    _, width, delimiter = best
    rows, left = [], _CELLS
    try:
        for row in csv.reader(_lines(data, encoding), delimiter=delimiter):
            if len(row) == width:
                rows.append([cell.strip() for cell in row])
                left -= _ROW + sum(map(len, row)) + _CELL * width
                if left < 0:
                    raise DatasetError(
                        f"{name!r} has more rows and columns than fit into memory ({len(rows)} rows of {width} cells "
                        "fill it); leave out the columns that are neither the file nor its class"
                    )
    except csv.Error as error:
        raise DatasetError(f"{name!r} is no readable table ({error}); save it again as CSV") from error
    return Table(name, rows[0], rows[1:]) if len(rows) > 1 else None


def _is_utf8(data: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(data), 2**20):
            decoder.decode(data[start : start + 2**20], final=start + 2**20 >= len(data))
    except UnicodeDecodeError:
        return False
    return True


def _lines(data: bytes, encoding: str) -> Iterator[str]:
    """One after the other, so that the text is not there a second time."""
    for line in io.TextIOWrapper(io.BytesIO(data), encoding, newline=""):
        yield line.replace("\0", "")


def _listing(texts: Iterable[str], name: str) -> Table | None:
    """A list of ``path label``, where the label may have spaces: the first word, and all after it."""
    rows: list[list[str]] = []
    for line in texts:
        if not line.strip() or line.startswith("#"):
            continue
        row = [part.strip() for part in line.split(None, 1)]
        if len(row) != 2 or row[0][-1] in ",;|" or "," in row[0]:
            return None
        if len(rows) < 20 and any(mark in row[1] for mark in "\t,;|"):
            return None
        rows.append(row)
        if len(rows) > _CELLS // (_ROW + 2 * _CELL):
            raise DatasetError(f"{name!r} has more than {len(rows) - 1} lines, the most that are read; take a part")
    return Table(name, [], rows) if rows else None


class Names:
    """Files by any way a table may name them: path, parts of it from the end, with and without suffix."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._found: dict[str, str | None] = {}
        for key in keys:
            parts = PurePosixPath(key).parts
            for start in range(len(parts)):
                tail = "/".join(parts[start:])
                for way in {tail, os.path.splitext(tail)[0]}:
                    # Two files of one name are none.
                    self._found[way] = None if self._found.get(way, key) != key else key

    def __call__(self, text: str) -> str | None:
        parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
        for start in range(len(parts)):
            tail = "/".join(parts[start:])
            for way in (tail, os.path.splitext(tail)[0]):
                if found := self._found.get(way):
                    return found
        return None


def labelled(keys: Sequence[str], tables: Sequence[Table], what: str) -> tuple[list[str], list[str]] | None:
    """The images that tables name, with their labels.

    None where no table names the images, or where the folders of the images say the same as the table. Where it also
    says which images of these folders are for training, these are taken, by the names of their folders.

    Args:
        keys: relative paths of all images.
        tables: those beside them.
        what: the source, for messages.

    Raises:
        DatasetError: the images have no other classes, and which column is which is not plain.
    """
    images = {bare(os.path.basename(key)) for key in keys}
    beside = [table for table in tables if bare(os.path.basename(table.name)) in images]
    if len(beside) > 1:  # notes to single images, such as boxes or captions
        tables = [table for table in tables if table not in beside]
    names = Names(keys)
    folders = {os.path.dirname(key) for key in keys}
    if len({re.sub(r"\d", "", folder) for folder in folders}) == 1 and "part" in next(iter(folders)).lower():
        folders = {""}  # one folder of images, packed in parts
    found = []
    for given in tables:
        table, place = _with_ids(given, names, len(keys))
        if place is not None:
            found.append((table, place))
    if not found:
        if tables and len(folders) == 1 and keys:
            raise DatasetError(
                f"{what} has {len(keys)} images and the table {tables[0].name!r}, but none of its columns "
                f"{few(tables[0].header, 12)} names the images (such as {os.path.basename(keys[0])!r}); give it a "
                "column 'id' with the names of the files, and a column 'label'"
            )
        return None
    used = training_names([table.name for table, _ in found], what) if len(found) > 1 else [found[0][0].name]
    if len(folders) > 1 and split_of(used[0]) not in ("train", None):
        return None  # of the images in other folders it says nothing
    pairs: dict[str, str] = {}
    missing, whole = 0, len(used) == len(found)
    for given, column in found:
        if given.name not in used:
            continue
        table, place = training_rows(given, column, what)
        whole = whole and len(table.rows) == len(given.rows)
        labels = label_column(table, place, what, [names(text) for text in table.column(place)], len(folders))
        if labels is None:
            return None
        for text, value in zip(table.column(place), labels, strict=True):
            key = names(text)
            if key is None:
                missing += 1
            elif pairs.setdefault(key, value) != value:
                raise DatasetError(
                    f"{what}: {table.name!r} names {text!r} with several labels ({pairs[key]!r}, {value!r}): these "
                    "labels are multi-label; keep one row for each image"
                )
    if len(folders) > 1 and _same_as_folders(pairs):
        used_folders = {os.path.dirname(key) for key in pairs}
        if whole or all(key in pairs for key in keys if os.path.dirname(key) in used_folders):
            return None
        pairs = {key: os.path.basename(os.path.dirname(key)) for key in pairs}  # which say more than numbers
    elif len(folders) > 1 and len({os.path.dirname(key) for key in pairs}) > 1:
        _warn(f"{what}: classes are those of {few(list(used))}, which are others than its folders")
    _say(what, used, len(pairs), len(keys), missing)
    chosen = sorted(pairs)
    return chosen, [pairs[key] for key in chosen]


def _say(what: str, used: Sequence[str], pairs: int, images: int, missing: int) -> None:
    if missing or pairs < images:
        _warn(
            f"{what}: classes are those of {few(list(used))}; {images - pairs} images that it does not name are left "
            f"out, and {missing} of its rows name no image"
        )


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _with_ids(table: Table, names: Names, images: int) -> tuple[Table, int | None]:
    """The table, without a header where its first line is a row, and the column that names images."""
    some = table.rows[:: max(1, len(table.rows) // 1000)]
    shares = [sum(names(row[i]) is not None for row in some) / len(some) for i in range(table.width)]
    # A table may be of more images than there are.
    least = min(0.5, 0.5 * images / len(table.rows))
    good = [i for i, share in enumerate(shares) if share > 0 and share >= least]
    if not good:
        return table, None
    plain = [bool(table.header) and _plain(table.header[i]) in _IDS for i in range(table.width)]
    place = max(good, key=lambda i: (plain[i], shares[i], -i))
    if table.header and names(table.header[place]) is not None:
        table = Table(table.name, [], [table.header, *table.rows])
    return table, place


def training_rows(table: Table, place: int, what: str) -> tuple[Table, int]:
    """Rows of the training part, where a column says the split, without that column; and where column `place` is."""
    for i, name in enumerate(table.header):
        if i == place or (found := _training(name, table.column(i), only=table.width == 2)) is None:
            continue
        keep, others = found
        rows = [[*row[:i], *row[i + 1 :]] for row, used in zip(table.rows, keep, strict=True) if used]
        if others:
            _warn(f"{what}: of {table.name!r} the {len(rows)} training rows are used; left out: {others}")
        rest = Table(table.name, [*table.header[:i], *table.header[i + 1 :]], rows)
        return training_rows(rest, place - (i < place), what)
    return table, place


def _training(name: str, column: list[str], *, only: bool) -> tuple[list[bool], str] | None:
    """Which rows are for training, and words for the others, by a column such as ``split`` or ``is_valid``.

    None for other columns; one that is the only one beside the images holds marks of classes.
    """
    counts = Counter(column)
    splits = {value: split_of(value) for value in counts}
    if _plain(name) in _SPLITS and TRAIN in splits.values() and None not in splits.values():
        others = ", ".join(f"{value!r} ({counts[value]})" for value, part in splits.items() if part != TRAIN)
        return [splits[value] == TRAIN for value in column], others
    part, rest = role(name)
    marks = {value: value.lower().removesuffix(".0") in ("1", "true") for value in counts}
    if part in (None, FOLD) or only or rest != ("is",) or not {v.lower() for v in counts} <= _MARKS:
        return None
    keep = [marks[value] == (part == TRAIN) for value in column]
    left = len(keep) - sum(keep)
    return (keep, f"{left} by its column {name!r}" if left else "") if any(keep) else None


def label_column(
    table: Table, place: int, what: str, keys: Sequence[str | None] = (), folders: int = 1
) -> list[str] | None:
    """Labels of a table's rows; None where folders are to say.

    Args:
        table: rows of the training part.
        place: its column that names the images, or holds them.
        what: the source, for messages.
        keys: the image of each row, where there are folders.
        folders: of images.

    Raises:
        DatasetError: which column it is is not plain.
    """
    others = [i for i in range(table.width) if i != place]
    if not table.header:
        others = [i for i in others if not all(map(split_of, table.column(i)))]
        if len(others) == 1:
            return _classes(table.column(others[0]), folders, what)
        if folders > 1:
            return None
        raise DatasetError(f"{what}: {table.name!r} has {table.width} columns and no header; give it one: {_HELP}")
    named = sorted((_LABELS.index(name), i) for i in others if (name := _plain(table.header[i])) in _LABELS)
    plain = [i for _, i in named]
    if not plain:  # such as "Finding Labels"
        plain = [i for i in others if re.search("label|class|categor|target", _plain(table.header[i]))]
        plain = plain if len(plain) == 1 else []
    if len(plain) > 1:
        # A number and a name of the same class say the same.
        texts = sorted(plain, key=lambda i: all(value.isdigit() for value in table.column(i)))
        pairs = [len({*zip(table.column(texts[0]), table.column(i), strict=True)}) for i in texts[1:]]
        if {*pairs, *(len(set(table.column(i))) for i in texts)} == {pairs[0]}:
            plain = texts[:1]
    if len(plain) == 1:
        return _classes(table.column(plain[0]), folders, what)
    cells = [row[i] for row in table.rows for i in others]
    if len(others) > 1 and all(re.fullmatch(r"-?1(\.0+)?|0(\.0+)?", cell) for cell in cells):
        marks = np.array(cells, dtype=float).clip(0).reshape(len(table.rows), len(others))
        columns = [table.header[i] for i in others]
        try:
            labels, class_names = index_labels(marks, columns)
        except DatasetError as error:
            raise DatasetError(f"in the table {table.name!r} of {what}: {error}") from error
        return [class_names[label] for label in labels]
    if len(others) == 1 and not plain:
        return _classes(table.column(others[0]), folders, what)
    shown = few([table.header[i] for i in others], 12)
    for i in others if folders > 1 else ():
        if _same_as_folders({key: value for key, value in zip(keys, table.column(i), strict=False) if key}):
            return None
    text = (
        f"{what}: {table.name!r} names the images in its column {table.header[place]!r}, but which of {shown} is the "
        "class is not plain"
    )
    if folders > 1:
        _warn(f"{text}, so the folders are taken as classes. To use the table, {_HELP}")
        return None
    raise DatasetError(f"{text}; {_HELP}")


def _classes(column: list[str], folders: int, what: str) -> list[str] | None:
    """A column of labels; None for one that only counts the rows, where folders are to say."""
    if all(_BOXES.fullmatch(text) for text in column):
        raise DatasetError(
            f"{what}: labels such as {column[0]!r} are several numbers, or a class and several numbers (a box?); keep "
            "the class alone in its column"
        )
    if folders > 1 and len(column) > 2 and len(set(column)) == len(column):
        return None
    return column


def _same_as_folders(pairs: dict[str, str]) -> bool:
    """Whether images of one folder have one label, and no two folders the same."""
    both = {(os.path.dirname(key), value) for key, value in pairs.items()}
    return len(both) > 1 and len(both) == len({f for f, _ in both}) == len({value for _, value in both})


def read_tables(open_file: Callable[[str], bytes], files: Sequence[str]) -> list[Table]:
    """The tables among files, shortest paths first, and not those of single images, of which there are many."""
    names = sorted(files, key=lambda name: (name.count("/"), name))[:_MOST]
    found = [parse_table(open_file(name), name) for name in names]
    return [table for table in found if table is not None and table.rows]
