from __future__ import annotations

import json
from pathlib import Path

import _common as common
import meta_seeds
import numpy as np
import pytest


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.filterwarnings("ignore")
def test_a_tiny_run_writes_everything_and_goes_on_where_it_was(
    toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = ["--data", str(toy_data), "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]
    arguments = [*folders, "--seeds", "2", "--paper-seeds", "1"]
    meta_seeds.main(arguments)
    written = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert set(written) == {"meta_seeds.json", "validation.md", "zero_shot.md", "zero_shot.png"}
    results = json.loads(written["meta_seeds.json"])
    assert {name: len(seeds) for name, seeds in results["results"].items()} == {
        "default": 2,
        "teacher": 2,
        "paper": 1,
        "without-cifar10": 2,
        "without-imagenet16-120": 2,
    }
    assert str(tmp_path) not in written["meta_seeds.json"].decode()
    assert "paper's, shipped encoder, blind" in written["validation.md"].decode()
    assert (tmp_path / "runs/meta_seeds/nasbench201-paper/seed-1/model.safetensors").exists()

    monkeypatch.setattr(meta_seeds, "meta_train", None)
    meta_seeds.main(arguments)
    assert (tmp_path / "out" / "validation.md").read_bytes() == written["validation.md"]


def test_a_blind_ridge_sees_no_classes(toy_data: Path) -> None:
    database = common.Data(toy_data).database
    seeing, blind = (meta_seeds.ridge(database, blind=blind) for blind in (False, True))
    database.task_classes.copy_(database.task_classes.flip(0))
    assert meta_seeds.ridge(database, blind=True) == blind
    assert meta_seeds.ridge(database) != seeing


def test_the_top_is_that_of_the_order_given() -> None:
    found = meta_seeds.top(np.array([3.0, 9.0, 1.0, 1.0, 1.0, 20.0, 1.0, 1.0, 1.0, 2.0]))
    assert found == {"top1": 3.0, "top5": 9.0, "mean10": 4.0}


def test_the_baseline_looks_at_the_other_dataset_only(toy_data: Path) -> None:
    data = common.Data(toy_data)
    best = data.table.training_table("imagenet16-120").accuracy.argmax()
    found = meta_seeds.best_of_other(data, "cifar10")
    assert found["top1"] == data.table.accuracy(int(best), "cifar10") and found["spearman"] > 0.5
