"""Files of every kind that is read, damaged at random: only the package's own errors, quickly, in little memory."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from metad2a_plugin.data import load_dataset
from metad2a_plugin.errors import MetaD2AError

resource = pytest.importorskip("resource")

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 255, (6, 9, 9, 3), dtype=np.uint8)
LABELS = (np.arange(6) % 2).astype(np.uint8)
EXIF = Image.Exif()
EXIF[0x0112] = 6
FORMATS = {
    "png": {"format": "PNG", "exif": EXIF},
    "jpg": {"format": "JPEG", "exif": EXIF, "progressive": True},
    "gif": {"format": "GIF"},
    "bmp": {"format": "BMP"},
    "webp": {"format": "WEBP"},
    "tif": {"format": "TIFF", "compression": "tiff_lzw"},
    "ppm": {"format": "PPM"},
    "tga": {"format": "TGA"},
    "jp2": {"format": "JPEG2000"},
}
STEPS = st.tuples(
    st.sampled_from(["set", "cut", "drop", "repeat", "large"]), st.integers(0, 2**16), st.binary(min_size=1, max_size=6)
)


def picture(i: int, suffix: str = "png") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS[i]).save(buffer, **FORMATS[suffix])
    return buffer.getvalue()


def bmp(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (150, 150, 3), dtype=np.uint8)).save(buffer, "BMP")
    return buffer.getvalue()


def zipped(method: int, files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(mode: str, files: dict[str, bytes], **options: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, **options) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def npz(save: Callable[..., None]) -> bytes:
    buffer = io.BytesIO()
    save(buffer, images=PIXELS, labels=np.array(["a", "b"] * 3))
    return buffer.getvalue()


def parquet() -> bytes:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    images = [{"bytes": picture(i), "path": None} for i in range(6)]
    pq.write_table(pa.table({"image": images, "label": ["a", "b"] * 3}), buffer)
    return buffer.getvalue()


def arrow(packing: str | None = None) -> bytes:
    """As a file of `save_to_disk`, of three batches."""
    pa = pytest.importorskip("pyarrow")

    images = [{"bytes": picture(i), "path": None} for i in range(6)]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    batch = pa.record_batch({"image": pa.array(images, kind), "label": ["a", "b"] * 3})
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, batch.schema, options=pa.ipc.IpcWriteOptions(compression=packing)) as writer:
        for start in (0, 2, 4):
            writer.write_batch(batch.slice(start, 2))
    return buffer.getvalue()


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


CLASSES = {f"{'ab'[i % 2]}/{i}.png": picture(i) for i in range(6)}
FLAT = {f"{i}.png": picture(i) for i in range(6)}
ROWS = [{"id": f"{i}.png", "label": "ab"[i % 2]} for i in range(6)]
CSV = "id,label\n" + "".join(f"{row['id']},{row['label']}\n" for row in ROWS)
SHARDS = {f"{i}.{end}": data for i in range(6) for end, data in (("png", picture(i)), ("cls", b"%d" % (i % 2)))}
WIDE = "label," + ",".join(f"p{i}" for i in range(16)) + "\n" + "".join(f"{i % 2}" + ",7" * 16 + "\n" for i in range(6))
FEATURES = {"image": {"_type": "Image"}, "label": {"_type": "Value", "dtype": "string"}}
SAVED = {
    "state.json": json.dumps({"_data_files": [{"filename": "x.arrow"}], "_split": None}).encode(),
    "dataset_info.json": json.dumps({"features": FEATURES}).encode(),
}
# The file that is damaged, its content, what lies beside it, and whether the folder is what is read.
KINDS: dict[str, tuple[str, bytes, dict[str, bytes], bool]] = {
    **{end: (f"a/x.{end}", picture(0, end), {**CLASSES, f"b/x.{end}": picture(1, end)}, True) for end in FORMATS},
    "zip": ("x.zip", zipped(zipfile.ZIP_DEFLATED, CLASSES), {}, False),
    "bz2 zip": ("x.zip", zipped(zipfile.ZIP_BZIP2, CLASSES), {}, False),
    "zip with a table": ("x.zip", zipped(zipfile.ZIP_STORED, {**FLAT, "x.csv": CSV.encode()}), {}, False),
    "tar": ("x.tar", tarred("w", CLASSES), {}, False),
    "tar.gz": ("x.tar.gz", tarred("w:gz", CLASSES), {}, False),
    "tar.xz": ("x.tar.xz", tarred("w:xz", FLAT | {"x.csv": CSV.encode()}), {}, False),
    "tar.bz2": ("x.tar.bz2", tarred("w:bz2", CLASSES), {}, False),
    "webdataset": ("x.tar", tarred("w", SHARDS), {}, False),
    "npz": ("x.npz", npz(np.savez), {}, False),
    "compressed npz": ("x.npz", npz(np.savez_compressed), {}, False),
    "csv": ("x.csv", CSV.encode(), FLAT, True),
    "list": ("x.txt", "".join(f"{row['id']} {row['label']}\n" for row in ROWS).encode(), FLAT, True),
    "pixels": ("x.csv", WIDE.encode(), {}, False),
    "json": ("x.json", json.dumps(ROWS).encode(), FLAT, True),
    "jsonl": ("x.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS).encode(), FLAT, True),
    "idx": ("train-images-idx3-ubyte", idx(PIXELS[..., 0]), {"train-labels-idx1-ubyte": idx(LABELS)}, True),
    "idx.gz": (
        "train-images-idx3-ubyte.gz",
        gzip.compress(idx(PIXELS[..., 0])),
        {"train-labels-idx1-ubyte.gz": gzip.compress(idx(LABELS))},
        True,
    ),
    "parquet": ("x.parquet", parquet(), {}, False),
    "arrow": ("x.arrow", arrow(), SAVED, True),
    "zstd arrow": ("x.arrow", arrow("zstd"), SAVED, True),
    **{name: (name, data, {**SAVED, "x.arrow": arrow()}, True) for name, data in SAVED.items()},
}


def damaged(data: bytes, steps: list[tuple[str, int, bytes]]) -> bytes:
    changed = bytearray(data)
    for step, place, value in steps:
        at = place % max(1, len(changed))
        if step == "set":
            changed[at : at + len(value)] = value
        elif step == "cut":
            del changed[at:]
        elif step == "drop":
            del changed[at : at + len(value) * 3]
        elif step == "repeat":
            changed[at:at] = changed[at : at + 50] * value[0]
        else:
            changed[at : at + 4] = b"\xff\xff\xff\x7f" if value[0] % 2 else b"\x7f\xff\xff\xff"
    return bytes(changed)


def check(folder: Path, kind: str, data: bytes) -> None:
    """Read a file of a kind, and its images; how it ends is in no error but the package's."""
    name, _, beside, whole = KINDS[kind]
    for other, content in {**beside, name: data}.items():
        (folder / other).parent.mkdir(parents=True, exist_ok=True)
        (folder / other).write_bytes(content)
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset, said = load_dataset(folder if whole else folder / name), ""
            dataset.decode(range(min(20, len(dataset))), 8)
            assert len(dataset.content_hash) == 64
        except MetaD2AError as error:
            said = str(error)
    assert len(said) < 2000
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 * 1024


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_damaged_is_read(kind, tmp_path):
    check(tmp_path, kind, KINDS[kind][1])
    name, _, _, whole = KINDS[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert not load_dataset(tmp_path if whole else tmp_path / name).decode(range(6), 8)[1]


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz"])
def test_damage_behind_what_is_listed_of_a_tar_breaks_its_images_only(packing, tmp_path):
    kind = f"tar.{packing}"
    data = KINDS[kind][1]
    for back in range(1, 50):  # what is read ahead of an image's end differs from what is while it is listed
        for value in (data[-back] ^ 255, data[-back] ^ 1):
            check(tmp_path, kind, data[:-back] + bytes([value]) + data[len(data) - back + 1 :])


@pytest.mark.parametrize(
    ("packing", "least"), [("gz", {"compresslevel": 1}), ("bz2", {"compresslevel": 1}), ("xz", {"preset": 0})]
)
def test_a_tar_that_is_damaged_once_it_is_opened_has_broken_images(packing, least, tmp_path):
    path = tmp_path / "x.tar"
    data = tarred(f"w:{packing}", {f"{'ab'[i % 2]}/{i}.bmp": bmp(i) for i in range(6)}, **least)
    at = len(data) * 9 // 10
    for after in [b"", bytes(64) + data[at + 64 :]][: 1 if packing == "gz" else 2]:  # gzip does not see other pixels
        path.write_bytes(data)
        dataset = load_dataset(path)
        path.write_bytes(data[:at] + after)
        # The first error, and what each way of unpacking says once it has failed.
        assert 5 in dataset.decode([0, 5, 5, 5], 8)[1]


def fuzz(count: int, factory: pytest.TempPathFactory) -> None:
    folders = {kind: factory.mktemp("fuzz") for kind in KINDS}

    @settings(max_examples=count, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(sorted(KINDS)), st.lists(STEPS, min_size=1, max_size=4), st.binary(max_size=400))
    def run(kind, steps, anything):
        # One in some is bytes of no file at all.
        check(folders[kind], kind, anything if len(anything) % 8 == 7 else damaged(KINDS[kind][1], steps))

    run()


def test_damaged_files_end_in_own_errors(tmp_path_factory):
    fuzz(200, tmp_path_factory)


@pytest.mark.slow
def test_many_damaged_files_end_in_own_errors(tmp_path_factory):
    fuzz(2000, tmp_path_factory)
