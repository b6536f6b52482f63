"""Files packed by xz: what `lzma` reads is read, in bounded memory."""

from __future__ import annotations

import io
import lzma
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metad2a_plugin.data.xz import XzFile


def greedy(data: bytes) -> bytes:
    """A stream whose block claims to need a gibibyte."""
    packed = bytearray(lzma.compress(data, preset=0))
    assert packed[14:16] == b"\x21\x01", "the filter is LZMA2, of one property"
    packed[16] = 36
    end = 12 + 4 * (packed[12] + 1)
    packed[end - 4 : end] = zlib.crc32(packed[12 : end - 4]).to_bytes(4, "little")
    return bytes(packed)


@settings(max_examples=50, deadline=None)
@given(
    parts=st.lists(st.binary(max_size=300), min_size=1, max_size=4),
    padding=st.integers(0, 3),
    wanted=st.lists(st.tuples(*[st.integers(0, 1300)] * 2)),
)
def test_streams_are_read_from_any_place(tmp_path_factory, parts, padding, wanted):
    path = tmp_path_factory.mktemp("xz") / "x.xz"
    path.write_bytes(b"".join(lzma.compress(part, preset=0) + bytes(4 * padding) for part in parts))
    whole = b"".join(parts)
    with io.BufferedReader(XzFile(path), 64) as file:
        for place, size in wanted:
            file.seek(place)
            assert file.read(size) == whole[place : place + size]


def test_a_block_that_asks_for_much_memory_is_refused_wherever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x.xz"
    for before in (b"", b"ab"):
        path.write_bytes((lzma.compress(before) if before else b"") + greedy(b"cd"))
        with XzFile(path) as file:
            if before:
                assert file.read(2) == b"ab"
            with pytest.raises(lzma.LZMAError, match="Memory usage limit"):
                file.read(2)
    with lzma.open(path) as unbounded:
        assert unbounded.read() == b"abcd", "the file is sound"


def test_what_is_cut_off_or_no_xz_is_an_error(tmp_path: Path) -> None:
    path, packed = tmp_path / "x.xz", lzma.compress(b"abcd" * 100)
    for data, error in ((packed[:-5], EOFError), (packed + b"more" * 9, lzma.LZMAError), (b"", EOFError)):
        path.write_bytes(data)
        with XzFile(path) as file, pytest.raises(error):
            file.readall()
