"""The scripts that fit models of Once-for-All's networks, on made-up tables of the same form."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from metad2a_plugin.devices.mobilenetv3 import MobileNetV3LatencyModel
from metad2a_plugin.predictors.imagenet import MEASURED, ImageNetPredictor
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.mobilenetv3.layout import RESOLUTIONS
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space

SPACE = MobileNetV3Space()
COLUMNS = ("one_1_ms", "two_32_ms")


def written(path: Path, columns: str, sides: list[int], measure: Callable[[Architecture, int], str]) -> None:
    rng = random.Random(len(sides))
    lines = [f"ks,e,d,r,{columns}"]
    for side in sides:
        network = SPACE.sample(rng)
        config = SPACE.to_config(network)
        said = ["-".join(map(str, config[k])) for k in ("ks", "e", "d")]
        lines.append(",".join([*said, str(side), measure(network, side)]))
    path.write_bytes(gzip.compress("\n".join(lines).encode()))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy") / "ofa"
    folder.mkdir()

    def top1(network: Architecture, side: int) -> str:
        return f"{100 - 1000 / (SPACE.cost(network, input_size=side).flops ** 0.6):.3f}"

    def latency(network: Architecture, side: int) -> str:
        depth, macs = sum(SPACE.to_config(network)["d"]), SPACE.cost(network, input_size=side).flops
        return f"{5 + depth:.3f},{1 + macs / 100:.3f}"

    written(folder / "imagenet_top1_w1.0_r224.csv.gz", "top1", [224] * 200, top1)
    series = [128] * 60 + [160] * 50 + [192] * 50 + [160] * 10
    written(folder / "imagenet_top1_w1.0_r128_160_192.csv.gz", "top1", series * 2, top1)
    written(folder / "latency_12_devices.csv.gz", ",".join(COLUMNS), [*RESOLUTIONS] * 24, latency)
    generator = torch.Generator().manual_seed(0)
    state = {}
    for i, (inputs, outputs) in enumerate(((128, 16), (16, 16), (16, 16), (16, 1))):
        state[f"{2 * i}.weight"] = torch.randn(outputs, inputs, generator=generator)
        state[f"{2 * i}.bias"] = torch.zeros(outputs)
    torch.save(state, folder / "official_accuracy_predictor.pth")
    return folder.parent


def test_imagenet(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import train_imagenet

    options = ["--data", str(data), "--out", str(tmp_path / "model"), "--results", str(tmp_path), "--seeds", "2"]
    monkeypatch.setattr("sys.argv", ["train_imagenet.py", *options])
    train_imagenet.main()
    table = (tmp_path / "imagenet.md").read_text()
    assert "Aim: a Spearman of at least 0.95 at 224 px, met" in table and table in capsys.readouterr().out
    results = json.loads((tmp_path / "imagenet.json").read_text())["predictors"]
    assert list(results) == ["ours", "ours, seeds", "OFA's", "OFA's, level put right", "layers", "MACs"]
    assert len(results["ours, seeds"]["224"]["spearman"]) == 2
    assert sum(results["ours"][str(r)]["rows"][0] for r in MEASURED) == 108
    assert results["MACs"]["224"]["spearman"][0] > 0.99 and abs(results["OFA's"]["224"]["spearman"][0]) < 0.9
    predictor = ImageNetPredictor(SPACE, directory=tmp_path / "model")
    network = SPACE.sample(random.Random(1))
    assert predictor.predict(None, [network]).mean.item() == pytest.approx(
        100 - 1000 / SPACE.cost(network).flops ** 0.6, abs=0.5
    )
    card = (tmp_path / "model" / "README.md").read_text()
    assert "540 measured accuracies of 540 networks" in card and "| 224 |" in card


def test_a_series_begins_at_128_after_192() -> None:
    import train_imagenet

    sides = torch.tensor([128, 160, 128, 192, 160, 128, 160, 192, 192, 128])
    assert train_imagenet.runs(sides) == [0, 0, 0, 0, 0, 1, 1, 1, 1, 2]


def test_the_level_of_a_series_is_not_the_network_s(data: Path) -> None:
    import train_imagenet

    table = train_imagenet.load(data / "ofa")
    assert table.places == [(128, 0), (128, 1), (160, 0), (160, 1), (192, 0), (192, 1), (224, 0)]
    shifted = table.rows.values.clone()
    at = table.series == 1
    shifted[at] = 100 - (100 - shifted[at]) * 1.02  # all errors of one series are 2% higher
    moved = table._replace(rows=table.rows._replace(values=shifted))
    every, names = torch.arange(len(shifted)), list(table.blocks)
    weights, levels = train_imagenet.fit(table, every, names, 1.0)
    other, moved_levels = train_imagenet.fit(moved, every, names, 1.0)
    assert torch.allclose(weights, other, atol=1e-5)
    assert (moved_levels - levels)[1].exp().item() == pytest.approx(1.02, abs=1e-3)


def test_rows_of_one_network_stay_together() -> None:
    from _ofa_data import split_networks

    rng = random.Random(0)
    vertices = SPACE.encode([SPACE.sample(rng) for _ in range(30)]).repeat(3, 1)
    large, small = split_networks(vertices, 0.2, seed=0)
    assert len(large) == 72 and len(small) == 18 and sorted([*large.tolist(), *small.tolist()]) == list(range(90))
    assert not {tuple(v) for v in vertices[large].tolist()} & {tuple(v) for v in vertices[small].tolist()}


def test_latency(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import train_latency_mobilenetv3

    options = ["--data", str(data), "--out", str(tmp_path), "--seeds", "2"]
    monkeypatch.setattr("sys.argv", ["train_latency_mobilenetv3.py", *options])
    train_latency_mobilenetv3.main()
    model = MobileNetV3LatencyModel.load(tmp_path)
    assert model.devices == ("one_1", "two_32") and model.batch_size("two_32") == 32
    assert all(model.error(device)["mape"] < 0.1 and model.error(device)["networks"] == 120 for device in model.devices)
    network = SPACE.sample(random.Random(1))
    [took] = model.predict("two_32", SPACE.encode([network]), 160).tolist()
    assert took == pytest.approx(1 + SPACE.cost(network, input_size=160).flops / 100, rel=0.05)
    card = (tmp_path / "README.md").read_text()
    assert "480 training and 120 held-out" in card and "| two_32 |" in card
