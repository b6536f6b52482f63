from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import published_cells
import pytest

from metad2a_plugin.analysis.wiring import PUBLISHED


@pytest.mark.slow
def test_a_tiny_run_writes_everything_and_goes_on(
    toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    folders = ["--data", str(toy_data), "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    tiny = ["--seeds", "2", "--variants", "2", "--epochs", "1", "--input-size", "8", "--points", "5"]
    published_cells.main([*folders, *tiny, "--surface-images", "8"])
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ".md", ".png"}
    before = (tmp_path / "out" / "published_cells.md").read_text()
    found = json.loads((tmp_path / "out" / "published_cells.json").read_text())
    assert set(found["runs"]) == {*PUBLISHED, "C1", "C2"} and found["sentence"] in before
    monkeypatch.setattr(published_cells, "train_network", None)
    published_cells.main([*folders, *tiny, "--surface-images", "8"])
    assert (tmp_path / "out" / "published_cells.md").read_text() == before


def test_variants_differ_and_published_cells_are_as_large() -> None:
    cells = published_cells.variants(12)
    assert list(cells)[:2] == ["DARTS", "C1"] and len({cell.nodes for cell in cells.values()}) == 13
    aim = published_cells.parameters(PUBLISHED["DARTS"], 8)
    for cell in PUBLISHED.values():
        assert published_cells.parameters(cell, published_cells.as_large(cell)) == pytest.approx(aim, rel=0.15)


def run(loss: float, accuracy: float) -> dict[str, Any]:
    surface = {"rise": loss, "curvature": loss, "variance": 1.0, "scaled_variance": 1 + accuracy}
    return {"losses": [3.0, loss], "accuracies": [accuracy], "landscape": surface}


def test_the_sentence_follows_the_numbers() -> None:
    cells = published_cells.variants(5)
    places = {name: cell.width for name, cell in cells.items()}
    # Wide cells have a low loss, in all seeds; accuracies are in no order.
    accuracies = [[50.0, 40.0, 60.0, 45.0, 55.0, 52.0], [40.0, 60.0, 41.0, 59.0, 43.0, 57.0]]
    found = {n: [run(2 - width / 10, accuracies[s][i]) for s in (0, 1)] for i, (n, width) in enumerate(places.items())}
    related = published_cells.relations(found, cells)
    assert related["width"]["mean_loss"] == pytest.approx([-1, -1])
    said = published_cells.sentence(related, len(cells))
    assert "wider cells have faster convergence (-1.00" in said and "2 seeds" in said
    assert "no other accuracy in the end that could be told" in said
