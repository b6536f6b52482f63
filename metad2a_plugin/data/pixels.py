"""Pixels of any kind to upright 8-bit RGB."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from PIL import Image

from metad2a_plugin.data.tags import check_tags
from metad2a_plugin.errors import DatasetError

_COLOURS = ("LA", "RGB", "RGBA")
LARGE = 2**22
"""Pixels of an image beyond which it is converted in strips."""
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By the orientation that EXIF states."""


class DatasetWarning(UserWarning):
    """Something in a dataset was left out or looks unintended; the rest is used."""


def axes(value: Any) -> int:
    """Axes of an array or nested list; 1 of a list of unlike parts."""
    try:
        return np.ndim(value)
    except ValueError:
        return 1


def few(names: list[str], limit: int = 3) -> str:
    """The first names of a list, quoted, the beginning of long ones, for a message."""
    shown = [repr(name if len(name) <= 200 else f"{name[:200]}...") for name in names[:limit]]
    return ", ".join(shown) + (", ..." if len(names) > limit else "")


# -- pixels --------------------------------------------------------------------------------------
class ToUint8(Protocol):
    """What makes pixels of more than 8 bits uint8, such as `metad2a_plugin.data.scale.Scale`."""

    def to_uint8(self, pixels: np.ndarray) -> np.ndarray: ...


def is_deep(image: Image.Image) -> bool:
    """Whether the pixels of a Pillow image that is not loaded yet are no bytes of 0 to 255."""
    deep_colour = image.mode in _COLOURS and ";16" in repr(getattr(image, "tile", ""))
    return image.mode.startswith("I") or image.mode == "F" or deep_colour or _is_signed(image)


def _is_signed(image: Image.Image) -> bool:
    """Whether it is a TIFF of 8 bits with a sign, which Pillow takes for unsigned."""
    tags = getattr(image, "tag_v2", {})
    return image.mode == "L" and tags.get(339) == (2,) and tags.get(258) == (8,)


def deep_values(image: Image.Image) -> np.ndarray:
    """Pixels of an image that `is_deep`, without transparency; of colours Pillow keeps the upper 8 of 16 bits."""
    return _deep_values(image, _is_signed(image))


def _deep_values(image: Image.Image, signed: bool) -> np.ndarray:
    values = np.asarray(image)
    if signed:
        return values.view(np.int8)
    if values.dtype != np.uint8:
        return values
    colours = values[..., 0] if image.mode == "LA" else values[..., :3]
    return colours.astype(np.uint16) * np.uint16(257)


def to_rgb(image: Image.Image, scale: Callable[[], ToUint8], size: int | None = None) -> Image.Image:
    """Any Pillow image, first frame, to RGB: EXIF orientation applied, transparency laid over white.

    Args:
        image: of any mode.
        scale: asked for where it has more than 8 bits.
        size: if it is given, a large image is cut to its central square, of which ``2 * size`` pixels or more remain.
    """
    to_uint8, signed = (scale().to_uint8 if is_deep(image) else None), _is_signed(image)
    image.load()
    upright = _UPRIGHT.get(_orientation(image))

    def plain(part: Image.Image) -> Image.Image:
        if to_uint8 is not None:
            alpha = part.getchannel("A") if part.mode in ("LA", "RGBA") else None
            part = Image.fromarray(to_uint8(_deep_values(part, signed)))
            if alpha is not None:
                part.putalpha(alpha)
        if part.has_transparency_data:
            rgba = part.convert("RGBA")
            part = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        return part.convert("RGB")

    found = plain(image) if image.width * image.height <= LARGE else _in_strips(image, plain, size)
    return found if upright is None else found.transpose(upright)


def _in_strips(image: Image.Image, plain: Callable[[Image.Image], Image.Image], size: int | None) -> Image.Image:
    """What `plain` makes of a large image, without copies of all of it; with `size` as in `to_rgb`."""
    width, height, factor = image.width, image.height, 1
    left = top = 0
    if size is not None:
        side = min(image.size)
        left, top, width, height = (width - side) // 2, (height - side) // 2, side, side
        factor = max(1, side // (2 * size))
    found = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = max(1, LARGE // 4 // width // factor) * factor
    for y in range(0, height, rows):
        part = plain(image.crop((left, top + y, left + width, top + min(y + rows, height))))
        found.paste(part.reduce(factor) if factor > 1 else part, (0, y // factor))
    return found


def _orientation(image: Image.Image) -> int:
    """By EXIF; 1 where it says nothing or is damaged, which says nothing about the pixels."""
    profile = image.info.get("Raw profile type exif")
    try:
        blobs = [image.info.get("exif"), bytes.fromhex("".join(profile.split("\n")[3:])) if profile else None]
        for blob in filter(None, blobs):
            check_tags(blob.removeprefix(b"Exif\0\0"))
        return int(image.getexif().get(_ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, LookupError, TypeError, ArithmeticError, struct.error):
        return 1


def channel_axis(shape: tuple[int, ...], channels_first: bool) -> int | None:
    """Axis of the channels in one image's shape; None for ``[h, w]``.

    Args:
        shape: ``[h, w]``, ``[h, w, c]`` or ``[c, h, w]``.
        channels_first: which to believe when both ends could be channels.

    Raises:
        DatasetError: another number of axes or channels, or no pixel at all.
    """
    if 0 in shape:
        raise DatasetError(f"images have no pixels: one image has shape {list(shape)}; every side must be at least 1")
    if len(shape) == 2:
        return None
    if len(shape) == 3:
        for axis in (0, 2) if channels_first else (2, 0):
            if shape[axis] in (1, 3, 4):
                return axis
    raise DatasetError(
        f"one image has shape {list(shape)}; expected [h, w], [h, w, c] or [c, h, w] with 1 (grey), 3 (RGB) "
        "or 4 (RGBA) channels. Reshape the array, or keep the channels that make an RGB image"
    )


def array_to_rgb(pixels: np.ndarray, axis: int | None, scale: Callable[[], ToUint8]) -> Image.Image:
    """One image as an array to RGB; `axis` comes from `channel_axis`, `scale` is asked where pixels are not uint8."""
    pixels = pixels if pixels.dtype == np.uint8 else scale().to_uint8(pixels)
    if axis is not None:
        pixels = np.moveaxis(pixels, axis, -1)
        pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    return to_rgb(Image.fromarray(np.ascontiguousarray(pixels)), scale)


# -- arrays ---------------------------------------------------------------------------
def is_tensor(value: Any) -> bool:
    """True for a torch tensor, without importing torch."""
    return type(value).__module__.split(".")[0] == "torch" and hasattr(value, "detach")


def as_numpy(value: Any) -> np.ndarray:
    """A tensor, array or nested list as a numpy array.

    Raises:
        DatasetError: a list of images of different sizes.
    """
    if is_tensor(value):
        value = value.detach().cpu()
        return (value if value.dtype.itemsize != 2 else value.float()).numpy()
    try:
        return np.asarray(value)
    except ValueError as error:
        raise DatasetError(
            "the images have different sizes and make no array; resize them to one size, "
            "or pass a torch Dataset of (image, label) pairs"
        ) from error
