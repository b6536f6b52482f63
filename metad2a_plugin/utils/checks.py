"""Checks of settings that several configurations share; what does not pass is a `ConfigError`."""

from __future__ import annotations

import difflib
import inspect
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

from metad2a_plugin.errors import ConfigError, said
from metad2a_plugin.utils.schema import SchemaError, parse_json

if TYPE_CHECKING:
    from typing_extensions import Self

TINY = math.ulp(0.0)
BELOW_ONE = math.nextafter(1, 0)
FINITE = sys.float_info.max
LARGEST = 2**62
"""Of integers: larger ones fit in no tensor."""
_LONGEST_NAME = 100


def bare(name: object) -> str:
    """A name without what its spellings differ in: capitals, hyphens, underscores, blanks and other marks.

    >>> bare("ImageNet16-120") == bare("imagenet16_120")
    True
    """
    return "".join(filter(str.isalnum, str(name).casefold()))


def spelled(name: str, known: Iterable[str]) -> str:
    """The one of `known` that is `name` in another spelling; `name` itself where there is none.

    >>> spelled("CIFAR-10", ["cifar10", "cifar100"])
    'cifar10'
    """
    known = tuple(known)
    found = {bare(one): one for one in known}
    return name if name in known else found.get(bare(name), name)


def did_you_mean(name: object, known: Iterable[str], also: Mapping[str, str] | None = None) -> str:
    """A hint to put behind a wrong name, empty where no known one is near.

    Args:
        name: what was given.
        known: names that are right.
        also: what else some of them are called, as `bare` gives it, and the names.

    >>> did_you_mean("randm", ["local-search", "random"])
    " (did you mean 'random'?)"
    """
    text = bare(name)
    if len(text) > _LONGEST_NAME:  # comparing takes quadratic time
        return ""
    names = {bare(one): one for one in known}
    names |= {other: one for other, one in (also or {}).items() if one in names.values()}
    near = difflib.get_close_matches(text, list(names), n=1, cutoff=0.5)
    return f" (did you mean {names[near[0]]!r}?)" if near else ""


def one_of(what: str, name: str, known: Iterable[str]) -> str:
    """`name` if it is one of `known`; the error names those that are."""
    known = tuple(known)
    if name not in known:
        raise ConfigError(f"unknown {what} {said(name)}{did_you_mean(name, known)}; known are {', '.join(known)}")
    return name


class NamedSettings:
    """Refuses a setting of a wrong name with a `ConfigError` that names a near one, where Python's own names none."""

    def __new__(cls, *args: Any, **settings: Any) -> Self:
        known = list(inspect.signature(cls.__init__).parameters)[1:]
        for name in settings:
            one_of(f"setting of {cls.__name__}:", name, known)
        return super().__new__(cls)


def instance(name: str, value: Any, kind: type | tuple[type, ...], example: str) -> None:
    """Refuse what is not of a type; `example` says how to get one."""
    if not isinstance(value, kind):
        raise ConfigError(f"{name} must be {example}, got {type(value).__name__}: {said(value)}")


def path_like(name: str, value: Any) -> None:
    """Refuse what is no path."""
    instance(name, value, (str, os.PathLike), "a path")


def integer(name: str, value: Any, least: int, most: int = LARGEST) -> None:
    """Refuse what is no integer from `least` to `most`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        expected = f"of {least} or more" if most == LARGEST else f"from {least} to {most:,}"
        numpy = isinstance(value, Integral) and not isinstance(value, (int, bool)) and int(value) >= least
        hint = " (a number of numpy: give int(...) of it)" if numpy else ""
        raise ConfigError(f"{name} must be an integer {expected}, got {said(value)}{hint}")


def settings(config: Any, least: Mapping[str, int], ranges: Mapping[str, tuple[float, float, str]]) -> None:
    """Check attributes of a configuration.

    Args:
        config: any object.
        least: integers, by name, with their least value.
        ranges: numbers, by name, with their lowest and highest value and what to say of them.
    """
    for name, lowest in least.items():
        integer(name, getattr(config, name), lowest)
    for name, (low, high, expected) in ranges.items():
        value = getattr(config, name)
        if not isinstance(value, (int, float)) or not low <= value <= high:
            raise ConfigError(f"{name} must be {expected}, got {said(value)}")


def parse_options(texts: Sequence[str]) -> dict[str, Any]:
    """Options as they are written on a command line, each ``NAME=VALUE``.

    A value is read as JSON where it is JSON, else taken as text; a hyphen in a name is an underscore.

    >>> parse_options(["batch-size=64", "dedupe=canonical", "cells=[1, 2]", "adapt=false"])
    {'batch_size': 64, 'dedupe': 'canonical', 'cells': [1, 2], 'adapt': False}

    Raises:
        ConfigError: no ``=``, a name that is none, or one that is given twice.
    """
    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or not name.isidentifier():
            raise ConfigError(f"the option {said(text)} must be NAME=VALUE, such as batch-size=64")
        if name in options:
            raise ConfigError(f"the option {said(name)} is given twice")
        try:
            options[name] = parse_json(value)
        except SchemaError:
            options[name] = value
    return options
