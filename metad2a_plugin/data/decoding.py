"""Files of images to pixels, within bounds of memory; every error of a broken file is an `OSError`."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError

from metad2a_plugin.data.kinds import is_heic, reads_heic
from metad2a_plugin.data.pixels import LARGE, ToUint8, deep_values, is_deep, to_rgb
from metad2a_plugin.data.room import Taken, take
from metad2a_plugin.data.tags import check_tags

# Raster formats only: Pillow hands some others (EPS) to outside programs, whatever the file is called.
Image.init()
_KNOWN = ("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "TGA", "JPEG2000", "AVIF")
_FORMATS = tuple(name for name in _KNOWN if name in Image.OPEN)
_BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, RuntimeError, AssertionError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises for the many ways a file can be broken."""
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
"""Of a pixel in Pillow's memory; 4 in all other modes."""
_BESIDE = {"WEBP": 16, "AVIF": 20, "HEIF": 20, "JPEG2000": 24}
"""Bytes of a pixel that decoders take beside the image."""
_SLOW = {"TIFF": 4, "WEBP": 4, "AVIF": 8, "HEIF": 8, "JPEG2000": 16, "PPM": 64}
"""Times that a pixel takes longer than one of a PNG."""
_LONGEST = 2**31
"""Pixels, by the time of those of a PNG, that may be read of one file."""
_SCANS, _TEXT = 200, 5 * 2**20  # of a progressive JPEG; bytes of a text in a PNG
_scale_lock = threading.RLock()
_Found = TypeVar("_Found")


@contextmanager
def reading() -> Iterator[None]:
    """Around calls of Pillow on a file: what it raises for a broken one becomes an `OSError`, other errors stay."""
    try:
        yield
    except OSError:
        raise
    except _BROKEN as error:
        raise OSError(f"{error}" or type(error).__name__) from error


def open_image(data: bytes) -> Image.Image:
    """The image of a file's bytes, of which Pillow has read no more than the header.

    Raises:
        OSError: no image, a damaged one, or one for which a package is missing.
    """
    if not data:
        raise OSError("the file is empty")
    formats = _FORMATS
    if is_heic(data):
        if not reads_heic():
            raise OSError("a HEIC image; install what reads it with: pip install 'metad2a-plugin[heic]'")
        import pillow_heif

        pillow_heif.register_heif_opener()
        formats = ("HEIF",)
    check_tags(data, anywhere=data[:3] == b"\xff\xd8\xff" or data[4:8] == b"ftyp")
    try:
        with reading():
            return Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError as error:
        if data[:4] in (b"II*\0", b"MM\0*"):
            raise OSError(
                "a damaged TIFF, or one that Pillow does not read, as of 64 bits or many channels; save it with pixels "
                "of 8 or 16 bits, or as 32-bit floats"
            ) from error
        raise OSError("not an image, or a damaged one") from error


class ImageFile:
    """The file of an image, read and decoded within the room that there is.

    Args:
        content: reads its bytes; again where there is no room for the image yet.
        length: how many these are.
        scale: of the dataset, asked for where the image has more than 8 bits.
        count: called with the pixels that take the time to decode it, and `length`, before it is decoded.
    """

    def __init__(
        self,
        content: Callable[[], bytes],
        length: int,
        scale: Callable[[], ToUint8],
        count: Callable[[int, int], None] = lambda pixels, length: None,
    ) -> None:
        self._content, self._length, self._scale, self._count = content, length, scale, count

    def rgb(self, size: int | None) -> Image.Image:
        """In RGB; with `size`, a large one may be reduced, never below ``2 * size``, and cut to its central square.

        Raises:
            OSError: it cannot be read, or only with more memory or time than an image may take.
        """

        def make(image: Image.Image, scale: ToUint8 | None) -> Image.Image:
            return to_rgb(image, (lambda: scale) if scale is not None else self._scale, size)

        return self._read(make, size, scaled=True)

    def is_deep(self) -> bool:
        """Whether its pixels are no bytes of 0 to 255; errors as in `rgb`."""
        with take(2 * self._length):
            return is_deep(open_image(self._content()))

    def deep_values(self) -> np.ndarray | None:
        """Pixels of more than 8 bits, without transparency; None where they are not deep. Errors as in `rgb`."""
        return self._read(lambda image, _: deep_values(image) if is_deep(image) else None, None, scaled=False)

    def _read(
        self, make: Callable[[Image.Image, ToUint8 | None], _Found], size: int | None, *, scaled: bool
    ) -> _Found:
        needed, scale, found = 2 * self._length, None, None  # unpacking may take it twice
        while found is None:
            with take(needed) as taken:
                # In a function of its own, whose memory is free before the room is.
                needed, deep, found = self._attempt(taken, make, scale, size, scaled=scaled)
            if deep and found is None and scaled and scale is None:  # other images are read for it, each in its room
                with _scale_lock:
                    scale = self._scale()
        return found[0]

    def _attempt(
        self,
        taken: Taken,
        make: Callable[[Image.Image, ToUint8 | None], _Found],
        scale: ToUint8 | None,
        size: int | None,
        *,
        scaled: bool,
    ) -> tuple[int, bool, tuple[_Found] | None]:
        """The bytes that it takes, whether the image is deep, and what is made of it, where there is room now."""
        data = self._content()
        image = open_image(data)
        with reading():
            needed, pixels, deep = _needed(image, data, size), _slowness(image, data), is_deep(image)
            if size is not None:
                image.draft(None, (2 * size, 2 * size))
        self._count(pixels, len(data))
        if (scaled and deep and scale is None) or not taken.grow(needed):
            return needed, deep, None
        with reading():
            return needed, deep, (make(image, scale),)


def _needed(image: Image.Image, data: bytes, size: int | None) -> int:
    """Bytes that reading an image takes, from its header."""
    whole = image.width * image.height
    kind = image.format or ""
    needed = len(data) + _BESIDE.get(kind, 0) * whole
    if kind in ("JPEG", "MPO"):
        if b"\xff\xc2" in data:  # the coefficients of all blocks are kept
            needed += 2 * len(image.getbands()) * whole
        if size is not None:
            scale = max([n for n in (1, 2, 4, 8) if n <= min(image.size) // (2 * size)], default=1)
            whole //= scale * scale
    elif kind == "TIFF":
        needed += _strip(image)
    elif kind == "PNG":
        needed += min(64, data.count(b"zTXt") + data.count(b"iTXt")) * _TEXT
    stored = _BYTES.get(image.mode, 4)
    needed += (stored + (12 if whole <= LARGE else 0)) * whole
    if is_deep(image):
        needed += 2 * stored * whole
    if whole > LARGE:
        out = whole if size is None else whole // max(1, min(image.size) // (2 * size)) ** 2
        needed += 4 * LARGE + 8 * out
    return needed


def _strip(image: Image.Image) -> int:
    """Bytes of a strip or tile of a TIFF, which are decoded at once where they are compressed."""
    tags = getattr(image, "tag_v2", {})
    if tags.get(259, 1) == 1:
        return 0
    width, height = tags.get(322, image.width), tags.get(323, min(tags.get(278, image.height), image.height))
    return max(0, int(width)) * max(0, int(height)) * 4


def _slowness(image: Image.Image, data: bytes) -> int:
    """Pixels of a PNG that take as long to read; refuses what takes too long."""
    kind = image.format or ""
    times = _SLOW.get(kind, 1)
    if kind in ("JPEG", "MPO") and b"\xff\xc2" in data:
        scans = data.count(b"\xff\xda")
        if scans > _SCANS:
            raise OSError(f"a JPEG of {scans} scans, more than the {_SCANS} that an image may have; save it again")
        times = 1 + scans // 4
    pixels = image.width * image.height * times
    if pixels > _LONGEST:
        raise OSError(f"{image.width} x {image.height} pixels of {kind} take too long to read; make it smaller")
    return pixels




def in_memory(data: bytes, scale: Callable[[], ToUint8] | None = None) -> ImageFile:
    """The file of an image of which the bytes are there already; `scale` as for `ImageFile`."""

    def of_8_bits() -> ToUint8:
        raise OSError("it has more than 8 bits")

    return ImageFile(lambda: data, len(data), scale or of_8_bits)
