from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.nn.dag import DagEncoder, MessageCell, predecessors
from metad2a_plugin.spaces.nasbench201.cell import EDGES
from metad2a_plugin.spaces.nasbench201.space import NASBench201

CHAIN = tuple((v, v + 1) for v in range(21))


def plain_pass(
    cell: MessageCell, types: list[int], order: list[int], senders: dict[int, list[int]]
) -> torch.Tensor:
    """One graph, one vertex at a time, with the modules as they are."""
    count = cell.gate.in_features - cell.hidden
    states: dict[int, torch.Tensor] = {}
    for vertex in order:
        received = torch.zeros(1, cell.hidden)
        for sender in senders[vertex]:
            joined = torch.cat([states[sender], torch.eye(count)[sender][None]], dim=1)
            received = received + cell.gate(joined).sigmoid() * cell.mapper(joined)
        states[vertex] = cell.gru(torch.eye(cell.gru.input_size)[types[vertex]][None], received)
    return states[order[-1]]


def plain_code(encoder: DagEncoder, edges: tuple[tuple[int, int], ...], types: torch.Tensor) -> torch.Tensor:
    count = types.shape[1]
    order = list(range(count))
    before = {v: [s for s, t in edges if t == v] for v in order}
    after = {v: [t for s, t in edges if s == v] for v in order}
    codes = []
    for row in types.tolist():
        ends = (
            plain_pass(encoder.ahead, row, order, before),
            plain_pass(encoder.back, row, order[::-1], after),
        )
        codes.append(encoder.code(encoder.join(torch.cat(ends, dim=1))))
    return torch.cat(codes)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[tuple[tuple[int, int], ...], torch.Tensor]:
    """A topologically ordered edge list and a batch of vertex types, rows repeated."""
    count = draw(st.integers(2, 6))
    pairs = [(s, t) for t in range(count) for s in range(t)]
    edges = draw(st.sets(st.sampled_from(pairs), min_size=1)) | {(draw(st.integers(0, count - 2)), count - 1)}
    row = st.lists(st.integers(0, 2), min_size=count, max_size=count)
    return tuple(edges), torch.tensor(draw(st.lists(row, min_size=1, max_size=12)))


@given(graphs())
def test_shared_states_equal_the_plain_pass(case: tuple[tuple[tuple[int, int], ...], torch.Tensor]) -> None:
    edges, types = case
    torch.manual_seed(0)
    encoder = DagEncoder(edges, num_types=3, hidden=5, latent=4).requires_grad_(False)
    torch.testing.assert_close(encoder(types), plain_code(encoder, edges, types), rtol=1e-4, atol=1e-5)


def test_every_cell_in_any_order_equals_the_plain_pass() -> None:
    torch.manual_seed(0)
    encoder = DagEncoder(EDGES, num_types=7, hidden=16, latent=8).requires_grad_(False)
    cells = NASBench201().all_vertices()
    codes = encoder(cells)
    some = torch.randperm(len(cells))[:60]
    torch.testing.assert_close(codes[some], plain_code(encoder, EDGES, cells[some]), rtol=1e-4, atol=1e-5)
    assert len(codes.unique(dim=0)) == len(cells)


def test_chain_of_many_types() -> None:
    torch.manual_seed(0)
    encoder = DagEncoder(CHAIN, num_types=29, hidden=6, latent=3).requires_grad_(False)
    types = torch.randint(29, (40, 22))
    types[20:, :11] = types[:20, :11]
    torch.testing.assert_close(encoder(types), plain_code(encoder, CHAIN, types), rtol=1e-4, atol=1e-5)


def test_gradients_equal_those_of_the_plain_pass_and_reach_every_parameter() -> None:
    torch.manual_seed(0)
    encoder = DagEncoder(EDGES, num_types=7, hidden=6, latent=4).double()
    types = NASBench201().all_vertices()[:40]
    target = torch.randn(40, 4).double()

    def gradients(module: nn.Module, codes: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad((codes * target).sum(), list(module.parameters())))

    torch.set_default_dtype(torch.float64)
    try:
        expected = gradients(encoder, plain_code(encoder, EDGES, types))
    finally:
        torch.set_default_dtype(torch.float32)
    found = gradients(encoder, encoder(types))
    torch.testing.assert_close(found, expected)
    assert all(g.abs().max() > 0 for g in found)


def test_predecessors() -> None:
    assert predecessors(((0, 1), (2, 3), (0, 3))) == ((), (0,), (), (0, 2))


@pytest.mark.parametrize("edges", [(), ((1, 0),), ((0, 1), (0, 1)), ((1, 1),), ((-1, 0),)])
def test_bad_edges_are_refused(edges: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ConfigError, match="topological order"):
        predecessors(edges)
