"""Which columns of a table of the Hugging Face hub are images and labels, by their features or names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metad2a_plugin.data.pairs import IMAGE_KEYS, LABEL_KEYS
from metad2a_plugin.data.pixels import few
from metad2a_plugin.data.sources import _warn
from metad2a_plugin.errors import DatasetError
from metad2a_plugin.utils.schema import SchemaError, parse_json

_LONGEST, _LARGEST = 1000, 2**23  # characters of the name of a class; bytes of what a schema tells


def column_of(kinds: Mapping[str, str], kind: str, plain: Sequence[str], what: str, name: str) -> str:
    """The only column of a kind of feature; of several, or none, the first that has a plain name."""
    typed = [column for column, found in kinds.items() if found == kind]
    if len(typed) == 1:
        return typed[0]
    named = [column for column in plain if column in (typed or kinds)]
    if not named:
        raise DatasetError(
            f"which column of {name} is the {what} cannot be told from {few(list(kinds), 12)}; rename it: "
            f"dataset.rename_column(OLD, {what!r})"
        )
    if len(typed) > 1:
        _warn(f"{name} has the {what} columns {few(typed, 8)}: {named[0]!r} is used")
    return named[0]


def columns_of(schema: Any, told: Mapping[str, Mapping[str, Any]], name: str) -> tuple[str, str]:
    """The columns of images and of labels, of a schema of `pyarrow` and what `told_features` found in it.

    Raises:
        DatasetError: they cannot be told.
    """
    import pyarrow as pa

    kinds = {column: str(feature.get("_type")) for column, feature in told.items()}
    kinds = {column: kind for column, kind in kinds.items() if kind in ("Image", "ClassLabel")}
    typed = "Image" in kinds.values()
    for field in schema:
        binary = [field.type] if not pa.types.is_struct(field.type) else [f.type for f in field.type]
        if not typed and any(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) for kind in binary):
            kinds.setdefault(field.name, "Image")
        kinds.setdefault(field.name, "")
    image = column_of(kinds, "Image", IMAGE_KEYS, "image", name)
    label = column_of(kinds, "ClassLabel", LABEL_KEYS, "label", name)
    if image == label:
        raise DatasetError(f"the column {image!r} of {name} is told to be the image, and no other one is the label")
    return image, label


def told_features(features: Any, schema: Any) -> dict[str, Mapping[str, Any]]:
    """Features of `datasets` by column: those given, or else those that `datasets` wrote into a schema."""
    if features is None:
        data = (schema.metadata or {}).get(b"huggingface", b"")
        try:
            features = parse_json(data)["info"]["features"] if len(data) <= _LARGEST else None
        except (SchemaError, KeyError, TypeError):
            features = None
    if not isinstance(features, dict):
        return {}
    known = set(schema.names)
    return {column: feature for column, feature in features.items() if column in known and isinstance(feature, dict)}


def class_names_of(told: Mapping[str, Mapping[str, Any]], label: str, name: str) -> list[str] | None:
    """Names of classes of the column of labels; None where none are told.

    Raises:
        DatasetError: they are no names.
    """
    names = told.get(label, {}).get("names")
    if names is None:
        return None
    if not isinstance(names, list) or not all(type(found) is str and len(found) <= _LONGEST for found in names):
        raise DatasetError(
            f"the names of classes of the column {label!r} of {name} are no texts of at most {_LONGEST} characters; "
            "save the dataset again, with datasets.ClassLabel(names=[...])"
        )
    return names
