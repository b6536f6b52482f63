"""Pixels of any kind to upright 8-bit RGB."""

from __future__ import annotations

import io
from contextlib import suppress
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from metad2a_plugin.errors import DatasetError

# Raster formats only: Pillow hands some others (EPS) to outside programs, whatever the file is called.
Image.init()
_KNOWN = ("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "TGA", "JPEG2000", "AVIF")
_FORMATS = tuple(name for name in _KNOWN if name in Image.OPEN)


class DatasetWarning(UserWarning):
    """Something in a dataset was left out or looks unintended; the rest is used."""


def few(names: list[str], limit: int = 3) -> str:
    """The first names of a list, quoted, for a message."""
    return ", ".join(repr(name) for name in names[:limit]) + (", ..." if len(names) > limit else "")


# -- pixels --------------------------------------------------------------------------------------
def decode(data: bytes, size: int | None = None) -> Image.Image:
    """File bytes to an RGB image; with `size`, a JPEG may be decoded at a reduced scale, never below ``2 * size``.

    Raises:
        Exception: whatever Pillow raises for the many ways a file can be broken.
    """
    if not data:
        raise OSError("the file is empty")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError as error:
        raise OSError("not an image, or a damaged one") from error
    if size is not None:
        image.draft(None, (2 * size, 2 * size))
    return to_rgb(image)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow image, first frame, to RGB: EXIF orientation applied, transparency laid over white."""
    image.load()
    # Damaged EXIF says nothing about the pixels, and Pillow raises many types for it.
    with suppress(Exception):
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        image = Image.fromarray(to_uint8(np.asarray(image), 65535.0))
    elif image.mode == "F":
        pixels = np.asarray(image)
        image = Image.fromarray(to_uint8(pixels, full_scale(pixels)))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert("RGB")


def full_scale(pixels: np.ndarray) -> float:
    """The value that means white: 1, 255 or 65535.

    Raises:
        DatasetError: not numbers, not finite, negative (normalised), or larger than any known scale.
    """
    if pixels.dtype.kind not in "buif":
        raise DatasetError(f"pixels must be numbers, got dtype {pixels.dtype}; convert the images to uint8")
    if pixels.dtype == np.uint8:
        return 255.0
    low, high = float(pixels.min()), float(pixels.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DatasetError("pixels contain NaN or infinity; remove or repair those images")
    is_float = pixels.dtype.kind == "f"
    if low < 0:
        raise DatasetError(
            f"pixels run from {low:.3g} to {high:.3g}; expected 0..1 or 0..255. They look normalised: "
            "pass the images before normalisation (drop the Normalize transform)"
        )
    limits: tuple[float, ...] = (1.0, 255.0) if is_float else (255.0, 65535.0)
    if pixels.dtype == np.bool_:
        limits = (1.0,)
    for limit in limits:
        if high <= limit:
            return limit
    raise DatasetError(
        f"pixels run from {low:.3g} to {high:.3g}; expected "
        f"{'0..1 or 0..255' if is_float else '0..255 or 0..65535'}. Rescale the images to uint8"
    )


def to_uint8(pixels: np.ndarray, full: float) -> np.ndarray:
    """Scale ``0..full`` to ``0..255``."""
    if pixels.dtype == np.uint8:
        return pixels
    return np.rint(pixels.astype(np.float32) * (255.0 / full)).clip(0, 255).astype(np.uint8)


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


def array_to_rgb(pixels: np.ndarray, axis: int | None, full: float) -> Image.Image:
    """One image as an array to RGB; `axis` and `full` come from `channel_axis` and `full_scale`."""
    pixels = to_uint8(pixels, full)
    if axis is not None:
        pixels = np.moveaxis(pixels, axis, -1)
        pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    return to_rgb(Image.fromarray(np.ascontiguousarray(pixels)))


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
