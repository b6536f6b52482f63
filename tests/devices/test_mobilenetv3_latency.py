from __future__ import annotations

import csv
import gzip
import json
import random
import shutil
from pathlib import Path

import pytest
import torch

from metad2a_plugin.devices.mobilenetv3 import MobileNetV3LatencyModel
from metad2a_plugin.errors import ArchitectureError, CheckpointError, ConfigError
from metad2a_plugin.predictors.imagenet import ImageNetPredictor
from metad2a_plugin.spaces.mobilenetv3.layout import RESOLUTIONS
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space

SPACE = MobileNetV3Space()
SMALL, LARGE = (SPACE.parse("+".join(["-".join([layer] * n)] * 5)) for layer, n in (("k3e3", 2), ("k7e6", 4)))
RNG = random.Random(0)
VERTICES = SPACE.encode([SPACE.sample(RNG) for _ in range(200)])
FOLDER = MobileNetV3LatencyModel.folder

PUBLISHED = [
    (20.3, 76.0, 176, "k5e3-k3e3+k3e6-k3e6-k3e4+k7e4-k7e4-k5e3+k5e6-k5e4-k3e4+k3e6-k3e6-k3e4"),
    (23.1, 76.8, 192, "k5e3-k3e3+k3e4-k3e4-k3e4+k5e4-k3e4-k5e3-k3e3+k7e6-k5e4-k3e4+k3e6-k3e6-k3e4-k3e3"),
    (28.6, 77.9, 208, "k5e3-k3e3+k3e4-k3e4-k3e4+k5e4-k3e4-k3e3-k3e6+k7e4-k5e4-k3e4-k5e4+k3e6-k3e6-k3e6"),
]
"""Networks that HELP publishes: milliseconds on titan_rtx_64, ImageNet accuracy, resolution, architecture."""


@pytest.fixture(scope="module")
def model() -> MobileNetV3LatencyModel:
    return MobileNetV3LatencyModel.load()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "latency"))


def test_twelve_settings(model: MobileNetV3LatencyModel) -> None:
    assert len(model.devices) == 12
    assert {model.batch_size(device) for device in model.devices} == {1, 32, 64}
    assert all(model.unit(device) == "ms" for device in model.devices)


def test_positive_numbers_at_every_resolution(model: MobileNetV3LatencyModel) -> None:
    for device in model.devices:
        for resolution in RESOLUTIONS:
            values = model.predict(device, VERTICES, resolution)
            assert values.shape == (200,) and values.dtype == torch.float32 and (values > 0).all()


def test_larger_networks_and_images_take_longer(model: MobileNetV3LatencyModel) -> None:
    vertices = SPACE.encode([SMALL, LARGE])
    for device in model.devices:
        small, large = model.predict(device, vertices).tolist()
        assert large > small, device
        if model.batch_size(device) > 1:
            assert model.predict(device, vertices, 128)[1] < large, device


def test_a_network_is_the_sum_of_its_layers(model: MobileNetV3LatencyModel) -> None:
    """So equal layers beyond a stage's depth, which are none, change nothing, and one layer more adds its time."""
    deeper = SPACE.parse("k3e3-k3e3-k5e4+" + "+".join(["k3e3-k3e3"] * 4))
    wider = SPACE.parse("+".join(["k3e3-k3e3"] * 4) + "+k3e3-k3e6")
    both = SPACE.parse("k3e3-k3e3-k5e4+" + "+".join(["k3e3-k3e3"] * 3) + "+k3e3-k3e6")
    base, a, b, ab = model.predict("v100_64", SPACE.encode([SMALL, deeper, wider, both])).tolist()
    assert a > base and a + b - base == pytest.approx(ab, rel=1e-5)


def test_a_prediction_does_not_depend_on_its_neighbours(model: MobileNetV3LatencyModel) -> None:
    together = model.predict("v100_1", VERTICES[:9], 160)
    assert together.tolist() == [model.predict("v100_1", row[None], 160).item() for row in VERTICES[:9]]
    assert model.predict("v100_1", VERTICES[:0]).shape == (0,)


def test_a_bound_keeps_a_margin(model: MobileNetV3LatencyModel) -> None:
    for device in model.devices:
        predicted = model.predict(device, VERTICES, 192)
        limit = 1.3 * predicted.median().item()
        mask = model.bound_mask(device, limit, VERTICES, 192)
        margin = 1 + model.config["devices"][device]["margin"]
        assert margin > 1 and mask.equal(predicted * margin <= limit) and mask.any()
        assert not model.bound_mask(device, 1e-3, VERTICES).any()


@pytest.mark.parametrize(("latency", "top1", "resolution", "text"), PUBLISHED)
def test_networks_published_with_their_latency(
    model: MobileNetV3LatencyModel, latency: float, top1: float, resolution: int, text: str
) -> None:
    network = SPACE.parse(text)
    assert model.predict("titan_rtx_64", SPACE.encode([network]), resolution).item() == pytest.approx(latency, rel=0.03)
    # Two points above subnets of width 1.0: so it is most likely those of width 1.2 that were measured.
    at_width_one = ImageNetPredictor(SPACE, resolution).predict(None, [network]).mean.item()
    assert top1 - at_width_one == pytest.approx(2, abs=0.3)


@pytest.mark.parametrize("resolution", [96, 130, 228, 256, 0, True, "224", 224.5])
def test_resolutions_that_were_not_measured(model: MobileNetV3LatencyModel, resolution: object) -> None:
    with pytest.raises(ConfigError, match="128 to 224 pixels in steps of 4, not of"):
        model.predict("v100_1", VERTICES, resolution)  # type: ignore[arg-type]


def test_an_unknown_device_is_named_with_the_nearest(model: MobileNetV3LatencyModel) -> None:
    for call in (model.unit, model.error, model.batch_size, lambda name: model.predict(name, VERTICES)):
        with pytest.raises(ConfigError, match=r"v100_46.*did you mean 'v100_64'"):
            call("v100_46")


@pytest.mark.parametrize("limit", [0, -3.0, float("nan"), "20", True, None])
def test_a_limit_must_be_a_positive_number(model: MobileNetV3LatencyModel, limit: object) -> None:
    with pytest.raises(ConfigError, match="positive number of ms"):
        model.bound_mask("v100_1", limit, VERTICES)  # type: ignore[arg-type]


def test_rows_that_are_no_network(model: MobileNetV3LatencyModel) -> None:
    with pytest.raises(ArchitectureError, match="row 0"):
        model.predict("v100_1", torch.zeros(2, 22, dtype=torch.int64))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_and_damaged_files(copy: Path, name: str) -> None:
    whole = (copy / name).read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"[]", b"{}"):
        (copy / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=r"train_latency_mobilenetv3\.py again"):
            MobileNetV3LatencyModel.load(copy)
    (copy / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name}.*expected config.json and model.safetensors"):
        MobileNetV3LatencyModel.load(copy)


@pytest.mark.parametrize("entry", [{"unit": "mJ"}, {"batch_size": 0}, {"margin": -1}, {"margin": "x"}, {"error": {}}])
def test_a_config_that_does_not_fit(copy: Path, entry: dict[str, object]) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["devices"]["v100_1"] |= entry
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="damaged or of another kind"):
        MobileNetV3LatencyModel.load(copy)


def test_the_shipped_files_are_small_and_hold_no_table() -> None:
    files = list(FOLDER.iterdir())
    assert {path.name for path in files} == {"model.safetensors", "config.json", "README.md"}
    assert sum(path.stat().st_size for path in files) < 50_000


def test_the_recorded_errors_are_those_of_the_shipped_weights(
    model: MobileNetV3LatencyModel, data_root: Path
) -> None:
    path = data_root / "ofa" / "latency_12_devices.csv.gz"
    if not path.exists():
        pytest.skip(f"no {path}")
    with gzip.open(path, "rt", newline="") as stream:
        rows = list(csv.DictReader(stream))
    configs = [{k: list(map(int, row[k].split("-"))) for k in ("ks", "e", "d")} for row in rows]
    vertices = SPACE.encode([SPACE.from_config(config)[0] for config in configs])
    resolution = torch.tensor([int(row["r"]) for row in rows])
    _, network = vertices.unique(dim=0, return_inverse=True)
    order = torch.randperm(int(network.max()) + 1, generator=torch.Generator().manual_seed(0))
    held_out = torch.isin(network, order[: len(order) // 5])
    for device in model.devices:
        errors = []
        for side in RESOLUTIONS:
            at = (held_out & (resolution == side)).nonzero()[:, 0]
            measured = torch.tensor([float(rows[i][f"{device}_ms"]) for i in at.tolist()])
            errors.append((model.predict(device, vertices[at], side) - measured).abs() / measured)
        error, recorded = torch.cat(errors), model.error(device)
        assert len(error) == recorded["networks"]
        assert error.mean().item() == pytest.approx(recorded["mape"], abs=1e-4)
        assert error.quantile(0.95).item() == pytest.approx(recorded["p95"], abs=1e-3)
        assert recorded["mape"] < 0.09 and recorded["spearman"] > 0.7
