"""Soft labels: what a teacher says of training images, beside their classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class SoftLabels:
    """A teacher's logits of training images, and how much they count (Hinton et al., 2015, arXiv:1503.02531).

    Attributes:
        logits: ``[n, classes]``, in the order of the images; of a teacher that has not learned from the image itself,
            or they say little more than its class.
        share: of the loss.
        temperature: that both distributions are softened by.
    """

    logits: torch.Tensor
    share: float = 0.5
    temperature: float = 2.0

    def mixed(self, loss: torch.Tensor, logits: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
        """A loss on classes together with that on soft labels, ``[]``.

        Args:
            loss: on classes, ``[]``.
            logits: of the network, ``[b, classes]``.
            batch: which images they are of, int64 ``[b]``.
        """
        told = (self.logits[batch].to(logits) / self.temperature).softmax(1)
        soft = F.kl_div((logits / self.temperature).log_softmax(1), told, reduction="batchmean")
        # Squared, so that gradients keep their size at any temperature.
        return (1 - self.share) * loss + self.share * self.temperature**2 * soft
