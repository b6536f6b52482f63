"""What nobody means, and what comes from a file only by mistake or ill will: texts, values, and altered files."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from typing import Any

NUMBERS: list[Any] = [
    0, -1, 1, 2**31, 2**63, 10**400, 10**5000, -(10**400), 0.5, -0.5, 1e300, -1e300, 5e-324,
    float("nan"), float("inf"), float("-inf"), True, False,
]  # fmt: skip
TEXTS = [
    "", " ", "nan", "inf", "-inf", "1e999", "-1e999", "1" * 5000, "1." + "0" * 5000, "0x10", "1_000", "\u0661\u0662",
    "\0", "a\0b", "\ud800", "\udcff/x", "a" * 100_000, "a b " * 50_000, "[" * 100_000, "(" * 100_000, "{" * 5000,
    "[" * 5000 + "]" * 5000, '{"a":' * 5000, "'" * 3000, '"x \'' * 3000, "|" * 5000, "+" * 5000, "-" * 5000, "\n" * 500,
    "np." * 3000, "array(" * 3000, "~" * 3000, "k3e6-" * 3000, "None", "null", "true", "NaN", "Infinity", "..", "/",
    "=", "=" * 300, "/dev/zero", "/dev/null", "../" * 2000, "%s%n{0}{x!r}", "a=1", "\u202e", "\U0001f600" * 300,
]  # fmt: skip
VALUES: list[Any] = [None, [], {}, [[]], {"": None}, [None] * 1000, {"a": {"b": [1, {"c": "d"}]}}, *NUMBERS, *TEXTS]


def altered_text(rng: random.Random, text: str) -> str:
    """A text with a part of it left out, doubled, or replaced by something of `TEXTS`."""
    for _ in range(rng.randint(1, 3)):
        a, b = sorted(rng.randint(0, len(text)) for _ in range(2))
        text = text[:a] + rng.choice(["", text[a:b] * 2, rng.choice(TEXTS), chr(rng.randrange(0xD7FF))]) + text[b:]
    return text


def altered_bytes(rng: random.Random, data: bytes) -> bytes:
    """Cut off, with other bits, or with a part replaced."""
    kind, place = rng.randrange(5), rng.randrange(len(data) + 1)
    if kind == 0:
        return data[:place]
    if kind == 1:
        changed = bytearray(data)
        for _ in range(rng.randint(1, 8)):
            changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    if kind == 2:
        return data[:place] + rng.randbytes(rng.randint(1, 64)) + data[place:]
    if kind == 3:
        return data[:place] + rng.choice(TEXTS).encode("utf-8", "surrogatepass") + data[place:]
    return rng.choice([b"", b"\0" * 100, b"\xff\xfe", b"[" * 100_000, b'{"a": ' * 50_000, b"NaN", b"1" * 5000])


def altered_value(rng: random.Random, value: Any) -> Any:
    """Plain values of which one is another, is left out, or is there in addition."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        name = rng.choice(list(value))
        if rng.random() < 0.15:
            return {key: one for key, one in value.items() if key != name}
        if rng.random() < 0.1:
            return value | {rng.choice(["", "more", "\0", "a" * 5000]): rng.choice(VALUES)}
        return value | {name: altered_value(rng, value[name])}
    if isinstance(value, list) and value and rng.random() < 0.7:
        place = rng.randrange(len(value))
        return [*value[:place], *([altered_value(rng, value[place])] * rng.randrange(3)), *value[place + 1 :]]
    if type(value) in (int, float) and rng.random() < 0.3:
        return rng.choice([-value, value + 1, value * 1000, float(value), str(value)])
    return rng.choice(VALUES)


def as_json(value: Any) -> bytes:
    """Also what JSON of other programs would not hold; a number of 5,000 digits cannot be written otherwise."""
    huge = "a number of 5,000 digits"

    def writable(one: Any) -> Any:
        if isinstance(one, dict):
            return {key: writable(item) for key, item in one.items()}
        if isinstance(one, list):
            return [writable(item) for item in one]
        return huge if type(one) is int and abs(one) >= 10**4000 else one

    return json.dumps(writable(value)).replace(f'"{huge}"', "9" * 5000).encode()


def altered_json(rng: random.Random, data: bytes) -> bytes:
    """A file of JSON, altered as text or by its values."""
    return altered_bytes(rng, data) if rng.random() < 0.2 else as_json(altered_value(rng, json.loads(data)))


def altered_tensors(rng: random.Random, data: bytes) -> bytes:
    """A safetensors file with another header, other content, or both."""
    if rng.random() < 0.2:
        return altered_bytes(rng, data)
    (length,) = struct.unpack("<Q", data[:8])
    header, content = json.loads(data[8 : 8 + length]), data[8 + length :]
    if rng.random() < 0.3:
        place = rng.randrange(max(1, len(content) - 4)) & ~3
        nan = rng.choice([b"\0\0\xc0\x7f", b"\0\0\x80\xff", b"\xff\xff\x7f\x7f", b"\xff\xff\xff\xff"])
        content = content[:place] + nan + content[place + 4 :]
    else:
        header = altered_value(rng, header)
    text = as_json(header)
    size = rng.choice([len(text)] * 12 + [0, 2**62, 2**64 - 1, len(text) + 1, 10**8])
    return struct.pack("<Q", size) + text + content


Alter = Callable[[random.Random, bytes], bytes]
