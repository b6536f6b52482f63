"""Parameters and multiply-accumulates of NAS-Bench-201 networks in closed form."""

from __future__ import annotations

from typing import Any, NamedTuple


class Count(NamedTuple):
    """A count that is linear in the number of convolutions in a cell."""

    base: int
    per_conv1: int
    per_conv3: int

    def total(self, conv1: Any, conv3: Any) -> Any:
        return self.base + self.per_conv1 * conv1 + self.per_conv3 * conv3


def count_cost(num_classes: int, input_size: int, channels: int = 16, cells: int = 5) -> tuple[Count, Count]:
    """Parameters and multiply-accumulates of the network, exact for any options."""
    half, quarter = (input_size + 1) // 2, (input_size + 3) // 4
    stages = [(channels, input_size**2), (2 * channels, half**2), (4 * channels, quarter**2)]
    # Convolutions have no bias and batch norm costs two parameters a channel and no FLOPs.
    stem = 27 * channels
    # A reduction from c/2 to c channels: two 3x3 convolutions and a 1x1 shortcut, 14 c^2 weights.
    reductions = [(14 * c**2, pixels, 4 * c) for c, pixels in stages[1:]]
    classifier = 4 * channels * num_classes + num_classes
    norms = 2 * channels + sum(norm for _, _, norm in reductions) + 8 * channels
    params = stem + sum(weights for weights, _, _ in reductions) + norms + classifier
    flops = stem * input_size**2 + sum(weights * pixels for weights, pixels, _ in reductions) + classifier
    squares = cells * sum(c**2 for c, _ in stages)
    cell_norms = cells * sum(2 * c for c, _ in stages)
    cell_flops = cells * sum(c**2 * pixels for c, pixels in stages)
    return (Count(params, squares + cell_norms, 9 * squares + cell_norms), Count(flops, cell_flops, 9 * cell_flops))
