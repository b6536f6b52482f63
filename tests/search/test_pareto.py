from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.search.metad2a import pareto_space
from metad2a_plugin.search.pareto import Front


@pytest.fixture(scope="module")
def front() -> Front:
    return pareto_space("mobilenetv3", "ofa-imagenet", "v100_64", points=4, queries=60)


def test_a_front_is_a_table_and_plain_json(front: Front, tmp_path: Path) -> None:
    front.save(tmp_path / "front.json")
    read = json.loads((tmp_path / "front.json").read_text())
    assert (read["cost"], read["cost_unit"], read["space"]) == ("v100_64", "ms", "mobilenetv3")
    assert [c["latency"]["v100_64"] for c in read["candidates"]] == [cost for cost, _ in front.points]
    front.save(tmp_path / "front.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "front.csv").read_text())))
    assert [row["architecture"] for row in rows] == [c.architecture_str for c in front.candidates]
    assert [float(row["v100_64_ms"]) for row in rows] == [cost for cost, _ in front.points]
    assert [float(row["accuracy"]) for row in rows] == [value for _, value in front.points]
    assert all(float(row["low"]) < float(row["accuracy"]) < float(row["high"]) for row in rows)
    with pytest.raises(ConfigError, match="cannot write"):
        front.save(tmp_path)


def test_a_front_is_drawn(front: Front, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    others = {"evolution": [(20.0, 74.0), (25.0, 75.0)]}
    for name in ("a.svg", "b.svg", "a.png"):
        front.draw(tmp_path / name, others)
    text = (tmp_path / "a.svg").read_text()
    assert text == (tmp_path / "b.svg").read_text() and text.startswith("<?xml")
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)
    # The line is blue, the other points are red.
    blue, red = ((pixels - np.array(colour)) ** 2 for colour in ((0, 0x72, 0xB2), (0xD5, 0x5E, 0)))
    assert (blue.sum(-1) < 300).sum() > 200 and (red.sum(-1) < 300).sum() > 20
    with pytest.raises(ConfigError, match=r"written as \.svg or \.png, got 'front\.pdf'"):
        front.draw(tmp_path / "front.pdf")
