"""A part of a search space: fewer options for some decisions, everything else as it was."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from metad2a_plugin.errors import ArchitectureError, ConfigError
from metad2a_plugin.spaces.base import Architecture, Cost, Descriptors, SearchSpace
from metad2a_plugin.spaces.choice import ChoiceSpace

if TYPE_CHECKING:
    import torch
    from torch import nn

    from metad2a_plugin.nn.relus import Visit


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

    def validate(self, architecture: Architecture) -> Architecture:
        """Return `architecture` if it is of this part.

        Raises:
            ArchitectureError: it is of another space, or of the whole space but outside.
        """
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

    # What the whole says of one architecture. `simplify` stays the identity, since what computes the same for less can
    # lie outside; and `places` are those among this part.
    def parse(self, text: str) -> Architecture:
        return self.validate(self.whole.parse(text))

    def format(self, architecture: Architecture) -> str:
        return self.whole.format(self.validate(architecture))

    def canonical(self, architecture: Architecture) -> str:
        return self.whole.canonical(self.validate(architecture))

    def is_dead(self, architecture: Architecture) -> bool:
        return self.whole.is_dead(self.validate(architecture))

    def build(self, architecture: Architecture, num_classes: int, **options: Any) -> nn.Module:
        return self.whole.build(self.validate(architecture), num_classes, **options)

    def check_options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return self.whole.check_options(options)

    def cost(self, architecture: Architecture, **options: Any) -> Cost:
        return self.whole.cost(self.validate(architecture), **options)

    def host_config(self, architecture: Architecture, input_size: int) -> Mapping[str, Any] | None:
        return self.whole.host_config(self.validate(architecture), input_size)

    # And of many.
    def canonical_ids(self, vertices: torch.Tensor) -> torch.Tensor:
        return self.whole.canonical_ids(vertices)

    def dead_mask(self, vertices: torch.Tensor) -> torch.Tensor:
        return self.whole.dead_mask(vertices)

    def costs(self, vertices: torch.Tensor, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return self.whole.costs(vertices, **options)

    def vertex_costs(self, **options: Any) -> torch.Tensor | None:
        return self.whole.vertex_costs(**options)

    def describe(self, vertices: torch.Tensor) -> Descriptors:
        return self.whole.describe(vertices)

    def visit_relus(self, network: nn.Module, images: torch.Tensor, visit: Visit) -> None:
        self.whole.visit_relus(network, images, visit)


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
            f"{space.name!r} has {len(known)} decisions, give one or more options for each, got {given!r}"
        )
    for i, options in enumerate(given):
        for option in options:
            if option not in known[i]:
                raise ConfigError(f"decision {i} of {space.name!r} has no option {option!r}; it has {list(known[i])}")
    if max(map(len, given)) == 1:
        raise ConfigError("one architecture is allowed, so there is nothing to search; allow a second option somewhere")
    return given
