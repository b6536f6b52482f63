"""Which pixel value is black and which is white: one decision for all images of a dataset, from their range."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from metad2a_plugin.data.pixels import DatasetWarning
from metad2a_plugin.errors import DatasetError

SAMPLE = 256
"""Images that are looked at for the range of a dataset."""
_ROUNDING = 1e-5  # of those that scale pixels to 0..1
_FULL = (1023.0, 4095.0, 16383.0, 65535.0)  # of 10, 12, 14 and 16 bits


@dataclass(frozen=True)
class Scale:
    """Two pixel values; those beyond are cut off.

    Attributes:
        black, white: the values that become 0 and 255.
    """

    black: float = 0.0
    white: float = 255.0

    def to_uint8(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels of any number type on this scale, uint8 of the same shape; those that are uint8 stay as they are.

        Raises:
            DatasetError: not numbers, or not finite.
        """
        if pixels.dtype == np.uint8:
            return pixels
        if pixels.dtype == np.bool_:
            return pixels.astype(np.uint8) * np.uint8(255)
        check_numbers(pixels)
        scaled: np.ndarray = pixels.astype(np.float32)
        if not np.isfinite(scaled).all():
            raise DatasetError("pixels contain NaN or infinity; remove or repair those images")
        scaled = (scaled - np.float32(self.black)) * np.float32(255.0 / (self.white - self.black))
        return np.rint(scaled).clip(0, 255).astype(np.uint8)

    def __str__(self) -> str:
        return f"{self.black:g}..{self.white:g}"


PLAIN = Scale()


def check_numbers(pixels: np.ndarray) -> None:
    """Refuse what is no array of numbers.

    Raises:
        DatasetError: it is not.
    """
    if pixels.dtype.kind not in "buif":
        raise DatasetError(f"pixels must be numbers, got dtype {pixels.dtype}; convert the images to uint8")


def find_scale(samples: Iterable[np.ndarray], name: str, *, files: bool = False, beside_8_bit: bool = False) -> Scale:
    """The scale of a dataset, by some of its images; those of type uint8 say nothing.

    White is the full value of 1, 8, 10, 12, 14 or 16 bits, or 1 of floats, where the largest pixel is near to it, else
    the largest pixel itself, and a warning says so. Where integers are negative, black is the least of them.

    Args:
        samples: images, or arrays of several.
        name: of the dataset, for the warning.
        files: whether they are of files, whose pixels nobody can have normalised by mistake on the way here.
        beside_8_bit: whether others of the dataset have 8 bits, on which values up to 255 are taken too.

    Raises:
        DatasetError: no numbers, not finite, or floats that are negative (normalised).
    """
    low, high, typical, floats = np.inf, -np.inf, 0.0, False
    for pixels in samples:
        check_numbers(pixels)
        if pixels.dtype in (np.uint8, np.bool_) or not pixels.size:
            continue
        least, most = float(pixels.min()), float(pixels.max())
        if not (np.isfinite(least) and np.isfinite(most)):
            if files:
                continue  # a broken image of many; it is reported where it is met
            raise DatasetError("pixels contain NaN or infinity; remove or repair those images")
        low, high, floats = min(low, least), max(high, most), floats or pixels.dtype.kind == "f"
        typical = max(typical, float(np.quantile(pixels.ravel()[:: max(1, pixels.size >> 20)], 0.99)))
    if low > high:
        return PLAIN
    black = low if low < 0 else 0.0
    if low < 0 and floats and not files:
        if -low <= high / 10:
            black = 0.0  # what resampling adds at edges
        else:
            raise DatasetError(
                f"pixels run from {low:.3g} to {high:.3g}; expected 0..1 or 0..255. They look normalised: "
                "pass the images before normalisation (drop the Normalize transform)"
            )
    white = _white(high, floats, beside_8_bit) if black == 0 else high if high > black else 0.0
    _warn_of(name, low, high, typical, black, white)
    return Scale(black, white)


def _white(high: float, floats: bool, beside_8_bit: bool) -> float:
    if floats and high <= 1 + _ROUNDING:
        return 1.0 if high > 1 / 8 or high <= 0 else high
    if high <= 255:
        return 255.0 if high > 255 / 8 or beside_8_bit or high <= 0 else high
    # Of 16 bits many sensors use a part.
    return next((full for full in _FULL if full / 2 < high <= full or 16383 < high <= full), high)


def _warn_of(name: str, low: float, high: float, typical: float, black: float, white: float) -> None:
    text = ""
    if black < 0:
        text = f"{black:g} is taken as black and {white:g} as white"
    elif white == high and white not in (1.0, 255.0, *_FULL):
        text = f"{white:g} is taken as white"
    if typical < white / 16 and high > 0:
        text = text or f"{white:g} is taken as white"
        text += f", so that 99% of the pixels, up to {typical:g}, are almost black"
    if text:
        warnings.warn(
            f"pixels of {name!r} run from {low:g} to {high:g}: {text}. If other values are meant, "
            "rescale the images to uint8",
            DatasetWarning,
            stacklevel=3,
        )


def spread(indices: Sequence[int], limit: int) -> list[int]:
    """At most so many of the indices, evenly spaced and always the same."""
    chosen = np.linspace(0, len(indices) - 1, limit).astype(int) if len(indices) > limit else range(len(indices))
    return [indices[int(i)] for i in chosen]
