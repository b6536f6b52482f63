"""Limits and effort of a search from arguments by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from metad2a_plugin.candidates.find import Effort
from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.registry import option_names
from metad2a_plugin.spaces.base import SearchSpace


def requested(
    space: SearchSpace,
    limits: Limits | None,
    effort: Effort | None,
    options: Mapping[str, Any],
    others: Sequence[str] = (),
) -> tuple[Limits, Effort, dict[str, Any]]:
    """Limits and effort, each as an object or from options by name, and the options of those names in `others`.

    Raises:
        ConfigError: both the object and options are given, it is of another space, or an option is wrong or not known.
    """
    names = [field.name for field in fields(Effort)]
    of_effort = {name: value for name, value in options.items() if name in names}
    for name in of_effort:
        if name in option_names(space.build):
            ways = "give effort=Effort(...) and limits=Limits(space, options=...)"
            raise ConfigError(f"{name!r} is of a search and of the networks of {space.name!r}; {ways}")
    left = {name: value for name, value in options.items() if name in others}
    of_limits = {name: value for name, value in options.items() if name not in of_effort and name not in left}
    for what, given, named in (("limits", limits, of_limits), ("effort", effort, of_effort)):
        if given is not None and named:
            raise ConfigError(f"{what}= and {next(iter(named))}= both say the {what}; give one of them")
    if limits is not None and limits.space.name != space.name:
        raise ConfigError(f"the limits are of the space {limits.space.name!r}, not {space.name!r}")
    return limits or Limits.of(space, of_limits, [*names, *others]), effort or Effort(**of_effort), left
