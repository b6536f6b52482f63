"""Folders of `save_to_disk`: read batch by batch and checked; what lies or is damaged ends in the package's errors."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from metad2a_plugin.data import arrow_stream, load_dataset, saved
from metad2a_plugin.errors import DatasetError

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed; see the extra 'parquet'")
PIXELS = np.random.default_rng(0).integers(0, 255, (6, 9, 9, 3), dtype=np.uint8)
KIND = pa.struct({"bytes": pa.binary(), "path": pa.string()})
STATE = {"_data_files": [{"filename": "x.arrow"}]}
INFO = {"features": {"image": {"_type": "Image"}, "label": {"_type": "Value"}}}


def png(i: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS[i]).save(buffer, "PNG")
    return buffer.getvalue()


IMAGES = [png(i) for i in range(6)]


def batch(image: Any = None, label: Any = ("a", "b") * 3) -> Any:
    if image is None:
        image = pa.array([{"bytes": data, "path": None} for data in IMAGES], KIND)
    label = label if isinstance(label, pa.Array) else pa.array(label)
    return pa.RecordBatch.from_arrays([image, label], ["image", "label"])


def stream(*batches: Any, packing: str | None = None) -> bytes:
    buffer = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=packing)
    with pa.ipc.new_stream(buffer, batches[0].schema, options=options) as writer:
        for rows in batches:
            writer.write_batch(rows)
    return buffer.getvalue()


def folder(path: Path, data: bytes | None, state: Any = STATE, info: Any = INFO) -> Path:
    path.mkdir(exist_ok=True)
    (path / "state.json").write_text(json.dumps(state))
    (path / "dataset_info.json").write_text(json.dumps(info))
    if data is not None:
        (path / "x.arrow").write_bytes(data)
    return path


def replaced(data: bytes, kind: str, old: Any, new: Any) -> bytes:
    """With other numbers in the place of some."""
    old, new = (struct.pack(f"<{len(values)}{kind}", *values) for values in (old, new))
    assert old in data
    return data.replace(old, new)


# -- what is read ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("packing", [None, "zstd", "lz4"])
def test_batches_are_read_in_any_order_without_the_library_that_wrote_them(
    packing: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    monkeypatch.setattr(arrow_stream, "WINDOW", 1)  # a memory map for each batch
    rows = batch()
    data = stream(rows.slice(0, 2), rows.slice(0, 0), rows.slice(2, 4), packing=packing)
    dataset = load_dataset(folder(tmp_path / "pets", data))
    assert (dataset.name, dataset.class_names, len(dataset)) == ("pets", ("a", "b"), 6)
    for copy in (dataset, pickle.loads(pickle.dumps(dataset))):
        for i in (5, 0, 3, 1):
            assert np.array_equal(copy.image(i), PIXELS[i])


def test_names_of_classes_and_kinds_of_images(tmp_path: Path) -> None:
    info = {"features": {**INFO["features"], "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}}
    for number, image in enumerate((None, pa.array(IMAGES), pa.array(PIXELS.tolist()))):
        dataset = load_dataset(folder(tmp_path / str(number), stream(batch(image, [0, 1] * 3)), info=info))
        assert dataset.class_names == ("cat", "dog") and np.array_equal(dataset.image(4), PIXELS[4])


def test_a_link_to_a_file_is_followed_as_in_the_cache_of_the_hub(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(stream(batch()))
    (folder(tmp_path / "x", None) / "x.arrow").symlink_to(tmp_path / "blob")
    assert len(load_dataset(tmp_path / "x")) == 6


def test_pages_of_a_large_batch_do_not_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what Linux says of the memory maps of the process."""
    if not os.path.exists("/proc/self/smaps_rollup"):
        pytest.skip("only Linux says what of a file is in memory")
    monkeypatch.setattr(saved, "WINDOW", 2**22)
    images = pa.array([np.full(2**20, i, np.uint8).tobytes() for i in range(32)])
    dataset = load_dataset(folder(tmp_path / "x", stream(batch(images, [0, 1] * 16))))
    most = 0
    for i in range(32):
        dataset.decode([i], 8)
        text = Path("/proc/self/smaps").read_text().split("x.arrow")[1:]
        most = max(most, sum(int(part.split("Rss:")[1].split()[0]) for part in text))
    assert 2**10 < most < 12 * 2**10  # KiB


# -- what is refused ---------------------------------------------------------------------------------------------------
GOOD = stream(batch())
OFFSETS = np.cumsum([0, *map(len, IMAGES)]).tolist()
PLACES = list(range(7))  # of labels of one character
NULLS = stream(batch(pa.array(IMAGES * 167 + IMAGES[:1]), [1] * 1003))
DAMAGED: dict[str, tuple[bytes, str]] = {
    "labels beyond their buffer": (replaced(GOOD, "i", PLACES, [n * 10**6 for n in PLACES]), "out of bounds: 1000000"),
    "labels that go back": (replaced(GOOD, "i", PLACES, [0, 3, -2, 1, 4, 5, 6]), "non-monotonic"),
    "more rows than bytes": (replaced(NULLS, "q", [1003], [2 * 10**6]), "Buffer #1 too small|File too short"),
    "far more rows": (replaced(NULLS, "q", [1003], [10**15]), "claims more rows or batches than the 2,097,152"),
    "fewer rows than none": (replaced(NULLS, "q", [1003], [-5]), "claims more rows|nvalid"),
    "packed zeros": (stream(batch(pa.array([bytes(2**26)] * 6)), packing="zstd"), "a packed batch claims more"),
    "dictionary": (stream(batch(None, pa.array(["a", "b"] * 3).dictionary_encode())), "columns as dictionaries"),
    "large schema": (stream(batch().replace_schema_metadata({"x": "y" * 9 * 10**6})), "a header of 8 MiB"),
    "no rows": (stream(batch().slice(0, 0)), "has no rows; expected images"),
    "cut in a batch": (GOOD[:-900], "Expected to be able to read"),
    "cut at the end": (GOOD[:-8], "cut off, or damaged"),
    "empty": (b"", "it is no Arrow stream"),
    "few bytes": (b"123", "it is no Arrow stream"),
    "file with an index": (b"ARROW1\0\0" + GOOD, "an Arrow file with an index, expected a stream"),
    "two columns of a name": (
        stream(pa.RecordBatch.from_arrays([pa.array([1])] * 2, ["image", "image"])), "several columns have one name"
    ),
    "a name of no text": (GOOD.replace(b"bytes", b"b\xff\xfees"), "schema is damaged"),
    "nulls as images": (stream(batch(pa.nulls(6))), "of the type 'null'; expected images"),
    "structs as labels": (stream(batch(None, pa.array([{"a": 1}] * 6))), "expected integers or texts, one an image"),
    "times as labels": (stream(batch(None, pa.array([2**62] * 6, pa.timestamp("s")))), "expected integers or texts"),
    "lists as labels": (stream(batch(None, pa.array([[1, 2], [3]] * 3))), "multi-label"),
    "lists of nothing": (
        replaced(
            stream(batch(None, pa.FixedSizeListArray.from_arrays(pa.nulls(6 * 1003), 1003))), "i", [1003], [2**28]
        ),
        "more than the 33,554,432|multiplied by the value size",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_stream_that_lies_or_is_damaged_is_refused(kind: str, tmp_path: Path) -> None:
    data, message = DAMAGED[kind]
    pool, default = pa.proxy_memory_pool(pa.default_memory_pool()), pa.default_memory_pool()
    pa.set_memory_pool(pool)
    try:
        with pytest.raises(DatasetError, match=message):
            load_dataset(folder(tmp_path / "x", data))
    finally:
        pa.set_memory_pool(default)
    assert (pool.max_memory() or 0) < 2**25


def test_images_beyond_their_buffer_are_broken(tmp_path: Path) -> None:
    for number, offsets in enumerate(([10**5 * n for n in OFFSETS], [0, 5, -7, 8, 1, 2, 3])):
        data = replaced(GOOD, "i", OFFSETS, offsets)
        broken = load_dataset(folder(tmp_path / str(number), data)).decode(range(6), 8)[1]
        assert len(broken) == 6 and "Offset invariant failure" in broken[0]


@pytest.mark.parametrize("image", [[[[1, 2], [3]]] * 6, [[None, 1]] * 6, [[[]]] * 6])
def test_lists_that_are_no_array_are_broken(image: list[Any], tmp_path: Path) -> None:
    assert len(load_dataset(folder(tmp_path / "x", stream(batch(pa.array(image))))).decode(range(6), 8)[1]) == 6


@pytest.mark.parametrize(
    "name",
    ["../x.arrow", "/etc/hostname", "", "..", "a/b.arrow", "a\\b", "x\0", None, 5, ["x"], "none.arrow", "x" * 5000],
)  # fmt: skip
def test_files_outside_of_the_folder_are_not_opened(name: Any, tmp_path: Path) -> None:
    (tmp_path / "x.arrow").write_bytes(GOOD)
    with pytest.raises(DatasetError, match=r"expected the name of a file or folder inside of it|has no file"):
        load_dataset(folder(tmp_path / "x", GOOD, {"_data_files": [{"filename": name}]}))
    both = tmp_path / "both"
    folder(both, None)
    (both / "dataset_dict.json").write_text(json.dumps({"splits": [name]}))
    with pytest.raises(DatasetError, match=r"expected the name of a file or folder inside of it|cannot be read"):
        load_dataset(both)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "loop"])
def test_pipes_devices_and_folders_are_not_read(kind: str, tmp_path: Path) -> None:
    path = folder(tmp_path / "x", None) / "x.arrow"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "device" else path.name)
    with pytest.raises(DatasetError, match=r"it is no file but a pipe, a device or a folder|has no file"):
        load_dataset(tmp_path / "x")


def test_rows_that_name_pipes_and_devices_are_broken(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for number, place in enumerate(("/dev/zero", str(tmp_path / "pipe"))):
        image = pa.array([{"bytes": None, "path": place}] * 6, KIND)
        broken = load_dataset(folder(tmp_path / str(number), stream(batch(image)))).decode(range(6), 8)[1]
        assert len(broken) == 6 and "pipe, a device" in broken[0]


@pytest.mark.parametrize(
    ("state", "info", "message"),
    [
        ({"_data_files": STATE["_data_files"] * 300}, INFO, "names a file twice"),
        ({"_data_files": []}, INFO, "has no list '_data_files'"),
        ({"_data_files": [3]}, INFO, "has no list '_data_files'"),
        ([1], INFO, "holds list, expected an object"),
        ({**STATE, "_indices_data_files": [{}]}, INFO, "an early release of datasets"),
        (STATE, [], "holds list, expected an object"),
        (STATE, {"features": {"label": {"_type": "ClassLabel", "names": [["a"]]}}}, "are no texts of at most 1000"),
        (STATE, {"features": {"label": {"_type": "ClassLabel", "names": ["a" * 10**6]}}}, "are no texts"),
        (STATE, {"features": {"label": {"_type": "Image"}}}, "is told to be the image, and no other"),
    ],
)  # fmt: skip
def test_json_that_says_something_else(state: Any, info: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=message):
        load_dataset(folder(tmp_path / "x", GOOD, state, info)).decode([0], 8)


def test_parts_with_other_columns_are_refused(tmp_path: Path) -> None:
    path = folder(tmp_path / "x", GOOD, {"_data_files": [{"filename": "x.arrow"}, {"filename": "y.arrow"}]})
    (path / "y.arrow").write_bytes(stream(batch(None, [1] * 6)))
    with pytest.raises(DatasetError, match=r"y.arrow' has other columns than"):
        load_dataset(path)
