from __future__ import annotations

import pytest
import torch

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.nn.decoder import INPUT, OUTPUT, DagDecoder
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
from metad2a_plugin.spaces.nasbench201.cell import EDGES
from metad2a_plugin.spaces.nasbench201.space import NASBench201


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


# -- draws without replacement ---------------------------------------------------------------------
def test_distinct_samples_are_distinct_cells_and_seeded(decoder: DagDecoder) -> None:
    z = torch.randn(1, 5, generator=torch.Generator().manual_seed(4))
    cells, log_p = decoder.sample_distinct(z, 500, torch.Generator().manual_seed(0))
    assert cells.dtype == torch.int64 and cells.shape == (500, 8) and log_p.shape == (500,)
    assert len(set(NASBench201().decode(cells))) == 500
    again, other = (
        decoder.sample_distinct(z, 500, torch.Generator().manual_seed(seed))[0] for seed in (0, 1)
    )
    assert torch.equal(cells, again) and not torch.equal(cells, other)


def test_the_whole_space_is_drawn_with_probabilities_that_sum_to_one(decoder: DagDecoder) -> None:
    z = torch.randn(1, 5, generator=torch.Generator().manual_seed(4))
    cells, log_p = decoder.sample_distinct(z, 20_000, torch.Generator().manual_seed(0))
    assert len(cells.unique(dim=0)) == len(cells) == 5**6
    assert log_p.exp().sum().item() == pytest.approx(1)


def _pairs_decoder() -> tuple[DagDecoder, torch.Tensor]:
    """A space of two inner vertices of three types, with uneven probabilities."""
    torch.manual_seed(7)
    decoder = DagDecoder(((0, 1), (1, 2), (0, 2), (2, 3)), num_types=5, hidden=6, latent=3).requires_grad_(
        False
    )
    for weight in decoder.type_head.parameters():
        weight.mul_(3)
    return decoder, torch.randn(1, 3)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_the_log_probabilities_are_those_of_sample(temperature: float) -> None:
    decoder, z = _pairs_decoder()
    graphs, log_p = decoder.sample_distinct(z, 9, torch.Generator().manual_seed(0), temperature)
    draws = decoder.sample(z.expand(40_000, -1), torch.Generator().manual_seed(1), temperature)
    found = (draws[:, None] == graphs).all(-1).double().mean(0)
    torch.testing.assert_close(found, log_p.exp(), atol=0.01, rtol=0)


def test_distinct_samples_come_in_the_order_of_sequential_draws_without_replacement() -> None:
    """Frequencies of every ordered pair against p(a) p(b) / (1 - p(a)), within five standard errors."""
    decoder, z = _pairs_decoder()
    graphs, log_p = decoder.sample_distinct(z, 9)
    p = log_p.exp()
    assert p.max() > 4 * p.min()
    exact = (p[:, None] * p / (1 - p[:, None])).fill_diagonal_(0)
    generator, runs = torch.Generator().manual_seed(0), 2000
    counts = torch.zeros(9, 9)
    for _ in range(runs):
        two = decoder.sample_distinct(z, 2, generator)[0]
        first, second = (two[:, None] == graphs).all(-1).long().argmax(1).tolist()
        counts[first, second] += 1
    error = (exact * (1 - exact) / runs).sqrt()
    assert ((counts / runs - exact).abs() <= 5 * error).all()


def test_distinct_samples_of_a_space_too_large_to_enumerate() -> None:
    torch.manual_seed(0)
    chain = [(v, v + 1) for v in range(21)]
    decoder = DagDecoder(chain, num_types=29, hidden=12, latent=5)
    graphs, log_p = decoder.sample_distinct(torch.randn(1, 5), 100, torch.Generator().manual_seed(0))
    assert len(graphs.unique(dim=0)) == 100
    assert ((graphs[:, 1:-1] > OUTPUT) & (graphs[:, 1:-1] < 29)).all()
    assert torch.isfinite(log_p).all()


@pytest.mark.parametrize(("n", "rows"), [(0, 1), (5, 2), (5, 0)])
def test_distinct_samples_need_one_latent_and_a_number(decoder: DagDecoder, n: int, rows: int) -> None:
    with pytest.raises(ConfigError, match="one latent vector"):
        decoder.sample_distinct(torch.zeros(rows, 5), n)


def test_distinct_samples_refuse_a_bad_temperature(decoder: DagDecoder) -> None:
    with pytest.raises(ConfigError, match="temperature must be positive"):
        decoder.sample_distinct(torch.zeros(1, 5), 3, temperature=0.0)


# -- what may be drawn, and what shall be drawn more often -------------------------------------------
def _even_pairs_only(prefix: torch.Tensor) -> torch.Tensor:
    """Of the types 2, 3 and 4, the second vertex has that of the first, or 4 after a 4 or a 2."""
    mask = torch.zeros(len(prefix), 5, dtype=torch.bool)
    if prefix.shape[1] == 1:
        mask[:, 2:] = True
    else:
        mask[torch.arange(len(prefix)), prefix[:, 1]] = True
        mask[prefix[:, 1] == 2, 4] = True
    return mask


def _masked(decoder: DagDecoder) -> DagDecoder:
    masked = DagDecoder(((0, 1), (1, 2), (0, 2), (2, 3)), 5, 6, 3, _even_pairs_only).requires_grad_(False)
    masked.load_state_dict(decoder.state_dict())
    return masked


def test_only_what_the_mask_allows_is_drawn_in_the_proportions_of_the_scores() -> None:
    free, z = _pairs_decoder()
    decoder = _masked(free)
    graphs, log_p = decoder.sample_distinct(z, 9, torch.Generator().manual_seed(0))
    assert {tuple(g[1:3]) for g in graphs.tolist()} == {(2, 2), (2, 4), (3, 3), (4, 4)}
    assert log_p.exp().sum().item() == pytest.approx(1)
    all_graphs, all_log_p = free.sample_distinct(z, 9)
    p = dict(zip(map(tuple, all_graphs.tolist()), all_log_p.exp().tolist(), strict=True))
    found = dict(zip(map(tuple, graphs.tolist()), log_p.exp().tolist(), strict=True))
    ratio = [q[(0, 2, 4, 1)] / q[(0, 2, 2, 1)] for q in (p, found)]
    assert ratio[0] == pytest.approx(ratio[1])
    draws = decoder.sample(z.expand(20_000, -1), torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        (draws[:, None] == graphs).all(-1).double().mean(0), log_p.exp(), atol=0.015, rtol=0
    )


def test_a_tilt_is_added_to_the_scores_of_the_types() -> None:
    decoder, z = _pairs_decoder()
    tilt = torch.zeros(4, 5)
    tilt[1, 3], tilt[2, 2] = -30, 30
    graphs, log_p = decoder.sample_distinct(z, 9, torch.Generator().manual_seed(0), tilt=tilt)
    p = log_p.exp()
    assert p[graphs[:, 1] == 3].sum() < 1e-8 and p[graphs[:, 2] == 2].sum() > 1 - 1e-8
    draws = decoder.sample(z.expand(500, -1), torch.Generator().manual_seed(1), tilt=tilt)
    assert (draws[:, 1] != 3).all() and (draws[:, 2] == 2).all() and len(draws.unique(dim=0)) == 2
    plain, shifted = (
        decoder.sample_distinct(z, 9, torch.Generator().manual_seed(0), 0.7, change)
        for change in (None, torch.full((4, 5), 2.0))
    )
    assert torch.equal(plain[0], shifted[0]), "the same for every type is nothing"
    torch.testing.assert_close(plain[1], shifted[1])


@pytest.mark.parametrize(
    "tilt", [torch.zeros(8), torch.zeros(7, 8), torch.full((8, 7), -torch.inf), torch.full((8, 7), torch.nan)]
)
def test_a_wrong_tilt_is_refused(decoder: DagDecoder, tilt: torch.Tensor) -> None:
    for draw in (lambda z: decoder.sample(z, tilt=tilt), lambda z: decoder.sample_distinct(z, 3, tilt=tilt)):
        with pytest.raises(ConfigError, match=r"finite numbers \[8 vertices, 7 types\]"):
            draw(torch.zeros(1, 5))


@pytest.mark.parametrize("n", [1, 300])
def test_whatever_is_decoded_for_mobilenetv3_is_a_network_and_none_comes_twice(n: int) -> None:
    space = MobileNetV3Space()
    torch.manual_seed(0)
    decoder = DagDecoder(space.edges, 29, 12, 5, space.type_mask).requires_grad_(False)
    tilt = 3 * torch.randn(22, 29)
    for change in (None, tilt):
        rng = torch.Generator().manual_seed(0)
        graphs, log_p = decoder.sample_distinct(torch.randn(1, 5), n, rng, 1.2, change)
        assert torch.equal(space.encode(space.decode(graphs)), graphs) and log_p.isfinite().all()
        assert len(set(map(space.format, space.decode(graphs)))) == len(graphs) == n
        draws = decoder.sample(torch.randn(n, 5), rng, 1.2, change)
        assert torch.equal(space.encode(space.decode(draws)), draws)
