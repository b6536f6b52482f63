"""Images without classes: files, and those of a folder or zip at any depth."""

from __future__ import annotations

import os
import warnings
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metad2a_plugin.data import sources
from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.data.pixels import DatasetWarning
from metad2a_plugin.errors import DatasetError

Folders = tuple[str, ...]


def is_listed(images: Any) -> bool:
    """Whether `list_images` takes it: a path of a folder, a zip or an image, or a list of paths."""
    if isinstance(images, (str, os.PathLike)):
        path = Path(images).expanduser()
        return path.is_dir() or path.suffix.lower() in (".zip", *sources.SUFFIXES)
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
            raise DatasetError(f"no file or folder {str(path)!r} (working folder: {os.getcwd()}); give images")
    if len(paths) == 1 and paths[0].suffix.lower() == ".zip" and paths[0].is_file():
        return _zip(paths[0])
    keys, folders = [], []
    for path in paths:
        if path.is_dir():
            seen = [parts for parts in map(sources._parts, sources._walk(path)[0]) if parts]
            _left_out(path, [parts[-1] for parts in seen])
            below = sorted(parts for parts in seen if _is_image(parts[-1]))
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
    try:
        with zipfile.ZipFile(path) as archive:
            found = {info.filename.replace("\\", "/"): info for info in archive.infolist() if not info.is_dir()}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DatasetError(f"{str(path)!r} is not a readable zip ({error}); fetch it again, or unpack it") from error
    seen = {name: info for name, info in sorted(found.items()) if sources._parts(name)}
    _left_out(path, list(seen))
    entries = {name: info for name, info in seen.items() if _is_image(name)}
    if not entries:
        raise DatasetError(f"no images in zip {str(path)!r}; image files end in .jpg, .png, .webp, ...")
    if any(info.flag_bits & 1 for info in entries.values()):
        raise DatasetError(f"zip {str(path)!r} is protected by a password; unpack it and give the folder")
    source = sources.ZipSource(path, list(entries), list(entries.values()))
    return _dataset(source, path.stem), [tuple(name.split("/")[:-1]) for name in entries]


def _left_out(path: Path, names: list[str]) -> None:
    """Warn of files that are no images, by suffix."""
    others = Counter(os.path.splitext(name)[1].lower() or "no suffix" for name in names if not _is_image(name))
    if others and others.total() < len(names):
        kinds = ", ".join(f"{count} of {suffix}" for suffix, count in others.most_common(5))
        warnings.warn(f"{str(path)!r} holds files that are no images, left out: {kinds}", DatasetWarning, stacklevel=4)


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in sources.SUFFIXES


def _dataset(source: sources.FileSource, name: str) -> ImageDataset:
    count = len(source.keys)
    return ImageDataset(sources.Reading(source, np.zeros(count, np.int64), ("",), name))
