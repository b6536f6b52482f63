"""An architecture as a group of categorical parameters of an Optuna study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optuna.distributions import CategoricalDistribution
from optuna.trial import BaseTrial, FrozenTrial

from metad2a_plugin.errors import ArchitectureError, ConfigError, said
from metad2a_plugin.plugins.registry import DEFAULT_SPACE, get_space
from metad2a_plugin.spaces.base import Architecture, SearchSpace

GROUP = "architecture"
RESERVED = "metad2a:architecture"
"""System attribute of a trial: the architecture that it was given, as text, before its parameters are written."""
FIXED = "fixed_params"
"""System attribute in which Optuna keeps what `enqueue_trial` was given."""


@dataclass(frozen=True)
class Group:
    """The parameters of a study that are an architecture.

    Args:
        space: of the architectures.
        name: what names of the parameters begin with, up to a slash; empty for the bare names of the decisions.

    Raises:
        ConfigError: the decisions of the space have no names, or `name` is no text.
    """

    space: SearchSpace
    name: str = GROUP

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ConfigError(f"the name of a group of parameters must be text, got {said(self.name)}")
        _ = self.distributions

    @cached_property
    def distributions(self) -> dict[str, CategoricalDistribution]:
        """Of every parameter that the group can have, by its name."""
        return {self.key(name): CategoricalDistribution(options) for name, options in self.space.decisions.items()}

    def key(self, decision: str) -> str:
        """The parameter of a decision."""
        return f"{self.name}/{decision}" if self.name else decision

    def parameters(self, architecture: Architecture) -> dict[str, str | int]:
        """Values by parameter; an architecture need not have all of the group."""
        return {self.key(name): value for name, value in self.space.decided(architecture).items()}

    def architecture(self, parameters: Mapping[str, Any]) -> Architecture:
        """Inverse of `parameters`; other parameters are passed over.

        Raises:
            ArchitectureError: a parameter is missing, or its value no option.
        """

        def chosen(decision: str) -> Any:
            if self.key(decision) not in parameters:
                raise ArchitectureError(
                    f"an architecture of {self.space.name!r} has the parameter {self.key(decision)!r}, which is "
                    f"missing; the parameters are {', '.join(map(str, parameters)) or 'none at all'}"
                )
            return parameters[self.key(decision)]

        return self.space.decide(chosen)

    def find(self, parameters: Mapping[str, Any]) -> Architecture | None:
        """As `architecture`, but None where there is none."""
        try:
            return self.architecture(parameters)
        except ArchitectureError:
            return None

    def claim(self, trial: FrozenTrial) -> Architecture | None:
        """What a trial evaluates or is about to, as far as its study says."""
        found = self.find({**trial.system_attrs.get(FIXED, {}), **trial.params})
        if found is None and (text := trial.system_attrs.get(RESERVED)):
            try:
                return self.space.parse(text)
            except ArchitectureError:  # of another space: the study was gone on with another sampler
                return None
        return found

    def with_fixed(self, architecture: Architecture, fixed: Mapping[str, Any]) -> Architecture:
        """The architecture with some parameters fixed; decisions that come with these take their first option."""
        parameters = {**{name: d.choices[0] for name, d in self.distributions.items()}, **self.parameters(architecture)}
        return self.architecture({**parameters, **fixed})


def group_of(space: SearchSpace | str, name: str = GROUP) -> Group:
    """The group of a space or its registry name.

    Raises:
        ConfigError: no such space, or its decisions have no names.
    """
    if isinstance(space, str):
        return Group(get_space(space), name)
    if not isinstance(space, SearchSpace):
        raise ConfigError(f"space must be a SearchSpace or its name, such as {DEFAULT_SPACE!r}, got {said(space)}")
    return Group(space, name)


def suggest_architecture(
    trial: BaseTrial, space: SearchSpace | str = DEFAULT_SPACE, name: str = GROUP
) -> Architecture:
    """The architecture of a trial, whatever sampler the study has; of a finished one it is read back.

    Args:
        trial: of an objective function, or a frozen one, such as ``study.best_trial``.
        space: a search space or its registry name.
        name: what names of its parameters begin with, up to a slash.

    Raises:
        ConfigError: no such space, its decisions have no names, or the study's sampler searches in another space.
        ArchitectureError: a frozen trial has no such architecture.
    """
    group = group_of(space, name)
    if isinstance(trial, FrozenTrial):
        return group.architecture(trial.params)
    own = getattr(getattr(getattr(trial, "study", None), "sampler", None), "group", None)
    if isinstance(own, Group) and own.name == name and own.distributions != group.distributions:
        raise ConfigError(
            f"the study's sampler searches in the space {own.space.name!r} or a part of it, and the trial is asked for "
            f"another one ({group.space.name!r}); give both the same space"
        )

    def suggested(decision: str) -> Any:
        return trial.suggest_categorical(group.key(decision), group.space.decisions[decision])

    return group.space.decide(suggested)
