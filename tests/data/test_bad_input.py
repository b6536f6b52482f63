"""Every kind of wrong dataset we could think of: each is refused with a sentence, and nothing is left behind."""

from __future__ import annotations

import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_toys import MeanColour, write_folder, write_zip
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from metad2a_plugin.data import extract_task, load_dataset
from metad2a_plugin.errors import DatasetError

IMAGES = np.zeros((4, 6, 6, 3), np.uint8)
LABELS = np.array([0, 0, 1, 1])


class Items(Dataset):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        if isinstance(self.items[i], Exception):
            raise self.items[i]
        return self.items[i]


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter([(IMAGES[0], 0)])


def _file(tmp: Path, name: str, content: bytes = b"hello") -> Path:
    (tmp / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp / name).write_bytes(content)
    return tmp / name


def _npz(tmp: Path, **arrays: Any) -> Path:
    np.savez(tmp / "data.npz", **arrays)
    return tmp / "data.npz"


def _with(label: Any, images: Any = IMAGES) -> Callable[[Path], Any]:
    return lambda tmp: (images, label)


def _pixels(images: Any, labels: Any = LABELS) -> Callable[[Path], Any]:
    return lambda tmp: (images, labels)


def _empty_folder(tmp: Path) -> Path:
    (tmp / "nothing").mkdir()
    return tmp / "nothing"


def _text_only(tmp: Path) -> Path:
    _file(tmp, "docs/a/readme.txt")
    _file(tmp, "docs/b/photo.dng")
    return tmp / "docs"


def _flat(tmp: Path) -> Path:
    write_folder(tmp, {"flat": 3})
    return tmp / "flat"


def _flat_splits(tmp: Path) -> Path:
    return write_folder(tmp / "root", {"train": 2, "test": 2})


def _hidden_only(tmp: Path) -> Path:
    return write_folder(tmp / "root", {".a": 2, ".b": 2})


def _one_class(tmp: Path) -> Path:
    return write_folder(tmp / "root", {"rose": 3})


def _one_class_left(tmp: Path) -> Path:
    (tmp / "root/tulip").mkdir(parents=True)
    return write_folder(tmp / "root", {"rose": 3})


def _mostly_broken(tmp: Path) -> Path:
    root = write_folder(tmp / "root", {"a": 2, "b": 2})
    for name in ("a/0.png", "a/1.png", "b/0.png"):
        (root / name).write_bytes((root / name).read_bytes()[:60])
    return root


def _broken_class(tmp: Path) -> Path:
    root = write_folder(tmp / "root", {"a": 3, "b": 1})
    (root / "b/0.png").write_bytes(b"")
    return root


def _truncated_zip(tmp: Path) -> Path:
    path = write_zip(write_folder(tmp / "root", {"a": 3, "b": 3}), tmp / "cut.zip")
    return _file(tmp, "cut.zip", path.read_bytes()[:300])


def _no_image_zip(tmp: Path) -> Path:
    _file(tmp, "root/a/notes.txt")
    return write_zip(tmp / "root", tmp / "notes.zip")


def _empty_zip(tmp: Path) -> Path:
    zipfile.ZipFile(tmp / "empty.zip", "w").close()
    return tmp / "empty.zip"


def _locked_zip(tmp: Path) -> Path:
    """The encryption bit set in every header, as a password-protected zip has it."""
    path = write_zip(write_folder(tmp / "root", {"a": 2, "b": 2}), tmp / "locked.zip")
    data = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for found in re.finditer(re.escape(magic), bytes(data)):
            data[found.start() + offset] |= 1
    return _file(tmp, "locked.zip", bytes(data))


def _traversal_zip(tmp: Path) -> Path:
    with zipfile.ZipFile(tmp / "evil.zip", "w") as archive:
        for name in ("../a/1.png", "/b/2.png", "c/../../d/3.png", "C:/e/4.png"):
            archive.writestr(name, b"x")
    return tmp / "evil.zip"


def _lzma_zip(tmp: Path) -> Path:
    return write_zip(write_folder(tmp / "root", {"a": 1, "b": 1}), tmp / "l.zip", method=zipfile.ZIP_LZMA)


def _tar(tmp: Path) -> Path:
    return _file(tmp, "data.tar.gz")


def _lying_zip(tmp: Path) -> Path:
    """Entry contents overwritten, so that no checksum agrees."""
    path = write_zip(write_folder(tmp / "root", {"a": 2, "b": 2}), tmp / "bad.zip", method=zipfile.ZIP_STORED)
    return _file(tmp, "bad.zip", path.read_bytes().replace(b"IDAT", b"XXXX"))


def _bomb(tmp: Path) -> Path:
    """PNGs that claim a billion pixels."""
    root = write_folder(tmp / "root", {"a": 2, "b": 2})
    for file in root.rglob("*.png"):
        data = bytearray(file.read_bytes())
        data[16:24] = struct.pack(">II", 60000, 60000)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        file.write_bytes(bytes(data))
    return root


NAN = np.full((4, 6, 6, 3), 0.5)
NAN[1, 2, 3, 0] = np.nan
PIL = Image.new("RGB", (4, 4))

BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "nothing": (lambda tmp: None, "cannot be read from NoneType.*folder of class folders"),
    "a number": (lambda tmp: 7, "cannot be read from int"),
    "images without labels": (lambda tmp: IMAGES, r"arrays need their labels too: \(images, labels\)"),
    "a triple": (lambda tmp: (IMAGES, LABELS, 1), r"3 values was given; arrays come as a pair"),
    "empty text": (lambda tmp: "", "no file or folder ''"),
    "missing path": (lambda tmp: tmp / "gone", "no file or folder '.*gone'.*working folder"),
    "endless name": (lambda tmp: "a" * 5000, "no file or folder 'a{149}[.]{3}a{46}'"),
    "null byte": (lambda tmp: "a\0b", "no file or folder"),
    "unknown user": (lambda tmp: "~nobody-here/data", "no file or folder '~nobody-here/data'"),
    "device": (lambda tmp: "/dev/null", "cannot read a dataset from '/dev/null'"),
    "unknown scheme": (lambda tmp: "foo:bar", "unknown dataset 'foo:bar'.*'sklearn:digits'"),
    "a link": (lambda tmp: "https://example.org/a.zip", "unknown dataset.*nothing is downloaded"),
    "unknown sklearn set": (lambda tmp: "sklearn:iris", "unknown dataset 'sklearn:iris'"),
    "text file": (lambda tmp: _file(tmp, "a.csv"), "it is no table of at least two columns"),
    "unknown kind of file": (lambda tmp: _file(tmp, "a.xyz"), "this kind of file is not known"),
    "tar": (_tar, "is not readable .*interrupted download"),
    "single image": (lambda tmp: _file(tmp, "a.jpg"), "single image; pass the folder"),
    "npy": (lambda tmp: _file(tmp, "a.npy"), "no labels; save both arrays"),
    "empty folder": (_empty_folder, "no images in folder .*no visible files.*flowers/rose/1.jpg"),
    "no image files": (_text_only, "only other files: 1 .dng, 1 .txt"),
    "flat folder": (_flat, "3 images .*but no class folders.*one folder per class"),
    "flat splits": (_flat_splits, "2 images in train/ .*no class folders"),
    "hidden folders": (_hidden_only, "no images"),
    "one class": (_one_class, "has a single class .*'rose'.*two are needed.*folder above it"),
    "one class left": (_one_class_left, "has a single class"),
    "mostly broken": (_mostly_broken, "3 of 4 images of 'root' cannot be read.*More than half"),
    "broken class": (_broken_class, "'root' has 1 usable"),
    "bomb": (_bomb, "4 of 4 images .*decompression bomb.*More than half"),
    "no zip": (lambda tmp: _file(tmp, "a.zip"), "not a readable zip.*interrupted download"),
    "cut zip": (_truncated_zip, "not a readable zip"),
    "empty zip": (_empty_zip, "no images in zip .*no visible"),
    "zip without images": (_no_image_zip, "no images in zip .*1 .txt"),
    "password": (_locked_zip, "protected by a password; unpack it"),
    "traversal": (_traversal_zip, "no images in zip"),
    "lzma zip": (_lzma_zip, "compression method 14.*zip it again"),
    "damaged zip": (_lying_zip, "4 of 4 images .*checksum"),
    "npz keys": (lambda tmp: _npz(tmp, a=IMAGES), "holds the arrays 'a'; expected images/labels, x/y"),
    "npz objects": (lambda tmp: _npz(tmp, x=np.array([{}, 1]), y=[0, 1]), "object arrays, which are pickles"),
    "npz damaged": (lambda tmp: _file(tmp, "a.npz"), "not a readable .npz"),
    "npz lengths": (lambda tmp: _npz(tmp, x=IMAGES, y=[0, 1]), "in .*data.npz': 4 images but 2 labels"),
    "lengths": (_with([0, 1, 1]), "4 images but 3 labels"),
    "no images": (_pixels(IMAGES[:0], LABELS[:0]), "there are no images"),
    "one class array": (_with([2, 2, 2, 2]), "has a single class"),
    "measured labels": (_with([0.0, 0.25, 1.0, 1.0]), "measured values such as 0.25, which is regression"),
    "NaN labels": (_with([0.0, np.nan, 1.0, 1.0]), "1 of 4 labels are missing .*the first is that of image 1"),
    "negative labels": (_with([0, -1, 1, 1]), "contain -1; class indices start at 0"),
    "soft labels": (_with(np.full((4, 5), 0.2)), r"soft labels.*labels.argmax\(axis=1\)"),
    "scalar labels": (_with(3), "expected one label per image"),
    "object labels": (_with([0, "a", None, 1]), "1 of 4 labels are missing"),
    "mixed labels": (_with([0, "a", 2, 1]), "labels have dtype object and are of the types int, str"),
    "NaN pixels": (_pixels(NAN), "NaN or infinity"),
    "normalised pixels": (_pixels(IMAGES.astype(float) - 1.5), "look normalised.*drop the Normalize"),
    "text pixels": (_pixels(np.full((4, 6, 6), "a")), "pixels must be numbers"),
    "flattened": (_pixels(np.zeros((4, 108))), r"reshape\(n, h, w\)"),
    "five axes": (_pixels(np.zeros((4, 2, 6, 6, 3))), r"expected \[n, h, w\]"),
    "two channels": (_pixels(np.zeros((4, 6, 6, 2))), r"shape \[6, 6, 2\].*1 \(grey\), 3 \(RGB\)"),
    "zero size": (_pixels(np.zeros((4, 0, 6, 3))), "no pixels.*at least 1"),
    "object images": (_pixels(np.array([IMAGES[0], None], dtype=object), [0, 1]), "has 1 usable class"),
    "grid of objects": (_pixels(np.full((2, 3, 3), None), [0, 1]), "array of objects"),
    "empty torch Dataset": (lambda tmp: Items([]), "Items is empty"),
    "torch stream": (lambda tmp: Stream(), "Stream has no length"),
    "torch images only": (lambda tmp: TensorDataset(torch.zeros(4, 3, 6, 6)), r"1 values, expected a pair"),
    "torch dicts": (lambda tmp: Items([{"a": PIL, "b": 0}] * 3), r"is a dict with 'a', 'b'; expected a pair"),
    "torch measured labels": (lambda tmp: Items([(PIL, 0.1), (PIL, 1.0)]), "regression"),
    "torch raises": (lambda tmp: Items([OSError("disk")] * 3), "item 0 raised OSError: disk"),
    "torch raises mostly": (lambda tmp: Items([(PIL, 0), *[OSError("disk")] * 2]), "2 of 3 images.*OSError: disk"),
    "torch not images": (
        lambda tmp: Items([(3.0, 0), (3.0, 1)]),
        r"2 of 2 images .*one image has shape \[\]",
    ),
    "torch normalised": (
        lambda tmp: Items([(torch.randn(3, 8, 8) - 1, i % 2) for i in range(4)]),
        "look normalised.*drop the Normalize",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", BAD)
def test_refused_with_a_sentence_and_nothing_left(kind: str, tmp_path: Path, cache: Path) -> None:
    make, message = BAD[kind]
    source = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DatasetError, match=message):
        extract_task(load_dataset(source), MeanColour())
    assert sorted(tmp_path.rglob("*")) == before
    assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["a.zip", "a.npz", "folder"])
def test_what_may_not_be_read_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _file(tmp_path, name) if "." in name else write_folder(tmp_path / name, {"a": 2, "b": 2})
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the tests may run as root, who may read all
    with pytest.raises(DatasetError, match="may not be read by this user; check its permissions"):
        load_dataset(path)


def test_the_table_is_long_enough() -> None:
    assert len(BAD) >= 25
