"""``metad2a predict``: images of any form in, classes, probabilities and accuracy out."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from meta_toys import SPACE
from PIL import Image

from metad2a_plugin import load_network, predict_images
from metad2a_plugin.cli.main import main
from metad2a_plugin.errors import CheckpointError, DatasetError
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.training import ImageClassifier, export_network
from metad2a_plugin.training.encoder_network import EncoderClassifier

CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
MOBILE = "+".join(["k3e3-k5e4"] * 5)
NAMES = ("cat", "dog", "owl")


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Class folders below a folder, a zip of them, the same images flat, and a network of these classes."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for i in range(9):
        for folder in (Path("photos/test", NAMES[i % 3]), Path("flat")):
            folder.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 90, (12, 10, 3)) + 50 * (i % 3)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    with zipfile.ZipFile("photos.zip", "w") as archive:
        for file in sorted(Path("photos").rglob("*.png")):
            archive.write(file, file.relative_to("photos").as_posix())
    network(NAMES)
    return tmp_path


def network(names: tuple[str, ...], path: str = "network.safetensors") -> None:
    made = ImageClassifier(
        SPACE, SPACE.parse(CELL), len(names), class_names=names, input_size=8, options={"channels": 4, "cells": 1}
    )
    export_network(path, made)


@pytest.mark.parametrize("images", ["photos", "photos/test", "photos.zip"])
def test_class_folders_are_labels(images: str, capsys: Any) -> None:
    assert main(["predict", "network.safetensors", images, "--json", "p.json", "--csv", "p.csv", "--top", "2"]) == 0
    found, lines = json.loads(Path("p.json").read_text()), list(csv.DictReader(Path("p.csv").read_text().splitlines()))
    right = sum(row["label"] == row["classes"][0]["class"] for row in found["images"])
    assert found["labelled"] == 9 and found["accuracy"] == pytest.approx(100 * right / 9)
    assert [line["class_2"] for line in lines] == [row["classes"][1]["class"] for row in found["images"]]
    assert {line["label"] for line in lines} == set(NAMES) and "class_3" not in lines[0]
    shown = capsys.readouterr().out
    assert f"{right} of 9 images are answered as their folders say: {found['accuracy']:.1f}%" in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 200


def test_images_without_classes_get_answers_alone(capsys: Any) -> None:
    assert main(["predict", "network.safetensors", "flat", "--json", "-"]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert found["accuracy"] is None and [row["label"] for row in found["images"]] == [None] * 9
    assert "none in a folder that has the name of a class" in " ".join(shown.err.split())
    for row in found["images"]:
        chances = [each["probability"] for each in row["classes"]]
        assert chances == sorted(chances, reverse=True) and sum(chances) == pytest.approx(1, abs=1e-5)


def test_single_images_and_the_function_say_the_same() -> None:
    folder, files = predict_images("network.safetensors", "flat"), sorted(map(str, Path("flat").iterdir()))
    some = predict_images(load_network("network.safetensors"), files[:2], progress=False)
    assert torch.equal(some.probabilities, folder.probabilities[:2]) and some.images == tuple(files[:2])
    one = predict_images("network.safetensors", Path(files[0]))
    assert one.best(0, 9) == folder.best(0, 3) and one.accuracy is None and one.interval is None


def test_answers_are_those_of_the_network() -> None:
    found, loaded = predict_images("network.safetensors", "flat"), load_network("network.safetensors")
    square = np.asarray(Image.open(found.images[0]).convert("RGB").crop((0, 1, 10, 11)).resize((8, 8), Image.BICUBIC))
    logits = loaded(torch.from_numpy(square.copy()).permute(2, 0, 1)[None])
    assert torch.allclose(logits.softmax(1)[0], found.probabilities[0], atol=1e-5)


def test_answers_that_are_no_numbers_are_refused() -> None:
    loaded = load_network("network.safetensors")
    with torch.no_grad():
        for weights in loaded.parameters():
            weights.fill_(3e38)
    with pytest.raises(CheckpointError, match="no numbers"):
        predict_images(loaded, "flat")


def test_datasets_of_other_forms_are_classified() -> None:
    pixels = np.zeros((4, 8, 8, 3), np.uint8)
    found = predict_images("network.safetensors", (pixels, ["dog", "cat", "dog", "fox"]))
    assert [found.label(i) for i in range(4)] == ["dog", "cat", "dog", None] and found.labelled == 3


@pytest.mark.parametrize("kind", ["mobilenetv3", "encoder"])
def test_any_kind_of_network_answers(kind: str) -> None:
    if kind == "encoder":  # as auto writes it
        made: Any = EncoderClassifier("default", NAMES)
    else:
        space = get_space("mobilenetv3")
        made = ImageClassifier(
            space, space.parse(MOBILE), 3, class_names=NAMES, input_size=32, options={"width": 0.25}
        )
    export_network("other.safetensors", made)
    found = predict_images("other.safetensors", "photos")
    assert found.labelled == 9 and found.class_names == NAMES


def test_folders_that_are_no_classes_are_left_out_of_the_accuracy() -> None:
    network(("cat", "dog", "bat"))
    with pytest.warns(UserWarning, match="the network has no class of the name 'owl'; accuracy leaves"):
        found = predict_images("network.safetensors", "photos")
    assert found.labelled == 6 and len(found.images) == 9


def test_other_files_are_counted_by_suffix() -> None:
    for name in ("labels.csv", "a.DNG", "b.dng", ".hidden"):
        Path("flat", name).write_bytes(b"something")
    with pytest.warns(UserWarning, match=r"files that are not read and are left out: 2 \.dng$"):
        assert len(predict_images("network.safetensors", "flat").images) == 9


def test_the_folder_of_a_run_stands_for_its_network() -> None:
    folder, file = (predict_images(network, "flat") for network in (".", "network.safetensors"))
    assert torch.equal(folder.probabilities, file.probabilities)


def test_the_scale_of_deep_files_is_said_of_their_folder() -> None:
    for file in Path("flat").iterdir():
        file.unlink()
    for i in range(3):
        Image.fromarray(np.arange(i, 100 + i, dtype=np.uint16).reshape(10, 10) * 50).save(f"flat/{i}.png")
    with pytest.warns(UserWarning, match="pixels of 'flat' run from 0 to 5050"):
        predict_images("network.safetensors", "flat")


def test_broken_images_are_left_out_and_named() -> None:
    Path("flat/3.png").write_bytes(b"no image")
    with pytest.warns(UserWarning, match="1 of 9 images of 'flat' cannot be read"):
        found = predict_images("network.safetensors", "flat")
    assert len(found.images) == 8 and list(found.broken) == [str(Path("flat/3.png"))]
    for file in Path("flat").iterdir():
        file.write_bytes(b"no image")
    with pytest.raises(DatasetError, match="9 of 9 images of 'flat' cannot be read"):
        predict_images("network.safetensors", "flat")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere.safetensors", "flat"], "cannot read a network from 'nowhere.safetensors'"),
        (["flat/0.png", "flat"], "cannot read a network from 'flat/0.png'"),
        (["network.safetensors", "nowhere"], "no file or folder 'nowhere'"),
        (["network.safetensors", "flat/0.png", "nowhere.png"], "no file or folder 'nowhere.png'"),
        (["network.safetensors", "flat/0.png", "network.safetensors"], "'network.safetensors' is no image"),
        (["network.safetensors", "empty"], "no images in 'empty'"),
        (["network.safetensors", "flat", "--top", "0"], "top must be an integer of 1 or more"),
        (["network.safetensors", "flat", "--csv", "p.txt"], "'p.txt' must end in .csv"),
        (["network.safetensors", "flat", "--device", "abacus"], "device 'abacus' cannot be used here; try 'cpu'"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(arguments: list[str], says: str, capsys: Any) -> None:
    Path("empty").mkdir()
    assert main(["predict", *arguments]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_a_pickle_is_not_read() -> None:
    torch.save({"format": "metad2a-network-1"}, "network.pt")
    with pytest.raises(CheckpointError, match="cannot read a network"):
        predict_images("network.pt", "flat")
