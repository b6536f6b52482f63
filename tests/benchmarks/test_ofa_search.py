"""The benchmark of searches within FLOPs bounds, in small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space

SPACE = MobileNetV3Space()


@pytest.fixture
def data(toy_data: Path) -> Path:
    """With a judge of random weights."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for i, (inputs, outputs) in enumerate(((128, 16), (16, 16), (16, 16), (16, 1))):
        state[f"{2 * i}.weight"] = torch.randn(outputs, inputs, generator=generator)
        state[f"{2 * i}.bias"] = torch.zeros(outputs)
    (toy_data / "ofa").mkdir(exist_ok=True)
    torch.save(state, toy_data / "ofa" / "official_accuracy_predictor.pth")
    return toy_data


@pytest.mark.slow
def test_searches_are_compared_and_finished_ones_kept(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    import ofa_search

    monkeypatch.setattr(ofa_search, "FEW", 100)
    monkeypatch.setattr(ofa_search, "MANY", 300)
    options = ["--data", str(data), "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs"), "--seeds", "2"]
    options += ["--bounds", "220", "300", "--random", "150", "--images", "clothing10"]
    monkeypatch.setattr("sys.argv", ["ofa_search.py", *options])
    ofa_search.main()
    text = (tmp_path / "out" / "ofa_search.md").read_text()
    assert text in capsys.readouterr().out and "2 seeds each" in text
    assert "generated for clothing10" in text and "| 300 |" in text and ("≥ 0 met" in text or "≥ 0 missed" in text)
    results = json.loads((tmp_path / "out" / "ofa_search.json").read_text())
    for name, by_bound in results["runs"].items():
        assert list(by_bound) == ["220", "300"] and all(len(runs) == 2 for runs in by_bound.values())
        for bound, runs in by_bound.items():
            assert all(run["flops"] <= float(bound) for run in runs), name
    queries = {name: by_bound["220"][0]["queries"] for name, by_bound in results["runs"].items()}
    assert queries[ofa_search.OURS] == 1000 and queries[ofa_search.EVOLUTION] == 300
    assert (tmp_path / "out" / "ofa_search.png").stat().st_size > 10_000

    def refuse(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(ofa_search, "judge", refuse)
    ofa_search.main()
    assert (tmp_path / "out" / "ofa_search.md").read_text() == text


def test_the_judge_is_ofa_s_network_on_ofa_s_features(data: Path) -> None:
    from _ofa_data import official

    tensors = list(torch.load(data / "ofa" / "official_accuracy_predictor.pth", weights_only=True).values())
    network = SPACE.parse("k3e3-k5e4+k7e6-k3e3-k3e3+k3e3-k3e3+k3e3-k3e3+k3e3-k3e3-k3e3-k3e3")
    x = torch.zeros(128)
    for i, layer in enumerate(SPACE.layers(network)):
        for j, (kernel, expand) in enumerate(layer):
            x[3 * (4 * i + j) + (3, 5, 7).index(kernel)] = 1
            x[60 + 3 * (4 * i + j) + (3, 4, 6).index(expand)] = 1
    x[120 + (192 - 112) // 16] = 1
    for weight, bias in zip(tensors[:-2:2], tensors[1:-2:2], strict=True):
        x = (weight @ x + bias).relu()
    expected = 100 * float(tensors[-2] @ x + tensors[-1])
    [judged] = official(data / "ofa", SPACE.encode([network]), torch.tensor([192])).tolist()
    assert judged == pytest.approx(expected, rel=1e-5)
