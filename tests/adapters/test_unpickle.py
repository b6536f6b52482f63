from __future__ import annotations

import codecs
import contextlib
import io
import os
import pickle
import struct
import time
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

from metad2a_plugin.errors import DatasetError

unpickle = pytest.importorskip(
    "metad2a_plugin.adapters._unpickle", reason="adapters are inside the package once it is installed"
)
PROTOCOLS = (2, 3, 4, 5)


def load(data: bytes) -> Any:
    return unpickle.PickleReader(io.BytesIO(data), "'file'").load()


def record(cell: int, shared: dict[str, str]) -> dict[str, Any]:
    """Curves with keys of their own, under names that all records share, as in the published file."""
    keys = ["".join(["x-valid", f"@{epoch}"]) for epoch in range(30)]
    return {
        shared["epochs"]: {epoch: epoch + cell / 7 for epoch in range(300)},
        shared["accuracies"]: {key: epoch * cell / 3 for epoch, key in enumerate(keys)},
        shared["losses"]: OrderedDict((key, -epoch / 3) for epoch, key in enumerate(keys)),
        shared["cost"]: [np.float64(cell + 0.1), np.float32(0.5), cell, -cell, 2**40 + cell, None, True, False],
        shared["names"]: {("cifar10", cell): "x" * 30, ("cifar100", 3): "\n\x94G|é", "one": {1}, "none": set()},
    }


SHARED = {name: name for name in ("epochs", "accuracies", "losses", "cost", "names", "arch2infos", "last")}


def outer(cells: int) -> dict[str, Any]:
    records = {cell: record(cell, SHARED) for cell in range(cells)}
    return {"first": ["a", "b"], SHARED["arch2infos"]: records, SHARED["last"]: {"k": {1: 2.0}}, "end": {0, 1}}


# -- whole pickles -------------------------------------------------------------------------------
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_reads_what_the_plain_reader_reads(protocol: int) -> None:
    value = outer(3)
    assert load(pickle.dumps(value, protocol)) == value


def test_pickles_follow_one_another() -> None:
    reader = unpickle.PickleReader(io.BytesIO(b"".join(pickle.dumps(x, 2) for x in (1, "two", {3: 3.0}))), "'file'")
    assert [reader.load() for _ in range(3)] == [1, "two", {3: 3.0}]


def test_runs_that_are_longer_than_what_is_read_ahead() -> None:
    keys = dict.fromkeys(map(str, range(30_000)), 1.5)
    value = {"numbers": dict.fromkeys(range(256), 0.5), "text": "x" * 3_000_000, "keys": keys}
    assert load(pickle.dumps(value, 4)) == value == load(pickle.dumps(value, 2))


class Slow(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or 1, 7))


def test_a_stream_may_give_less_than_asked_for() -> None:
    value = outer(1)
    assert unpickle.PickleReader(Slow(pickle.dumps(value, 2)), "'file'").load() == value


# -- entries -------------------------------------------------------------------------------------
@pytest.mark.parametrize(("cells", "protocol"), [(2, 2), (2, 3), (2, 5), (999, 2), (1000, 4), (1001, 2), (2002, 4)])
def test_entries_come_one_by_one_across_batches(cells: int, protocol: int) -> None:
    reader = unpickle.PickleReader(io.BytesIO(pickle.dumps(outer(cells), protocol)), "'file'")
    count = 0
    for cell, found in reader.entries("arch2infos"):
        assert cell == count and found == record(cell, SHARED)
        count += 1
    assert count == cells
    # What a record has named is still known after it.
    assert reader.value == outer(0)


def test_one_entry_is_no_batch_and_stays() -> None:
    reader = unpickle.PickleReader(io.BytesIO(pickle.dumps(outer(1), 2)), "'file'")
    assert list(reader.entries("arch2infos")) == [] and reader.value == outer(1)


def test_entries_in_an_ordered_dictionary() -> None:
    value = {"arch2infos": OrderedDict((cell, {"a": cell, "b": 1.0}) for cell in range(5))}
    reader = unpickle.PickleReader(io.BytesIO(pickle.dumps(value, 2)), "'file'")
    assert list(reader.entries("arch2infos")) == list(value["arch2infos"].items())


def test_entries_are_handed_out_before_the_rest_is_read() -> None:
    stream = io.BytesIO(pickle.dumps(outer(2000), 4))
    reader = unpickle.PickleReader(stream, "'file'")
    next(reader.entries("arch2infos"))
    assert stream.tell() < len(stream.getvalue()) / 2


def test_nothing_of_an_entry_is_kept_but_texts() -> None:
    reader = unpickle.PickleReader(io.BytesIO(pickle.dumps(outer(1500), 2)), "'file'")
    blocks = [len(reader._blocks) for _ in reader.entries("arch2infos")]
    assert reader._memo and len(reader._memo) < 50
    # One block of each record has texts of its own, the others are the same as before.
    assert blocks[-1] - blocks[100] <= (len(blocks) - 101)


def test_a_reference_into_another_entry_is_refused() -> None:
    both = {"curve": [1.0]}
    value = {"arch2infos": {cell: {"a": both, "b": cell} for cell in range(3)}}
    reader = unpickle.PickleReader(io.BytesIO(pickle.dumps(value, 2)), "'file'")
    with pytest.raises(DatasetError, match=r"'file' has, at byte .* a reference from one cell's record into another's"):
        list(reader.entries("arch2infos"))


# -- what is refused -----------------------------------------------------------------------------
class Malicious:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("call", [(os.system, "touch {}"), (eval, "open({!r}, 'w')"), (exec, "open({!r}, 'w')")])
def test_a_malicious_pickle_is_refused_before_it_acts(call: Any, protocol: int, tmp_path: Any) -> None:
    victim = tmp_path / "harm"
    data = pickle.dumps({"arch2infos": {0: Malicious(call[0], call[1].format(str(victim)))}}, protocol)
    with pytest.raises(DatasetError, match=r"a call of \w+\.(system|eval|exec), which the results"):
        load(data)
    assert not victim.exists()
    pickle.loads(data)
    assert victim.exists()  # so the test would have noticed


def raw(*opcodes: bytes) -> bytes:
    return b"\x80\x02" + b"".join(opcodes) + b"."


DOUBLING = b"]q\x00" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(26))
"""``l = [l, l]``, 26 deep; all before the last lie below it."""
BAD = {
    "empty": (b"", "cut short"),
    "cut": (pickle.dumps(outer(2), 2)[:-100], "cut short"),
    "cut in a text": (raw(b"X\xff\x00\x00\x00abc"), "cut short"),
    "weights": (raw(b"ctorch._utils\n_rebuild_tensor_v2\n"), "weights of networks"),
    "weights by reference": (raw(b"X\x01\x00\x00\x00aQ"), "the opcode b'Q'"),
    "an instance": (pickle.dumps(Malicious(object), 2), r"a call of \w+\.object"),
    "old protocol": (pickle.dumps({"a": 1}, 0), "the opcode"),
    "new protocol": (b"\x80\x63N.", "pickle protocol 99"),
    "long text": (raw(b"X\xff\xff\xff\x7f"), "a piece of 2,147,483,647 bytes"),
    "nothing to pop": (raw(), "IndexError"),
    "no mark": (raw(b"}u"), "IndexError"),
    "items of a number": (raw(b"K\x01(K\x01K\x02u"), "items of int for a dict"),
    "half an item": (raw(b"}(K\x01u"), "ValueError"),
    "a list as a key": (raw(b"}]K\x01s"), "unhashable"),
    "a tuple in a tuple": (raw(b"N\x85\x85"), "a tuple in a tuple"),
    "out of order": (raw(b"}q\x05"), "not numbered in order"),
    "unknown reference": (raw(b"h\x05"), "IndexError"),
    "no text": (raw(b"X\x01\x00\x00\x00\xff"), "UnicodeDecodeError"),
    "a call of a number": (raw(b"K\x01)R"), "a call of 1"),
    "a state of a number": (raw(b"K\x01Nb"), "the state None of 1"),
    "another encoding": (pickle.dumps(Malicious(codecs.encode, "a", "rot13"), 2), "the encoding 'rot13'"),
    "objects as numbers": (pickle.dumps(np.dtype("O"), 2), "numbers of the type 'O8?'"),
    "big-endian numbers": (pickle.dumps(np.dtype(">f8"), 2), "the state"),
    "a long integer": (pickle.dumps(2**1500, 2), "an integer of 188 bytes"),
    "a deep type": (
        raw(b"cnumpy\ndtype\n" + b"]" * 100_000 + b"a" * 99_999 + b"\x85R"),
        "numbers of the type an object",
    ),
    "a deep call": (raw(b"]" * 100_000 + b"a" * 99_999 + b")R"), "a call of an object of type list"),
    "a deep state": (raw(b"K\x01" + b"]" * 100_000 + b"a" * 99_999 + b"b"), "the state an object of type list of 1"),
    "a deep encoding": (raw(DOUBLING + b"c_codecs\nencode\nX\0\0\0\0h\x1a\x86R"), "the encoding an object of type"),
    "a doubling call": (raw(DOUBLING + b")R"), "a call of an object of type list"),
    "deep marks": (raw(b"(" * 1000), "containers nested more than 50 deep"),
    "copies of a set": (
        raw(b"]q\x00(" + b"".join(b"J" + struct.pack("<i", i) for i in range(60_000)) + b"e")[:-1]
        + b"c__builtin__\nset\nh\x00\x85R" * 1000
        + b".",
        "more than 131,072 objects",
    ),
    "a long name": (
        raw(b"c" + b"a" * 10_000 + b"\nb\n"),
        r"a call of a{140}[.]{4}b, which the results of NAS-Bench-201 have not; it was not read on$",
    ),
    "a short number": (pickle.dumps(np.float64(1), 4).replace(b"C\x08", b"C\x04", 1), "cut short|has, at byte"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_published_result_is_refused_with_a_sentence(kind: str) -> None:
    data, message = BAD[kind]
    with pytest.raises(DatasetError, match=r"^'file' has, at byte ") as refused:
        load(data)
    assert refused.match(message)


def test_a_wrong_number_in_a_long_run_is_found_at_once() -> None:
    keys = b"".join(
        b"X\x06\x00\x00\x00%06dr" % i + struct.pack("<I", i + (i == 19_999)) + b"G" + bytes(8) for i in range(20_000)
    )
    begin = time.process_time()
    with pytest.raises(DatasetError, match="not numbered in order"):
        load(raw(b"}(" + keys + b"u"))
    assert time.process_time() - begin < 5


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_entries_whose_dictionaries_have_one_item(protocol: int) -> None:
    entries = {cell: {"200": {"a": {"b": {1: 2.5, 3: 4.5}}}} for cell in range(3)}
    reader = unpickle.PickleReader(io.BytesIO(pickle.dumps({"arch2infos": entries}, protocol)), "'file'")
    assert list(reader.entries("arch2infos")) == list(entries.items())


def test_damage_anywhere_ends_in_a_sentence() -> None:
    data = pickle.dumps(outer(2), 2)
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] = rng.integers(256)
        with contextlib.suppress(DatasetError):
            load(bytes(damaged))


def test_a_stream_that_breaks() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError("Invalid data stream")

    with pytest.raises(DatasetError, match="damaged or missing data \\(Invalid data stream\\)"):
        unpickle.PickleReader(Broken(), "'file'").load()


def test_numbers_keep_every_bit() -> None:
    values = [0.1, -0.0, 1e-310, 1e308, float("inf")]
    found = load(pickle.dumps({"a": dict(enumerate(values)), "b": [np.float64(v) for v in values]}, 2))
    for numbers in (found["a"].values(), found["b"]):
        assert struct.pack("<5d", *numbers) == struct.pack("<5d", *values)
