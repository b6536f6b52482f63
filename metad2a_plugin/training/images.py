"""The decoded and split images of a training, and their augmentation."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn

from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.data.streamed import Pixels, StreamedPixels
from metad2a_plugin.errors import ConfigError, DatasetError
from metad2a_plugin.training.config import TrainConfig
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
    dataset: ImageDataset, config: TrainConfig, *, stream: bool = False, verified: bool = False
) -> TrainingData:
    """Decode and split a dataset, each image once; broken ones are left out with a warning.

    Args:
        dataset: all images.
        config: size of the images, and the split.
        stream: whether images that would take more than `IN_MEMORY` are decoded again each time they are asked for.
        verified: whether it is known that no image is broken.

    Raises:
        DatasetError: no class has two images, so that none can be held out; or too many images are broken.
    """
    size, streams = config.input_size, stream and 3 * config.input_size**2 * len(dataset) > IN_MEMORY
    dataset = dataset.verified() if streams and not verified else dataset
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
    images: Pixels
    validation_images: Pixels
    if pixels is None:
        images, validation_images = StreamedPixels(train, size), StreamedPixels(validation, size)
        few = images[torch.linspace(0, len(images) - 1, min(len(images), _FEW)).long()]
    else:
        images, validation_images = pixels[: len(train)], pixels[len(train) :]
        few = images
    mean, std = pixel_statistics(few)
    return TrainingData(
        images=images,
        labels=torch.from_numpy(train.labels),
        validation_images=validation_images,
        validation_labels=torch.from_numpy(validation.labels),
        mean=mean,
        std=std,
        class_names=dataset.class_names,
        split=split_settings(config),
        train=train,
        validation=validation,
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


def augmented(images: torch.Tensor, flip: bool) -> torch.Tensor:
    """Random crops of images padded with black by an eighth of their side, and mirrored with chance 1/2.

    Draws come from the global CPU generator, so they do not depend on the device.

    Args:
        images: uint8 ``[n, 3, size, size]``.
        flip: whether to mirror.

    Returns:
        The same shape and type.
    """
    n, size = len(images), images.shape[-1]
    pad = size // 8
    side = size + 2 * pad
    rows, columns = (torch.randint(2 * pad + 1, (n, 1)) + torch.arange(size) for _ in range(2))
    if flip:
        columns = torch.where(torch.rand(n, 1) < 0.5, columns.flip(1), columns)
    # Rows of a table of pixels: torch picks those several times as fast as by three indices.
    pixels = nn.functional.pad(images, (pad, pad, pad, pad)).permute(0, 2, 3, 1).reshape(-1, images.shape[1])
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
