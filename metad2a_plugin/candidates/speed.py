"""How long a training takes: the work that networks are, and the speed of a machine."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any

import torch

from metad2a_plugin.nn.counting import count_activations
from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.spaces.base import Architecture, SearchSpace, random_live

REFERENCE = 32
"""Side, in pixels, of the images that activations are counted on; they grow with the area."""
_SAMPLES = 32


@dataclass(frozen=True)
class Work:
    """Of networks on one image: float64 ``[n]`` each.

    Attributes:
        flops: multiply-accumulates of a forward pass.
        activations: numbers that the layers give, which training moves through memory.
    """

    flops: torch.Tensor
    activations: torch.Tensor


@dataclass(frozen=True)
class Speed:
    """Of training on one machine, in seconds; validation on a fifth of the images is part of it.

    ``seconds = steps * per_step + images * (flops * per_flop + activations * per_activation)``, where each image counts
    as often as it is trained on.

    Attributes:
        per_step: of a step of the optimiser, whatever the network.
        per_flop: of a multiply-accumulate of the forward pass.
        per_activation: of a number that a layer gives.
    """

    per_step: float
    per_flop: float
    per_activation: float

    def seconds(self, work: Work, budget: Budget) -> torch.Tensor:
        """Of trainings of networks, ``[n]``; the budget says how many images there are."""
        each = work.flops * self.per_flop + work.activations * self.per_activation
        return budget.steps * self.per_step + budget.seen * each


class Workload:
    """The work of any networks of a space; activations are counted of a few of them, and fitted for the others.

    Args:
        space: the search space.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._lines: dict[tuple[tuple[str, Any], ...], tuple[float, float]] = {}

    def of(self, vertices: torch.Tensor, input_size: int, options: Mapping[str, Any]) -> Work:
        """Of encoded networks, int64 ``[n, vertices]``.

        Args:
            vertices: the networks.
            input_size: side of the images, in pixels.
            options: of the networks.
        """
        _, flops = self.space.costs(vertices, input_size=input_size, **options)
        offset, slope = self._line(options)
        counted = (offset + slope * self._fitted(vertices)).clamp(min=0)
        return Work(flops * 1e6, counted * (input_size / REFERENCE) ** 2)

    def count(self, architecture: Architecture, options: Mapping[str, Any]) -> int:
        """Activations on an image of `REFERENCE` pixels a side."""
        build = partial(self.space.build, architecture, self.space.num_classes, **options)
        return count_activations(build, REFERENCE)

    def _line(self, options: Mapping[str, Any]) -> tuple[float, float]:
        """Offset and slope of activations with these options over those without, by the extremes of the samples."""
        key = tuple(sorted(options.items()))
        if key not in self._lines:
            fewest, most = self._extremes
            low, high = (self.count(one, options) for one in (fewest, most))
            before = self._fitted(self.space.encode([fewest, most]))
            slope = (high - low) / max(float(before[1] - before[0]), 1.0)
            self._lines[key] = (low - slope * float(before[0]), slope)
        return self._lines[key]

    def _fitted(self, vertices: torch.Tensor) -> torch.Tensor:
        """Activations of networks of the smallest size, ``[n]``: a sum over the types of their vertices."""
        return self._types(vertices) @ self._weights

    def _types(self, vertices: torch.Tensor) -> torch.Tensor:
        types = torch.nn.functional.one_hot(vertices.cpu(), len(self.space.vertex_types))
        return types.flatten(1).double()

    @cached_property
    def _samples(self) -> tuple[list[Architecture], torch.Tensor]:
        rng = random.Random(0)
        drawn = list(dict.fromkeys(random_live(self.space, rng) for _ in range(_SAMPLES)))
        smallest = {name: values[0] for name, values in self.space.sizes.items()}
        counts = [float(self.count(architecture, smallest)) for architecture in drawn]
        return drawn, torch.tensor(counts, dtype=torch.float64)

    @cached_property
    def _extremes(self) -> tuple[Architecture, Architecture]:
        """Of the samples, those of the fewest and of the most activations."""
        drawn, counts = self._samples
        return drawn[int(counts.argmin())], drawn[int(counts.argmax())]

    @cached_property
    def _weights(self) -> torch.Tensor:
        drawn, counts = self._samples
        types = self._types(self.space.encode(drawn))
        return torch.linalg.lstsq(types, counts[:, None], driver="gelsd").solution[:, 0]


@lru_cache(maxsize=4)
def workload_of(space: SearchSpace) -> Workload:
    """That of a space, made once."""
    return Workload(space)
