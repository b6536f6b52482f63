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
    scores = MetaD2APredictor(SPACE, SEARCHER).predict(task, result.architectures).mean
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
    scores = get_predictor("metad2a")(SPACE).predict(task, cells).mean
    assert torch.equal(scores, MetaD2A.from_pretrained("nasbench201").predict(task, cells).mean)


def test_as_another_predictor_it_says_what_a_search_says_by_itself() -> None:
    task = extract_task(image_dataset(), cache_dir=False)
    result, plain = (SEARCHER.search(task, top=3, predictor=p) for p in (MetaD2APredictor(SPACE, SEARCHER), None))
    assert (result.quantity, result.unit, result.scale) == ("accuracy", "%", plain.scale)
    assert result.distance == plain.distance is not None
    assert [(c.accuracy, c.interval) for c in result.candidates] == [(c.accuracy, c.interval) for c in plain.candidates]


def test_a_task_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Task] = []
    sets = Task.sets
    monkeypatch.setattr(Task, "sets", lambda self, *args, **options: asked.append(self) or sets(self, *args, **options))
    predictor, task = MetaD2APredictor(SPACE, SEARCHER), extract_task(image_dataset(), cache_dir=False)
    first = predictor.predict(task, SPACE.all_vertices()[:3])
    once = len(asked)
    for _ in range(3):
        assert predictor.predict(task, SPACE.all_vertices()[:3]).mean.equal(first.mean)
    assert len(asked) == once
    other = extract_task(image_dataset(seed=2), cache_dir=False)
    assert not predictor.predict(other, SPACE.all_vertices()[:3]).mean.equal(first.mean)
    assert [one is task for one in asked] == [True] * once + [False] * once


def test_a_dataset_is_read_once_though_two_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import metad2a_plugin.search.metad2a as module

    read: list[object] = []
    load = module.load_dataset
    monkeypatch.setattr(module, "load_dataset", lambda source: read.append(source) or load(source))
    images = image_dataset(per_class=6)
    SEARCHER.search(images, predictor="naswot", candidates=2, top=1, progress=False)
    assert read == [images]
