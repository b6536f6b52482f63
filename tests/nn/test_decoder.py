from __future__ import annotations

import pytest
import torch

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.nn.decoder import INPUT, OUTPUT, DagDecoder
from metad2a_plugin.spaces.nasbench201 import EDGES, NASBench201


@pytest.fixture(scope="module")
def decoder() -> DagDecoder:
    torch.manual_seed(0)
    return DagDecoder(EDGES, num_types=7, hidden=12, latent=5)


def test_each_graph_is_scored_on_its_own(decoder: DagDecoder) -> None:
    cells, z = NASBench201().all_vertices()[:30], torch.randn(30, 5)
    together = torch.stack(decoder.nll(z, cells))
    alone = torch.cat([torch.stack(decoder.nll(z[i : i + 1], cells[i : i + 1])) for i in range(30)], dim=1)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_samples_follow_the_likelihood_of_their_types() -> None:
    """On a space of two inner vertices, frequencies approach the types' probabilities given the edges."""
    torch.manual_seed(3)
    decoder = DagDecoder(((0, 1), (1, 2), (2, 3)), num_types=4, hidden=6, latent=3).requires_grad_(False)
    for weight in decoder.type_head.parameters():
        weight.mul_(4)
    z = torch.randn(1, 3)
    graphs = torch.tensor([[INPUT, a, b, OUTPUT] for a in (2, 3) for b in (2, 3)])
    # The output's own type is not sampled, and input and output types are left out of every draw.
    weights = []
    for a in (2, 3):
        for b in (2, 3):
            row = torch.tensor([[INPUT, a, b, OUTPUT]])
            weights.append(_allowed_probability(decoder, z, row))
    samples = decoder.sample(z.expand(20_000, -1), torch.Generator().manual_seed(0))
    found = (samples[:, None] == graphs).all(-1).float().mean(0)
    assert found.sum() == 1
    torch.testing.assert_close(found, torch.stack(weights), atol=0.015, rtol=0)


def _allowed_probability(decoder: DagDecoder, z: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """Product over the inner vertices of p(type) / p(any inner type), from teacher-forced likelihoods."""
    total = torch.tensor(1.0)
    for v in (1, 2):
        options = []
        for choice in (2, 3):
            changed = row[:, : v + 1].clone()
            changed[:, v] = choice
            shorter = row[:, :v]
            gap = decoder.nll(z, changed)[0] - (decoder.nll(z, shorter)[0] if v > 1 else 0)
            options.append((-gap).exp().squeeze())
        total = total * options[int(row[0, v]) - 2] / sum(options)
    return total


def test_low_temperature_gives_the_likeliest_types(decoder: DagDecoder) -> None:
    z = torch.randn(50, 5, generator=torch.Generator().manual_seed(4))
    first = decoder.sample(z, torch.Generator().manual_seed(1), temperature=1e-6)
    second = decoder.sample(z, torch.Generator().manual_seed(2), temperature=1e-6)
    assert torch.equal(first, second)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_bad_temperature(decoder: DagDecoder, temperature: float) -> None:
    with pytest.raises(ConfigError, match="temperature must be positive"):
        decoder.sample(torch.zeros(1, 5), temperature=temperature)
