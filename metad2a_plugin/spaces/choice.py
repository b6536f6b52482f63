"""`ChoiceSpace`: a search space of independent decisions, each with a number of options."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from itertools import accumulate, product
from typing import Any

from metad2a_plugin.errors import ArchitectureError, said
from metad2a_plugin.spaces.base import Architecture, Architectures, SearchSpace
from metad2a_plugin.utils.lazy import torch


class ChoiceSpace(SearchSpace):
    """Architectures that choose one option for each of some decisions, whatever the others are.

    A subclass says `name` and `options` and has `parse`, `format` and `build`; all else follows. Override `canonical`
    where several architectures are one network, `is_dead` where some cannot learn, `mutate` where other changes than
    those of `neighbors` are meant, and `cost` and `costs` where there is a quicker way than to count.

    The encoded graph is a chain: the input, a vertex for each decision, the output.
    """

    options: tuple[int, ...]
    """How many options each decision has."""
    operations: tuple[str, ...] = ()
    """Names of the options, where all decisions choose among the same: then vertices share their types. Left empty,
    each option of each decision is a type of its own."""
    decision_names: tuple[str, ...] = ()
    """Names of the decisions for hosts; left empty, their numbers from 0."""

    @cached_property
    def allowed(self) -> tuple[tuple[int, ...], ...]:
        """For each decision, the indices of its options, ascending."""
        return tuple(tuple(range(count)) for count in self.options)

    # Unlike plain properties these can be assigned, as attributes can; mypy does not know.
    @cached_property
    def size(self) -> int:  # type: ignore[override]
        return math.prod(map(len, self.allowed))

    @cached_property
    def num_vertices(self) -> int:  # type: ignore[override]
        return len(self.options) + 2

    @cached_property
    def vertex_types(self) -> tuple[str, ...]:  # type: ignore[override]
        own = (f"{decision}:{option}" for decision, count in enumerate(self.options) for option in range(count))
        return ("input", "output", *(self.operations or own))

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:  # type: ignore[override]
        return tuple((vertex, vertex + 1) for vertex in range(self.num_vertices - 1))

    # -- points ------------------------------------------------------------------------------
    def sample(self, rng: random.Random) -> Architecture:
        return Architecture(self.name, tuple(map(rng.choice, self.allowed)))

    def neighbors(self, architecture: Architecture) -> list[Architecture]:
        choices = self.validate(architecture).choices
        return [
            Architecture(self.name, (*choices[:decision], option, *choices[decision + 1 :]))
            for decision, options in enumerate(self.allowed)
            for option in options
            if option != choices[decision]
        ]

    def enumerate(self) -> Iterator[Architecture]:
        """Every architecture, the last decision changing fastest."""
        return (Architecture(self.name, choices) for choices in product(*self.allowed))

    def validate(self, architecture: Architecture) -> Architecture:
        if not isinstance(architecture, Architecture) or architecture.space != self.name:
            raise ArchitectureError(
                f"expected an Architecture of space {self.name!r}, got {said(architecture)}; read strings with parse()"
            )
        choices, counts = architecture.choices, self.options
        legal = isinstance(choices, tuple) and len(choices) == len(counts)
        if not legal or not all(isinstance(c, int) and 0 <= c < n for c, n in zip(choices, counts, strict=True)):
            most = str(counts[0] - 1) if len(set(counts)) == 1 else f"one less than {counts}"
            named = f" (an index into {self.operations})" if self.operations else ""
            raise ArchitectureError(
                f"a {self.name} architecture has {len(counts)} choices, each 0 to {most}{named}, got {said(choices)}"
            )
        return architecture

    # -- tensors -----------------------------------------------------------------------------
    def encode(self, architectures: Architectures) -> torch.Tensor:
        """Vertex types, int64 ``[n, num_vertices]``: input, the decisions in order, output."""
        if isinstance(architectures, torch.Tensor):
            self.choices(architectures)
            return architectures.long()
        first = self._first_types
        rows = [(0, *map(int.__add__, self.validate(a).choices, first), 1) for a in architectures]
        return torch.tensor(rows, dtype=torch.int64).reshape(-1, self.num_vertices)

    def decode(self, architectures: Architectures) -> list[Architecture]:
        if not isinstance(architectures, torch.Tensor):
            return [self.validate(a) for a in architectures]
        return [Architecture(self.name, tuple(row)) for row in self.choices(architectures).tolist()]

    def choices(self, vertices: torch.Tensor) -> torch.Tensor:
        """The choices of encoded architectures, int64 ``[n, decisions]``.

        Raises:
            ArchitectureError: not an integer tensor ``[n, num_vertices]``, or a row that is no architecture.
        """
        if not isinstance(vertices, torch.Tensor):
            raise ArchitectureError(f"expected encoded architectures, as encode() gives them, got {vertices!r}")
        if vertices.ndim != 2 or vertices.shape[1] != self.num_vertices or vertices.is_floating_point():
            raise ArchitectureError(
                f"expected integer vertex types of shape [n, {self.num_vertices}], "
                f"got {vertices.dtype} of shape {list(vertices.shape)}"
            )
        first, counts = self._bounds.to(vertices.device)
        choices = vertices[:, 1:-1].long() - first
        wrong = (vertices[:, 0] != 0) | (vertices[:, -1] != 1) | ((choices < 0) | (choices >= counts)).any(1)
        if wrong.any():
            row = int(wrong.nonzero()[0])
            ranges = [f"{low} to {low + n - 1}" for low, n in zip(self._first_types, self.options, strict=True)]
            same = len(set(ranges)) == 1
            expected = f"{len(ranges)} of {ranges[0]}" if same else ", ".join(ranges)
            raise ArchitectureError(
                f"row {row}, {vertices[row].tolist()}, is no {self.name} architecture: expected 0 (input), {expected}, "
                "1 (output)"
            )
        return choices

    def type_mask(self, prefix: torch.Tensor) -> torch.Tensor:
        decision = prefix.shape[1] - 1
        mask = torch.zeros(len(prefix), len(self.vertex_types), dtype=torch.bool, device=prefix.device)
        mask[:, [self._first_types[decision] + option for option in self.allowed[decision]]] = True
        return mask

    # -- decisions by name -------------------------------------------------------------------
    @cached_property
    def decisions(self) -> Mapping[str, tuple[str | int, ...]]:
        """As of every space; options are those of `operations`, else numbers from 0."""
        names = self.decision_names or tuple(map(str, range(len(self.options))))
        taken = ((self.operations[o] if self.operations else o for o in options) for options in self.allowed)
        return {name: tuple(options) for name, options in zip(names, taken, strict=True)}

    def decide(self, choose: Callable[[str], Any]) -> Architecture:
        chosen = []
        for (name, options), allowed in zip(self.decisions.items(), self.allowed, strict=True):
            chosen.append(allowed[option_of(name, options, choose(name))])
        return Architecture(self.name, tuple(chosen))

    def decided(self, architecture: Architecture) -> dict[str, str | int]:
        choices = self.validate(architecture).choices
        return {
            name: options[allowed.index(choice)]
            for (name, options), allowed, choice in zip(self.decisions.items(), self.allowed, choices, strict=True)
        }

    # -- private -----------------------------------------------------------------------------
    @cached_property
    def _first_types(self) -> tuple[int, ...]:
        """The type of each decision's option 0."""
        if self.operations:
            return (2,) * len(self.options)
        return tuple(accumulate(self.options[:-1], initial=2))

    @cached_property
    def _bounds(self) -> torch.Tensor:
        """The type of each decision's option 0, and how many options it has, int64 ``[2, decisions]``."""
        return torch.tensor([self._first_types, self.options])


def option_of(name: str, options: tuple[str | int, ...], value: Any) -> int:
    """The index of a value among the options of a decision.

    Raises:
        ArchitectureError: it is none of them.

    >>> option_of("0_1", ("none", "skip_connect"), "skip_connect")
    1
    """
    # True is 1 for Python, but no option.
    if isinstance(value, (str, int)) and not isinstance(value, bool) and value in options:
        return options.index(value)
    raise ArchitectureError(f"{name} must be one of {', '.join(map(str, options))}, got {said(value)}")
