"""What the conformance kits share."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from metad2a_plugin.spaces.base import Architecture, SearchSpace


@contextmanager
def refuses(error: type[Exception], what: str) -> Iterator[None]:
    """Check that a block raises an error with a message."""
    try:
        yield
    except error as caught:
        message = str(caught)
    except Exception as caught:
        raise AssertionError(f"{what} must raise {error.__name__}, raised {caught!r}") from caught
    else:
        raise AssertionError(f"{what} must raise {error.__name__}, was accepted")
    assert message, f"{what}: the {error.__name__} has no message"


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seeds the global random generators, which no plug-in may depend on."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def reproducible(
    what: str, draw: Callable[[random.Random], Architecture], n: int = 1, seeds: int = 1
) -> list[Architecture]:
    """`n` draws with each of so many generators, after a check that they depend on nothing else."""
    drawn = []
    for state in (1, 2):
        with global_seed(state):
            drawn.append([draw(rng) for rng in map(random.Random, range(seeds)) for _ in range(n)])
    assert drawn[0] == drawn[1], f"{what}() must depend on the generator it is given only"
    return drawn[0]


def some(space: SearchSpace, n: int, seed: int = 0) -> list[Architecture]:
    """So many random architectures."""
    rng = random.Random(seed)
    return [space.sample(rng) for _ in range(n)]


def foreign_values(space: SearchSpace) -> list[Any]:
    """Things that are no architecture of `space`."""
    architecture = some(space, 1)[0]
    return [
        Architecture("another-space", architecture.choices),
        Architecture(space.name, (*architecture.choices, 0)),
        Architecture(space.name, (10**6, *architecture.choices[1:])),
        Architecture(space.name, (-1, *architecture.choices[1:])),
        space.format(architecture),
        None,
    ]
