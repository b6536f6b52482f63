from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
import torch
import yaml
from hub_toys import LocalHub

from metad2a_plugin import MetaD2A
from metad2a_plugin.errors import CheckpointError
from metad2a_plugin.models.checkpoint import load_checkpoint
from metad2a_plugin.spaces.nasbench201.space import NASBench201

CELLS = list(islice(NASBench201().enumerate(), 5000, 5003))


@pytest.fixture(scope="module")
def model() -> MetaD2A:
    return MetaD2A.from_pretrained()


def test_a_model_is_pushed_and_read_again(model: MetaD2A, hub: LocalHub) -> None:
    name = model.push_to_hub("me/model", license_id="cc-by-nc-4.0")
    files = hub.files("me/model")
    assert files is not None and sorted(files) == ["README.md", "config.json", "model.safetensors"]
    hub.commit("me/model", {"config.json": b"{}"})
    read = MetaD2A.from_pretrained(name)  # the commit, not what main is now
    assert read.checkpoint.name == name
    own, found = (made.predict(None, CELLS).mean for made in (model, read))
    assert torch.equal(own, found)
    with pytest.raises(CheckpointError, match=r"'hf:me/model' cannot be read.*tell its owner"):
        MetaD2A.from_pretrained("hf:me/model")


def test_a_model_is_read_from_the_cache(model: MetaD2A, hub: LocalHub) -> None:
    with pytest.raises(CheckpointError, match=r"not in the cache"):
        MetaD2A.from_pretrained("hf:me/model", local_files_only=True)
    model.push_to_hub("me/model")
    MetaD2A.from_pretrained("hf:me/model")
    hub.asked.clear()
    assert MetaD2A.from_pretrained("hf:me/model", local_files_only=True).space.name == "nasbench201" and not hub.asked


def test_a_folder_of_save_pretrained_is_read(model: MetaD2A, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "mine")
    assert MetaD2A.from_pretrained(tmp_path / "mine").checkpoint.training == model.checkpoint.training


def test_weights_of_another_config_are_refused(model: MetaD2A, hub: LocalHub) -> None:
    model.push_to_hub("me/model")
    hub.commit("me/model", {"model.safetensors": b"other"})
    with pytest.raises(CheckpointError, match=r"not the file that config.json was written with"):
        MetaD2A.from_pretrained("hf:me/model")


def test_the_card_says_what_a_shipped_model_saw(tmp_path: Path) -> None:
    for name in ("nasbench201", "nasbench201-budget"):
        load_checkpoint(name).save_pretrained(tmp_path / name)
        card, shipped = (tmp_path / name / "README.md").read_text(), load_checkpoint(name)
        assert yaml.safe_load(card.split("---\n")[1])["library_name"] == "metad2a-plugin"
        assert "| tables | cifar10, imagenet16-120 |" in card and f"| rows | {shipped.training['rows']} |" in card
        assert len(shipped.training["metrics"]) == card.split("## Measured")[1].count("\n| ") - 1
        assert json.loads((tmp_path / name / "config.json").read_text())["training"] == shipped.training
