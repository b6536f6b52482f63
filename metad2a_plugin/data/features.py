"""`extract_task`: a dataset's image features, computed once and cached by content."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from metad2a_plugin.data.checks import report_repeated
from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.data.encoded import EncodedRows, Known, PixelStatistics
from metad2a_plugin.data.encoders import get_encoder
from metad2a_plugin.data.parts import drop_empty_classes, report_broken
from metad2a_plugin.data.streamed import Pixels, StreamedPixels
from metad2a_plugin.errors import ConfigError, DatasetError
from metad2a_plugin.plugins.encoder import ImageEncoder
from metad2a_plugin.plugins.task import Task
from metad2a_plugin.utils.progress import stages

_FORMAT = 5
_SOON = 2000
"""So many images are encoded at once; of more, those that a draw asks for."""
_ROOM = 2**27
"""Bytes of decoded images that are kept until they are encoded; of more, images are decoded again."""


def extract_task(
    dataset: ImageDataset,
    encoder: str | ImageEncoder = "default",
    *,
    max_images_per_class: int | None = 200,
    batch_size: int = 256,
    cache_dir: Path | str | Literal[False] | None = None,
    device: str = "cpu",
    progress: bool = True,
    seed: int = 0,
) -> Task:
    """The features of at most `max_images_per_class` random images of each class.

    All are read; of more than a few thousand, an image is encoded when a draw first asks for it. Features are cached
    under the hash of the images, the encoder's fingerprint and these settings. Broken images are left out with one
    warning.

    Args:
        dataset: from `load_dataset`.
        encoder: a name for `get_encoder`, or an encoder.
        max_images_per_class: None for all.
        batch_size: images encoded at once.
        cache_dir: a folder; None for ``$METAD2A_CACHE`` or ``~/.cache/metad2a``; False for no cache.
        device: a torch device, for an encoder given by name.
        progress: show a progress bar where stderr is a terminal.
        seed: of the choice of images.

    Returns:
        features float32 ``[images, dim]``, labels int64 ``[images]``, of the images that can be read; `Task.images`
        counts all of the dataset.

    Raises:
        DatasetError: more than half of the images are broken, or fewer than two classes are usable.
        ConfigError: an option is out of range, or the encoder breaks its contract.
        CheckpointError: the encoder's weights are missing or damaged.
    """
    if not isinstance(dataset, ImageDataset):
        raise DatasetError(f"expected an ImageDataset, got {type(dataset).__name__}; make one with load_dataset(...)")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ConfigError(f"batch_size must be a positive integer, got {batch_size!r}")
    model = get_encoder(encoder, device) if isinstance(encoder, str) else encoder
    chosen = dataset.sample(max_images_per_class, seed)
    path = None if cache_dir is False else _cache_path(chosen, model, cache_dir)
    known = None if path is None else Known.load(path, len(chosen), model.dim)
    decoded = None
    if known is None:
        known, decoded = _decoded(chosen, model, path, batch_size, progress)
    report_broken(chosen.name, known.broken, len(chosen))
    report_repeated(chosen.name, known.distinct, known.contrary, len(known.kept))
    kept = known.kept.numpy()
    labels, class_names = drop_empty_classes(chosen.name, chosen.labels[kept], chosen.class_names)
    pixels: Pixels = StreamedPixels(chosen.subset(kept), model.size) if decoded is None else decoded
    rows = EncodedRows(pixels, model, known, chosen.name, batch_size, progress)
    if len(rows) <= _SOON:
        rows[torch.arange(len(rows))]
    classes = torch.from_numpy(labels)
    statistics = PixelStatistics(pixels, torch.from_numpy(chosen.labels[kept]), known, batch_size)
    return Task.of_rows(rows, classes, chosen.name, class_names, model.name, len(dataset), statistics)


def _decoded(
    dataset: ImageDataset, encoder: ImageEncoder, path: Path | None, batch_size: int, progress: bool
) -> tuple[Known, torch.Tensor | None]:
    """Which images can be read, and the pixels of these where there is room for them, ``[n, 3, size, size]``."""
    room = len(dataset) * 3 * encoder.size**2 <= _ROOM
    pixels, filled = torch.empty(len(dataset) if room else 0, 3, encoder.size, encoder.size, dtype=torch.uint8), 0
    broken: dict[int, str] = {}
    looks: list[bytes] = []
    with stages(progress, brief=True) as report:
        for start in range(0, len(dataset), batch_size):
            report(f"Reading {dataset.name}", start, len(dataset), "")
            images, bad = dataset.decode(range(start, min(start + batch_size, len(dataset))), encoder.size)
            broken |= bad
            looks += [hashlib.sha1(image.numpy().tobytes(), usedforsecurity=False).digest() for image in images]
            if room:
                pixels[filled : filled + len(images)] = images
                filled += len(images)
    kept = torch.from_numpy(np.setdiff1d(np.arange(len(dataset)), list(broken)))
    reasons = {dataset.key(i): reason for i, reason in broken.items()}
    classes: dict[bytes, set[int]] = {}
    for look, label in zip(looks, dataset.labels[kept.numpy()].tolist(), strict=True):
        classes.setdefault(look, set()).add(label)
    contrary = sum(len(classes[look]) > 1 for look in looks)
    features, encoded = torch.zeros(len(kept), encoder.dim), torch.zeros(len(kept), dtype=torch.bool)
    known = Known(features, encoded, kept, reasons, len(classes), contrary, path=path)
    return known, pixels[:filled] if room else None


# -- cache ---------------------------------------------------------------------------------------
def _cache_path(dataset: ImageDataset, encoder: ImageEncoder, cache_dir: Path | str | None) -> Path:
    if cache_dir is None:
        cache_dir = os.environ.get("METAD2A_CACHE") or Path.home() / ".cache" / "metad2a"
    # The sampled dataset's hash covers the images chosen, so the sampling options need no place in the key.
    parts = (_FORMAT, dataset.content_hash, encoder.name, encoder.fingerprint, encoder.size, encoder.dim)
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return Path(cache_dir).expanduser() / "features" / f"{key}.safetensors"
