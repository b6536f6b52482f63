"""`extract_task`: a dataset's image features, computed once and cached by content."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.data.encoders import get_encoder
from metad2a_plugin.data.parts import drop_empty_classes, report_broken
from metad2a_plugin.data.pixels import DatasetWarning
from metad2a_plugin.data.statistics import StatisticsOf
from metad2a_plugin.errors import ConfigError, DatasetError
from metad2a_plugin.plugins.encoder import ImageEncoder
from metad2a_plugin.plugins.task import Task
from metad2a_plugin.utils.files import write_atomically
from metad2a_plugin.utils.progress import stages

_FORMAT = 3


@dataclass(frozen=True)
class _Features:
    """Features ``[readable images, dim]``, their positions in the sampled dataset, statistics, and what was broken."""

    features: torch.Tensor
    kept: torch.Tensor
    statistics: dict[str, float]
    broken: dict[str, str]


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
    """Encode at most `max_images_per_class` random images of each class.

    Features are cached under the hash of the images, the encoder's fingerprint and these settings. Broken
    images are left out with one warning.

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
        features float32 ``[images, dim]``, labels int64 ``[images]``, of the images that were encoded; `Task.images`
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
    cached = _load(path, len(chosen), model.dim) if path else None
    found = cached or _encode(chosen, model, batch_size, progress)
    report_broken(chosen.name, found.broken, len(chosen))
    labels, class_names = drop_empty_classes(chosen.name, chosen.labels[found.kept.numpy()], chosen.class_names)
    if path and not cached:
        _store(path, found)
    return Task(
        found.features,
        torch.from_numpy(labels),
        chosen.name,
        class_names,
        model.name,
        len(dataset),
        found.statistics,
    )


def _encode(dataset: ImageDataset, encoder: ImageEncoder, batch_size: int, progress: bool) -> _Features:
    rows: list[torch.Tensor] = []
    statistics = StatisticsOf()
    kept: list[int] = []
    broken: dict[str, str] = {}
    with stages(progress, brief=True) as report:
        for start in range(0, len(dataset), batch_size):
            report(f"Encoding {dataset.name}", start, len(dataset), "")
            indices = range(start, min(start + batch_size, len(dataset)))
            images, bad = dataset.decode(indices, encoder.size)
            broken |= {dataset.key(i): reason for i, reason in bad.items()}
            if len(images):
                statistics.add(images)
                rows.append(_check(encoder, encoder(images), len(images)))
                kept += [i for i in indices if i not in bad]
    features = torch.cat(rows) if rows else torch.empty(0, encoder.dim)
    told = statistics.of(torch.from_numpy(dataset.labels[kept])) if kept else {}
    return _Features(features, torch.tensor(kept, dtype=torch.int64), told, broken)


def _check(encoder: ImageEncoder, features: torch.Tensor, count: int) -> torch.Tensor:
    if tuple(features.shape) != (count, encoder.dim):
        raise ConfigError(
            f"encoder {encoder.name!r} returned shape {list(features.shape)} for {count} images, "
            f"expected [{count}, {encoder.dim}]"
        )
    if not torch.isfinite(features).all():
        raise ConfigError(f"encoder {encoder.name!r} returned NaN or infinite features; check its weights")
    return features.detach().to("cpu", torch.float32)


# -- cache ---------------------------------------------------------------------------------------
def _cache_path(dataset: ImageDataset, encoder: ImageEncoder, cache_dir: Path | str | None) -> Path:
    if cache_dir is None:
        cache_dir = os.environ.get("METAD2A_CACHE") or Path.home() / ".cache" / "metad2a"
    # The sampled dataset's hash covers the images chosen, so the sampling options need no place in the key.
    parts = (_FORMAT, dataset.content_hash, encoder.name, encoder.fingerprint, encoder.size, encoder.dim)
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return Path(cache_dir).expanduser() / "features" / f"{key}.safetensors"


def _load(path: Path, count: int, dim: int) -> _Features | None:
    """The cached features; None where there are none, or (with a warning) where they are damaged."""
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            broken, told = (json.loads(file.metadata()[name]) for name in ("broken", "statistics"))
            found = _Features(file.get_tensor("features"), file.get_tensor("kept"), told, broken)
        fits = found.features.shape == (len(found.kept), dim) and len(found.kept) + len(found.broken) == count
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        fits = False
    if fits:
        return found
    warnings.warn(f"cached features {path} are damaged and are computed again", DatasetWarning, stacklevel=3)
    return None


def _store(path: Path, found: _Features) -> None:
    tensors = {"features": found.features, "kept": found.kept}
    try:
        told = {name: json.dumps(getattr(found, name)) for name in ("broken", "statistics")}
        write_atomically(path, save(tensors, metadata=told))
    except ConfigError as error:
        warnings.warn(
            f"features could not be cached in {path.parent} and will be computed again next time ({error.__cause__}); "
            "set METAD2A_CACHE to a folder that can be written",
            DatasetWarning,
            stacklevel=3,
        )
