"""A toy search space to try things on."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from metad2a_plugin.errors import ArchitectureError, said
from metad2a_plugin.spaces.base import Architecture, Cost
from metad2a_plugin.spaces.choice import ChoiceSpace


class ToySpace(ChoiceSpace):
    """Chains of operations, written ``conv>skip>conv``: small enough to check by hand, complete enough to search.

    ``none`` cuts the chain, so that the network is dead; ``skip`` passes its input on, so that it changes nothing.

    >>> space = ToySpace()
    >>> space.canonical(space.parse("conv>skip>conv")) == space.canonical(space.parse("skip>conv>conv"))
    True

    Args:
        length: operations in the chain.
    """

    name = "toy"
    operations = ("none", "skip", "conv")

    def __init__(self, length: int = 3) -> None:
        self.length = length
        self.options = (len(self.operations),) * length

    def parse(self, text: Any) -> Architecture:
        ops = text.split(">") if isinstance(text, str) else []
        if len(ops) != self.length or not set(ops) <= set(self.operations):
            raise ArchitectureError(f"expected {self.length} of {self.operations} joined by '>', got {said(text)}")
        return Architecture(self.name, tuple(map(self.operations.index, ops)))

    def format(self, architecture: Architecture) -> str:
        return ">".join(self.operations[c] for c in self.validate(architecture).choices)

    def canonical(self, architecture: Architecture) -> str:
        return "dead" if self.is_dead(architecture) else "conv>" * architecture.choices.count(2)

    def is_dead(self, architecture: Architecture) -> bool:
        return 0 in self.validate(architecture).choices

    def build(self, architecture: Architecture, num_classes: int) -> nn.Module:
        convs = self.validate(architecture).choices.count(2)
        layers = [nn.Conv2d(3, 4, 1), *(nn.Conv2d(4, 4, 3, padding=1) for _ in range(convs))]
        cut = nn.Threshold(math.inf, 0.0) if self.is_dead(architecture) else nn.Identity()
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), cut, nn.Linear(4, num_classes))

    def cost(self, architecture: Architecture, **options: Any) -> Cost:
        """Costs for ``num_classes`` (10) and square images of ``input_size`` (32) pixels."""
        classes, pixels = options.get("num_classes", 10), options.get("input_size", 32) ** 2
        convs = self.validate(architecture).choices.count(2)
        params = 3 * 4 + 4 + convs * (4 * 4 * 9 + 4) + 4 * classes + classes
        return Cost(params / 1e6, (pixels * (12 + convs * 144) + 4 * classes) / 1e6)

    def vertex_costs(self, **options: Any) -> torch.Tensor:
        """What `cost` counts for the input, and for each ``conv``; options as there."""
        none, one = (self.cost(Architecture(self.name, (2,) * n + (1,) * (self.length - n)), **options) for n in (0, 1))
        fixed, more = (torch.tensor([c.params, c.flops], dtype=torch.float64) for c in (none, one))
        costs = torch.zeros(2, self.num_vertices, len(self.vertex_types), dtype=torch.float64)
        costs[:, 0, 0], costs[:, 1:-1, 4] = fixed, (more - fixed)[:, None]
        return costs
