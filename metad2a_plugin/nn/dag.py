"""Recurrence over graphs that share one edge list and differ in vertex types only (D-VAE, NeurIPS 2019).

A vertex's state is a GRU step on its type from the gated sum of its predecessors' states. With the edges fixed,
a batch of graphs is one int64 tensor of types ``[n, vertices]``, and graphs that agree on a vertex and all its
ancestors share that vertex's state, so it is computed once: ranking a whole space costs a fraction of its size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from metad2a_plugin.errors import ConfigError

Edges = Sequence[tuple[int, int]]
"""Pairs (from vertex, to vertex) in which every edge runs from a lower to a higher vertex."""
_BLOCK = 1024  # graphs of one pass: bounds the memory, and small tensors stay in cache


def predecessors(edges: Edges) -> tuple[tuple[int, ...], ...]:
    """The predecessors of each vertex, ascending.

    Raises:
        ConfigError: the edges are empty, repeat, or one does not run from a lower to a higher vertex.
    """
    if not edges or len(set(edges)) < len(edges) or any(not 0 <= s < t for s, t in edges):
        raise ConfigError(
            "a graph's edges are distinct pairs (from, to) of vertex numbers with 0 <= from < to, at least one; "
            f"got {list(edges)}; number the vertices in topological order"
        )
    count = 1 + max(t for _, t in edges)
    return tuple(tuple(sorted(s for s, t in edges if t == v)) for v in range(count))


class MessageCell(nn.Module):
    """GRU over vertices with gated-sum messages.

    A message is ``sigmoid(gate[h, id]) * mapper[h, id]`` of the sender's state joined with its one-hot number.
    It is carried together with its product with the GRU's recurrent weights: both are linear in the sum over
    senders, so no matrix product is left to do per receiver.
    """

    def __init__(self, num_types: int, num_vertices: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.gru = nn.GRUCell(num_types, hidden)
        self.gate = nn.Linear(hidden + num_vertices, hidden)
        self.mapper = nn.Linear(hidden + num_vertices, hidden, bias=False)

    def silence(self, n: int) -> torch.Tensor:
        """What a vertex without predecessors receives, ``[n, 4 * hidden]`` zeros."""
        return self.gate.weight.new_zeros(n, 4 * self.hidden)

    def lift(self, summed: torch.Tensor) -> torch.Tensor:
        """A sum of messages ``[n, hidden]`` as what `forward` receives, ``[n, 4 * hidden]``."""
        return torch.cat([summed, F.linear(summed, self.gru.weight_hh)], dim=1)

    def message(self, state: torch.Tensor, vertex: int) -> torch.Tensor:
        """What vertex number `vertex` in `state` ``[n, hidden]`` sends, ``[n, 4 * hidden]``."""
        h = self.hidden
        gate = F.linear(state, self.gate.weight[:, :h], self.gate.bias + self.gate.weight[:, h + vertex])
        value = F.linear(state, self.mapper.weight[:, :h], self.mapper.weight[:, h + vertex])
        return self.lift(gate.sigmoid() * value)

    def forward(self, types: torch.Tensor, received: torch.Tensor) -> torch.Tensor:
        """States ``[n, hidden]`` of vertices of `types` int64 ``[n]`` from summed messages ``[n, 4 * hidden]``."""
        h = self.hidden
        previous, recurrent = received.split([h, 3 * h], dim=1)
        bias = self.gru.bias_ih + F.pad(self.gru.bias_hh[: 2 * h], (0, h))
        inputs = F.embedding(types, self.gru.weight_ih.T + bias)
        reset, update = (inputs[:, : 2 * h] + recurrent[:, : 2 * h]).sigmoid().chunk(2, dim=1)
        new = (inputs[:, 2 * h :] + reset * (recurrent[:, 2 * h :] + self.gru.bias_hh[2 * h :])).tanh()
        return torch.lerp(new, previous, update)


class DagEncoder(nn.Module):
    """Graphs, int64 types ``[n, vertices]``, to codes ``[n, latent]``.

    A pass along the edges ends at the last vertex, a pass against them at the first; both end states are
    joined and mapped by two linear layers.
    """

    def __init__(self, edges: Edges, num_types: int, hidden: int, latent: int) -> None:
        super().__init__()
        sources = predecessors(edges)
        count = len(sources)
        self.ahead = MessageCell(num_types, count, hidden)
        self.back = MessageCell(num_types, count, hidden)
        self.join = nn.Linear(2 * hidden, hidden)
        self.code = nn.Linear(hidden, latent)
        targets = {v: tuple(t for t in range(count) if v in sources[t]) for v in range(count - 1, -1, -1)}
        self._ahead_plan, self._back_plan = dict(enumerate(sources)), targets

    def forward(self, types: torch.Tensor) -> torch.Tensor:
        # Two linear layers in a row are one, and a small one: applied per block, it keeps the memory down.
        ahead, back = (self.code.weight @ self.join.weight).chunk(2, dim=1)
        bias = self.code(self.join.bias)
        return (
            bias
            + propagate(self.ahead, types, self._ahead_plan, ahead)
            + propagate(self.back, types, self._back_plan, back)
        )


def propagate(
    cell: MessageCell, types: torch.Tensor, plan: dict[int, tuple[int, ...]], readout: torch.Tensor
) -> torch.Tensor:
    """The state of the plan's last vertex in each graph, times `readout`: ``[n, latent]``.

    Args:
        cell: the recurrence.
        types: int64 ``[n, vertices]``.
        plan: the vertices in order of computation, each with those it receives messages from.
        readout: ``[latent, hidden]``.
    """
    order = list(plan)
    # Sorted in order of computation, graphs that share states lie in the same block.
    graphs, inverse = torch.unique(types[:, order], dim=0, return_inverse=True)
    graphs = graphs[:, torch.tensor(order, device=types.device).argsort()]
    blocks = [F.linear(_end_state(cell, block, plan), readout) for block in graphs.split(_BLOCK)]
    return torch.cat(blocks)[inverse]


def _end_state(cell: MessageCell, types: torch.Tensor, plan: dict[int, tuple[int, ...]]) -> torch.Tensor:
    sent: dict[int, torch.Tensor] = {}  # one row for each distinct state of a vertex
    ids: dict[int, torch.Tensor] = {}  # which of these rows each graph has
    senders = {sender for received in plan.values() for sender in received}
    for vertex, received in plan.items():
        first, ids[vertex] = _distinct([types[:, vertex], *(ids[sender] for sender in received)])
        messages = [sent[sender].index_select(0, ids[sender][first]) for sender in received]
        total = messages[0] if messages else cell.silence(len(first))
        for message in messages[1:]:
            total += message
        state = cell(types[first, vertex], total)
        if vertex in senders:
            sent[vertex] = cell.message(state, vertex)
    return state.index_select(0, ids[vertex])


def _distinct(columns: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Number the distinct rows of int64 `columns`, ``[n]`` each.

    Returns:
        The first graph with each distinct row, ``[distinct]``, and each graph's number, ``[n]``.
    """
    distinct, numbers = torch.unique(columns[0], return_inverse=True)
    for column in columns[1:]:
        # Both factors count distinct rows of one batch, so the product cannot overflow.
        distinct, numbers = torch.unique(numbers * (column.amax() + 1) + column, return_inverse=True)
    rows = torch.arange(len(numbers), device=numbers.device)
    first = torch.empty_like(distinct).scatter_reduce_(0, numbers, rows, "amin", include_self=False)
    return first, numbers
