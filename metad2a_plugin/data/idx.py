"""The idx files of MNIST and the like: ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, also with .gz."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metad2a_plugin.data.arrays import read_arrays
from metad2a_plugin.data.room import LARGEST_ARRAYS
from metad2a_plugin.data.sources import Reading
from metad2a_plugin.data.splits import training_names
from metad2a_plugin.errors import DatasetError

_AXES = 4


def idx_images(names: Sequence[str]) -> list[str]:
    """Those of the names of files that are of idx images."""
    return [name for name in names if "idx3" in name.lower() and "ubyte" in name.lower()]


def read_idx(folder: Path, names: Sequence[str], what: str) -> Reading:
    """The training part of idx images in a folder, with the labels beside them.

    Raises:
        DatasetError: no labels beside the images, or files that are damaged.
    """
    [images, *more] = training_names(list(names), what)
    labels = images.replace("images", "labels").replace("idx3", "idx1")
    if more or not (folder / labels).is_file():
        raise DatasetError(f"{what} has the idx images {images!r}, but there is no {labels!r} beside them, or several")
    return read_arrays(_read(folder / images), _read(folder / labels), folder.resolve().name)


def _read(path: Path) -> np.ndarray:
    """Unsigned bytes of any shape: two zeros, the type 8, the number of axes, their lengths, and the values."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            start = file.read(4)
            shape = [int.from_bytes(file.read(4), "big") for _ in range(min(start[3], _AXES))]
            count = math.prod(shape)
            if count > LARGEST_ARRAYS:
                raise ValueError(f"it claims {count >> 20} MiB, more than the {LARGEST_ARRAYS >> 20} that it may have")
            # Never the room that it claims: as much as there is.
            data = bytearray()
            while part := file.read(min(2**20, count + 1 - len(data))):
                data += part
            if start[:3] != b"\0\0\x08" or len(data) != count:
                raise ValueError("it is no idx file of bytes, or is cut off")
    except (OSError, EOFError, IndexError, ValueError, zlib.error) as error:
        raise DatasetError(f"{str(path)!r} cannot be read ({error}); fetch it again") from error
    return np.frombuffer(data, np.uint8).reshape(shape)
