"""`load_dataset`: labelled images from whatever form they come in."""

from __future__ import annotations

import logging
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from metad2a_plugin.data import arrays, files, hub, items, kinds, sources, tars
from metad2a_plugin.data.checks import check_classes
from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.data.items import Unread
from metad2a_plugin.data.pixels import axes
from metad2a_plugin.data.sources import Reading, _warn
from metad2a_plugin.data.splits import split_of, training_part
from metad2a_plugin.data.stated import is_loader, is_torch_dataset
from metad2a_plugin.data.tables import SUFFIXES as TABLES
from metad2a_plugin.data.walk import near_miss
from metad2a_plugin.errors import DatasetError, said

_KINDS = (
    "a folder of class folders, or of images and a CSV; a .zip or .tar of one; an .npz or .parquet file; a tuple "
    "(images, labels) of arrays; a torch or Hugging Face Dataset; a list of (image, label); or 'sklearn:digits'"
)

_HINTS = {
    ".npy": "an .npy file has no labels; save both arrays with numpy.savez('data.npz', images=..., labels=...)",
    **dict.fromkeys(kinds.SUFFIXES, "it is a single image; pass the folder that holds the class folders"),
    **dict.fromkeys((".7z", ".rar", ".gz", ".bz2", ".xz", ".zst"), "unpack it and pass the folder"),
    **dict.fromkeys((".h5", ".hdf5"), "open it with h5py and pass its arrays: (images[:], labels[:])"),
    ".mat": "open it with scipy.io.loadmat and pass its arrays: (images, labels)",
    **dict.fromkeys((".xls", ".xlsx"), "save the sheet as CSV, with the columns 'id' and 'label'"),
    **dict.fromkeys(
        (".pkl", ".pickle", ".pt", ".pth"),
        "it can hold code and is not opened; load it yourself and pass its arrays: (images, labels)",
    ),
    **dict.fromkeys((".yaml", ".yml"), "pass the folder that its path names"),
    ".arrow": "pass the folder that save_to_disk wrote",
    ".tfrecord": "pass list(dataset.as_numpy_iterator()) of its tf.data.Dataset of (image, label)",
}
"""By suffix, what to do with files that are not read."""


def load_dataset(
    source: Any, *, name: str | None = None, max_images_per_class: int | None = None, seed: int = 0
) -> ImageDataset:
    """Labelled images from any of the supported sources.

    Where a source is split, its training part is used, and a `DatasetWarning` names what is left out; the validation
    part of folders is `ImageDataset.validation`. The summary of what a path holds goes to the log.

    Args:
        source: one of

            - a folder of class folders; flat images with a table of theirs (CSV, TSV, JSON lines); a ``.zip`` or
              ``.tar`` of these, or a ``.tar`` of WebDataset, read in place; the table itself;
            - an ``.npz`` with arrays such as ``images``/``labels`` or ``x_train``/``y_train``, or a dict of them;
            - ``.parquet`` files or a folder of them, and what ``save_to_disk`` of `datasets` wrote (extra ``parquet``);
            - a tuple ``(images, labels)`` of numpy arrays or tensors, images ``[n, h, w]``, ``[n, h, w, c]`` or
              ``[n, c, h, w]`` with values 0..255 or 0..1, or of a list of Pillow images, arrays or paths; what
              ``load_data()`` of Keras returns;
            - a torch or Hugging Face `Dataset`, a `DataLoader`, or any object with ``__len__`` and ``__getitem__``, of
              ``(image, label)`` or dicts, without random augmentation, which would make its cached features useless;
              labels are taken from ``targets``, ``labels`` or ``samples`` if it has them, else from its items;
            - ``"sklearn:digits"``; or an `ImageDataset`.
        name: replaces the name taken from the source.
        max_images_per_class: keep at most so many random images of each class.
        seed: of that choice.

    Raises:
        DatasetError: the source cannot be read or has fewer than two classes.
        ConfigError: `max_images_per_class` is not a positive integer.
        MissingExtraError: it needs a package that is not installed.

    >>> import numpy as np
    >>> images, labels = np.zeros((6, 8, 8), np.uint8), ["cat", "dog"] * 3
    >>> load_dataset((images, labels), name="pets")
    ImageDataset('pets', 6 images, 2 classes)
    """
    if isinstance(source, ImageDataset):
        dataset = source if name is None else source.named(name)
        return dataset.sample(max_images_per_class, seed)
    reading = _read(source)
    if name is not None:
        reading = replace(reading, name=name)
    if isinstance(reading, Reading):
        check_classes(
            reading.name, reading.labels, reading.class_names, files=isinstance(reading.source, sources.FileSource)
        )
    dataset = ImageDataset(reading).sample(max_images_per_class, seed)
    if isinstance(reading, Reading) and isinstance(reading.source, sources.FileSource):
        _ = reading.source.stated_scale  # warns before any long work
    log, told = logging.getLogger(__name__), isinstance(source, (str, Path))
    if log.isEnabledFor(logging.INFO if told else logging.DEBUG):  # else items need not be looked at for it
        log.log(logging.INFO if told else logging.DEBUG, "read %s", dataset.summary())
    return dataset


def _read(source: Any) -> Reading | Unread:
    if isinstance(source, (str, Path)):
        return _read_path(source)
    if is_loader(source):
        return items.read_loader(source)
    if hub.is_hub_dataset(source) and not isinstance(source, Mapping):
        return hub.read_hub(source)
    if is_torch_dataset(source):
        return items.read_items(source)
    if isinstance(source, Mapping):
        return _read_mapping(source)
    if isinstance(source, (tuple, list)):
        return _read_sequence(source)
    if hasattr(source, "iloc"):
        return files.read_frame(source)
    if not hasattr(source, "shape") and hasattr(source, "__len__") and hasattr(source, "__getitem__"):
        return items.read_items(source)
    hint = "; arrays need their labels too: (images, labels)" if hasattr(source, "shape") else ""
    if hasattr(source, "as_numpy_iterator"):
        hint = "; of a tf.data.Dataset pass list(dataset.unbatch().as_numpy_iterator())"
    elif hasattr(source, "__iter__") and not hint:
        hint = " without a length; collect its items in a list first: list(itertools.islice(source, 5000))"
    raise DatasetError(f"a dataset cannot be read from {type(source).__name__}{hint}. Expected {_KINDS}")


def _read_mapping(source: Mapping[Any, Any]) -> Reading | Unread:
    """Arrays by their names, or datasets by those of their splits."""
    if not source:
        raise DatasetError(f"an empty {type(source).__name__} was given. Expected {_KINDS}")
    if arrays.pair_of(list(source)) is not None:
        return arrays.read_named(dict(source), type(source).__name__)
    if len(source) > 1 and not any(map(split_of, map(str, source))) and all(map(_are_images, source.values())):
        raise DatasetError(
            f"a {type(source).__name__} of {len(source)} lists of images was given; if its names are the classes, pass "
            "[(image, label) for label, images in classes.items() for image in images]"
        )
    return _read(training_part(source, f"a {type(source).__name__}"))


def _read_sequence(source: Sequence[Any]) -> Reading | Unread:
    """``(images, labels)``, the same nested by splits, or a list of items."""
    if len(source) and all(isinstance(part, Mapping) for part in source):
        return items.read_items(source)
    if len(source) and all(is_torch_dataset(part) or is_loader(part) or hub.is_hub_dataset(part) for part in source):
        raise DatasetError(
            f"a {type(source).__name__} of {len(source)} datasets was given; pass the one to use, such as that for "
            "training, or by their names: {'train': ..., 'val': ...}"
        )
    if len(source) and all(isinstance(part, (str, os.PathLike)) or hasattr(part, "getbands") for part in source):
        raise DatasetError(
            f"a {type(source).__name__} of {len(source)} images without labels was given; pass (images, labels)"
        )
    if 1 < len(source) <= 3 and all(_is_arrays(part) for part in source):
        _warn(f"of {len(source)} pairs (images, labels) the first is used as the training part, the others left out")
        return _read_arrays(*source[0])
    if len(source) and (all(_is_item(part) for part in source) or all(_is_long(part) for part in source)):
        return items.read_items(source)
    if len(source) == 4 and (order := _four(source)):
        _warn("of four arrays the training images and labels are used, and the test part left out")
        return _read_arrays(source[order[0]], source[order[1]])
    if len(source) != 2:
        raise DatasetError(
            f"a {type(source).__name__} of {len(source)} values was given; arrays come as a pair (images, labels), "
            "and items as a list of pairs (image, label)"
        )
    if axes(source[0]) == 1 and hasattr(source[1], "shape") and source[1].ndim > 2 and not _one_by_one(source[0]):
        raise DatasetError("a pair (labels, images) was given; swap them: (images, labels)")
    return _read_arrays(*source)


def _read_arrays(images: Any, labels: Any) -> Reading:
    if _one_by_one(images):
        return items.read_images(images, labels, "images")
    return arrays.read_arrays(images, labels)


def _one_by_one(images: Any) -> bool:
    """Whether images are single objects, such as paths or Pillow images, and no array."""
    if getattr(images, "ndim", None) == 1:
        return getattr(images.dtype, "kind", "") in "OU"
    if not isinstance(images, (list, tuple)) or not len(images):
        return False
    return not isinstance(images[0], (list, int, float)) and (
        axes(images[0]) == 0 or len({np.shape(image) for image in images}) > 1
    )


def _length(value: Any) -> int | None:
    return len(value) if hasattr(value, "__len__") and not isinstance(value, (str, bytes, Mapping)) else None


def _are_images(part: Any) -> bool:
    """Whether it is an array of images, or a list of images one by one."""
    single = isinstance(part, (tuple, list)) and len(part) > 0 and (hasattr(part[0], "getbands") or axes(part[0]) > 1)
    return single or getattr(part, "ndim", 0) > 2 or (isinstance(part, list) and _one_by_one(part))


def _is_arrays(part: Any) -> bool:
    """Whether it is a pair of images and as many labels."""
    if not isinstance(part, (tuple, list)) or len(part) != 2:
        return False
    images, labels = part
    return getattr(images, "ndim", 0) in (3, 4) and _length(labels) == len(images)


def _is_item(part: Any) -> bool:
    """Whether it is an image and its label."""
    if not isinstance(part, (tuple, list)) or len(part) != 2 or isinstance(part[0], (int, float)):
        return False
    label = part[1]
    single = isinstance(label, (str, bytes)) or axes(label) == 0
    return single or (axes(label) == 1 and (axes(part[0]) in (2, 3) or hasattr(part[0], "getbands")))


def _is_long(part: Any) -> bool:
    """Whether it is an image, its label and more, which `read_items` refuses with what to do."""
    return isinstance(part, (tuple, list)) and len(part) > 2 and (hasattr(part[0], "getbands") or axes(part[0]) > 1)


def _four(source: Sequence[Any]) -> tuple[int, int] | None:
    """Where training images and labels are among four arrays: with the test part last, or images first."""
    lengths = [_length(part) for part in source]
    for images, labels, test, test_labels in ((0, 1, 2, 3), (0, 2, 1, 3)):
        fit = lengths[images] == lengths[labels] and lengths[test] == lengths[test_labels]
        if fit and getattr(source[images], "ndim", 0) > 2 and getattr(source[test], "ndim", 0) > 2:
            return images, labels
    return None


def _read_path(source: str | Path) -> Reading | Unread:
    text = str(source)
    path = Path(os.path.expanduser(text))
    if text == "sklearn:digits":
        return arrays.read_digits()
    if not text or not os.path.exists(path):  # unlike Path.exists, never raises
        if re.match(r"[A-Za-z]\w+:", text):
            raise DatasetError(
                f"unknown dataset {said(text)}: the only built-in name is 'sklearn:digits', and nothing is "
                f"downloaded. Expected {_KINDS}"
            )
        raise DatasetError(
            f"no file or folder {said(text)} (working folder: {os.getcwd()}){near_miss(text)}. Expected {_KINDS}"
        )
    if not os.access(path, os.R_OK):
        raise DatasetError(f"{text!r} may not be read by this user; check its permissions")
    if path.is_dir():
        return files.read_any_folder(path)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return arrays.read_npz(path)
    if suffix == ".parquet":
        return hub.read_parquet([path], path.stem)
    if suffix in TABLES:
        return files.read_table_file(path)
    if suffix == ".zip" or (suffix not in _HINTS and path.is_file() and zipfile.is_zipfile(path)):
        return files.read_any_zip(path)
    if tars.is_tar(path):
        return tars.read_tar([path], path.name.split(".")[0])
    hint = _HINTS.get(suffix, "this kind of file is not known")
    raise DatasetError(f"cannot read a dataset from {text!r}: {hint}. Expected {_KINDS}")
