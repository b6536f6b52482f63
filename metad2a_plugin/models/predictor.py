"""MetaD2A's meta-performance predictor (ICLR 2021, Sec. 3.3), as batched tensor code."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from metad2a_plugin.nn.dag import DagEncoder, Edges
from metad2a_plugin.nn.set_transformer import SetEncoder
from metad2a_plugin.spaces.nasbench201 import EDGES

_BLOCK = 256  # graphs scored at a time, so that the hidden layer of [draws, graphs] stays small


class PaperPredictor(nn.Module):
    """Set code and graph code, joined and mapped to one score; the paper's dimensions are the defaults.

    A score is on the scale it was trained on. The release's is the z-scored accuracy divided by 100:
    ``percent = mean + 100 * std * score`` (`release.ACCURACY_MEAN`, `release.ACCURACY_STD`).

    Args:
        edges: the edge list that all graphs of the space share.
        num_types: vertex types.
        feature_dim: length of an image's feature vector.
        hidden: width of a vertex's state and of the head.
        latent: width of either code.
        heads: attention heads; `latent` must be a multiple.
    """

    def __init__(
        self,
        edges: Edges = EDGES,
        num_types: int = 7,
        *,
        feature_dim: int = 512,
        hidden: int = 512,
        latent: int = 56,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.set_encoder = SetEncoder(feature_dim, latent, heads)
        self.graph_encoder = DagEncoder(edges, num_types, hidden, latent)
        self.fc = nn.Linear(2 * latent, hidden)
        self.out = nn.Linear(hidden, 1)

    def set_code(self, sets: torch.Tensor) -> torch.Tensor:
        """Codes ``[b, latent]`` of image sets ``[b, classes, images, feature_dim]``."""
        return self.set_encoder(sets)

    def graph_code(self, vertices: torch.Tensor) -> torch.Tensor:
        """Codes ``[n, latent]`` of architectures, int64 ``[n, vertices]``."""
        return self.graph_encoder(vertices)

    def head(self, set_code: torch.Tensor, graph_code: torch.Tensor) -> torch.Tensor:
        """Scores ``[...]`` of codes ``[..., latent]``, which broadcast: ``head(s[:, None], g)`` is every pair."""
        of_set, of_graph = self.fc.weight.chunk(2, dim=1)
        joined = F.linear(set_code, of_set) + F.linear(graph_code, of_graph, self.fc.bias)
        return self.out(joined.tanh()).squeeze(-1)

    def forward(self, sets: torch.Tensor, vertices: torch.Tensor) -> torch.Tensor:
        """Scores ``[b]`` of architectures, int64 ``[b, vertices]``, each on its own set ``[b, c, i, d]``."""
        return self.head(self.set_code(sets), self.graph_code(vertices))

    def score(self, sets: torch.Tensor, vertices: torch.Tensor) -> torch.Tensor:
        """Scores ``[draws, n]`` of every architecture on every set; each set and graph is encoded once.

        Args:
            sets: draws of one dataset's images, ``[draws, classes, images, feature_dim]``.
            vertices: int64 ``[n, vertices]``.
        """
        codes = self.set_code(sets)[:, None]
        blocks = [self.head(codes, block) for block in self.graph_code(vertices).split(_BLOCK)]
        return torch.cat(blocks, dim=1)
