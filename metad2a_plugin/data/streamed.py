"""Pixels of more images than memory has room for: they are decoded when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch

from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.plugins.encoder import ImageEncoder

_PIXELS = 1 << 20  # of a batch


class Pixels(Protocol):
    """Images uint8 ``[n, 3, size, size]``: a tensor, or something that is read like one."""

    @property
    def shape(self) -> torch.Size: ...
    def __len__(self) -> int: ...
    def __getitem__(self, rows: torch.Tensor | slice, /) -> torch.Tensor: ...
    def split(self, split_size: int, /) -> Iterator[torch.Tensor] | tuple[torch.Tensor, ...]: ...


class StreamedPixels:
    """`Pixels` of a dataset; nothing is kept.

    Args:
        dataset: images that can be decoded.
        size: side of the square images, in pixels.
    """

    def __init__(self, dataset: ImageDataset, size: int) -> None:
        self.dataset, self.size = dataset, size

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.dataset), 3, self.size, self.size))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, rows: torch.Tensor | slice, /) -> torch.Tensor:
        """Some images; a mask is no choice of rows here."""
        chosen = range(len(self))[rows] if isinstance(rows, slice) else rows.tolist()
        return self.dataset.images(chosen, self.size)

    def split(self, split_size: int, /) -> Iterator[torch.Tensor]:
        """Parts of so many images, one after the other."""
        for start in range(0, len(self), split_size):
            yield self[start : start + split_size]


def encoded(encoder: ImageEncoder, pixels: StreamedPixels) -> torch.Tensor:
    """An encoder's features of all images, float32 ``[n, dim]``, in batches of bounded memory."""
    return torch.cat([encoder(batch) for batch in pixels.split(max(1, _PIXELS // pixels.size**2))])
