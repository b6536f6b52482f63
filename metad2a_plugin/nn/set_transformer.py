"""Set Transformer blocks (Lee et al., ICML 2019) and MetaD2A's encoder of a dataset (ICLR 2021, Sec. 3.2)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class MAB(nn.Module):
    """Multi-head attention block without layer norm; queries ``[b, n, query_dim]``, items ``[b, m, item_dim]``.

    Returns ``[b, n, dim]``. The attention is scaled by the square root of `dim`, not of a head's width, and
    added to the projected queries, as in the authors' implementation.
    """

    def __init__(self, query_dim: int, item_dim: int, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.fc_q = nn.Linear(query_dim, dim)
        self.fc_k = nn.Linear(item_dim, dim)
        self.fc_v = nn.Linear(item_dim, dim)
        self.fc_o = nn.Linear(dim, dim)

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, queries: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        q, k, v = self.fc_q(queries), self.fc_k(items), self.fc_v(items)
        attended = F.scaled_dot_product_attention(
            self._split(q), self._split(k), self._split(v), scale=q.shape[-1] ** -0.5
        )
        out = q + attended.transpose(1, 2).flatten(2)
        return out + self.fc_o(out).relu()


class SAB(MAB):
    """Self-attention block, ``[b, n, in_dim]`` to ``[b, n, dim]``; equivariant to the order of items."""

    def __init__(self, in_dim: int, dim: int, heads: int) -> None:
        super().__init__(in_dim, in_dim, dim, heads)

    def forward(self, items: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().forward(items, items)


class PMA(MAB):
    """Pooling by attention of one learned seed, ``[b, n, dim]`` to ``[b, dim]``; invariant to the order of items."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__(dim, dim, dim, heads)
        self.seed = nn.Parameter(torch.empty(1, 1, dim))
        nn.init.xavier_uniform_(self.seed)

    def forward(self, items: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return super().forward(self.seed.expand(len(items), -1, -1), items).squeeze(1)


def set_pool(in_dim: int, dim: int, heads: int) -> nn.Sequential:
    """Two SABs, a PMA and a linear layer: sets ``[b, n, in_dim]`` to vectors ``[b, dim]``."""
    return nn.Sequential(SAB(in_dim, dim, heads), SAB(dim, dim, heads), PMA(dim, heads), nn.Linear(dim, dim))


class SetEncoder(nn.Module):
    """A dataset as a vector: images are pooled to class prototypes, prototypes to one code.

    Image features ``[batch, classes, images, feature_dim]`` to ``[batch, latent]``, whatever the order of the
    classes and of the images in a class.

    >>> SetEncoder(feature_dim=32, latent=8)(torch.zeros(2, 5, 20, 32)).shape
    torch.Size([2, 8])
    """

    def __init__(self, feature_dim: int = 512, latent: int = 56, heads: int = 4) -> None:
        super().__init__()
        self.feature_dim, self.heads = feature_dim, heads
        self.images = set_pool(feature_dim, latent, heads)
        self.classes = set_pool(latent, latent, heads)

    def forward(self, sets: torch.Tensor) -> torch.Tensor:
        prototypes = self.images(sets.flatten(0, 1)).unflatten(0, sets.shape[:2])
        return self.classes(prototypes)
