"""Checks of settings that several configurations share; what does not pass is a `ConfigError`."""

from __future__ import annotations

import difflib
import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from metad2a_plugin.errors import ConfigError

TINY = math.ulp(0.0)
BELOW_ONE = math.nextafter(1, 0)
FINITE = sys.float_info.max
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
        raise ConfigError(f"unknown {what} {name!r}{did_you_mean(name, known)}; known are {', '.join(known)}")
    return name


def integer(name: str, value: Any, least: int) -> None:
    """Refuse what is no integer of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{name} must be an integer of {least} or more, got {value!r}")


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
            raise ConfigError(f"{name} must be {expected}, got {value!r}")


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
            raise ConfigError(f"the option {text!r} must be NAME=VALUE, such as batch-size=64")
        if name in options:
            raise ConfigError(f"the option {name!r} is given twice")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options
