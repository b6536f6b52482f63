"""The decoded and split images of a training, and their augmentation."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn

from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.data.pixels import few
from metad2a_plugin.data.streamed import Pixels, StreamedPixels
from metad2a_plugin.errors import ConfigError, DatasetError
from metad2a_plugin.training.config import EDGE, TrainConfig
from metad2a_plugin.training.soft import SoftLabels

IN_MEMORY = 3 << 27
"""Bytes of pixels that are kept decoded, where images may be streamed."""
_FEW = 2048


@dataclass(frozen=True)
class TrainingData:
    """A dataset decoded and split; made by `prepare`, shared by all architectures.

    Attributes:
        images, labels: training part, uint8 ``[n, 3, size, size]`` and int64 ``[n]``; see `Pixels`.
        validation_images, validation_labels: the same of the validation part.
        mean, std: of the training pixels scaled to 0..1, per channel.
        class_names: one name per class.
        split: what it was prepared with: `input_size`, `validation` and `split_seed` of the `TrainConfig`.
        train, validation: the two parts as datasets of their own, for what looks at images in its own way.
        soft: what a teacher says of the training part.
    """

    images: Pixels
    labels: torch.Tensor
    validation_images: Pixels
    validation_labels: torch.Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    split: tuple[int, float, int]
    train: ImageDataset
    validation: ImageDataset
    soft: SoftLabels | None = None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all pixels, labels, class names and soft labels."""
        digest = hashlib.sha256(repr(self.class_names).encode())
        for part in (self.images, self.labels, self.validation_images, self.validation_labels):
            digest.update(repr(tuple(part.shape)).encode())
            if isinstance(part, StreamedPixels):
                digest.update(part.dataset.content_hash.encode())
            else:
                digest.update(part[:].numpy().tobytes())
        if self.soft is not None:
            digest.update(repr((self.soft.share, self.soft.temperature)).encode())
            digest.update(self.soft.logits.float().cpu().numpy().tobytes())
        return digest.hexdigest()


def prepare(
    dataset: ImageDataset,
    config: TrainConfig,
    *,
    stream: bool = False,
    verified: bool = False,
    validation: ImageDataset | None = None,
) -> TrainingData:
    """Decode and split a dataset, each image once; broken ones are left out with a warning.

    Args:
        dataset: all images.
        config: size of the images, and the split.
        stream: whether images that would take more than `IN_MEMORY` are decoded again each time they are asked for.
        verified: whether it is known that no image is broken.
        validation: images to validate with, of the same classes; by default those of the dataset's own validation part,
            and where it has none, a share of its images, `TrainConfig.validation`.

    Raises:
        DatasetError: no class has two images, so that none can be held out; the validation images are of other classes;
            or too many images are broken.
    """
    size = config.input_size
    own = validation or dataset.validation
    streams = stream and 3 * size**2 * (len(dataset) + len(own or ())) > IN_MEMORY
    if own is not None:
        check_classes(own, dataset)
    dataset = dataset.verified() if streams and not verified else dataset
    parts = _split(dataset, config, streams) if own is None else _given(dataset, own, size, streams, verified)
    train, images, held_out, validation_images = parts
    some = torch.linspace(0, len(images) - 1, min(len(images), _FEW)).long() if streams else slice(None)
    mean, std = pixel_statistics(images[some])
    return TrainingData(
        images=images,
        labels=torch.from_numpy(train.labels),
        validation_images=validation_images,
        validation_labels=torch.from_numpy(held_out.labels),
        mean=mean,
        std=std,
        class_names=train.class_names,
        split=split_settings(config),
        train=train,
        validation=held_out,
    )


_Parts = tuple[ImageDataset, Pixels, ImageDataset, Pixels]


def _split(dataset: ImageDataset, config: TrainConfig, streams: bool) -> _Parts:
    """A share of the images held out."""
    size = config.input_size
    held_out = dataset.held_out(config.validation, config.split_seed)
    pixels = None
    if not streams:
        # The training part first, so that both parts are views; but the split depends on which images are broken.
        order = np.argsort(held_out, kind="stable")
        pixels, broken = dataset.decode(order, size)
        if broken:
            dataset = dataset.without(broken)
            held_out = dataset.held_out(config.validation, config.split_seed)
            place = np.argsort(order[~np.isin(order, list(broken))])
            pixels = pixels[torch.from_numpy(place[np.argsort(held_out, kind="stable")])]
    if not held_out.any():
        raise DatasetError(
            f"no class of {dataset.name!r} has two images, so none can be held out for validation; add images"
        )
    train, validation = dataset.subset(~held_out), dataset.subset(held_out)
    if pixels is None:
        return train, StreamedPixels(train, size), validation, StreamedPixels(validation, size)
    return train, pixels[: len(train)], validation, pixels[len(train) :]


def _given(dataset: ImageDataset, validation: ImageDataset, size: int, streams: bool, verified: bool) -> _Parts:
    """All images for training, and others to validate with."""
    train, images = _decoded(dataset.alone(), size, streams)
    # Classes none of whose training images can be read are gone.
    validation = validation.of_classes(train.class_names)
    validation = validation.verified() if streams and not verified else validation
    held_out, validation_images = _decoded(validation, size, streams)
    return train, images, held_out.of_classes(train.class_names), validation_images


def _decoded(dataset: ImageDataset, size: int, streams: bool) -> tuple[ImageDataset, Pixels]:
    if streams:
        return dataset, StreamedPixels(dataset, size)
    pixels, broken = dataset.decode(range(len(dataset)), size)
    return dataset.without(broken), pixels


def check_classes(validation: ImageDataset, dataset: ImageDataset) -> None:
    """Refuse validation images of other classes than those of the dataset.

    Raises:
        DatasetError: they are; the message names some that one of them lacks.
    """
    theirs, ours = set(validation.class_names), set(dataset.class_names)
    if theirs != ours:
        lacks = [(validation.name, sorted(ours - theirs)), (dataset.name, sorted(theirs - ours))]
        text = " and ".join(f"{name!r} has no {few(names)}" for name, names in lacks if names)
        raise DatasetError(
            f"the validation images must be of the same classes as the others, by name, but {text}; rename the class "
            "folders, or leave the validation images out"
        )


def pixel_statistics(images: torch.Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, for pixels scaled to 0..1, of uint8 ``[n, 3, h, w]``."""
    # Sums of bytes and of their squares are exact in int64; chunks keep the wide copy small.
    chunks = [chunk.long() for chunk in images.split(1024)]
    count = images.numel() // 3
    mean = sum(chunk.sum((0, 2, 3)) for chunk in chunks) / count
    square = sum(chunk.square().sum((0, 2, 3)) for chunk in chunks) / count
    # Images of a single colour have no spread.
    std = (square - mean**2).clamp(min=1).sqrt()
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())


def augmented(images: torch.Tensor, flip: bool, padding: str | None = None) -> torch.Tensor:
    """Random crops of images padded by an eighth of their side, and mirrored with chance 1/2.

    Draws come from the global CPU generator, so they do not depend on the device.

    Args:
        images: uint8 ``[n, 3, size, size]``.
        flip: whether to mirror.
        padding: as in `TrainConfig`.

    Returns:
        The same shape and type.
    """
    n, size = len(images), images.shape[-1]
    pad = size // 8
    rows, columns = (torch.randint(2 * pad + 1, (n, 1)) + torch.arange(size) for _ in range(2))
    if flip:
        columns = torch.where(torch.rand(n, 1) < 0.5, columns.flip(1), columns)
    # Rows of a table of pixels: torch picks those several times as fast as by three indices.
    if padding == EDGE:
        rows, columns, side = (rows - pad).clamp(0, size - 1), (columns - pad).clamp(0, size - 1), size
    else:
        images, side = nn.functional.pad(images, (pad, pad, pad, pad)), size + 2 * pad
    pixels = images.permute(0, 2, 3, 1).reshape(-1, images.shape[1])
    first = torch.arange(n)[:, None, None] * side**2
    chosen = (first + rows[:, :, None] * side + columns[:, None, :]).flatten().to(images.device)
    crops = pixels.index_select(0, chosen).view(n, size, size, -1)
    return crops.permute(0, 3, 1, 2)


def split_settings(config: TrainConfig) -> tuple[int, float, int]:
    """What `TrainingData.split` holds."""
    return config.input_size, config.validation, config.split_seed


def check_split(data: TrainingData, config: TrainConfig) -> None:
    """Refuse data that were prepared with another config.

    Raises:
        ConfigError: they were.
    """
    if data.split != split_settings(config):
        raise ConfigError(
            f"the data were prepared with (input_size, validation, split_seed) = {data.split}, the config has "
            f"{split_settings(config)}; call prepare() with the same config"
        )
