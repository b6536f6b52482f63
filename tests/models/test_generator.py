from __future__ import annotations

import pytest
import torch

from metad2a_plugin.models.generator import KL_WEIGHT, PaperGenerator
from metad2a_plugin.spaces.nasbench201.space import NASBench201

SPACE = NASBench201()


@pytest.fixture
def generator() -> PaperGenerator:
    torch.manual_seed(0)
    return PaperGenerator(feature_dim=16, hidden=12, latent=8)


@pytest.fixture(scope="module")
def sets() -> torch.Tensor:
    return torch.randn(6, 3, 4, 16, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def cells() -> torch.Tensor:
    return SPACE.all_vertices()[:6]


def test_the_paper_configuration_has_the_release_size_without_its_unused_graph_encoder() -> None:
    assert sum(p.numel() for p in PaperGenerator().parameters()) == 304_200 - 84_056


def test_loss_is_the_sum_of_its_parts(
    generator: PaperGenerator, sets: torch.Tensor, cells: torch.Tensor
) -> None:
    generator.eval()
    parts = generator.loss(sets, cells)
    torch.testing.assert_close(
        parts["loss"], parts["vertex_nll"] + parts["edge_nll"] + KL_WEIGHT * parts["kl"]
    )
    mu, logvar = generator.encode(sets)
    latent = torch.distributions.Normal(mu, (0.5 * logvar).exp())
    kl = torch.distributions.kl_divergence(latent, torch.distributions.Normal(0.0, 1.0)).sum()
    torch.testing.assert_close(parts["kl"], kl)
    torch.testing.assert_close(
        generator.log_likelihood(mu, cells).sum(), -parts["vertex_nll"] - parts["edge_nll"]
    )


def test_latent_noise_is_seeded_and_only_in_training(
    generator: PaperGenerator, sets: torch.Tensor, cells: torch.Tensor
) -> None:
    def loss(seed: int) -> float:
        return generator.loss(sets, cells, torch.Generator().manual_seed(seed))["loss"].item()

    assert loss(1) == loss(1) != loss(2)
    generator.eval()
    assert loss(1) == loss(2)


def test_gradient_reaches_every_parameter(
    generator: PaperGenerator, sets: torch.Tensor, cells: torch.Tensor
) -> None:
    generator.double().loss(sets.double(), cells)["loss"].backward()
    for name, parameter in generator.named_parameters():
        assert parameter.grad is not None, name
        # A bias on the keys shifts all attention logits of a query alike: softmax takes no notice.
        if not name.endswith("fc_k.bias"):
            assert parameter.grad.abs().max() > 1e-9, name


def test_one_latent_serves_many_graphs(generator: PaperGenerator, cells: torch.Tensor) -> None:
    z = torch.randn(1, 8)
    torch.testing.assert_close(
        generator.log_likelihood(z, cells), generator.log_likelihood(z.repeat(6, 1), cells)
    )


def test_samples_are_cells_and_seeded(generator: PaperGenerator) -> None:
    z = torch.randn(300, 8)
    samples = generator.decoder.sample(z, torch.Generator().manual_seed(0))
    assert samples.dtype == torch.int64
    assert len(set(SPACE.decode(samples))) > 200
    assert torch.equal(samples, generator.decoder.sample(z, torch.Generator().manual_seed(0)))


def test_training_makes_the_shown_cell_the_likeliest(generator: PaperGenerator, sets: torch.Tensor) -> None:
    """Two kinds of datasets, two cells: the generator learns which goes with which."""
    cells = SPACE.all_vertices()[[11, 500]]
    kinds = torch.stack([sets[0] + 1, sets[0] - 1])
    optimizer = torch.optim.Adam(generator.parameters(), lr=1e-2)
    noise = torch.Generator().manual_seed(0)
    for _ in range(100):
        optimizer.zero_grad()
        generator.loss(kinds, cells, noise)["loss"].backward()
        optimizer.step()
    z = generator.encode(kinds)[0].repeat(50, 1)
    samples = generator.decoder.sample(z, torch.Generator().manual_seed(0), temperature=0.2)
    assert (samples == cells.repeat(50, 1)).all(1).float().mean() > 0.9


def test_distinct_samples_prefer_likely_cells(generator: PaperGenerator) -> None:
    z = torch.randn(1, 8, generator=torch.Generator().manual_seed(2))
    everything = generator.decoder.sample_distinct(z, 20_000, torch.Generator().manual_seed(1), temperature=0.05)[1]
    cells, log_p = generator.decoder.sample_distinct(z, 300, torch.Generator().manual_seed(0), temperature=0.05)
    assert len(set(SPACE.decode(cells))) == 300
    assert log_p.mean() > everything.quantile(0.75)


def test_loss_of_a_code_is_the_loss_of_its_set(
    generator: PaperGenerator, sets: torch.Tensor, cells: torch.Tensor
) -> None:
    seeded = torch.Generator().manual_seed
    of_code = generator.loss_of_code(generator.set_encoder(sets), cells, seeded(0))["loss"]
    torch.testing.assert_close(of_code, generator.loss(sets, cells, seeded(0))["loss"])
