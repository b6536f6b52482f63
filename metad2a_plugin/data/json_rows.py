"""Labels of images in JSON, in the layouts that are in use, as the rows of a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Rows = tuple[list[str], list[list[str]]]
"""A header, empty where there is none, and rows."""


def json_rows(text: str, *, lines: bool = False) -> Rows | None:
    """Rows of a list of objects, of ``{file: label}``, ``{"labels": [[file, label], ...]}``, or COCO's classification.

    Args:
        text: the file.
        lines: whether each line is an object.

    Returns:
        None for JSON of another layout, and for no JSON.

    >>> json_rows('{"1.png": "cat", "2.png": "dog"}')
    ([], [['1.png', 'cat'], ['2.png', 'dog']])
    """
    try:
        found = [json.loads(line) for line in text.splitlines() if line.strip()] if lines else json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(found, Mapping) and isinstance(found.get("images"), list) and "annotations" in found:
        return _coco(found)
    if isinstance(found, Mapping) and isinstance(found.get("labels"), list):
        found = found["labels"]
    if isinstance(found, Mapping):
        found = [[file, label] for file, label in found.items()]
    if not isinstance(found, list) or not found:
        return None
    if all(isinstance(row, dict) for row in found):
        return _objects(found)
    if all(isinstance(row, list) and len(row) == 2 and all(map(_is_cell, row)) for row in found):
        return [], [[str(cell) for cell in row] for row in found]
    return None


def _is_cell(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def _objects(found: Sequence[dict[str, Any]]) -> Rows | None:
    header = [key for key, value in found[0].items() if _is_cell(value)]
    rows = [["" if row.get(key) is None else str(row[key]) for key in header] for row in found]
    return (header, rows) if header else None


def _coco(found: Mapping[str, Any]) -> Rows | None:
    """Of annotations that give each image one category; None for those of a detector."""
    try:
        names = {row["id"]: str(row["name"]) for row in found.get("categories", ())}
        files = {row["id"]: str(row["file_name"]) for row in found["images"]}
        pairs = {(row["image_id"], row["category_id"]) for row in found["annotations"]}
        rows = [[files[image], names.get(category, str(category))] for image, category in sorted(pairs)]
    except (KeyError, TypeError):
        return None
    return ([], rows) if rows and len({image for image, _ in pairs}) == len(pairs) else None
