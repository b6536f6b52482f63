"""Read a pickle without running it, entry by entry, in memory that does not grow with the file.

Pickle is a program: the plain reader imports and calls whatever the file names. `PickleReader` knows containers,
texts and numbers, and builds the few other things that the published NAS-Bench-201 files hold by functions of its own;
it refuses everything else.

A pickle finishes its outermost dictionary last and may refer back to every object before. So the entries of one large
dictionary in it are handed out as soon as they are complete, and of an entry only texts, types and keys such as
``("cifar10", 777)`` are remembered: those are what entries share.

No file takes all memory or for ever, each bound far beyond any published file:

- an entry, with all that lies outside of entries, has 4 MB and some 100,000 containers, tuples and numbered objects;
- what entries share, and the lists of where it is, takes 128 MB of memory;
- a stream that was compressed has at most 64 times the size of its file and 8 MB;
- a call makes numbers, or a dictionary or set of things that count; nothing is copied or repeated but by a call;
- no key is chosen so that it is slow to find: integers have 8 bytes, so few share a hash, and a tuple is a key only if
  it begins with a text, of which Python keeps the hash secret;
- containers are nested 50 deep at most where they are filled by marks, tuples not at all, and deeper ones are neither
  compared nor written out.
"""

from __future__ import annotations

import pickle
import re
import struct
from collections.abc import Callable, Iterator
from itertools import chain
from types import FunctionType
from typing import IO, Any

import numpy as np

from metad2a_plugin.errors import DatasetError

from ._pickle_machine import PickleMachine
from ._pickle_objects import BUILDERS, UNREADABLE, brief, build_bytes, build_dict, build_set, tuple_of

TORCH_MAGIC = 0x1950A86A20F9469CFC6C
"""What files of older versions of torch begin with."""
_DEEPEST = 50
_LONGEST_INTEGER = 8
"""Bytes, but of torch's magic number."""


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


class PickleReader(PickleMachine):
    """Reads the pickles of a stream, one after another.

    Args:
        stream: at the beginning of a pickle of protocol 2 or later.
        source: where it is from, for messages.
        stored: bytes that the stream takes on the disk, where it is compressed; None sets no bound on what it holds.
    """

    def __init__(self, stream: IO[bytes], source: str, stored: int | None = None) -> None:
        super().__init__(stream, source, stored)
        self.value: Any = None
        """What the pickle read last is, without the entries that were handed out."""

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
        self._begin()
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
                    self._end_entry()
                    yield key, entry
        except DatasetError:
            raise
        except UNREADABLE as error:
            raise self._refusal(f"what cannot be read ({type(error).__name__}: {error})") from error

    # -- opcodes: structure ------------------------------------------------------------------
    def _popped(self) -> list[Any]:
        """What was pushed since the last mark."""
        items, self._stack = self._stack, self._outer.pop()
        if len(self._outer) < self._level:
            self._level = -1
        return items

    def _op_proto(self) -> None:
        if (protocol := self._number("<B")) > pickle.HIGHEST_PROTOCOL:
            raise ValueError(f"pickle protocol {protocol}")

    def _op_frame(self) -> None:
        self._take(8)

    def _op_mark(self) -> None:
        below = self._stack[-2] if len(self._stack) > 1 else None
        self._outer.append(self._stack)
        self._stack = []
        if len(self._outer) > _DEEPEST:
            raise self._refusal(f"containers nested more than {_DEEPEST} deep")
        # In the outermost dictionary, whose items need no mark if they are one.
        if type(below) is str and below == self._name and len(self._outer) <= 2:
            self._level = len(self._outer)
            self._begin_entries()

    def _op_setitems(self) -> bool:
        items = self._popped()
        self._container(dict).update(zip(items[::2], items[1::2], strict=True))
        return self._completes()

    def _op_setitem(self) -> bool:
        value, key = self._stack.pop(), self._stack.pop()
        self._container(dict)[key] = value
        return self._completes()

    def _completes(self) -> bool:
        """Whether the dictionary with new items is an entry: alone with its key, not one inside that needs no mark."""
        return len(self._outer) == self._level and len(self._stack) == 2

    def _op_appends(self) -> None:
        items = self._popped()
        self._container(list).extend(items)

    def _op_append(self) -> None:
        value = self._stack.pop()
        self._container(list).append(value)

    def _op_additems(self) -> None:
        items = self._popped()
        self._container(set).update(items)

    def _container(self, kind: type) -> Any:
        if not isinstance(self._stack[-1], kind):
            raise TypeError(f"items of {type(self._stack[-1]).__name__} for a {kind.__name__}")
        return self._stack[-1]

    def _op_tuple(self) -> None:
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
        self._count(1)
        self._stack.append(tuple_of(items))

    # -- opcodes: references -----------------------------------------------------------------
    def _op_memoize(self) -> None:
        self._remember(self._start + len(self._memo))

    def _op_binput(self) -> None:
        self._remember(self._number("<B"))

    def _op_long_binput(self) -> None:
        self._remember(self._number("<I"))

    def _op_binget(self) -> None:
        self._stack.append(self._recall(self._number("<B")))

    def _op_long_binget(self) -> None:
        run = _BY_REFERENCE.match(self._buffer, self._at - 1)
        if run is None:
            self._stack.append(self._recall(self._number("<I")))
            return
        self._at = run.end()
        items = np.frombuffer(run[0], [("_j", "u1"), ("index", "<u4"), ("_g", "u1"), ("value", ">f8")])
        keys = map(self._recall, items["index"].tolist())
        self._stack += chain.from_iterable(zip(keys, items["value"].tolist(), strict=True))

    # -- opcodes: numbers and texts ----------------------------------------------------------
    def _op_binint1(self) -> None:
        run = _BY_NUMBER.match(self._buffer, self._at - 1)
        if run is None:
            self._stack.append(self._number("<B"))
            return
        self._at = run.end()
        self._stack += chain.from_iterable(struct.iter_unpack(">xBxd", run[0]))

    def _fixed(self) -> None:
        self._stack.append(self._number(_FIXED[self._opcode]))

    def _op_long1(self) -> None:
        count = self._number("<B")
        number = int.from_bytes(self._take(count), "little", signed=True)
        if count > _LONGEST_INTEGER and number != TORCH_MAGIC:
            raise ValueError(f"an integer of {count} bytes")
        self._stack.append(number)

    def _op_short_binunicode(self) -> None:
        if not self._text_run():
            self._stack.append(self._take(self._number("<B")).decode())

    def _op_binunicode(self) -> None:
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

    def _op_short_binbytes(self) -> None:
        self._stack.append(self._take(self._number("<B")))

    def _constant(self) -> None:
        self._count(1)
        self._stack.append(_CONSTANTS[self._opcode]())

    # -- opcodes: other objects --------------------------------------------------------------
    def _op_global(self) -> None:
        module, name = self._line(), self._line()
        self._push_builder(module, name)

    def _line(self) -> str:
        end = self._buffer.index(b"\n", self._at)
        return self._take(end + 1 - self._at)[:-1].decode()

    def _op_stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._push_builder(module, name)

    def _push_builder(self, module: str, name: str) -> None:
        builder = BUILDERS.get((module, name))
        if builder is None:
            what = "weights of networks" if module.startswith("torch") else f"a call of {module}.{name}"
            raise self._refusal(f"{what}, which the results of NAS-Bench-201 have not")
        self._stack.append(builder)

    def _op_reduce(self) -> None:
        arguments, builder = self._stack.pop(), self._stack.pop()
        if not isinstance(builder, FunctionType) or not isinstance(arguments, tuple):
            raise TypeError(f"a call of {brief(builder)}")
        if builder in (build_dict, build_set):
            self._count(1 + sum(map(len, arguments)))
        if builder is build_bytes:
            # Both were made for this call and differ from entry to entry; nothing else can refer to them.
            self._drop(arguments, arguments[0])
        self._stack.append(builder(*arguments))

    def _op_build(self) -> None:
        state = self._stack.pop()
        if not isinstance(self._stack[-1], np.dtype) or state[1] not in ("<", "|"):
            raise ValueError(f"the state {brief(state)} of {brief(self._stack[-1])}")


_FIXED = {pickle.BININT2: "<H", pickle.BININT: "<i", pickle.BINFLOAT: ">d"}
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
    **{
        getattr(pickle, name.removeprefix("_op_").upper()): handler
        for name, handler in vars(PickleReader).items()
        if name.startswith("_op_")
    },
    **dict.fromkeys((pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3), PickleReader._short_tuple),
    **dict.fromkeys(_FIXED, PickleReader._fixed),
    **dict.fromkeys(_CONSTANTS, PickleReader._constant),
}
