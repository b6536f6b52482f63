"""Schemas of what is read from files: types, ranges and names of plain values, said once and checked in one go.

A schema is a function of a value and of the place where it stands, which gives the value back or refuses it::

    SIZES = record({"latent": integer(1, 4096), "heads": integer(1, 64)}, others=False)
    sizes = SIZES(read_json(path), "generator")

What does not fit is a `SchemaError` that names the place. Readers of files turn it into the error of their kind.
"""

from __future__ import annotations

import json
import os
import pickle
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from metad2a_plugin.errors import CheckpointError, said, shortened

Value = TypeVar("Value")
Schema = Callable[[Any, str], Value]
LARGEST = 32 * 2**20
"""Bytes of a file of plain values, unless said otherwise; those of this package have a few thousand."""
_EXACT = 2**53
_DIGITS = 400  # of a number: more are in no file that somebody means


class SchemaError(CheckpointError):
    """A value is not what its schema says; the message names the place."""


def why(error: BaseException) -> str:
    """What a reader says of an error: the place and the rule, or, of errors of others, their kind and first line.

    Torch's advice to run what is in a file is not passed on.
    """
    if isinstance(error, SchemaError):
        return str(error)
    if isinstance(error, pickle.UnpicklingError):
        return "it is damaged or holds pickled objects, which can run code and are not read"
    return f"{type(error).__name__}: {shortened((str(error).splitlines() or [''])[0])}"


def read_json(path: str | os.PathLike[str], largest: int = LARGEST) -> Any:
    """The plain values of a file.

    Raises:
        OSError: it cannot be opened.
        SchemaError: it is no JSON of plain values, too large or too deep, or no regular file.
    """
    return parse_json(read_bytes(path, largest))


def read_bytes(path: str | os.PathLike[str], largest: int = LARGEST) -> bytes:
    """The content of a file of at most so many bytes; errors as in `read_json`."""
    path = Path(path)
    # A pipe would wait, and a device never end.
    if not stat.S_ISREG(path.stat().st_mode):
        raise SchemaError("it is no regular file" if not path.is_dir() else "it is a folder")
    with path.open("rb") as file:
        data = file.read(largest + 1)
    if len(data) > largest:
        raise SchemaError(f"it has more than {largest:,} bytes")
    return data


def parse_json(text: str | bytes, *, constants: bool = False) -> Any:
    """Plain values; numbers are finite, unless `constants` allows NaN and infinity.

    Raises:
        SchemaError: it is something else.
    """
    try:
        return json.loads(
            text if isinstance(text, str) else text.decode("utf-8-sig"),
            parse_constant=float if constants else _no_number,
            parse_float=_float,
            parse_int=_int,
            object_pairs_hook=_object,
        )
    except SchemaError:
        raise
    except RecursionError:
        raise SchemaError("it is no JSON of plain values: too deep") from None
    except ValueError as error:
        raise SchemaError(f"it is no JSON ({type(error).__name__}: {error})") from None


def _no_number(text: str) -> NoReturn:
    raise SchemaError(f"{text} is no number")


def _float(text: str) -> float:
    value = float(text)
    return value if abs(value) <= sys.float_info.max else _no_number(said(text))


def _int(text: str) -> int:
    return int(text) if len(text) <= _DIGITS else _no_number(said(text))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise SchemaError(f"{said(next(name for name in names if names.count(name) > 1))} is there twice")
    return found


# -- schemas -----------------------------------------------------------------------------------------------------------
def anything(value: Any, where: str) -> Any:
    """Any plain value."""
    return value


def refuse(where: str, expected: str, value: Any) -> NoReturn:
    """Raise the error for a value that is not what was expected."""
    raise SchemaError(f"{where or 'it'} must be {expected}, got {said(value)}")


def exactly(*values: Any) -> Schema[Any]:
    """One of a few values."""

    def check(value: Any, where: str) -> Any:
        if any(type(value) is type(one) and value == one for one in values):
            return value
        return refuse(where, " or ".join(map(repr, values)), value)

    return check


def text(least: int = 0, most: int = 100_000) -> Schema[str]:
    """A text of so many characters, which can be written to a file."""

    def check(value: Any, where: str) -> str:
        if type(value) is not str or not least <= len(value) <= most:
            return refuse(where, f"text of {least} to {most:,} characters", value)
        try:
            value.encode()
        except UnicodeEncodeError:
            return refuse(where, "text that can be written", value)
        return value

    return check


def flag(value: Any, where: str) -> bool:
    """True or false."""
    return value if type(value) is bool else refuse(where, "true or false", value)


def integer(least: int = -_EXACT, most: int = _EXACT) -> Schema[int]:
    """An integer of a range."""

    def check(value: Any, where: str) -> int:
        if type(value) is int and least <= value <= most:
            return value
        return refuse(where, f"an integer from {least:,} to {most:,}", value)

    return check


def number(least: float = -1e30, most: float = 1e30) -> Schema[float]:
    """A finite number of a range, as a float."""

    def check(value: Any, where: str) -> float:
        if type(value) in (int, float) and least <= value <= most:
            return float(value)
        return refuse(where, f"a number from {least:g} to {most:g}", value)

    return check


def one_of(*schemas: Schema[Any]) -> Schema[Any]:
    """What the first of some schemas that takes it makes of it."""

    def check(value: Any, where: str) -> Any:
        for schema in schemas[:-1]:
            try:
                return schema(value, where)
            except SchemaError:
                continue
        return schemas[-1](value, where)

    return check


def optional(schema: Schema[Value]) -> Schema[Value | None]:
    """None, or what the schema says."""
    return lambda value, where: None if value is None else schema(value, where)


def list_of(schema: Schema[Value], least: int = 0, most: int = 1_000_000) -> Schema[list[Value]]:
    """So many values of one schema."""

    def check(value: Any, where: str) -> list[Value]:
        if type(value) is not list or not least <= len(value) <= most:
            many = f"{least}" if least == most else f"{least} to {most:,}"
            return refuse(where, f"a list of {many}", value)
        return [schema(one, f"{where}[{i}]") for i, one in enumerate(value)]

    return check


def mapping_of(schema: Schema[Value]) -> Schema[dict[str, Value]]:
    """Any names, with values of one schema."""

    def check(value: Any, where: str) -> dict[str, Value]:
        if type(value) is not dict:
            return refuse(where, "an object", value)
        named = text(most=10_000)
        return {named(name, f"a name of {where}"): schema(one, _below(where, name)) for name, one in value.items()}

    return check


def record(
    needed: Mapping[str, Schema[Any]], extra: Mapping[str, Schema[Any]] | None = None, *, others: bool = True
) -> Schema[dict[str, Any]]:
    """An object with a schema for each name.

    Args:
        needed: what must be there.
        extra: what may be.
        others: whether there may be further names, with any values.
    """
    known = {**needed, **(extra or {})}

    def check(value: Any, where: str) -> dict[str, Any]:
        if type(value) is not dict:
            return refuse(where, f"an object with {', '.join(needed)}" if needed else "an object", value)
        if missing := [name for name in needed if name not in value]:
            raise SchemaError(f"{_below(where, missing[0])!r} is missing")
        if not others and (unknown := [name for name in value if name not in known]):
            raise SchemaError(f"{_below(where, said(unknown[0]))} is unknown; known are {', '.join(known)}")
        return {name: known.get(name, anything)(one, _below(where, name)) for name, one in value.items()}

    return check


def _below(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
