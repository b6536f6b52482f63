"""Pixels of any kind to upright 8-bit RGB."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from metad2a_plugin.data.kinds import is_heic, reads_heic
from metad2a_plugin.errors import DatasetError

# Raster formats only: Pillow hands some others (EPS) to outside programs, whatever the file is called.
Image.init()
_KNOWN = ("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "TGA", "JPEG2000", "AVIF")
_COLOURS = ("LA", "RGB", "RGBA")
_FORMATS = tuple(name for name in _KNOWN if name in Image.OPEN)


class DatasetWarning(UserWarning):
    """Something in a dataset was left out or looks unintended; the rest is used."""


def axes(value: Any) -> int:
    """Axes of an array or nested list; 1 of a list of unlike parts."""
    try:
        return np.ndim(value)
    except ValueError:
        return 1


def few(names: list[str], limit: int = 3) -> str:
    """The first names of a list, quoted, for a message."""
    return ", ".join(repr(name) for name in names[:limit]) + (", ..." if len(names) > limit else "")


# -- pixels --------------------------------------------------------------------------------------
class ToUint8(Protocol):
    """What makes pixels of more than 8 bits uint8, such as `metad2a_plugin.data.scale.Scale`."""

    def to_uint8(self, pixels: np.ndarray) -> np.ndarray: ...


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
    try:
        return Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError as error:
        if data[:4] in (b"II*\0", b"MM\0*"):
            raise OSError(
                "a damaged TIFF, or one that Pillow does not read, as of 64 bits or many channels; save it with pixels "
                "of 8 or 16 bits, or as 32-bit floats"
            ) from error
        raise OSError("not an image, or a damaged one") from error


def decode(data: bytes, size: int | None, scale: Callable[[], ToUint8]) -> Image.Image:
    """File bytes to an RGB image; with `size`, a JPEG may be decoded at a reduced scale, never below ``2 * size``.

    Args:
        data: of the file.
        size: see above.
        scale: asked for where the image has more than 8 bits.

    Raises:
        Exception: whatever Pillow raises for the many ways a file can be broken.
    """
    image = open_image(data)
    if size is not None:
        image.draft(None, (2 * size, 2 * size))
    return to_rgb(image, scale)


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
    values = np.asarray(image)
    if _is_signed(image):
        return values.view(np.int8)
    if values.dtype != np.uint8:
        return values
    colours = values[..., 0] if image.mode == "LA" else values[..., :3]
    return colours.astype(np.uint16) * np.uint16(257)


def to_rgb(image: Image.Image, scale: Callable[[], ToUint8]) -> Image.Image:
    """Any Pillow image, first frame, to RGB: EXIF orientation applied, transparency laid over white."""
    deep = is_deep(image)
    if _is_signed(image):
        image = Image.fromarray(deep_values(image).astype(np.int32))
    image.load()
    # Damaged EXIF says nothing about the pixels, and Pillow raises many types for it.
    with suppress(Exception):
        image = ImageOps.exif_transpose(image)
    if deep:
        alpha = image.getchannel("A") if image.mode in ("LA", "RGBA") else None
        image = Image.fromarray(scale().to_uint8(deep_values(image)))
        if alpha is not None:
            image.putalpha(alpha)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert("RGB")


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
