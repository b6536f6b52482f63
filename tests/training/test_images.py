"""Images of a training are decoded once, also where some are broken."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from layout_toys import classes, write_tree
from PIL import Image

from metad2a_plugin.data import DatasetWarning, dataset, load_dataset
from metad2a_plugin.data.streamed import StreamedPixels
from metad2a_plugin.errors import DatasetError
from metad2a_plugin.training import images
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import prepare


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for i in range(20):
        path = tmp_path / "photos" / "ab"[i % 2] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).save(path)
    return tmp_path / "photos"


@pytest.mark.parametrize("broken", [[], ["a/00.png", "b/07.png"]], ids=["whole", "broken"])
def test_each_image_is_decoded_once(folder: Path, broken: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in broken:
        (folder / name).write_bytes((folder / name).read_bytes()[:60])
    decoded: Counter[int] = Counter()
    square = dataset._square

    def counted(source: Any, i: int, size: int) -> Any:
        decoded[i] += 1
        return square(source, i, size)

    monkeypatch.setattr(dataset, "_square", counted)
    config = TrainConfig(input_size=8)
    if broken:
        with pytest.warns(DatasetWarning, match="2 of 20 images"):
            data = prepare(load_dataset(folder), config)
    else:
        data = prepare(load_dataset(folder), config)
    assert decoded == dict.fromkeys(range(20), 1)
    # As decoding each part by itself gives it.
    whole = load_dataset(folder)
    if broken:
        with pytest.warns(DatasetWarning):
            whole = whole.verified(8)
    for part, prepared, pixels in zip(
        whole.split(config.validation, config.split_seed),
        (data.train, data.validation),
        (data.images, data.validation_images),
        strict=True,
    ):
        assert [part.key(i) for i in range(len(part))] == [prepared.key(i) for i in range(len(prepared))]
        assert part.images(range(len(part)), 8).equal(pixels)


@pytest.mark.parametrize("damaged", [False, True], ids=["sound", "broken"])
def test_streamed_images_are_those_that_are_kept(folder: Path, damaged: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if damaged:
        (folder / "a" / "04.png").write_bytes(b"no image")
    config = TrainConfig(input_size=16, validation=0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DatasetWarning)
        kept = prepare(load_dataset(folder), config, stream=True)
        monkeypatch.setattr(images, "IN_MEMORY", 1000)
        streamed = prepare(load_dataset(folder), config, stream=True)
        again = prepare(load_dataset(folder), config, stream=True)
    assert isinstance(kept.images, torch.Tensor) and isinstance(streamed.images, StreamedPixels)
    for one, other in ((kept.images, streamed.images), (kept.validation_images, streamed.validation_images)):
        assert torch.equal(one[:], other[:]) and one.shape == other.shape
        assert torch.equal(torch.cat([*other.split(5)]), one[:])
        assert torch.equal(other[torch.tensor([2, 0])], one[torch.tensor([2, 0])])
    assert torch.equal(kept.labels, streamed.labels) and kept.mean == streamed.mean
    assert streamed.fingerprint == again.fingerprint


@pytest.mark.parametrize("stream", [False, True], ids=["kept", "streamed"])
def test_a_validation_part_is_validated_on(tmp_path: Path, stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_tree(tmp_path / "pets", classes("train", 5) | classes("val", 2))
    (root / "train" / "dog" / "1.png").write_bytes(b"no image")
    (root / "val" / "cat" / "1.png").write_bytes(b"no image")
    monkeypatch.setattr(images, "IN_MEMORY", 1 if stream else 1 << 30)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = prepare(load_dataset(root), TrainConfig(input_size=8), stream=True)
    said = " ".join(str(warning.message) for warning in caught)
    assert "1 of 15 images" in said and "1 of 6 images" in said
    assert (len(data.images), len(data.validation_images)) == (14, 5)
    assert data.labels.bincount().tolist() == [5, 4, 5] and data.validation_labels.bincount().tolist() == [1, 2, 2]
    assert data.validation.images(range(5), 8).equal(data.validation_images[:])
    assert data.train.validation is None


@pytest.mark.filterwarnings("ignore")
def test_validation_images_are_matched_by_the_names_of_their_classes(tmp_path: Path) -> None:
    dataset = load_dataset(write_tree(tmp_path / "pets", classes("", 4)))
    pixels = np.zeros((6, 4, 4), np.uint8)
    given = load_dataset((pixels, ["fish", "cat", "dog"] * 2), name="others")
    data = prepare(dataset, TrainConfig(input_size=8), validation=given)
    assert data.validation_labels.tolist() == [2, 0, 1] * 2 and len(data.images) == 12
    wrong = load_dataset((pixels, ["bird", "cat", "dog"] * 2), name="others")
    with pytest.raises(DatasetError, match="'others' has no 'fish' and 'pets' has no 'bird'; rename"):
        prepare(dataset, TrainConfig(input_size=8), validation=wrong)


@pytest.mark.filterwarnings("ignore")
def test_a_class_without_training_images_is_not_validated_on(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "pets", classes("train", 5) | classes("val", 2))
    for file in (root / "train" / "cat").iterdir():
        file.write_bytes(b"no image")
    data = prepare(load_dataset(root), TrainConfig(input_size=8))
    assert data.class_names == ("dog", "fish") and data.validation_labels.tolist() == [0, 0, 1, 1]
