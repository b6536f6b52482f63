"""Images of a training are decoded once, also where some are broken."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from metad2a_plugin.data import DatasetWarning, dataset, load_dataset
from metad2a_plugin.data.streamed import StreamedPixels
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
