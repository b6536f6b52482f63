"""Pickles made to take all memory or for ever are refused, whatever they are made of; nothing else is raised."""

from __future__ import annotations

import bz2
import io
import os
import pickle
import struct
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from pathlib import Path

import memory_toys
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metad2a_plugin.errors import DatasetError

unpickle = pytest.importorskip(
    "metad2a_plugin.adapters._unpickle", reason="adapters are inside the package once it is installed"
)
convert = pytest.importorskip("metad2a_plugin.adapters.nas_bench_201").convert
SECONDS, BYTES = 5, 250_000_000
MODULUS = (1 << 61) - 1
"""Of Python's hashes of numbers: its multiples all have one hash."""


def raw(*opcodes: bytes) -> bytes:
    return b"\x80\x02" + b"".join(opcodes) + b"."


def integer(value: int) -> bytes:
    size = value.bit_length() // 8 + 1
    return b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True)


def put(number: int) -> bytes:
    return b"r" + struct.pack("<I", number)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def entries(count: int, items: Callable[[int], bytes], numbered: int) -> bytes:
    """A published file's outermost layers; each entry holds a list of items, some of which are numbered."""
    parts = [b"}(", text("arch2infos"), b"}("]
    for entry in range(count):
        parts += [integer(entry), b"}(K\x01](", *(items(entry * numbered + i) for i in range(numbered)), b"eu"]
    return raw(*parts, b"uu")


def pair_with_hash(first: int, wanted: int) -> tuple[int, int] | None:
    """A pair of numbers with a chosen hash, by the published formula of tuples of 64 bits."""
    p1, p2, p5, mask = 11400714785074694791, 14029467366897019727, 2870177450012600261, (1 << 64) - 1

    def turned(value: int, by: int) -> int:
        return ((value << by) | (value >> (64 - by))) & mask

    state = (turned((p5 + first * p2) & mask, 31) * p1) & mask
    end = (wanted - (2 ^ (p5 ^ 3527539))) & mask
    second = ((turned((end * pow(p1, -1, 1 << 64)) & mask, 33) - state) * pow(p2, -1, 1 << 64)) & mask
    second -= (second >> 63) << 64
    return (first, second) if abs(second) < MODULUS and second != -1 else None


@cache
def colliding_pairs(count: int) -> list[tuple[int, int]]:
    found = [pair for first in range(5 * count) if (pair := pair_with_hash(first, 12345)) is not None]
    assert len({hash(pair) for pair in found}) == 1  # or the test would test nothing
    assert len(found) >= count
    return found[:count]


def as_keys(keys: list[bytes]) -> bytes:
    return raw(b"}(", *(key + b"K\x01" for key in keys), b"u")


HOSTILE: dict[str, Callable[[], bytes]] = {
    # Hashes that are all the same.
    "numbers of one hash": lambda: as_keys([integer(MODULUS * i) for i in range(1, 30_000)]),
    "numbers of few hashes": lambda: as_keys([integer(i << 40) for i in range(1, 100_000)]),
    "a set of numbers of one hash": lambda: raw(b"\x8f(", *(integer(MODULUS * i) for i in range(1, 30_000)), b"\x90"),
    "floats of few hashes": lambda: as_keys(
        [b"G" + struct.pack(">d", (2 * i + 1) * 2.0 ** (61 * k)) for i in range(10_000) for k in range(15)]
    ),
    "pairs of one hash": lambda: as_keys([integer(a) + integer(b) + b"\x86" for a, b in colliding_pairs(16_000)]),
    "a set of pairs of one hash": lambda: raw(
        b"\x8f(", *(integer(a) + integer(b) + b"\x86" for a, b in colliding_pairs(16_000)), b"\x90"
    ),
    "pairs that entries share": lambda: entries(
        50, lambda i: b"".join(map(integer, colliding_pairs(16_000)[i % 16_000])) + b"\x86" + put(i), 500
    ),
    # Objects that are large for what they take in the file.
    "empty sets": lambda: raw(b"](", b"\x8f" * 3_000_000, b"e"),
    "tuples of one": lambda: raw(b"](", b"\x8c\x00\x85" * 1_300_000, b"e"),
    "texts of an astral letter": lambda: raw(b"](", b"\x8c\x05a\xf0\x9f\x98\x80" * 1_000_000, b"e"),
    "short numbers": lambda: raw(b"](", b"M\x01\x10" * 3_000_000, b"e"),
    "a dictionary of numbers": lambda: as_keys([b"J" + struct.pack("<i", i) for i in range(600_000)]),
    "lists in lists": lambda: raw(b"]" * 3_000_000, b"a" * 2_999_999),
    "copies of a set": lambda: raw(
        b"]q\0(", *(b"J" + struct.pack("<i", i) for i in range(60_000)), b"e", b"c__builtin__\nset\nh\0\x85R" * 1000
    ),
    "copies of a dictionary": lambda: raw(
        b"}q\0(", *(b"J" + struct.pack("<i", i) + b"N" for i in range(30_000)), b"u",
        b"ccollections\nOrderedDict\nh\0\x85R" * 1000,
    ),
    "states of types": lambda: raw(b"cnumpy\ndtype\nU\x02f8", b"(K\x03X\x01\0\0\0<NNNtb" * 500_000),
    "a text that claims gigabytes": lambda: raw(b"X\xff\xff\xff\x7f"),
    "many texts that claim megabytes": lambda: raw(b"X\xff\xff\x3f\x00" * 1000),
    # What lasts from entry to entry.
    "texts that entries share": lambda: entries(200, lambda i: text(f"{i:08d}{'x' * 992}") + put(i), 400),
    "pairs of texts that entries share": lambda: entries(
        130, lambda i: text("a") + integer(i) + b"\x86" + put(i), 2000
    ),
    "tuples that entries share": lambda: entries(
        100, lambda i: b"(" + b"".join(b"J" + struct.pack("<i", i * 128 + j) for j in range(128)) + b"t" + put(i), 50
    ),
    "objects that are only numbered": lambda: entries(20, lambda i: b"K\x01" + put(i), 20_000),
    "entries that begin again and again": lambda: raw(
        b"](", (text("arch2infos") + b"}(K\x01}(K\x02K\x03uu" + b"]" * 100_000) * 50, b"e"
    ),
    "entries that are many": lambda: entries(50_000, lambda i: b"", 0),
}


def read(data: bytes, stored: int | None = None) -> str:
    """What reading it says; anything but the package's own error fails the test."""
    try:
        for _ in unpickle.PickleReader(io.BytesIO(data), "'file'", stored).entries("arch2infos"):
            pass
    except DatasetError as error:
        said = str(error)
    else:
        said = ""
    assert len(said) < 500
    return said


QUICK = (
    *("numbers of one hash", "a set of numbers of one hash", "pairs of one hash", "empty sets", "lists in lists"),
    *("copies of a set", "states of types", "many texts that claim megabytes", "entries that begin again and again"),
)


@pytest.mark.parametrize("kind", [pytest.param(k, marks=[] if k in QUICK else pytest.mark.slow) for k in HOSTILE])
def test_a_hostile_file_is_read_or_refused_within_seconds(kind: str) -> None:
    data = HOSTILE[kind]()
    begin = time.process_time()
    read(data)
    assert time.process_time() - begin < SECONDS


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "wait4"), reason="memory of a process is known on POSIX only")
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_takes_little_memory(kind: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(HOSTILE[kind]())
    program = (
        "import sys\n"
        "from metad2a_plugin.adapters._unpickle import PickleReader\n"
        "from metad2a_plugin.errors import DatasetError\n"
        "if len(sys.argv) > 1:\n"
        "    try:\n"
        "        for _ in PickleReader(open(sys.argv[1], 'rb'), 'file').entries('arch2infos'):\n"
        "            pass\n"
        "    except DatasetError:\n"
        "        pass\n"
        f"sys.path.insert(0, {str(Path(memory_toys.__file__).parent)!r})\n"
        "from memory_toys import peak\n"
        "print(peak())\n"
    )

    def peak(*arguments: str) -> int:
        command = [sys.executable, "-c", program, *arguments]
        return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)

    assert peak(str(tmp_path / "file")) - peak() < BYTES


def test_a_small_file_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    piece = text("x" * 1000) * 1000
    packer = bz2.BZ2Compressor()
    with (tmp_path / "bomb.pickle.pbz2").open("wb") as file:
        file.write(packer.compress(b"\x80\x02}(" + text("arch2infos") + b"}("))
        for entry in range(12):
            file.write(packer.compress(integer(entry) + b"}(K\x01](" + piece + b"eu"))
        file.write(packer.flush())
    stored = (tmp_path / "bomb.pickle.pbz2").stat().st_size
    with bz2.open(tmp_path / "bomb.pickle.pbz2") as unpacked, pytest.raises(DatasetError, match="far more than a file"):
        list(unpickle.PickleReader(unpacked, "'file'", stored).entries("arch2infos"))
    with pytest.raises(DatasetError, match=r"bomb\.pickle\.pbz2'"):
        convert(tmp_path / "bomb.pickle.pbz2", tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


def test_what_entries_share_is_still_known_in_all_of_them() -> None:
    shared = ("cifar10", 777)
    value = {"arch2infos": {cell: {shared: "text", "own": ("cifar100", cell)} for cell in range(3000)}}
    reader = unpickle.PickleReader(io.BytesIO(pickle.dumps(value, 2)), "'file'")
    assert dict(reader.entries("arch2infos")) == value["arch2infos"]


def test_an_entry_cannot_fill_what_lies_outside() -> None:
    """Objects outside of entries count with each entry, and no entry can put anything into them."""
    data = raw(b"}(", text("list"), b"]", put(0), text("arch2infos"), b"}(K\x01}(", text("a"), b"j\0\0\0\0uuu")
    assert "a reference from one cell's record into another's" in read(data)


# -- anything at all -----------------------------------------------------------------------------
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=9) | st.binary(),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=3) | st.integers(0, 9), inner, max_size=4)
    | st.tuples(inner)
    | st.builds(OrderedDict, st.dictionaries(st.integers(0, 9), inner, max_size=3)),
    max_leaves=12,
)
ARGUMENTS = {
    **dict.fromkeys((b"K", b"h", b"q", b"\x8c", b"C", b"\x80", b"\x8a"), st.integers(0, 20).map(lambda n: bytes([n]))),
    **dict.fromkeys((b"M",), st.binary(min_size=2, max_size=2)),
    **dict.fromkeys((b"J", b"j", b"r", b"X"), st.integers(0, 40).map(lambda n: struct.pack("<I", n))),
    **dict.fromkeys((b"G", b"\x95"), st.binary(min_size=8, max_size=8)),
    b"c": st.sampled_from(
        [b"collections\nOrderedDict\n", b"__builtin__\nset\n", b"_codecs\nencode\n", b"numpy\ndtype\n",
         b"numpy.core.multiarray\nscalar\n", b"os\nsystem\n", b"torch\nload\n"]
    ),
}  # fmt: skip
PLAIN = st.sampled_from([bytes([code]) for code in b"N()]}\x85\x86\x87\x88\x89\x8f\x90\x93\x94aebstuR."])
OPCODES = PLAIN | st.sampled_from(sorted(ARGUMENTS)).flatmap(lambda code: ARGUMENTS[code].map(lambda rest: code + rest))
PROGRAMS = st.lists(OPCODES, max_size=60).map(lambda codes: raw(*codes))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A pickle of plain values of which bytes were changed, left out, put in or repeated."""
    value = {"arch2infos": {cell: draw(VALUES) for cell in range(draw(st.integers(0, 4)))}, "more": draw(VALUES)}
    data = bytearray(pickle.dumps(value, draw(st.integers(2, 5))))
    for _ in range(draw(st.integers(0, 4))):
        place, end = sorted(draw(st.tuples(*[st.integers(0, len(data))] * 2)))
        kind = draw(st.sampled_from(["bytes", "cut", "repeat"]))
        piece = bytes(data[place:end])
        data[place:end] = {"bytes": draw(st.binary(max_size=4)), "cut": b"", "repeat": piece * 3}[kind]
    return bytes(data)


def check_any(data: bytes) -> None:
    begin = time.process_time()
    read(data)
    assert time.process_time() - begin < SECONDS


@settings(max_examples=100)
@given(data=PROGRAMS)
def test_any_program_is_read_or_refused(data: bytes) -> None:
    check_any(data)


@settings(max_examples=100)
@given(data=damaged())
def test_any_damage_is_read_or_refused(data: bytes) -> None:
    check_any(data)


@pytest.mark.slow
@settings(max_examples=2000)
@given(data=PROGRAMS)
def test_thousands_of_programs_are_read_or_refused(data: bytes) -> None:
    check_any(data)


@pytest.mark.slow
@settings(max_examples=2000)
@given(data=damaged())
def test_thousands_of_damages_are_read_or_refused(data: bytes) -> None:
    check_any(data)
