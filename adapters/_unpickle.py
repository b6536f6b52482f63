"""Read a pickle without running it, entry by entry, in memory that does not grow with the file.

Pickle is a program: the plain reader imports and calls whatever the file names. `PickleReader` knows containers,
texts and numbers, and builds the few other things that the published NAS-Bench-201 files hold by functions of its own;
it refuses everything else.

A pickle finishes its outermost dictionary last and may refer back to every object before. So the entries of one large
dictionary in it are handed out as soon as they are complete, and of an entry only texts, types and tuples of texts are
remembered: those are what entries share. An entry may have a few megabytes and some 100,000 objects, far more than any
published one, so that a small compressed file cannot take all memory.
"""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from types import FunctionType
from typing import IO, Any

import numpy as np

from metad2a_plugin.errors import DatasetError

_READ = 1 << 20
_AHEAD = 1 << 16
"""Bytes at hand when an opcode is read, so that few runs of numbers are cut in two."""
_LONGEST_ENTRY = 1 << 23
"""Bytes of one entry, or of what lies outside all; published ones have 0.4 MB and 1.4 MB."""
_MOST_OBJECTS = 1 << 17
"""Containers that an entry makes, and numbered objects that it has; published ones have some 10,000."""
_DEEPEST = 50
_LONGEST_SHARED = 1 << 10
"""Characters of a text that entries share."""
_MOST_SHARED = 1 << 18
"""Texts that entries share, and blocks of references to them; published files have some 20,000."""
_LONGEST_INTEGER = 10
"""Bytes; torch's own magic number has so many."""
_LONGEST_MESSAGE = 300
_BLOCK = 128
_GONE = object()
UNREADABLE = (
    *(AttributeError, IndexError, KeyError, MemoryError, OverflowError, RecursionError, TypeError, ValueError),
    struct.error,
)
"""What handling objects of another layout can raise."""


def brief(value: Any) -> str:
    """What a value is, in a few characters: written out, hostile containers would take all memory."""
    if value is None or isinstance(value, (bool, int, float)) or (isinstance(value, str) and len(value) <= 100):
        return repr(value)
    return f"an object of type {type(value).__name__}"


def shortened(text: object) -> str:
    """A message whose length the file decides, cut."""
    said = str(text)
    return said if len(said) <= _LONGEST_MESSAGE else f"{said[:_LONGEST_MESSAGE]}…"


# -- the objects that are no containers, texts or numbers ----------------------------------------
def _dict(items: Iterable[tuple[Any, Any]] = ()) -> dict[Any, Any]:
    return dict(items)


def _set(items: Iterable[Any] = ()) -> set[Any]:
    return set(items)


def _bytes(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise ValueError(f"bytes in the encoding {brief(encoding)}")
    if len(text) > 8:
        raise ValueError(f"{len(text):,} bytes of a number")
    return text.encode("latin1")


def _dtype(name: str, *_: Any) -> np.dtype[Any]:
    if name not in ("f4", "f8", "i4", "i8"):
        raise ValueError(f"numbers of the type {brief(name)}")
    return np.dtype(f"<{name}")


def _scalar(dtype: np.dtype[Any], data: bytes) -> float | int:
    if not isinstance(dtype, np.dtype):
        raise TypeError(f"numbers of the type {brief(dtype)}")
    number: float | int = np.frombuffer(data, dtype).item()
    return number


def _lasts(value: Any) -> bool:
    """Whether records may share it, unless it is a text: a type, or a tuple such as a program's text may hold."""
    if isinstance(value, tuple):
        return len(value) <= _BLOCK and all(
            isinstance(item, int) or (isinstance(item, str) and len(item) <= _LONGEST_SHARED) for item in value
        )
    return isinstance(value, (FunctionType, np.dtype))


_BUILDERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _dict,
    ("builtins", "set"): _set,
    ("__builtin__", "set"): _set,
    ("_codecs", "encode"): _bytes,
    ("numpy", "dtype"): _dtype,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}


# -- runs of numbers -----------------------------------------------------------------------------
# They are the bulk of a file. One expression finds a run, exactly as the opcodes would be read one by one.
def _texts(length: str) -> bytes:
    """Texts of up to 24 printable characters after their length: the keys of numbers. The frequent ones come first."""
    lengths = (9, 10, 11, 12, 8, *range(1, 8), *range(13, 25))
    return b"|".join(re.escape(struct.pack(length, n)) + b"[ -~]{%d}" % n for n in lengths)


_BY_NUMBER = re.compile(rb"(?:K.G.{8})+", re.DOTALL)
_BY_REFERENCE = re.compile(rb"(?:j.{4}G.{8})+", re.DOTALL)
_BY_TEXT = {
    pickle.SHORT_BINUNICODE: rb"\x8c(" + _texts("<B") + rb")\x94G(.{8})",
    pickle.BINUNICODE: rb"X(" + _texts("<I") + rb")r(.{4})G(.{8})",
}
_AROUND_TEXT = 15
"""Bytes of an item beside the text and its length, where the text's number is written."""
_TEXT_ITEM = {opcode: re.compile(form, re.DOTALL) for opcode, form in _BY_TEXT.items()}
_TEXT_RUN = {opcode: re.compile(b"(?:" + form + b")+", re.DOTALL) for opcode, form in _BY_TEXT.items()}


class PickleReader:
    """Reads the pickles of a stream, one after another.

    Args:
        stream: at the beginning of a pickle of protocol 2 or later.
        source: where it is from, for messages.
    """

    def __init__(self, stream: IO[bytes], source: str) -> None:
        self.value: Any = None
        """What the pickle read last is, without the entries that were handed out."""
        self._stream, self._source = stream, source
        self._buffer, self._at, self._before, self._safe = b"", 0, 0, -1
        self._names: dict[Any, str] = {}

    def load(self) -> Any:
        """The next pickle's object.

        Raises:
            DatasetError: it is damaged, cut short, or holds what no NAS-Bench-201 file does.
        """
        for _ in self.entries(None):
            pass
        return self.value

    def entries(self, name: str | None) -> Iterator[tuple[Any, Any]]:
        """Read the next pickle, a dictionary, and hand out the entries of the dictionary it has under a name.

        Entries are left out of `value`, except of a dictionary that has one only.

        Raises:
            DatasetError: as `load`.
        """
        self._name, self._level = name, -1
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []
        self._made, self._entry = 0, self._before + self._at
        self._memo: list[Any] = []
        self._start = 0
        self._starts: list[int] = []
        self._kept: list[tuple[tuple[Any, ...], ...]] = []
        self._blocks: dict[tuple[Any, ...], tuple[Any, ...]] = {}
        try:
            while True:
                if self._at > self._safe:
                    self._fill(1)
                self._opcode = opcode = self._buffer[self._at : self._at + 1]
                self._at += 1
                if opcode == pickle.STOP:
                    self.value = self._stack.pop()
                    return
                handler = _HANDLERS.get(opcode)
                if handler is None:
                    raise self._refusal(f"the opcode {opcode!r}, which no NAS-Bench-201 file has")
                complete = handler(self)
                if complete and self._next() != pickle.MARK:
                    entry = self._stack.pop()
                    key = self._stack.pop()
                    self._forget()
                    yield key, entry
        except DatasetError:
            raise
        except UNREADABLE as error:
            raise self._refusal(f"what cannot be read ({type(error).__name__}: {error})") from error

    def _refusal(self, what: str) -> DatasetError:
        at = self._before + self._at
        return DatasetError(f"{self._source} has, at byte {at:,}, {shortened(what)}; it was not read on")

    # -- bytes -------------------------------------------------------------------------------
    def _fill(self, count: int) -> None:
        """Have at least so many bytes, and more if there are."""
        if self._before + self._at + count - self._entry > _LONGEST_ENTRY:
            raise self._refusal(f"a record of more than {_LONGEST_ENTRY:,} bytes, longer than any of NAS-Bench-201")
        self._count(0)
        parts, have = [self._buffer[self._at :]], len(self._buffer) - self._at
        ended = False
        while have < count + _AHEAD and not ended:
            try:
                part = self._stream.read(_READ)
            except (EOFError, OSError, zlib.error, zipfile.BadZipFile) as error:
                raise self._refusal(f"damaged or missing data ({error})") from error
            parts.append(part)
            have += len(part)
            ended = not part
        self._before += self._at
        self._buffer, self._at = b"".join(parts), 0
        self._safe = have - 1 if ended else have - _AHEAD
        if have < count:
            raise self._refusal("its end, in the middle of an object: it is cut short")

    def _take(self, count: int) -> bytes:
        if count > _LONGEST_ENTRY:
            raise self._refusal(f"a piece of {count:,} bytes, longer than any of NAS-Bench-201")
        if self._at + count > len(self._buffer):
            self._fill(count)
        self._at += count
        return self._buffer[self._at - count : self._at]

    def _number(self, form: str) -> Any:
        """The argument of an opcode."""
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _next(self) -> bytes:
        if self._at > self._safe:
            self._fill(1)
        return self._buffer[self._at : self._at + 1]

    def _count(self, made: int) -> None:
        self._made += made
        if max(self._made, len(self._memo)) > _MOST_OBJECTS:
            raise self._refusal(f"a record of more than {_MOST_OBJECTS:,} objects, more than any of NAS-Bench-201")

    # -- what opcodes share ------------------------------------------------------------------
    def _popped(self) -> list[Any]:
        """What was pushed since the last mark."""
        items, self._stack = self._stack, self._outer.pop()
        if len(self._outer) < self._level:
            self._level = -1
        return items

    def _remember(self, index: int) -> None:
        if index != self._start + len(self._memo):
            raise ValueError("objects are not numbered in order")
        self._memo.append(self._stack[-1])

    def _recall(self, index: int) -> Any:
        if index >= self._start:
            return self._memo[index - self._start]
        place = bisect_right(self._starts, index) - 1
        block, offset = divmod(index - self._starts[place], _BLOCK)
        found = self._kept[place][block][offset]
        if found is _GONE:
            raise self._refusal("a reference from one cell's record into another's")
        return found

    def _forget(self) -> None:
        """Keep what later entries may refer to. Entries are much alike, so equal blocks are kept once."""
        names = self._names
        lasting = [
            names.setdefault(v, v) if type(v) is str and len(v) <= _LONGEST_SHARED else v if _lasts(v) else _GONE
            for v in self._memo
        ]
        blocks = (tuple(lasting[i : i + _BLOCK]) for i in range(0, len(lasting), _BLOCK))
        self._kept.append(tuple(self._blocks.setdefault(block, block) for block in blocks))
        self._starts.append(self._start)
        if max(len(names), len(self._blocks)) > _MOST_SHARED:
            raise self._refusal(f"more than {_MOST_SHARED:,} different texts, more than NAS-Bench-201 has")
        self._start += len(self._memo)
        self._memo = []
        self._made, self._entry = 0, self._before + self._at

    # -- opcodes: structure ------------------------------------------------------------------
    def _protocol(self) -> None:
        if (protocol := self._number("<B")) > pickle.HIGHEST_PROTOCOL:
            raise ValueError(f"pickle protocol {protocol}")

    def _frame(self) -> None:
        self._take(8)

    def _mark(self) -> None:
        below = self._stack[-2] if len(self._stack) > 1 else None
        self._outer.append(self._stack)
        self._stack = []
        if len(self._outer) > _DEEPEST:
            raise self._refusal(f"containers nested more than {_DEEPEST} deep")
        # In the outermost dictionary, whose items need no mark if they are one.
        if type(below) is str and below == self._name and len(self._outer) <= 2:
            self._level = len(self._outer)

    def _setitems(self) -> bool:
        items = self._popped()
        self._container(dict).update(zip(items[::2], items[1::2], strict=True))
        return self._completes()

    def _setitem(self) -> bool:
        value, key = self._stack.pop(), self._stack.pop()
        self._container(dict)[key] = value
        return self._completes()

    def _completes(self) -> bool:
        """Whether the dictionary with new items is an entry: alone with its key, not one inside that needs no mark."""
        return len(self._outer) == self._level and len(self._stack) == 2

    def _appends(self) -> None:
        items = self._popped()
        self._container(list).extend(items)

    def _append(self) -> None:
        value = self._stack.pop()
        self._container(list).append(value)

    def _additems(self) -> None:
        items = self._popped()
        self._container(set).update(items)

    def _container(self, kind: type) -> Any:
        if not isinstance(self._stack[-1], kind):
            raise TypeError(f"items of {type(self._stack[-1]).__name__} for a {kind.__name__}")
        return self._stack[-1]

    def _tuple(self) -> None:
        self._push_tuple(self._popped())

    def _short_tuple(self) -> None:
        count = self._opcode[0] - pickle.TUPLE1[0] + 1
        items = self._stack[-count:]
        del self._stack[-count:]
        self._push_tuple(items)

    def _push_tuple(self, items: list[Any]) -> None:
        # Comparing and hashing deep ones would overflow the interpreter's own stack.
        if any(isinstance(item, tuple) for item in items):
            raise ValueError("a tuple in a tuple")
        self._stack.append(tuple(items))

    # -- opcodes: references -----------------------------------------------------------------
    def _memoize(self) -> None:
        self._remember(self._start + len(self._memo))

    def _put(self) -> None:
        self._remember(self._number("<B"))

    def _long_put(self) -> None:
        self._remember(self._number("<I"))

    def _get(self) -> None:
        self._stack.append(self._recall(self._number("<B")))

    def _long_get(self) -> None:
        run = _BY_REFERENCE.match(self._buffer, self._at - 1)
        if run is None:
            self._stack.append(self._recall(self._number("<I")))
            return
        self._at = run.end()
        items = np.frombuffer(run[0], [("_j", "u1"), ("index", "<u4"), ("_g", "u1"), ("value", ">f8")])
        keys = map(self._recall, items["index"].tolist())
        self._stack += chain.from_iterable(zip(keys, items["value"].tolist(), strict=True))

    # -- opcodes: numbers and texts ----------------------------------------------------------
    def _small(self) -> None:
        run = _BY_NUMBER.match(self._buffer, self._at - 1)
        if run is None:
            self._stack.append(self._number("<B"))
            return
        self._at = run.end()
        self._stack += chain.from_iterable(struct.iter_unpack(">xBxd", run[0]))

    def _unsigned(self) -> None:
        self._stack.append(self._number("<H"))

    def _signed(self) -> None:
        self._stack.append(self._number("<i"))

    def _long(self) -> None:
        if (count := self._number("<B")) > _LONGEST_INTEGER:
            raise ValueError(f"an integer of {count} bytes")
        self._stack.append(int.from_bytes(self._take(count), "little", signed=True))

    def _float(self) -> None:
        self._stack.append(self._number(">d"))

    def _short_text(self) -> None:
        if not self._text_run():
            self._stack.append(self._take(self._number("<B")).decode())

    def _text(self) -> None:
        if not self._text_run():
            self._stack.append(self._take(self._number("<I")).decode())

    def _text_run(self) -> bool:
        opcode = self._opcode
        run = _TEXT_RUN[opcode].match(self._buffer, self._at - 1)
        if run is None:
            return False
        items = _TEXT_ITEM[opcode].findall(self._buffer, self._at - 1, run.end())
        texts, *references, values = zip(*items, strict=True)
        end = run.end()
        if references:
            first = self._start + len(self._memo)
            found, right = b"".join(references[0]), np.arange(first, first + len(texts), dtype="<u4")
            if found != right.tobytes():
                # Up to where the numbering breaks; reading it one by one from there ends in a refusal.
                count = int((np.frombuffer(found, "<u4") != right).argmax())
                if count == 0:
                    return False
                texts, values = texts[:count], values[:count]
                end = self._at - 1 + sum(map(len, texts)) + count * _AROUND_TEXT
        self._at = end
        names = self._names
        try:
            keys = [names[text] for text in texts]
        except KeyError:
            head = 1 if opcode == pickle.SHORT_BINUNICODE else 4
            for text in texts:
                names.setdefault(text, text[head:].decode())
            keys = [names[text] for text in texts]
        self._memo += keys
        self._stack += chain.from_iterable(zip(keys, struct.unpack(f">{len(keys)}d", b"".join(values)), strict=True))
        return True

    def _short_bytes(self) -> None:
        self._stack.append(self._take(self._number("<B")))

    def _constant(self) -> None:
        self._count(1)
        self._stack.append(_CONSTANTS[self._opcode]())

    # -- opcodes: other objects --------------------------------------------------------------
    def _global(self) -> None:
        module, name = self._line(), self._line()
        self._push_builder(module, name)

    def _line(self) -> str:
        end = self._buffer.index(b"\n", self._at)
        return self._take(end + 1 - self._at)[:-1].decode()

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._push_builder(module, name)

    def _push_builder(self, module: str, name: str) -> None:
        builder = _BUILDERS.get((module, name))
        if builder is None:
            what = "weights of networks" if module.startswith("torch") else f"a call of {module}.{name}"
            raise self._refusal(f"{what}, which the results of NAS-Bench-201 have not")
        self._stack.append(builder)

    def _reduce(self) -> None:
        arguments, builder = self._stack.pop(), self._stack.pop()
        if not isinstance(builder, FunctionType) or type(arguments) is not tuple:
            raise TypeError(f"a call of {brief(builder)}")
        if builder in (_dict, _set):
            self._count(1 + sum(map(len, arguments)))
        if builder is _bytes:
            # Both were made for this call and differ from entry to entry; nothing else can refer to them.
            for place in range(-min(len(self._memo), 3), 0):
                if self._memo[place] is arguments or self._memo[place] is arguments[0]:
                    self._memo[place] = _GONE
        self._stack.append(builder(*arguments))

    def _build(self) -> None:
        state = self._stack.pop()
        if not isinstance(self._stack[-1], np.dtype) or state[1] not in ("<", "|"):
            raise ValueError(f"the state {brief(state)} of {brief(self._stack[-1])}")


_CONSTANTS: dict[bytes, Callable[[], Any]] = {
    pickle.NONE: lambda: None,
    pickle.NEWTRUE: lambda: True,
    pickle.NEWFALSE: lambda: False,
    pickle.EMPTY_TUPLE: tuple,
    pickle.EMPTY_LIST: list,
    pickle.EMPTY_DICT: dict,
    pickle.EMPTY_SET: set,
}
_HANDLERS: dict[bytes, Callable[[PickleReader], bool | None]] = {
    pickle.PROTO: PickleReader._protocol,
    pickle.FRAME: PickleReader._frame,
    pickle.MARK: PickleReader._mark,
    pickle.SETITEMS: PickleReader._setitems,
    pickle.SETITEM: PickleReader._setitem,
    pickle.APPENDS: PickleReader._appends,
    pickle.APPEND: PickleReader._append,
    pickle.ADDITEMS: PickleReader._additems,
    pickle.TUPLE: PickleReader._tuple,
    pickle.TUPLE1: PickleReader._short_tuple,
    pickle.TUPLE2: PickleReader._short_tuple,
    pickle.TUPLE3: PickleReader._short_tuple,
    pickle.MEMOIZE: PickleReader._memoize,
    pickle.BINPUT: PickleReader._put,
    pickle.LONG_BINPUT: PickleReader._long_put,
    pickle.BINGET: PickleReader._get,
    pickle.LONG_BINGET: PickleReader._long_get,
    pickle.BININT1: PickleReader._small,
    pickle.BININT2: PickleReader._unsigned,
    pickle.BININT: PickleReader._signed,
    pickle.LONG1: PickleReader._long,
    pickle.BINFLOAT: PickleReader._float,
    pickle.SHORT_BINUNICODE: PickleReader._short_text,
    pickle.BINUNICODE: PickleReader._text,
    pickle.SHORT_BINBYTES: PickleReader._short_bytes,
    pickle.GLOBAL: PickleReader._global,
    pickle.STACK_GLOBAL: PickleReader._stack_global,
    pickle.REDUCE: PickleReader._reduce,
    pickle.BUILD: PickleReader._build,
    **dict.fromkeys(_CONSTANTS, PickleReader._constant),
}
