"""What a search by gradients gives: its log, its mixture, and the cells in the order of their probability."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch

from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.nasbench201.cell import CELL_EDGES, OPS
from metad2a_plugin.spaces.nasbench201.space import NASBench201

SPACE = NASBench201()


class SearchEpoch(NamedTuple):
    """One line of the log; accuracies are percent of the architecture half.

    `loss` is the mean over the steps of the training half; `mixture_loss` and `mixture_accuracy` are the mixture's,
    `cell_accuracy` that of the `cell` read off, alone, with the supernet's weights. `entropy` is the mean over the
    edges, in nats (log 5 = 1.609 at first). Of a search with a tester: `selected`, the mean weight of an example of
    the test bank, and `tester_loss`, on the tester's validation part.
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


def rank_cells(alpha: torch.Tensor, allow_none: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
    """All cells of NAS-Bench-201 in the order of their probability under the mixture, the most probable first.

    Args:
        alpha: architecture parameters ``[6, 5]``.
        allow_none: False gives ``none`` the probability 0.

    Returns:
        Vertices int64 ``[15625, 8]``, and the sum of the six log-probabilities, float64 ``[15625]``.
    """
    scores = alpha.detach().cpu().double().clone()
    if not allow_none:
        scores[:, OPS.index("none")] = -torch.inf
    vertices = SPACE.all_vertices()
    edges = torch.arange(len(CELL_EDGES))
    log_probability = scores.log_softmax(1)[edges, vertices[:, 1:-1] - 2].sum(1)
    order = log_probability.argsort(descending=True, stable=True)
    return vertices[order], log_probability[order]


def best_cell(alpha: torch.Tensor, allow_none: bool = True) -> Architecture:
    """The most probable cell that joins its input and output: the argmax of each edge, unless that cell is dead."""
    vertices, _ = rank_cells(alpha, allow_none)
    first = int((~SPACE.dead_mask(vertices)).nonzero()[0])
    return SPACE.decode(vertices[first : first + 1])[0]


@dataclass(frozen=True, eq=False)
class SearchOutcome:
    """What a search has found.

    Attributes:
        alpha: architecture parameters, float32 ``[6, 5]``; their softmax is the mixture of each edge.
        history: one `SearchEpoch` each.
        allow_none: see `SearchConfig`.
    """

    alpha: torch.Tensor
    history: tuple[SearchEpoch, ...]
    allow_none: bool

    @property
    def cell(self) -> Architecture:
        """See `best_cell`."""
        return best_cell(self.alpha, self.allow_none)

    @cached_property
    def ranking(self) -> tuple[torch.Tensor, torch.Tensor]:
        """See `rank_cells`."""
        return rank_cells(self.alpha, self.allow_none)

    @property
    def seconds(self) -> float:
        """Time of the search, over all interruptions."""
        return sum(epoch.seconds for epoch in self.history)
