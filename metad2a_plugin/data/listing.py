"""Images without classes: files, and those of a folder or zip at any depth."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metad2a_plugin.data import kinds, sources, zips
from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.data.pixels import DatasetWarning
from metad2a_plugin.data.tree import Parts
from metad2a_plugin.data.walk import near_miss, walk
from metad2a_plugin.errors import DatasetError

Folders = tuple[str, ...]


def is_listed(images: Any) -> bool:
    """Whether `list_images` takes it: a path of a folder, a zip or an image, or a list of paths."""
    if isinstance(images, (str, os.PathLike)):
        path = Path(images).expanduser()
        return path.is_dir() or path.suffix.lower() in (".zip", *kinds.SUFFIXES)
    return isinstance(images, (list, tuple)) and bool(images) and all(isinstance(i, (str, os.PathLike)) for i in images)


def list_images(
    images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> tuple[ImageDataset, list[Folders]]:
    """The images, and the names of the folders that each lies in, the outermost first.

    Args:
        images: a folder, a zip or an image file; or some of them, of which no zip. Other files in them are left out
            with a warning.

    Raises:
        DatasetError: there is no such file, no image, or a zip that cannot be read.
    """
    given = [images] if isinstance(images, (str, os.PathLike)) else list(images)
    paths = [Path(path).expanduser() for path in given]
    for path in paths:
        if not path.exists():
            raise DatasetError(f"no file or folder {str(path)!r} (working folder: {os.getcwd()}){near_miss(str(path))}")
    if len(paths) == 1 and paths[0].suffix.lower() == ".zip" and paths[0].is_file():
        return _zip(paths[0])
    keys, folders = [], []
    for path in paths:
        if path.is_dir():
            below = _images(path, walk(path)[0], sources.head_below(path))
            keys += [str(path.joinpath(*parts)) for parts in below]
            folders += [(path.resolve().name, *parts[:-1]) for parts in below]
        elif _is_image(path.name):
            keys.append(str(path))
            folders.append(path.resolve().parts[-2:-1])
        else:
            raise DatasetError(f"{str(path)!r} is no image; these end in .jpg, .png, .webp, ...")
    if not keys:
        raise DatasetError(f"no images in {str(paths[0])!r}; image files end in .jpg, .png, .webp, ...")
    name = paths[0].resolve().name if len(paths) == 1 else f"{len(keys)} files"
    return _dataset(sources.FolderSource(Path(), keys), name), folders


def _zip(path: Path) -> tuple[ImageDataset, list[Folders]]:
    entries = zips.zip_entries(path)[0]
    below = _images(path, entries, zips.zip_heads(path, entries))
    if not below:
        raise DatasetError(f"no images in zip {str(path)!r}; image files end in .jpg, .png, .webp, ...")
    used = [entries[parts] for parts in below]
    zips.check_entries(path, used)
    source = zips.ZipSource(path, ["/".join(parts) for parts in below], used)
    return _dataset(source, path.stem), [parts[:-1] for parts in below]


def _images(path: Path, files: Iterable[Parts], head: Callable[[Parts], bytes]) -> list[Parts]:
    """Those of the files that are images, and a warning of others that look like more than a file beside images."""
    found = kinds.tell_apart(files, head)
    if found.warned and found.images:
        text = f"{str(path)!r} holds files that are not read and are left out: {found.warned}"
        warnings.warn(text, DatasetWarning, stacklevel=4)
    return found.images


def _is_image(name: str) -> bool:
    return kinds.suffix(name) in kinds.SUFFIXES | kinds.HEIC


def _dataset(source: sources.FileSource, name: str) -> ImageDataset:
    count = len(source.keys)
    return ImageDataset(sources.Reading(source, np.zeros(count, np.int64), ("",), name))
