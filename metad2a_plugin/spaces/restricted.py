"""A part of a search space: fewer options for some decisions, everything else as it was."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

from metad2a_plugin.errors import ArchitectureError, ConfigError, said
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.choice import ChoiceSpace
from metad2a_plugin.utils.lazy import torch


def _of_whole(name: str) -> Any:
    """A method that is the whole space's."""

    def method(self: RestrictedSpace, *arguments: Any, **options: Any) -> Any:
        return getattr(self.whole, name)(*arguments, **options)

    return method


def _of_inside(name: str) -> Any:
    """A method that is the whole space's for architectures of the part."""

    def method(self: RestrictedSpace, architecture: Architecture, *arguments: Any, **options: Any) -> Any:
        return getattr(self.whole, name)(self.validate(architecture), *arguments, **options)

    return method


class RestrictedSpace(ChoiceSpace):
    """The architectures of a space whose decisions take allowed options only.

    It has the space's name, so that its architectures are the space's, and predictors, tables and hosts take them as
    they are. Whatever is outside is refused. What only the whole space knows, such as NAS-Bench-201's `index`, is found
    on this one too.

    >>> from metad2a_plugin.spaces.nasbench201.space import NASBench201
    >>> space = RestrictedSpace(NASBench201(), [[1, 3], [0], [3], [3, 4], [0, 1], [3]])
    >>> space.size
    8

    Args:
        space: the whole, a `ChoiceSpace`: its decisions are independent of each other.
        allowed: for each decision, the indices of its allowed options.

    Raises:
        ConfigError: `allowed` does not fit the space or leaves one architecture only, or decisions depend on others.
    """

    def __init__(self, space: SearchSpace, allowed: Iterable[Iterable[int]]) -> None:
        if not isinstance(space, ChoiceSpace):
            raise ConfigError(
                f"a part of {space.name!r} cannot be made: which options a decision of it has depends on the others"
            )
        self.whole, self.allowed = space, _checked(space, allowed)
        self.name, self.options, self.operations, self.edges = space.name, space.options, space.operations, space.edges
        self.decision_names = space.decision_names
        self.type_parts, self.input_size, self.num_classes = space.type_parts, space.input_size, space.num_classes

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "whole":  # copying asks before there is a whole
            raise AttributeError(name)
        return getattr(self.whole, name)

    def mutate(self, architecture: Architecture, rng: random.Random) -> Architecture:
        """Change one of the decisions that have a second option, uniformly."""
        choices = list(self.validate(architecture).choices)
        decision = rng.choice([i for i, options in enumerate(self.allowed) if len(options) > 1])
        choices[decision] = rng.choice([o for o in self.allowed[decision] if o != choices[decision]])
        return Architecture(self.name, tuple(choices))

    def enumerate(self) -> Iterator[Architecture]:
        """In the order of the whole space."""
        return filter(self.__contains__, self.whole.enumerate())

    def __contains__(self, architecture: Architecture) -> bool:
        """Whether an architecture of the whole space is of this part."""
        return all(c in options for c, options in zip(architecture.choices, self.allowed, strict=True))

    def outside(self) -> torch.Tensor:
        """Whether a vertex of this part never has a type, bool ``[vertices, types]``; of the inner vertices only."""
        found = torch.zeros(self.num_vertices, len(self.vertex_types), dtype=torch.bool)
        for vertex in range(1, self.num_vertices - 1):
            [allowed] = self.type_mask(torch.zeros(1, vertex, dtype=torch.int64))
            found[vertex] = ~allowed
        return found

    def validate(self, architecture: Architecture) -> Architecture:
        if self.whole.validate(architecture) not in self:
            raise ArchitectureError(
                f"{self.whole.format(architecture)} is outside the part of {self.name!r} that is searched, whose "
                f"decisions take the options {[list(options) for options in self.allowed]}"
            )
        return architecture

    def choices(self, vertices: torch.Tensor) -> torch.Tensor:
        choices = super().choices(vertices)
        for row in choices.tolist():
            self.validate(Architecture(self.name, tuple(row)))
        return choices

    def parse(self, text: Any) -> Architecture:
        return self.validate(self.whole.parse(text))

    def from_values(self, values: Any) -> Architecture | None:
        found = self.whole.from_values(values)
        return None if found is None else self.validate(found)

    # What the whole says: of one architecture, which must be inside; of many; and of its networks. `simplify` stays the
    # identity, since what computes the same for less can lie outside; and `places` are those among this part.
    format, canonical, is_dead = map(_of_inside, ("format", "canonical", "is_dead"))
    build, cost, host_config = map(_of_inside, ("build", "cost", "host_config"))
    canonical_ids, dead_mask, describe = map(_of_whole, ("canonical_ids", "dead_mask", "describe"))
    costs, vertex_costs = map(_of_whole, ("costs", "vertex_costs"))
    check_options, all_options, visit_relus = map(_of_whole, ("check_options", "all_options", "visit_relus"))


def options_of(architectures: Iterable[Architecture]) -> tuple[tuple[int, ...], ...]:
    """The options that some architectures of one space take, sorted, for each decision: what to allow.

    >>> options_of([Architecture("toy", (2, 1)), Architecture("toy", (0, 1))])
    ((0, 2), (1,))
    """
    return tuple(tuple(sorted(set(options))) for options in zip(*(a.choices for a in architectures), strict=True))


def _checked(space: ChoiceSpace, allowed: Iterable[Iterable[int]]) -> tuple[tuple[int, ...], ...]:
    """`allowed` sorted, after a look at each option."""
    given = tuple(tuple(sorted(set(options))) for options in allowed)
    known = space.allowed
    if len(given) != len(known) or not all(given):
        raise ConfigError(
            f"{space.name!r} has {len(known)} decisions, give one or more options for each, got {said(given)}"
        )
    for i, options in enumerate(given):
        for option in options:
            if option not in known[i]:
                raise ConfigError(f"decision {i} of {space.name!r} has no option {option!r}; it has {list(known[i])}")
    if max(map(len, given)) == 1:
        raise ConfigError("one architecture is allowed, so there is nothing to search; allow a second option somewhere")
    return given
