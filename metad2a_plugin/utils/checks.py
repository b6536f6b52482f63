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


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """A hint to put behind a wrong name, empty where no known one is near.

    >>> did_you_mean("randm", ["local-search", "random"])
    " (did you mean 'random'?)"
    """
    near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


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
