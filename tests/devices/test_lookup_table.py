from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest
import torch

from metad2a_plugin.devices.lookup_table import LookUpTable
from metad2a_plugin.errors import ArchitectureError, ConfigError, MissingExtraError
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
from metad2a_plugin.testing import ToySpace

SPACE = MobileNetV3Space()
SMALL = SPACE.parse("+".join(["k3e3-k3e3"] * 5))
WIDER = SPACE.parse("k3e3-k3e3+k5e3-k3e3+k3e3-k3e3+k3e3-k3e3+k3e3-k3e3-k3e6")

# The layers of SMALL at width 1.2 and 32 pixels, in milliseconds that binary fractions hold exactly.
FIXED = {
    "Conv-input:32x32x3-output:16x16x24": 0.5,
    "expanded_conv-input:16x16x24-output:16x16x24-expand:24-kernel:3-stride:1-idskip:1-se:0-hs:0": 0.25,
    "Conv_1-input:1x1x192-output:1x1x1152": 1.0,
    "AvgPool2D-input:1x1x1152-output:1x1x1152": 0.125,
    "Conv_2-input:1x1x1152-output:1x1x1536": 2.0,
    "Logits-input:1x1x1536-output:1000": 4.0,
}
FIRST = "expanded_conv-input:8x8x32-output:4x4x48-expand:96-kernel:{}-stride:2-idskip:0-se:1-hs:0"
LAYERS = {
    "expanded_conv-input:16x16x24-output:8x8x32-expand:72-kernel:3-stride:2-idskip:0-se:0-hs:0": 8.0,
    "expanded_conv-input:8x8x32-output:8x8x32-expand:96-kernel:3-stride:1-idskip:1-se:0-hs:0": 16.0,
    FIRST.format(3): 32.0,
    "expanded_conv-input:4x4x48-output:4x4x48-expand:144-kernel:3-stride:1-idskip:1-se:1-hs:0": 64.0,
    "expanded_conv-input:4x4x48-output:2x2x96-expand:144-kernel:3-stride:2-idskip:0-se:0-hs:1": 128.0,
    "expanded_conv-input:2x2x96-output:2x2x96-expand:288-kernel:3-stride:1-idskip:1-se:0-hs:1": 256.0,
    "expanded_conv-input:2x2x96-output:2x2x136-expand:288-kernel:3-stride:1-idskip:0-se:1-hs:1": 512.0,
    "expanded_conv-input:2x2x136-output:2x2x136-expand:408-kernel:3-stride:1-idskip:1-se:1-hs:1": 1024.0,
    "expanded_conv-input:2x2x136-output:1x1x192-expand:408-kernel:3-stride:2-idskip:0-se:1-hs:1": 2048.0,
    "expanded_conv-input:1x1x192-output:1x1x192-expand:576-kernel:3-stride:1-idskip:1-se:1-hs:1": 4096.0,
}
MORE = {
    FIRST.format(5): 33.0,
    "expanded_conv-input:1x1x192-output:1x1x192-expand:1152-kernel:3-stride:1-idskip:1-se:1-hs:1": 7.0,
}
TOTAL = 7.875 + 8184.0

NOTE_10 = {
    30: (224, "k3e3-k3e3+k5e4-k3e3-k3e4+k5e4-k5e4-k3e3+k3e6-k3e4-k3e4+k3e6-k3e6-k3e4-k3e3", 29.97),
    41: (
        220,
        "k3e3-k3e4+k7e4-k3e4-k3e6+k7e6-k3e6-k3e3-k3e4+k3e6-k5e6-k3e6-k3e4+k3e6-k3e6-k3e6-k3e3",
        39.91,
    ),
    50: (
        220,
        "k5e3-k3e6-k3e6+k5e4-k3e6-k3e6-k5e3+k7e6-k7e6-k3e4-k5e4+k7e6-k5e6-k3e6-k3e6+k3e6-k3e6-k3e6",
        49.78,
    ),
}
"""Networks that OFA publishes for a Note 10, by their name there: resolution, architecture, and the table's sum."""


def table() -> LookUpTable:
    return LookUpTable({32: FIXED | LAYERS | MORE})


def test_a_network_takes_the_sum_of_its_layers() -> None:
    assert table().latency(SMALL, 32) == TOTAL
    assert table().latency(WIDER, 32) == TOTAL + 1 + 7
    assert table().resolutions == (32,)


def test_many_networks_at_once() -> None:
    values = table().predict(SPACE.encode([SMALL, WIDER, SMALL]), 32)
    assert values.dtype == torch.float64 and values.tolist() == [TOTAL, TOTAL + 8, TOTAL]
    assert table().predict(SPACE.encode([]), 32).shape == (0,)


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
def test_read_from_a_file(tmp_path: Path, suffix: str) -> None:
    if suffix != ".json":
        pytest.importorskip("yaml")
    path = tmp_path / f"any name{suffix}"
    entries = {name: {"count": 3, "mean": value, "std": 0.1} for name, value in (FIXED | LAYERS).items()}
    path.write_text(json.dumps(entries))  # which is YAML too
    for given in (path, str(path), tmp_path):
        assert LookUpTable.read(given).latency(SMALL, 32) == TOTAL


def test_the_layout_of_the_published_files(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    path = tmp_path / "32_lookup_table.yaml"
    lines = (f"{name}:\n  count: 9\n  mean: {value}\n  std: 0.5\n" for name, value in (FIXED | LAYERS).items())
    path.write_text("".join(lines))
    assert LookUpTable.read(path).latency(SMALL, 32) == TOTAL


def test_plain_numbers_are_times() -> None:
    assert LookUpTable({32: FIXED | LAYERS}).latency(SMALL, 32) == TOTAL


def test_a_missing_layer_is_named_where_a_network_needs_it() -> None:
    with pytest.raises(ConfigError, match=r"32 pixels has no 'expanded_conv-input:8x8x32.*kernel:5.*measure"):
        LookUpTable({32: FIXED | LAYERS}).latency(WIDER, 32)
    gone = {name: value for name, value in (FIXED | LAYERS).items() if not name.startswith("Logits")}
    with pytest.raises(ConfigError, match="no 'Logits-input:1x1x1536-output:1000', which every network"):
        LookUpTable({32: gone}).latency(SMALL, 32)


def test_another_width_is_refused() -> None:
    with pytest.raises(ConfigError, match="begins with 24 channels, a network of width 1 with 16; set width"):
        LookUpTable({32: FIXED | LAYERS}, width=1.0)


def test_another_resolution_is_refused() -> None:
    with pytest.raises(ConfigError, match="no look-up table of 224 pixels; there are tables of 32"):
        table().latency(SMALL)


def test_another_space_is_refused() -> None:
    with pytest.raises(ArchitectureError):
        table().latency(ToySpace().sample(random.Random(0)), 32)


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"a": {}}', '{"a": "b"}', '{"a": -1}', '{"a": NaN}', '{"a": null}']
)
def test_a_file_that_is_no_table(tmp_path: Path, content: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"table.json' is no look-up table in OFA's format"):
        LookUpTable.read(path)


@pytest.mark.parametrize("content", ["", "a: [", "- 1", "a: !!python/object/apply:os.getcwd []"])
def test_yaml_that_is_no_table(tmp_path: Path, content: str) -> None:
    pytest.importorskip("yaml")
    path = tmp_path / "table.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"table.yaml' is no look-up table in OFA's format"):
        LookUpTable.read(path)


def test_files_that_are_not_there_or_too_many(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*gone.json': No such file"):
        LookUpTable.read(tmp_path / "gone.json")
    with pytest.raises(ConfigError, match=r"holds no look-up table, .json, .yaml, .yml"):
        LookUpTable.read(tmp_path)
    with pytest.raises(ConfigError, match=r"got '.*table.csv'"):
        LookUpTable.read(tmp_path / "table.csv")
    with pytest.raises(ConfigError, match="no look-up table; give files"):
        LookUpTable.read()
    (tmp_path / "empty.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"one 'Conv-input:224x224x3-\.\.\.', got 0"):
        LookUpTable.read(tmp_path / "empty.json")
    (tmp_path / "empty.json").unlink()
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text(json.dumps(FIXED))
    with pytest.raises(ConfigError, match=r"b.json' is a second look-up table of 32 pixels"):
        LookUpTable.read(tmp_path)


def test_yaml_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.delitem(sys.modules, "yaml", raising=False)
    with pytest.raises(MissingExtraError, match=r"metad2a-plugin\[ofa\]"):
        LookUpTable.read(tmp_path / "table.yaml")


def test_the_published_networks_of_the_note_10(data_root: Path) -> None:
    pytest.importorskip("yaml")
    tables = LookUpTable.read(data_root / "ofa" / "note10_latency_luts")
    assert tables.resolutions == tuple(range(160, 225, 4))
    for resolution, text, milliseconds in NOTE_10.values():
        assert round(tables.latency(SPACE.parse(text), resolution), 2) == milliseconds
    rng = random.Random(0)
    vertices = SPACE.encode([SPACE.sample(rng) for _ in range(200)])
    for resolution in tables.resolutions:  # every layer of the space is there
        assert tables.predict(vertices, resolution).isfinite().all()
