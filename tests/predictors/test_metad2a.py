from __future__ import annotations

import pytest
import torch
from meta_toys import SPACE, checkpoint, image_dataset

from metad2a_plugin import MetaD2A
from metad2a_plugin.data import Task, extract_task
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.models.checkpoint import shipped
from metad2a_plugin.plugins.predictor import Predictor
from metad2a_plugin.plugins.registry import get_predictor
from metad2a_plugin.predictors.metad2a import MetaD2APredictor
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.testing import PredictorConformance, ToySpace

SEARCHER = MetaD2A(checkpoint())


class TestConformance(PredictorConformance):
    def make_space(self) -> SearchSpace:
        return SPACE

    def make(self, space: SearchSpace) -> Predictor:
        return MetaD2APredictor(space, model=SEARCHER)

    def make_task(self, seed: int = 0) -> Task:
        return extract_task(image_dataset(seed=seed + 1, per_class=10), cache_dir=False)


def test_scores_are_the_search_s_accuracies() -> None:
    task = extract_task(image_dataset(), cache_dir=False)
    result = SEARCHER.search(task, top=20)
    scores = MetaD2APredictor(SPACE, SEARCHER).predict(task, result.architectures)
    assert scores.tolist() == pytest.approx([c.accuracy for c in result.candidates], abs=1e-3)


def test_a_task_of_another_encoder_is_refused() -> None:
    with pytest.raises(CheckpointError, match="'default'"):
        MetaD2APredictor(SPACE, SEARCHER).predict(Task(torch.randn(6, 64), torch.arange(6) % 2), [])


def test_another_space_is_refused() -> None:
    with pytest.raises(ConfigError, match="of the space 'nasbench201', not 'toy'"):
        MetaD2APredictor(ToySpace(), SEARCHER)


def test_an_unknown_model() -> None:
    with pytest.raises(CheckpointError, match="no checkpoint 'gone'"):
        MetaD2APredictor(SPACE, "gone")


def test_the_default_is_the_model_named_like_the_space() -> None:
    with pytest.raises(CheckpointError, match="no checkpoint 'toy'"):
        MetaD2APredictor(ToySpace())


@pytest.mark.skipif("nasbench201" not in shipped(), reason="a checkout without the shipped model")
def test_found_by_name_with_the_shipped_model() -> None:
    task = extract_task(image_dataset(), cache_dir=False)
    cells = SPACE.decode(SPACE.all_vertices()[:5])
    scores = get_predictor("metad2a")(SPACE).predict(task, cells)
    assert torch.equal(scores, MetaD2A.from_pretrained("nasbench201").predict(task, cells).mean)
