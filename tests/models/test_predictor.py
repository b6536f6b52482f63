from __future__ import annotations

import pytest
import torch

from metad2a_plugin.models.predictor import PaperPredictor
from metad2a_plugin.spaces.nasbench201.space import NASBench201

CELLS = NASBench201().all_vertices()


@pytest.fixture(scope="module")
def predictor() -> PaperPredictor:
    torch.manual_seed(0)
    return PaperPredictor(feature_dim=16, hidden=20, latent=8)


@pytest.fixture(scope="module")
def sets() -> torch.Tensor:
    return torch.randn(5, 3, 4, 16, generator=torch.Generator().manual_seed(1))


def test_the_paper_configuration_has_the_release_size_without_its_unused_parts() -> None:
    assert sum(p.numel() for p in PaperPredictor().parameters()) == 4_020_361 - 582_256


def test_every_pair_at_once_equals_one_pair_at_a_time(predictor: PaperPredictor, sets: torch.Tensor) -> None:
    cells = CELLS[:700]
    scores = predictor.score(sets, cells)
    assert scores.shape == (5, 700)
    for d in range(5):
        torch.testing.assert_close(scores[d], predictor(sets[d].expand(700, -1, -1, -1), cells))


def test_batch_of_one(predictor: PaperPredictor, sets: torch.Tensor) -> None:
    assert predictor(sets[:1], CELLS[:1]).shape == (1,)
    assert predictor.score(sets[:1], CELLS[:1]).shape == (1, 1)


def test_scores_depend_on_dataset_and_architecture(predictor: PaperPredictor, sets: torch.Tensor) -> None:
    scores = predictor.score(sets, CELLS[:50])
    assert scores.std(0).min() > 0
    assert scores.std(1).min() > 0


def test_gradient_reaches_every_parameter(predictor: PaperPredictor, sets: torch.Tensor) -> None:
    model = PaperPredictor(feature_dim=16, hidden=20, latent=8).double()
    (model(sets.double(), CELLS[:5]) - torch.randn(5).double()).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        # A bias on the keys shifts all attention logits of a query alike: softmax takes no notice.
        if not name.endswith("fc_k.bias"):
            assert parameter.grad.abs().max() > 1e-9, name
