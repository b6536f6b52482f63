"""Pages of parquet that unpack to more than fits are refused by their headers, before there is room made for them."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from metad2a_plugin.data import load_dataset, parquet_pages
from metad2a_plugin.data.parquet_pages import _Header, check_pages
from metad2a_plugin.errors import DatasetError

pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed; see the extra 'parquet'")
resource = pytest.importorskip("resource")
import pyarrow as pa  # noqa: E402


def write(path: Path, images: list[bytes], **options: Any) -> Path:
    labels = ["ab"[i % 2] for i in range(len(images))]
    pq.write_table(pa.table({"image": images, "label": labels}), path, **options)
    return path


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("packing", ["none", "snappy", "zstd", "gzip"])
@pytest.mark.parametrize("encoding", [None, "PLAIN", "DELTA_BYTE_ARRAY"])
def test_all_pages_are_seen_until_the_last_value(
    version: str, packing: str, encoding: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [os.urandom(200) for _ in range(300)]
    options = {"use_dictionary": False, "column_encoding": {"image": encoding}} if encoding else {}
    path = write(
        tmp_path / "x.parquet", images, compression=packing, data_page_version=version, data_page_size=2000,
        row_group_size=120, write_batch_size=10, **options,
    )  # fmt: skip
    metadata = pq.ParquetFile(path).metadata
    assert check_pages(path, metadata, "image") == (encoding == "DELTA_BYTE_ARRAY")
    # A bound that the largest page passes, and one that it does not.
    sizes: list[int] = []
    found = parquet_pages._pages

    def listed(*given: Any) -> Iterator[tuple[int, int, int | None]]:
        for page in found(*given):
            sizes.append(max(page[0], page[1]))
            yield page

    monkeypatch.setattr(parquet_pages, "_pages", listed)
    check_pages(path, metadata, "image")
    assert len(sizes) >= 6 and sum(sizes) >= 300 * 200
    for name in ("LARGEST", "_LARGEST_DELTA", "_LARGEST_DICTIONARY"):
        monkeypatch.setattr(parquet_pages, name, max(sizes) - 1)
    with pytest.raises(DatasetError, match=r"the pages of the column 'image' of .* row_group_size=100"):
        check_pages(path, metadata, "image")


@pytest.mark.parametrize("column", ["image", "label"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_a_page_that_unpacks_to_much_is_refused_in_little_memory(
    column: str, dictionary: bool, tmp_path: Path
) -> None:
    zeros = pa.array([bytes(2**16)] * 2, pa.binary() if column == "image" else pa.string())
    many = pa.concat_arrays([zeros]).take(pa.array(np.arange(2**12) % 2))
    other = pa.array(np.arange(2**12) % 2)
    table = pa.table({"image": many, "label": other} if column == "image" else {"image": other, "label": many})
    kinds = {"use_dictionary": False, "compression": "zstd", "write_batch_size": 2**12, "data_page_size": 2**30}
    path = tmp_path / "x.parquet"
    pq.write_table(table, path, **kinds)
    if dictionary:  # a header that lies
        path = write(path, [os.urandom(50)] * 10)
        data = path.read_bytes()
        place = pq.ParquetFile(path).metadata.row_group(0).column(0 if column == "image" else 1).dictionary_page_offset
        head = _Header(data[place : place + 100]).struct()
        small, large = (varint(size) for size in (head[2], 2**30))
        assert data[place + 2 : place + 4] == b"\x15" + small or data[place + 3 : place + 3 + len(small)] == small
        path.write_bytes(data[: place + 3] + large + data[place + 3 + len(small) :])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DatasetError, match=rf"the pages of the column '{column}' .*|no readable parquet"):
        load_dataset(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


@contextmanager
def counting() -> Iterator[Any]:
    """Counts what pyarrow takes."""
    before = pa.default_memory_pool()
    counted = pa.proxy_memory_pool(before)
    pa.set_memory_pool(counted)
    yield counted
    pa.set_memory_pool(before)


def test_groups_of_rows_of_any_size_are_read_by_their_pages(tmp_path: Path) -> None:
    images = [os.urandom(2**17) for _ in range(256)]
    path = write(tmp_path / "x.parquet", images, write_batch_size=8)  # 32 MiB in one group, pages of 1 MiB
    with counting() as pool:
        assert load_dataset(path).content_hash
    assert 2**18 < pool.max_memory() < 8 * 2**20


def test_a_page_of_many_photos_is_refused_as_no_part_of_one_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "x.parquet", [os.urandom(2**14) for _ in range(1000)], use_dictionary=False)
    with counting() as pool:
        load_dataset(path).decode([0], 8)  # one row, and all of the page for it
    assert pool.max_memory() > 1000 * 2**14
    monkeypatch.setattr(parquet_pages, "LARGEST", 2**23)
    with pytest.raises(DatasetError, match=r"15 MiB, more than the 8 that are read; .*row_group_size=100"):
        load_dataset(path)
    again = tmp_path / "again.parquet"
    pq.write_table(pq.read_table(path), again, row_group_size=100)
    assert len(load_dataset(again)) == 1000


def varint(size: int) -> bytes:
    size, found = size << 1, b""
    while size > 127:
        found += bytes([size & 127 | 128])
        size >>= 7
    return found + bytes([size])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_of_no_header_are_told_quickly(data: bytes) -> None:
    with suppress(IndexError, ValueError):
        _Header(data).struct()


def test_what_fits_is_read(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    dataset = load_dataset(write(tmp_path / "x.parquet", [buffer.getvalue()] * 4))
    assert re.fullmatch(r"[0-9a-f]{64}", dataset.content_hash) and not dataset.decode(range(4), 8)[1]
