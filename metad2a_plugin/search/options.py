"""Limits and effort of a search from arguments by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from metad2a_plugin.candidates.find import Effort
from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.budget import AnyBudget, Budget
from metad2a_plugin.plugins.registry import option_names
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.utils.checks import instance


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
    for what, given, kind in (("limits", limits, Limits), ("effort", effort, Effort)):
        if given is not None:
            instance(what, given, kind, f"a {kind.__name__}, or its settings by name as arguments")
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


def sized(limits: Limits, budget: AnyBudget) -> tuple[Limits, Budget | None]:
    """Limits that count costs at the size of a budget's networks, and the budget with the limits' network options.

    Raises:
        ConfigError: both say the size of the images or the same option of the networks, and not alike.
    """
    budget = Budget.of(budget)
    if budget is None:
        return limits, None
    if limits.input_size not in (None, budget.input_size):
        raise ConfigError(
            f"the budget is of images of {budget.input_size} pixels and input_size is {limits.input_size}; give the "
            "budget alone its input_size"
        )
    for name in limits.options.keys() & budget.options.keys():
        if limits.options[name] != budget.options[name]:
            raise ConfigError(
                f"{name} is {budget.options[name]!r} in the budget and {limits.options[name]!r} in the limits; give it "
                "once"
            )
    options = {**limits.options, **budget.options}
    return replace(limits, input_size=budget.input_size, options=options), replace(budget, options=options)
