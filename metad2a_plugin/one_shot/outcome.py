"""What a search by gradients gives: its log, its mixture, and architectures in the order of their probability."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch

from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.interfaces import CellSpace, weight_sharing


class SearchEpoch(NamedTuple):
    """One line of the log; accuracies are percent of the architecture half.

    `loss` is the mean over the steps of the training half; `mixture_loss` and `mixture_accuracy` are the mixture's,
    `cell_accuracy` that of the `cell` read off, alone, with the supernet's weights. `entropy` is the mean over the
    decisions, in nats (at first log 5 = 1.609 with five operations). Of a search with a tester: `selected`, the mean
    weight of an example of the test bank, and `tester_loss`, on the tester's validation part.
    """

    epoch: int
    lr: float
    loss: float
    mixture_loss: float
    mixture_accuracy: float
    cell_accuracy: float
    entropy: float
    cell: str
    seconds: float
    selected: float | None = None
    tester_loss: float | None = None


def rank_cells(space: SearchSpace, alpha: torch.Tensor, allow_none: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """All architectures of a space in the order of their probability under the mixture, the most probable first.

    Args:
        space: one with a supernet, or a part of such a one.
        alpha: architecture parameters ``[decisions, operations]``.
        allow_none: False gives ``none`` the probability 0 in a `CellSpace`; others have no such operation.

    Returns:
        Vertices int64 ``[size, num_vertices]``, and the sum of the decisions' log-probabilities, float64 ``[size]``.
    """
    whole = weight_sharing(space)
    scores = alpha.detach().cpu().double().clone()
    if not allow_none and isinstance(whole, CellSpace):
        scores[:, whole.none] = -torch.inf
    vertices = space.all_vertices()
    log_probability = scores.log_softmax(1)[torch.arange(len(scores)), whole.choices(vertices)].sum(1)
    order = log_probability.argsort(descending=True, stable=True)
    return vertices[order], log_probability[order]


def best_cell(space: SearchSpace, alpha: torch.Tensor, allow_none: bool = True) -> Architecture:
    """The most probable architecture that can learn: the argmax of each decision, unless that one is dead."""
    vertices, _ = rank_cells(space, alpha, allow_none)
    first = int((~space.dead_mask(vertices)).nonzero()[0])
    return space.decode(vertices[first : first + 1])[0]


@dataclass(frozen=True, eq=False)
class SearchOutcome:
    """What a search has found.

    Attributes:
        space: that it searched.
        alpha: architecture parameters, float32 ``[decisions, operations]``; their softmax is the mixture of each.
        history: one `SearchEpoch` each.
        allow_none: see `SearchConfig`.
    """

    space: SearchSpace
    alpha: torch.Tensor
    history: tuple[SearchEpoch, ...]
    allow_none: bool

    @property
    def cell(self) -> Architecture:
        """See `best_cell`."""
        return best_cell(self.space, self.alpha, self.allow_none)

    @cached_property
    def ranking(self) -> tuple[torch.Tensor, torch.Tensor]:
        """See `rank_cells`."""
        return rank_cells(self.space, self.alpha, self.allow_none)

    @property
    def seconds(self) -> float:
        """Time of the search, over all interruptions."""
        return sum(epoch.seconds for epoch in self.history)
