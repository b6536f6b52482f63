"""MetaD2A's generator of architectures for a dataset (ICLR 2021, Sec. 3.2), as batched tensor code."""

from __future__ import annotations

import torch
from torch import nn

from metad2a_plugin.nn.dag import Edges
from metad2a_plugin.nn.decoder import DagDecoder, TypeMask
from metad2a_plugin.nn.set_transformer import SetEncoder
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.spaces.nasbench201.cell import EDGES

KL_WEIGHT = 0.005
NOISE = 0.01
"""Scale of the latent noise in training."""
TEMPERATURE = 1.2
"""Of the draws of a search: more of what meta-training never held, of the same predicted accuracy (0.1 points less)."""


class PaperGenerator(nn.Module):
    """Set encoder and graph decoder, which draws, with the paper's dimensions as defaults.

    Args:
        edges: the edge list that all graphs of the space share.
        num_types: vertex types; 0 is the input, 1 the output.
        type_mask: what may be drawn, as in `SearchSpace.type_mask`; any inner type by default.
        feature_dim: length of an image's feature vector.
        hidden: width of a vertex's state.
        latent: width of the dataset's code and of the latent vector.
        heads: attention heads; `latent` must be a multiple.
    """

    def __init__(
        self,
        edges: Edges = EDGES,
        num_types: int = 7,
        *,
        type_mask: TypeMask | None = None,
        feature_dim: int = 512,
        hidden: int = 56,
        latent: int = 56,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.set_encoder = SetEncoder(feature_dim, latent, heads)
        self.mu = nn.Linear(latent, latent)
        self.logvar = nn.Linear(latent, latent)
        self.decoder = DagDecoder(edges, num_types, hidden, latent, type_mask)

    @classmethod
    def of_space(cls, space: SearchSpace, **sizes: int) -> PaperGenerator:
        """For the graphs of a search space, which says what may be drawn; `sizes` are those of the class."""
        return cls(space.edges, len(space.vertex_types), type_mask=space.type_mask, **sizes)

    def encode(self, sets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log-variance of the latent, ``[b, latent]`` each, of sets ``[b, classes, images, dim]``."""
        return self.latent(self.set_encoder(sets))

    def latent(self, code: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log-variance of the latent, ``[b, latent]`` each, of set codes ``[b, latent]``."""
        return self.mu(code), self.logvar(code)

    def loss(
        self, sets: torch.Tensor, vertices: torch.Tensor, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """`loss_of_code` of image features ``[b, classes, images, feature_dim]``."""
        return self.loss_of_code(self.set_encoder(sets), vertices, generator)

    def loss_of_code(
        self, code: torch.Tensor, vertices: torch.Tensor, generator: torch.Generator | None = None
    ) -> dict[str, torch.Tensor]:
        """The training loss and its parts, each summed over the batch as in the release.

        Args:
            code: of the image sets, ``[b, latent]``.
            vertices: the architecture of each set, int64 ``[b, vertices]``.
            generator: source of the latent noise, which is added in training mode only.

        Returns:
            ``loss = vertex_nll + edge_nll + KL_WEIGHT * kl``, scalars.
        """
        mu, logvar = self.latent(code)
        z = mu
        if self.training:
            noise = torch.randn(mu.shape, generator=generator, device=mu.device)
            z = mu + NOISE * noise * (0.5 * logvar).exp()
        vertex_nll, edge_nll = (terms.sum() for terms in self.decoder.nll(z, vertices))
        kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum()
        loss = vertex_nll + edge_nll + KL_WEIGHT * kl
        return {"loss": loss, "vertex_nll": vertex_nll, "edge_nll": edge_nll, "kl": kl}

    def log_likelihood(self, z: torch.Tensor, vertices: torch.Tensor) -> torch.Tensor:
        """Log-probability, in nats, of types and edges of graphs, ``[n]``.

        Args:
            z: latent vectors ``[n, latent]``, or ``[1, latent]`` for one dataset.
            vertices: int64 ``[n, vertices]``.
        """
        vertex_nll, edge_nll = self.decoder.nll(z.expand(len(vertices), -1), vertices)
        return -(vertex_nll + edge_nll)
