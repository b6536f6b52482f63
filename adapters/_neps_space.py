"""Architectures as parameters of neps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import neps

from metad2a_plugin.errors import ArchitectureError, ConfigError, said
from metad2a_plugin.plugins.registry import DEFAULT_SPACE, get_space
from metad2a_plugin.spaces.base import Architecture, SearchSpace

GROUP = "architecture"


@dataclass(frozen=True)
class Group:
    """The parameters of a configuration that are an architecture."""

    space: SearchSpace
    name: str

    def label(self, decision: str) -> str:
        """The name of its parameter, which a keyword can have."""
        return f"{self.name}_{decision.replace('/', '_')}"

    @cached_property
    def parameters(self) -> dict[str, tuple[str | int, ...]]:
        """Options of each; a decision with one option only is none."""
        return {self.label(name): options for name, options in self.space.decisions.items() if len(options) > 1}

    def read(self, config: Mapping[str, Any]) -> Architecture:
        def choose(decision: str) -> Any:
            label = self.label(decision)
            if label not in self.parameters:
                return self.space.decisions[decision][0]
            if label not in config:
                raise ArchitectureError(
                    f"the configuration lacks {label!r}, a decision of {self.space.name!r}; it has "
                    f"{', '.join(map(str, config)) or 'nothing'}"
                )
            return config[label]

        return self.space.decide(choose)

    def write(self, architecture: Architecture) -> dict[str, str | int]:
        """Decisions that the architecture does not make have their first option."""
        made = {self.label(name): option for name, option in self.space.decided(architecture).items()}
        return {label: made.get(label, options[0]) for label, options in self.parameters.items()}


def pipeline_space(space: SearchSpace | str = DEFAULT_SPACE, *, group: str = GROUP, **others: Any) -> Any:
    """A `neps.PipelineSpace` of an architecture and of other parameters; any optimizer of neps can search it.

    Args:
        space: search space, or its registry name.
        group: what names of the architecture's parameters begin with.
        **others: further parameters, such as ``lr=neps.Float(1e-3, 1.0, log=True)``.

    Raises:
        ConfigError: no such space, or two parameters have one name.
    """
    found = group_of(space, group).parameters
    if both := sorted(found.keys() & others.keys()):
        raise ConfigError(f"{both[0]!r} is a decision of the architecture; give the other parameter another name")
    named = {name: neps.Categorical(choices=options) for name, options in found.items()}
    # neps has no other way to name a parameter by a text.
    return type("Networks", (neps.PipelineSpace,), named | others)()


def architecture_of(
    config: Mapping[str, Any], space: SearchSpace | str = DEFAULT_SPACE, *, group: str = GROUP
) -> Architecture:
    """The architecture that a configuration describes.

    Args:
        config: what neps gives to the evaluated function; other parameters are left alone.
        space, group: as given to `pipeline_space`.

    Raises:
        ArchitectureError: it describes none.
    """
    return group_of(space, group).read(config)


def group_of(space: SearchSpace | str, name: str) -> Group:
    if not isinstance(name, str) or not name.isidentifier():
        raise ConfigError(f"group must be a name such as {GROUP!r}, got {said(name)}")
    found = Group(get_space(space) if isinstance(space, str) else space, name)
    _ = found.parameters  # refuses a space whose decisions have no names
    return found
