"""Levels that are guesses: less data is no surer, and labels that nothing explains get none."""

from __future__ import annotations

import json
import random
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metad2a_plugin import MetaD2A, load_dataset
from metad2a_plugin.cli.main import app
from metad2a_plugin.data import ImageDataset, Task, extract_task
from metad2a_plugin.data.pixels import DatasetWarning
from metad2a_plugin.search.scoring import score_architectures
from metad2a_plugin.spaces.base import random_live


@pytest.fixture(scope="module")
def searchers() -> dict[str, MetaD2A]:
    return {name: MetaD2A.from_pretrained(name) for name in ("nasbench201", "mobilenetv3")}


def noise(images: int, classes: int, seed: int = 0) -> ImageDataset:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(images) % classes)
    return load_dataset((rng.integers(0, 256, (images, 32, 32, 3), dtype=np.uint8), labels), name="noise")


def stripes(images: int, classes: int) -> ImageDataset:
    """Each class has stripes of another direction, under noise."""
    rng = np.random.default_rng(0)
    labels = np.arange(images) % classes
    x, y = np.meshgrid(np.arange(32), np.arange(32))
    angle = np.pi * labels[:, None, None] / classes
    wave = np.sin(x * np.cos(angle) + y * np.sin(angle) + rng.uniform(0, 6, (images, 1, 1)))
    pixels = 128 + 50 * wave[..., None] + rng.normal(0, 40, (images, 32, 32, 3))
    return load_dataset((pixels.clip(0, 255).astype(np.uint8), labels), name="stripes")


SMALL: dict[str, dict[str, Any]] = {"nasbench201": {}, "mobilenetv3": {"candidates": 30, "refine": 1}}


@pytest.mark.parametrize("model", ["nasbench201", "mobilenetv3"])
def test_noise_gets_no_level_and_a_warning(searchers: dict[str, MetaD2A], model: str) -> None:
    with pytest.warns(DatasetWarning, match="nothing in the images of 'noise' explains their labels"):
        result = searchers[model].search(noise(200, 4), top=3, cache_dir=False, **SMALL[model])
    assert result.level_unknown is not None and "there is no level" in result.level_unknown
    plain = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert plain["level_unknown"] == result.level_unknown
    assert [one["accuracy"] for one in plain["candidates"]] == [None] * 3
    scores = [one["score"] for one in plain["candidates"]]
    assert scores == sorted(scores, reverse=True) and all(c.accuracy is None for c in result.candidates)


def test_of_ten_images_is_said_that_they_are_too_few(searchers: dict[str, MetaD2A]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", DatasetWarning)
        result = searchers["nasbench201"].search(noise(10, 2), top=1, cache_dir=False)
    assert result.best.accuracy is None and "too few to tell" in str(result.level_unknown)


def test_explained_labels_far_from_meta_training_get_the_order_only(searchers: dict[str, MetaD2A]) -> None:
    result = searchers["nasbench201"].search(stripes(120, 3), top=2, cache_dir=False)
    assert result.far and "unlike those of meta-training" in str(result.level_unknown)
    assert result.best.accuracy is None and result.best.interval is not None


def test_tables_show_the_order_only(tmp_path: Path, capsys: Any, recwarn: pytest.WarningsRecorder) -> None:
    rng, file = np.random.default_rng(0), tmp_path / "noise.npz"
    np.savez(file, images=rng.integers(0, 256, (120, 16, 16, 3), dtype=np.uint8), labels=rng.permutation(120) % 3)
    front = tmp_path / "front.csv"
    for command in (["search", "--top", "2"], ["pareto", "--out", str(front)], ["score", "--random", "2"]):
        given = ["--dataset", str(file)] if command[0] == "score" else [str(file)]
        app([command[0], *given, *command[1:]], standalone_mode=False)
        text = " ".join(capsys.readouterr().out.split())
        assert "Nothing in the images explains their labels" in text and " - " in text
        assert "75." not in text.split("|")[0]
    assert front.read_text().startswith("architecture,score,")


def test_scores_of_given_networks_say_so(searchers: dict[str, MetaD2A]) -> None:
    space = searchers["nasbench201"].space
    cells = space.decode(space.all_vertices()[[100, 9000]])
    with pytest.warns(DatasetWarning, match="explains their labels"):
        scores = score_architectures(space, cells, "metad2a", noise(120, 3))
    assert "Nothing in the images" in str(scores.level_unknown) and scores.to_dict()["level_unknown"]
    assert score_architectures(space, cells, "params").level_unknown is None


def nested(searcher: MetaD2A, task: Task, seeds: int = 4) -> list[tuple[float, float]]:
    """Distance and standard deviation of ever larger parts of a task, means over draws and random networks."""
    rng = random.Random(0)
    cells = searcher.space.encode([random_live(searcher.space, rng) for _ in range(20)])
    found = []
    for images, classes in ((5, 2), (5, None), (20, None), (80, None)):
        values = []
        for seed in range(seeds):
            draw = np.random.default_rng(seed)
            order = draw.permutation(len(task.labels))
            chosen = []
            for kind in draw.permutation(task.num_classes)[:classes]:
                chosen.append(order[task.labels.numpy()[order] == kind][:images])
            index = torch.from_numpy(np.concatenate(chosen))
            labels = task.labels[index].unique(return_inverse=True)[1]
            part = Task(task.features[index], labels, encoder=task.encoder, images=len(index))
            # Not intervals: these are cut at 0 and 100, and so narrower where a mean is near either.
            std = float(searcher.predict(part, cells).std.mean())
            values.append((searcher.checkpoint.predictor.distance(part), std))
        found.append(tuple(np.mean(values, axis=0)))
    return found


@pytest.mark.parametrize("model", ["nasbench201", "mobilenetv3"])
def test_a_part_of_a_dataset_is_no_nearer_and_no_surer(searchers: dict[str, MetaD2A], model: str) -> None:
    found = nested(searchers[model], extract_task(stripes(480, 6), cache_dir=False))
    assert found[1][0] <= found[0][0], "of fewer classes"
    for smaller, larger in pairwise(found[1:]):
        assert larger[0] <= 1.05 * smaller[0] and larger[1] <= 1.05 * smaller[1]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["nasbench201", "mobilenetv3"])
@pytest.mark.parametrize("name", ["intel_scenes", "pacs_photo", "weather", "grocery_coarse"])
def test_parts_of_real_datasets_are_no_nearer_and_no_surer(
    searchers: dict[str, MetaD2A], data_root: Path, model: str, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    searcher = searchers[model]
    # Both models read the same features.
    task = searcher.task(data_root / "images" / f"{name}.zip", cache_dir=tmp_path_factory.getbasetemp() / "features")
    for smaller, larger in pairwise(nested(searcher, task)):
        assert larger[0] <= 1.05 * smaller[0] and larger[1] <= 1.05 * smaller[1]
    assert "explains" not in str(searcher.predictor.level_unknown(task))
