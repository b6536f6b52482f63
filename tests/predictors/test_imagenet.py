from __future__ import annotations

import csv
import gzip
import json
import random
import shutil
from pathlib import Path

import pytest
import torch

from metad2a_plugin.data import Task
from metad2a_plugin.errors import ArchitectureError, CheckpointError, ConfigError
from metad2a_plugin.meta.metrics import spearman
from metad2a_plugin.plugins.predictor import Predictor
from metad2a_plugin.plugins.registry import get_predictor
from metad2a_plugin.predictors.imagenet import (
    MEASURED,
    ImageNetModel,
    ImageNetPredictor,
    feature_blocks,
    interpolated,
)
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.spaces.mobilenetv3.layout import RESOLUTIONS
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
from metad2a_plugin.testing import PredictorConformance, ToySpace

SPACE = MobileNetV3Space()
RNG = random.Random(0)
NETWORKS = [SPACE.sample(RNG) for _ in range(100)]
SMALL, LARGE = (SPACE.parse("+".join(["-".join([layer] * n)] * 5)) for layer, n in (("k3e3", 2), ("k7e6", 4)))
FOLDER = ImageNetModel.folder


class TestConformance(PredictorConformance):
    def make_space(self) -> SearchSpace:
        return SPACE

    def make(self, space: SearchSpace) -> Predictor:
        return ImageNetPredictor(space, resolution=160)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "imagenet"))


def test_found_by_name_and_needs_no_task() -> None:
    kind = get_predictor("ofa-imagenet")
    assert kind is ImageNetPredictor and not kind.needs_task
    scores = kind(SPACE).predict(None, NETWORKS).mean
    assert scores.equal(kind(SPACE).predict(Task(torch.randn(6, 64), torch.arange(6) % 2), NETWORKS).mean)
    assert (scores > 70).all() and (scores < 79).all()


def test_larger_networks_and_images_are_better() -> None:
    networks = [*NETWORKS, SMALL, LARGE]
    rising = torch.stack([ImageNetPredictor(SPACE, r).predict(None, networks).mean for r in RESOLUTIONS])
    assert (rising.diff(dim=0) > 0).all()
    assert rising[:, -2].equal(rising.amin(1)) and (rising[:, -1] > rising[:, :-2].mean(1)).all()


def test_encoded_networks_have_the_same_accuracy() -> None:
    predictor = ImageNetPredictor(SPACE, resolution=192)
    encoded = predictor.predict(None, SPACE.encode(NETWORKS)).mean
    assert encoded.equal(predictor.predict(None, NETWORKS).mean)


def test_the_interval_is_around_the_prediction() -> None:
    for resolution in (128, 144, 224):
        predictor = ImageNetPredictor(SPACE, resolution)
        found = predictor.predict(None, NETWORKS)
        (low, high), mean = found.interval(), found.mean
        assert torch.allclose((low + high) / 2, mean, atol=1e-4) and (high > low).all()
        assert 0.05 < float((high - low).mean()) / 2 < 1


def test_linear_between_measured_resolutions() -> None:
    values = [interpolated([1.0, 2.0, 4.0, 8.0], r) for r in (128, 144, 160, 176, 192, 208, 224)]
    assert values == [1, 1.5, 2, 3, 4, 6, 8]


def test_features_know_no_layer_beyond_the_depth() -> None:
    blocks = feature_blocks(SPACE.encode([SMALL, LARGE]), 224)
    alone = blocks["layers and depths"]
    assert alone.sum(1).tolist() == [2 * 10 + 5, 2 * 20 + 5]
    assert all(block.dtype == torch.float64 and block.isfinite().all() for block in blocks.values())


@pytest.mark.parametrize("resolution", [96, 130, 228, 256, 0, True, "224", None])
def test_other_resolutions_are_refused(resolution: object) -> None:
    with pytest.raises(ConfigError, match="128 to 224 pixels in steps of 4, not of"):
        ImageNetPredictor(SPACE, resolution)  # type: ignore[arg-type]


def test_other_spaces_are_refused() -> None:
    with pytest.raises(ConfigError, match="known for the space 'mobilenetv3', not for 'toy'"):
        ImageNetPredictor(ToySpace())
    with pytest.raises(ArchitectureError):
        ImageNetPredictor(SPACE).predict(None, [ToySpace().sample(random.Random(0))])


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_and_damaged_files(copy: Path, name: str) -> None:
    whole = (copy / name).read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"[]", b"{}", b'{"half_width": [1, 1, 1, 0]}'):
        (copy / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=r"model of ImageNet accuracy.*train_imagenet\.py again"):
            ImageNetPredictor(SPACE, directory=copy)
    (copy / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name}.*expected config.json and model.safetensors"):
        ImageNetPredictor(SPACE, directory=copy)


def test_the_shipped_files_are_small_and_hold_no_table() -> None:
    files = list(FOLDER.iterdir())
    assert {path.name for path in files} == {"model.safetensors", "config.json", "README.md"}
    assert sum(path.stat().st_size for path in files) < 20_000


def test_the_recorded_scores_are_those_of_the_shipped_weights(data_root: Path) -> None:
    names = ("imagenet_top1_w1.0_r224.csv.gz", "imagenet_top1_w1.0_r128_160_192.csv.gz")
    rows = []
    for name in names:
        if not (data_root / "ofa" / name).exists():
            pytest.skip(f"no {name}")
        with gzip.open(data_root / "ofa" / name, "rt", newline="") as stream:
            rows += list(csv.DictReader(stream))
    configs = [{k: list(map(int, row[k].split("-"))) for k in ("ks", "e", "d")} for row in rows]
    vertices = SPACE.encode([SPACE.from_config(config)[0] for config in configs])
    side = torch.tensor([int(row["r"]) for row in rows])
    top1 = torch.tensor([float(row["top1"]) for row in rows])
    _, network = vertices.unique(dim=0, return_inverse=True)
    order = torch.randperm(int(network.max()) + 1, generator=torch.Generator().manual_seed(0))
    held_out = torch.isin(network, order[: round(len(order) / 5)])
    config = json.loads((FOLDER / "config.json").read_text())
    for k, resolution in enumerate(MEASURED):
        predictor, at = ImageNetPredictor(SPACE, resolution), held_out & (side == resolution)
        predicted, recorded = predictor.predict(None, vertices[at]).mean, config["held_out"][str(resolution)]
        assert int(at.sum()) == recorded["rows"]
        assert spearman(predicted, top1[at]) == pytest.approx(recorded["spearman"], abs=1e-4)
        off = (predicted - top1[at]).abs()
        assert off.mean().item() == pytest.approx(recorded["error"], abs=1e-3)
        covered = (off <= predictor.model.half_width(resolution)).double().mean().item()
        assert covered == pytest.approx(config["coverage"][k], abs=0.006) and 0.85 < covered < 0.95
    assert config["held_out"]["224"]["spearman"] >= 0.95
