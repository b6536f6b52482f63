"""A part of a search space: fewer options for some decisions, everything else as it was."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from metad2a_plugin.errors import ArchitectureError, ConfigError
from metad2a_plugin.spaces.base import Architecture, Cost, Descriptors, SearchSpace

if TYPE_CHECKING:
    import networkx as nx
    import torch
    from torch import nn

    from metad2a_plugin.nn.relus import Visit


class RestrictedSpace(SearchSpace):
    """The architectures of a space whose decisions take allowed options only.

    It has the space's name, so that its architectures are the space's, and predictors, tables and hosts take them as
    they are. Whatever is outside is refused. What only the whole space knows, such as NAS-Bench-201's `index`, is found
    on this one too.

    >>> from metad2a_plugin.spaces.nasbench201.space import NASBench201
    >>> space = RestrictedSpace(NASBench201(), [[1, 3], [0], [3], [3, 4], [0, 1], [3]])
    >>> space.size
    8

    Args:
        space: the whole; its decisions must be independent of each other.
        allowed: for each decision, the indices of its allowed options.

    Raises:
        ConfigError: `allowed` does not fit the space or leaves one architecture only, or decisions depend on others.
    """

    def __init__(self, space: SearchSpace, allowed: Iterable[Iterable[int]]) -> None:
        if type(space).type_mask is not SearchSpace.type_mask:
            raise ConfigError(
                f"a part of {space.name!r} cannot be made: which options a decision of it has depends on the others"
            )
        self.whole = space
        self.allowed = _checked(space, allowed)
        self.size = math.prod(map(len, self.allowed))
        self.name, self.num_vertices, self.vertex_types = space.name, space.num_vertices, space.vertex_types
        self.edges, self.type_parts = space.edges, space.type_parts
        self.input_size, self.num_classes = space.input_size, space.num_classes

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "whole":  # copying asks before there is a whole
            raise AttributeError(name)
        return getattr(self.whole, name)

    # -- points ------------------------------------------------------------------------------
    def sample(self, rng: random.Random) -> Architecture:
        return Architecture(self.name, tuple(rng.choice(options) for options in self.allowed))

    def mutate(self, architecture: Architecture, rng: random.Random) -> Architecture:
        choices = list(self.validate(architecture).choices)
        decision = rng.choice([i for i, options in enumerate(self.allowed) if len(options) > 1])
        choices[decision] = rng.choice([o for o in self.allowed[decision] if o != choices[decision]])
        return Architecture(self.name, tuple(choices))

    def neighbors(self, architecture: Architecture) -> list[Architecture]:
        choices = self.validate(architecture).choices
        return [
            Architecture(self.name, (*choices[:i], option, *choices[i + 1 :]))
            for i, options in enumerate(self.allowed)
            for option in options
            if option != choices[i]
        ]

    def enumerate(self) -> Iterator[Architecture]:
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

    # -- text and tensors --------------------------------------------------------------------
    def parse(self, text: str) -> Architecture:
        return self.validate(self.whole.parse(text))

    def format(self, architecture: Architecture) -> str:
        return self.whole.format(self.validate(architecture))

    def encode(self, architectures: Sequence[Architecture]) -> torch.Tensor:
        return self.whole.encode([self.validate(a) for a in architectures])

    def decode(self, vertices: torch.Tensor) -> list[Architecture]:
        return [self.validate(a) for a in self.whole.decode(vertices)]

    # `simplify` stays the identity, since what computes the same for less can lie outside; and `places` are those
    # among this part.
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

    def type_mask(self, prefix: torch.Tensor) -> torch.Tensor:
        import torch

        decision, first = prefix.shape[1] - 1, [options[0] for options in self.allowed]
        cells = [
            Architecture(self.name, (*first[:decision], option, *first[decision + 1 :]))
            for option in self.allowed[decision]
        ]
        mask = torch.zeros(len(prefix), len(self.vertex_types), dtype=torch.bool, device=prefix.device)
        mask[:, self.encode(cells)[:, decision + 1].to(prefix.device)] = True
        return mask

    # -- graphs and networks -----------------------------------------------------------------
    def canonical(self, architecture: Architecture) -> str:
        return self.whole.canonical(self.validate(architecture))

    def is_dead(self, architecture: Architecture) -> bool:
        return self.whole.is_dead(self.validate(architecture))

    def to_networkx(self, architecture: Architecture, **options: Any) -> nx.DiGraph[int]:
        return self.whole.to_networkx(self.validate(architecture), **options)

    def build(self, architecture: Architecture, num_classes: int, **options: Any) -> nn.Module:
        return self.whole.build(self.validate(architecture), num_classes, **options)

    def cost(self, architecture: Architecture, **options: Any) -> Cost:
        return self.whole.cost(self.validate(architecture), **options)

    def visit_relus(self, network: nn.Module, images: torch.Tensor, visit: Visit) -> None:
        self.whole.visit_relus(network, images, visit)


def options_of(architectures: Iterable[Architecture]) -> tuple[tuple[int, ...], ...]:
    """The options that some architectures of one space take, sorted, for each decision: what to allow.

    >>> options_of([Architecture("toy", (2, 1)), Architecture("toy", (0, 1))])
    ((0, 2), (1,))
    """
    return tuple(tuple(sorted(set(options))) for options in zip(*(a.choices for a in architectures), strict=True))


def _checked(space: SearchSpace, allowed: Iterable[Iterable[int]]) -> tuple[tuple[int, ...], ...]:
    """`allowed` sorted, after a look at each option."""
    given = tuple(tuple(sorted(set(options))) for options in allowed)
    some = space.sample(random.Random(0)).choices
    if len(given) != len(some) or not all(given):
        raise ConfigError(f"{space.name!r} has {len(some)} decisions, give one or more options for each, got {given!r}")
    for i, options in enumerate(given):
        for option in options:
            try:
                space.validate(Architecture(space.name, (*some[:i], option, *some[i + 1 :])))
            except ArchitectureError as error:
                raise ConfigError(f"decision {i} of {space.name!r} has no option {option!r}: {error}") from None
    if max(map(len, given)) == 1:
        raise ConfigError("one architecture is allowed, so there is nothing to search; allow a second option somewhere")
    return given
