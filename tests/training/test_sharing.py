from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
import yaml
from hub_toys import LocalHub
from PIL import Image

from metad2a_plugin import load_network, predict_images
from metad2a_plugin.cli import main
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.training.classifier import ImageClassifier
from metad2a_plugin.training.encoder_network import EncoderClassifier
from metad2a_plugin.training.fit import Epoch
from metad2a_plugin.training.result import TrainResult

SPACE = NASBench201()
CELL = SPACE.parse("|nor_conv_3x3~0|+|nor_conv_1x1~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|none~2|")
IMAGES = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def classifier(*names: str) -> ImageClassifier:
    made = ImageClassifier(
        SPACE, CELL, len(names), class_names=names, input_size=16, options={"channels": 4, "cells": 1}
    )
    return made.eval()


def front_matter(card: str) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(card.split("---\n")[1])
    return found


@torch.no_grad()
def test_a_network_is_pushed_and_read_again(hub: LocalHub) -> None:
    written = classifier("cat", "dog")
    name = written.push_to_hub("me/pets", license_id="apache-2.0")
    files = hub.files("me/pets")
    assert files is not None and sorted(files) == ["README.md", "network.safetensors"]
    for place in ("hf:me/pets", name):
        read = load_network(place)
        assert torch.equal(read(IMAGES), written(IMAGES)) and read.class_names == ("cat", "dog")
    card = files["README.md"].decode()
    assert front_matter(card)["license"] == "apache-2.0" and 'load_network("hf:me/pets")' in card
    assert front_matter(card)["pipeline_tag"] == "image-classification"


def test_a_folder_of_save_pretrained_is_read(tmp_path: Path) -> None:
    classifier("cat", "dog").save_pretrained(tmp_path / "pets")
    assert sorted(file.name for file in (tmp_path / "pets").iterdir()) == ["README.md", "network.safetensors"]
    assert load_network(tmp_path / "pets").class_names == ("cat", "dog")
    with pytest.raises(CheckpointError, match=r"cannot read a network"):
        load_network(tmp_path)


@pytest.mark.slow
def test_a_fine_tuned_encoder_is_shared_too(hub: LocalHub) -> None:
    EncoderClassifier("default", ("a", "b"), input_size=32).push_to_hub("me/encoder")
    assert isinstance(load_network("hf:me/encoder"), EncoderClassifier)


def test_names_of_classes_do_not_break_the_card(tmp_path: Path) -> None:
    names = ("a|b", "---\nlicense: mit", "<script>", "`x`", *(f"class {i}" for i in range(40)))
    classifier(*names).save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert front_matter(card)["license"] == "other" and front_matter(card)["license_name"] == "see-terms"
    [line] = [line for line in card.splitlines() if line.startswith("| classes |")]
    assert line.replace(r"\|", "").count("|") == 3 and "and 24 more" in line
    assert "<script>" not in card and card.count("---\n") == 2


@pytest.mark.parametrize("license_id", ["", "MIT License", "mit\ntags: x", 3])
def test_a_license_is_a_name(license_id: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"license_id is a name of the hub's, such as 'apache-2.0'"):
        classifier("a", "b").save_pretrained(tmp_path / "out", license_id=license_id)
    assert not (tmp_path / "out").exists()


def test_what_training_measured_is_on_the_card(tmp_path: Path) -> None:
    result = TrainResult(
        architecture=CELL,
        architecture_str=SPACE.format(CELL),
        history=(Epoch(1, 0.1, 1.0, 75.0, 70.0, 2.0),),
        interval=(60.0, 85.0),
        majority_accuracy=50.0,
        chance_accuracy=50.0,
        train_images=300,
        validation_images=100,
        params=1.0,
        flops=1.0,
        seed=0,
        split_seed=0,
        device="cpu",
        network=classifier("cat", "dog"),
    )
    result.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text()
    assert "| validation accuracy | 75.0% (95% interval 60.0 to 85.0) |" in card
    assert "| training images | 300 |" in card and "| epochs | 1 |" in card


def test_what_is_no_network_is_refused_without_running_it(hub: LocalHub, tmp_path: Path) -> None:
    hub.commit("me/pickle", {"network.safetensors": pickle.dumps(Path)})
    hub.commit("me/model", {"config.json": b"{}", "model.safetensors": b"{}"})
    with pytest.raises(CheckpointError, match=r"cannot read a network from 'hf:me/pickle'"):
        load_network("hf:me/pickle")
    with pytest.raises(CheckpointError, match=r"has no network.safetensors"):
        load_network("hf:me/model")


def test_images_are_classified_by_a_network_of_the_hub(hub: LocalHub, tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    classifier("cat", "dog").push_to_hub("me/pets")
    assert predict_images("hf:me/pets", tmp_path / "a.png", progress=False).class_names == ("cat", "dog")


def test_the_commands_take_a_network_of_the_hub(
    hub: LocalHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    classifier("cat", "dog").push_to_hub("me/pets")
    assert main(["predict", "hf:me/pets", str(tmp_path / "a.png"), "--json", "-"]) == 0
    assert len(json.loads(capsys.readouterr().out)["images"]) == 1
    assert main(["export", "hf:me/pets", str(tmp_path / "copy.safetensors")]) == 0
    assert load_network(tmp_path / "copy.safetensors").class_names == ("cat", "dog")
