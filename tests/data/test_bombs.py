"""Files that claim, or are, more than fits: a search stays under 1 GB and a minute of CPU, or refuses with a name."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import signal
import struct
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_toys import write_folder
from PIL import Image, PngImagePlugin

import metad2a_plugin
from metad2a_plugin.data import load_dataset
from metad2a_plugin.data.decoding import in_memory, open_image
from metad2a_plugin.data.room import ROOM, take
from metad2a_plugin.errors import DatasetError

resource = pytest.importorskip("resource")
MEASURED = Path(metad2a_plugin.__file__).parents[1] / "tests" / "toys" / "measured.py"


def png(width: int, height: int, channels: int = 3, depth: int = 8, rows: int | None = None) -> bytes:
    """All black, made row by row; only so many of the rows are there."""
    colour = {1: 0, 3: 2, 4: 6}[channels]
    pack = zlib.compressobj(9)
    row = bytes(1 + width * channels * depth // 8)
    data = b"".join([pack.compress(row) for _ in range(height if rows is None else rows)] + [pack.flush()])

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def photo(side: int) -> Image.Image:
    small = np.random.default_rng(0).integers(0, 256, (side // 16, side // 16, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


def tagged(count: int = 2000, length: int = 2**18) -> bytes:
    """A TIFF of many tags whose values are the same bytes."""
    entries = b"".join(struct.pack("<HHII", 40000 + i, 7, length, 8 + 2 + 12 * count + 4) for i in range(count))
    return b"II*\0" + struct.pack("<IH", 8, count) + entries + bytes(4) + bytes(length)


def scans(count: int = 300) -> bytes:
    """A progressive JPEG that goes through its blocks again and again."""
    data = saved(photo(64), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + data[-2:]


def folder(tmp: Path, name: str, data: bytes, count: int = 8) -> Path:
    for i in range(count):
        file = tmp / "pictures" / "ab"[i % 2] / f"{i}.{name}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return tmp / "pictures"


def zip_of_zeros(tmp: Path, size: int, count: int, *, real: bool = True) -> Path:
    with zipfile.ZipFile(tmp / "zeros.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(count):
            with archive.open(f"{'ab'[i % 2]}/{i}.png", "w") as file:
                for _ in range(size >> 20 if real else 1):
                    file.write(bytes(2**20))
            archive.getinfo(f"{'ab'[i % 2]}/{i}.png").file_size = size
    return tmp / "zeros.zip"


def zip_of_names(tmp: Path, data: bytes, count: int = 300) -> Path:
    """Many names for one entry."""
    with zipfile.ZipFile(tmp / "names.zip", "w") as archive:
        archive.writestr("a/0.png", data)
        first = archive.getinfo("a/0.png")
        for i in range(1, count):
            info = zipfile.ZipInfo(f"{'ab'[i % 2]}/{i}.png")
            for what in ("header_offset", "compress_size", "file_size", "CRC", "compress_type"):
                setattr(info, what, getattr(first, what))
            archive.filelist.append(info)
    return tmp / "names.zip"


def tar_of_zeros(tmp: Path, size: int, *, real: bool = True) -> Path:
    with gzip.open(tmp / "zeros.tar.gz", "wb", compresslevel=1) as file:
        for i in range(4):
            member = tarfile.TarInfo(f"{'ab'[i % 2]}/{i}.png")
            member.size = size
            file.write(member.tobuf())
            for _ in range(size >> 20 if real else 0):
                file.write(bytes(2**20))
    return tmp / "zeros.tar.gz"


def tar_of_a_long_name(tmp: Path, size: int = 2**30) -> Path:
    member = tarfile.TarInfo("././@LongLink")
    member.type, member.size = tarfile.GNUTYPE_LONGNAME, size
    with gzip.open(tmp / "name.tar.gz", "wb", compresslevel=1) as file:
        file.write(member.tobuf())
        for _ in range(size >> 20):
            file.write(b"a" * 2**20)
    return tmp / "name.tar.gz"


def npz(tmp: Path, shape: tuple[int, ...], *, claimed: int | None = None) -> Path:
    """Images of zeros; `claimed` is how many the header says."""
    with zipfile.ZipFile(tmp / "data.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("images.npy", "w", force_zip64=True) as file:
            said = {"descr": "|u1", "fortran_order": False, "shape": (claimed or shape[0], *shape[1:])}
            np.lib.format.write_array_header_1_0(file, said)
            for _ in range(shape[0]):
                file.write(bytes(int(np.prod(shape[1:]))))
        buffer = io.BytesIO()
        np.save(buffer, np.arange(shape[0]) % 2)
        archive.writestr("labels.npy", buffer.getvalue())
    return tmp / "data.npz"


def idx(tmp: Path, count: int, claimed: int) -> Path:
    (tmp / "mnist").mkdir()
    head = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in (claimed, 1024, 1024))
    with gzip.open(tmp / "mnist" / "train-images-idx3-ubyte.gz", "wb", compresslevel=1) as file:
        file.write(head)
        for _ in range(count):
            file.write(bytes(2**20))
    labels = b"\0\0\x08\x01" + claimed.to_bytes(4, "big") + bytes([0, 1] * (min(claimed, 2**20) // 2))
    (tmp / "mnist" / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    return tmp / "mnist"


def table(tmp: Path, text: bytes, name: str = "x.csv") -> Path:
    write_folder(tmp / "flat", {".": 4})
    (tmp / "flat" / name).write_bytes(text)
    return tmp / "flat"


def parquet(tmp: Path, label: str, count: int) -> Path:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    images = pa.array([png(4, 4)] * count, pa.binary())
    labels = pa.DictionaryArray.from_arrays(np.arange(count) % 2, [label, "b"])
    pq.write_table(pa.table({"image": images, "label": labels}), tmp / "x.parquet", store_schema=False)
    return tmp / "x.parquet"


# -- quick: what is refused, and in how little ---------------------------------------------------------------------
REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "many pixels": (lambda tmp: folder(tmp, "png", png(12000, 12000, 4, rows=1), 2), "'a/0.png'.*make it smaller"),
    "pixels of few bytes": (lambda tmp: folder(tmp, "png", png(9000, 9000, 1, rows=1), 64), "far more pixels"),
    "tags of the same bytes": (lambda tmp: folder(tmp, "tif", tagged()), "'a/0.tif'.*its tags .* damaged"),
    "EXIF of the same bytes": (
        lambda tmp: folder(tmp, "jpg", saved(photo(64), "JPEG", exif=b"Exif\0\0" + tagged(2000, 30000))),
        "'a/0.jpg'.*its tags .* damaged",
    ),
    "a JPEG of many scans": (lambda tmp: folder(tmp, "jpg", scans()), "JPEG of .* scans"),
    "a zip of zeros": (lambda tmp: zip_of_zeros(tmp, 2**28, 20, real=False), "20 files .* unpack to 5.0 GiB .*a/0"),
    "names for one entry": (lambda tmp: zip_of_names(tmp, png(10, 10)), "'a/0.png' and '.*' lie in the same place"),
    "a long name in a tar": (lambda tmp: tar_of_a_long_name(tmp, 2**25), "not readable .*longer than can be"),
    "a tar that claims much": (lambda tmp: tar_of_zeros(tmp, 2**33, real=False), "unpacks to more than"),
    "an npz that claims much": (lambda tmp: npz(tmp, (4, 8, 8), claimed=2**40), "does not have the bytes"),
    "idx that claims much": (lambda tmp: idx(tmp, 1, 2**30), "train-images.* claims .* MiB, more than"),
    "a long label": (lambda tmp: table(tmp, b"id,label\n0.png," + b"x" * 99999 + b"\n1.png,b\n"), "99999 characters"),
    "cells": (lambda tmp: table(tmp, b"id,label\n" + b",\n" * 1_300_000), "more rows and columns than fit"),
    "a long label of many rows": (lambda tmp: parquet(tmp, "x" * 10**6, 2000), "1000000 characters"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", REFUSED)
def test_refused_with_a_name_before_memory_is_full(kind, tmp_path):
    make, message = REFUSED[kind]
    path = make(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset(path).verified()
    assert len(str(caught.value)) < 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 * 1024


def test_large_honest_images_look_as_they_do_when_small(tmp_path):
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
    large = Image.fromarray(colours).resize((3000, 2400), Image.Resampling.NEAREST)
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode, kind in (("RGB", "png"), ("P", "png"), ("RGBA", "tiff"), ("RGB", "webp")):
        found = in_memory(saved(large.convert(mode), kind, exif=exif)).rgb(100)
        assert min(found.size) >= 200 and max(found.size) < 3000
        shown = np.asarray(found.resize((2, 2), Image.Resampling.BOX)).astype(int)
        assert np.abs(shown - np.rot90(colours, -1)).max() < 60, (mode, kind)
    whole = in_memory(saved(large, "png")).rgb(None)
    assert whole.size == large.size and whole.tobytes() == large.tobytes()


def test_an_image_of_16_bits_is_read_in_strips_as_at_once():
    values = (np.add.outer(np.arange(2100), np.arange(2100)) * 15).astype(np.uint16)
    scale = type("Scale", (), {"to_uint8": staticmethod(lambda pixels: (pixels >> 8).astype(np.uint8))})()
    found = in_memory(saved(Image.fromarray(values), "TIFF"), lambda: scale).rgb(None)
    assert (np.asarray(found)[..., 0] == values >> 8).all()


def test_errors_that_no_file_causes_come_out(tmp_path, monkeypatch):
    dataset = load_dataset(write_folder(tmp_path / "x", {"a": 2, "b": 2}))
    for error in (AttributeError, ImportError, MemoryError):

        def fail(*_: object, error: type[Exception] = error) -> None:
            raise error("ours")

        monkeypatch.setattr("metad2a_plugin.data.decoding.to_rgb", fail)
        with pytest.raises(error, match="ours"):
            dataset.decode(range(4), 8)


def test_room_is_shared_and_given_back():
    with pytest.raises(OSError, match="make it smaller"), take(ROOM + 1):
        pass
    with take(ROOM // 2) as first:
        with take(ROOM // 2) as second:
            assert not second.grow(ROOM // 2 + 2**20)
        assert first.grow(ROOM) and first.grow(ROOM // 4) and first.count == ROOM
    with take(ROOM):
        pass


def test_a_pipe_in_a_folder_is_no_image_and_not_waited_for(tmp_path):
    root = write_folder(tmp_path / "x", {"a": 2, "b": 2})
    os.mkfifo(root / "a" / "9.png")
    os.mkfifo(root / "a" / "9")
    [said] = load_dataset(root).decode(range(5), 8)[1].values()
    assert said == "it is no file but a pipe, a device or a folder"


def test_text_in_a_png_is_counted_before_it_is_read():
    info = PngImagePlugin.PngInfo()
    for i in range(20):
        info.add_text(f"k{i}", "x" * 10**6, zip=True)
    assert open_image(saved(photo(64), "PNG", pnginfo=info)).size == (64, 64)


FORKED = """
import os, sys, torch
torch.set_num_threads(4)
torch.randn(600, 600).exp().sum(); torch.randn(600, 600) @ torch.randn(600, 600)
from metad2a_plugin import MetaD2A
child = os.fork()
if not child:
    MetaD2A.from_pretrained().search(sys.argv[1], cache_dir=False, progress=False)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_search_after_a_fork_ends(tmp_path):
    root = write_folder(tmp_path / "x", {"a": 4, "b": 4})
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-W", "ignore", "-c", FORKED, root]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        assert process.wait(timeout=300) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


# -- slow: whole searches, measured --------------------------------------------------------------------------------
SEARCHED: dict[str, Callable[[Path], Path]] = {
    "plain": lambda tmp: write_folder(tmp / "plain", {"a": 4, "b": 4}),
    "grey 13k": lambda tmp: folder(tmp, "png", png(13000, 13000, 1)),
    "RGBA 6k": lambda tmp: folder(tmp, "png", png(6000, 6000, 4)),
    "RGBA 13k": lambda tmp: folder(tmp, "png", png(13000, 13000, 4)),
    "16 bits": lambda tmp: folder(tmp, "png", png(6000, 6000, 1, 16)),
    "thin": lambda tmp: folder(tmp, "png", png(1, 60000)),
    "photos as JPEG": lambda tmp: folder(tmp, "jpg", saved(photo(8192), "JPEG", quality=90)),
    "photos as progressive JPEG": lambda tmp: folder(tmp, "jpg", saved(photo(8192), "JPEG", progressive=True)),
    "photos as PNG": lambda tmp: folder(tmp, "png", saved(photo(8192), "PNG", compress_level=1), 4),
    "photos as TIFF": lambda tmp: folder(tmp, "tif", saved(photo(8192), "TIFF"), 4),
    "photos as WebP": lambda tmp: folder(tmp, "webp", saved(photo(4000), "WEBP", method=0)),
    "zeros in a zip": lambda tmp: zip_of_zeros(tmp, 2**30, 2),
    "names for one photo": lambda tmp: zip_of_names(tmp, png(5000, 5000)),
    "zeros in a tar": lambda tmp: tar_of_zeros(tmp, 2**28),
    "a long name in a tar": tar_of_a_long_name,
    "npz": lambda tmp: npz(tmp, (4000, 1024, 1024)),
    "honest npz": lambda tmp: npz(tmp, (500, 1024, 1024)),
    "idx": lambda tmp: idx(tmp, 4000, 4000),
    "MNIST as CSV": lambda tmp: table_of_pixels(tmp, 60000, 784),
    "a long label of many rows": lambda tmp: parquet(tmp, "x" * 10**6, 20000),
}


def table_of_pixels(tmp: Path, count: int, pixels: int) -> Path:
    rows = [",".join([str(i % 10)] + [str((i * 7) % 256)] * pixels) for i in range(100)]
    (tmp / "pixels.csv").write_text("\n".join(rows * (count // 100)))
    return tmp / "pixels.csv"


@pytest.mark.slow
# Eight threads hold the most; with one, images come one after another.
@pytest.mark.parametrize(("kind", "threads"), [*((kind, 8) for kind in SEARCHED), ("photos as PNG", 1)])
def test_a_search_stays_under_a_gigabyte_and_a_minute(kind, threads, tmp_path):
    path = SEARCHED[kind](tmp_path)
    began = time.monotonic()
    command = [sys.executable, MEASURED, path, str(threads)]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout)
    print(kind, threads, {**told, "wall": time.monotonic() - began})
    assert told["bytes"] < 1e9 and told["seconds"] < 60
    assert not told["said"] or re.search(r"'[^']+'", told["said"])
