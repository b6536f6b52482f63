from __future__ import annotations

import importlib.util
import itertools
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from metad2a_plugin.models.generator import PaperGenerator
from metad2a_plugin.models.predictor import PaperPredictor
from metad2a_plugin.spaces.nasbench201.cell import EDGES
from metad2a_plugin.spaces.nasbench201.space import NASBench201

SPACE = NASBench201()


@pytest.fixture(scope="module")
def loop() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "_paper_loop.py"
    spec = importlib.util.spec_from_file_location("_paper_loop", path)
    assert spec is not None and spec.loader is not None
    module = sys.modules["_paper_loop"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def draws() -> torch.Tensor:
    return torch.randn(10, 3, 4, 16, generator=torch.Generator().manual_seed(0))


def test_predicts_what_the_batched_predictor_predicts(loop: ModuleType, draws: torch.Tensor) -> None:
    torch.manual_seed(0)
    predictor = PaperPredictor(feature_dim=16, hidden=20, latent=8).requires_grad_(False)
    cells = SPACE.all_vertices()[:5]
    source = itertools.cycle(draws)
    found = [loop.predict(predictor, lambda: next(source), types) for types in cells.tolist()]
    torch.testing.assert_close(torch.tensor(found), predictor.score(draws, cells).mean(0))


def test_decodes_with_the_batched_generator_s_probabilities(loop: ModuleType, draws: torch.Tensor) -> None:
    torch.manual_seed(0)
    generator = PaperGenerator(feature_dim=16, hidden=12, latent=8).requires_grad_(False)
    cells = SPACE.all_vertices()[:10]
    vertices = iter(cells.T[1:])
    z, _ = generator.encode(draws)
    log_likelihood = torch.zeros(10)

    def true_types(scores: torch.Tensor) -> list[int]:
        types = next(vertices)
        log_likelihood.add_(scores.log_softmax(1).gather(1, types[:, None]).squeeze(1))
        return types.tolist()

    def true_edges(sender: int, vertex: int, scores: torch.Tensor) -> list[bool]:
        truth = (sender, vertex) in EDGES
        log_likelihood.add_(torch.nn.functional.logsigmoid(scores if truth else -scores))
        return [truth] * len(scores)

    graphs = loop.decode(generator, z, 8, true_types, true_edges)
    assert [graph.types for graph in graphs] == cells.tolist()
    assert all(graph.edges == set(EDGES) and graph.is_valid(8) for graph in graphs)
    torch.testing.assert_close(log_likelihood, generator.log_likelihood(z, cells), rtol=1e-4, atol=1e-4)


def test_generates_as_many_different_cells_as_asked(loop: ModuleType, draws: torch.Tensor) -> None:
    torch.manual_seed(0)
    generator = PaperGenerator(feature_dim=16, hidden=12, latent=8).requires_grad_(False)
    source = itertools.cycle(draws)
    cells = loop.generate(generator, lambda: next(source), count=4)
    assert len(set(SPACE.decode(torch.tensor(cells)))) == 4


def test_unconnected_or_unfinished_graphs_are_not_valid(loop: ModuleType) -> None:
    assert loop.Graph([0, 2, 1], {(0, 1), (1, 2)}).is_valid(3)
    assert not loop.Graph([0, 2, 1], {(0, 1), (0, 2)}).is_valid(3)
    assert not loop.Graph([0, 2, 1], {(1, 2), (0, 2)}).is_valid(3)
    assert not loop.Graph([0, 1], {(0, 1)}).is_valid(3)
    assert not loop.Graph([0, 0, 1], {(0, 1), (1, 2)}).is_valid(3)
