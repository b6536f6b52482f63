from __future__ import annotations

import json
from pathlib import Path

import pytest
import topology
import torch

from metad2a_plugin.analysis.topology import topology as widths_and_depths
from metad2a_plugin.spaces.nasbench201.cell import OPS
from metad2a_plugin.spaces.nasbench201.space import NASBench201


@pytest.mark.slow
def test_a_tiny_run_writes_everything_and_goes_on(toy_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    folders = ["--data", str(toy_data), "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    tiny = ["--seeds", "2", "--epochs", "1", "--surface-images", "8", "--points", "5", "--input-size", "8"]
    topology.main([*folders, *tiny])
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"topology.json", "topology.md", "topology_study.md", "topology.png"}
    results = json.loads((tmp_path / "out" / "topology.json").read_text())
    assert set(results["correlations"]["cifar10"]["operations"]["width"]) >= set(topology.TARGETS)
    # The made-up accuracies after 12 epochs are proportional to those after 200.
    first = results["correlations"]["cifar10"]["none"]["depth"]
    assert first["v12"] == pytest.approx(first["v200"], abs=1e-3)
    before = (tmp_path / "out" / "topology_study.md").read_text()
    topology.main([*folders, *tiny])
    assert (tmp_path / "out" / "topology_study.md").read_text() == before


def test_pairs_have_equal_operations_and_another_wiring() -> None:
    space = NASBench201()
    for family in topology.FAMILIES.values():
        assert sorted(family["wide"]) == sorted(family["deep"])
        rows = [[0, *(OPS.index(op) + 2 for op in family[kind]), 1] for kind in ("wide", "deep")]
        width, depth = widths_and_depths(space, torch.tensor(rows))
        assert width[0] > width[1] and depth.tolist() == [2, 3]


def test_correlations_within_groups_are_averaged_with_their_sizes() -> None:
    x = torch.arange(60.0)
    groups = (x >= 20).long() + (x >= 55).long()  # 20, 40 less 5, and 5, which are too few
    y = torch.where(groups == 0, x, -x)
    value, cells, number = topology.grouped_spearman(x, y, groups)
    assert (cells, number) == (55, 2) and value == pytest.approx((20 - 35) / 55)


def test_a_win_is_counted_for_runs_of_the_same_seed() -> None:
    def run(losses: list[float], accuracy: float, rise: float) -> dict[str, object]:
        surface = {"rise": rise, "curvature": 1.0, "variance": 1.0, "scaled_variance": 2.0}
        return {"losses": losses, "accuracies": [accuracy], "landscape": surface}

    wide = [run([2.0, 1.0], 60.0, 0.3), run([2.0, 1.5], 50.0, 0.1)]
    deep = [run([2.0, 1.5], 50.0, 0.2), run([2.0, 1.5], 55.0, 0.2)]
    found = topology.wins({"3 convolutions": {"wide": wide, "deep": deep}})
    assert found == {
        "epochs": 0, "final_loss": 1, "accuracy": 1, "rise": 1, "curvature": 0, "scaled_variance": 0
    }  # fmt: skip
