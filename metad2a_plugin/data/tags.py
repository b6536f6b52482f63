"""The tags of TIFF and EXIF, before Pillow reads them: it copies each value, and many may name the same bytes."""

from __future__ import annotations

import struct

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_MOST = 4000
"""Tags of a directory in a file that holds others in pieces, as JPEG does; real ones have a few hundred."""


def check_tags(data: bytes, *, anywhere: bool = False) -> None:
    """Refuse a first directory whose values are larger together than what they lie in.

    Args:
        data: a TIFF, or EXIF without its name in front.
        anywhere: a file that may hold such.

    Raises:
        OSError: it is one.
    """
    starts = [0]
    if anywhere:
        starts = [at for magic in _MAGIC for at in _all(data, magic)]
    for start in starts:
        if data[start : start + 4] in _MAGIC and _claimed(data, start, _MOST if anywhere else 2**16) > len(data):
            raise OSError("its tags (EXIF, TIFF) are damaged: their values are larger together than the file")


def _all(data: bytes, part: bytes) -> list[int]:
    found = [data.find(part)]
    while found[-1] >= 0 and len(found) < 100:
        found.append(data.find(part, found[-1] + 1))
    return [at for at in found if at >= 0]


def _claimed(data: bytes, start: int, most: int) -> int:
    """Bytes of all values of the first directory; those within a tag itself are left out."""
    order = "<" if data[start : start + 1] == b"I" else ">"
    try:
        if b"+" in data[start : start + 4]:
            (offset,) = struct.unpack_from(order + "Q", data, start + 8)
            counts, tag, inside = order + "Q", struct.Struct(order + "HHQ8x"), 8
        else:
            (offset,) = struct.unpack_from(order + "I", data, start + 4)
            counts, tag, inside = order + "H", struct.Struct(order + "HHI4x"), 4
        (count,) = struct.unpack_from(counts, data, start + offset)
        if count > most:
            return len(data) + 1
        first = start + offset + struct.calcsize(counts)
        found = [tag.unpack_from(data, first + i * tag.size) for i in range(count)]
    except struct.error:
        return 0  # cut off: Pillow says so
    sizes = [_SIZES.get(kind, 0) * n for _, kind, n in found]
    return sum(size for size in sizes if size > inside)
