"""Vertex-by-vertex decoder of graphs that share one edge list (D-VAE, NeurIPS 2019, Sec. 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from metad2a_plugin.errors import ConfigError, said
from metad2a_plugin.nn.dag import Edges, MessageCell, predecessors

INPUT, OUTPUT = 0, 1
"""Types of the first and the last vertex in every search space; no other vertex has them."""
TypeMask = Callable[[torch.Tensor], torch.Tensor]
"""From the types of the first vertices, int64 ``[n, v]``, to those that the next may have, bool ``[n, types]``."""


class DagDecoder(nn.Module):
    """From a latent vector to the types and edges of a graph, one vertex at a time.

    The type of a vertex is drawn from the state of the one before it. Then each earlier vertex, nearest first,
    is joined to it or not, judged from both states, and the new vertex's state is updated by every edge.

    Args:
        edges: the edge list that all graphs share.
        num_types: vertex types; 0 is the input, 1 the output.
        hidden: width of a vertex's state.
        latent: width of the latent vector.
        type_mask: what may be drawn (`SearchSpace.type_mask`); any inner type by default. Likelihoods take no notice.
    """

    def __init__(
        self, edges: Edges, num_types: int, hidden: int, latent: int, type_mask: TypeMask | None = None
    ) -> None:
        super().__init__()
        self._sources = predecessors(edges)
        self._type_mask = type_mask or partial(_any_inner_type, num_types=num_types)
        inner = range(len(self._sources) - 1)
        # The inner vertex that hears last of each vertex; -1 where none does.
        self._last_reader = [max((t for t in inner if u in self._sources[t]), default=-1) for u in inner]
        self.cell = MessageCell(num_types, len(self._sources), hidden)
        self.start = nn.Linear(latent, hidden)
        self.type_head = nn.Sequential(nn.Linear(hidden, 2 * hidden), nn.ReLU(), nn.Linear(2 * hidden, num_types))
        self.edge_head = nn.Sequential(nn.Linear(2 * hidden, 4 * hidden), nn.ReLU(), nn.Linear(4 * hidden, 1))

    def nll(self, z: torch.Tensor, vertices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Teacher-forced negative log-likelihood of the types and of the edges, ``[n]`` each, in nats.

        Args:
            z: ``[n, latent]``.
            vertices: int64 ``[n, vertices]``; the first vertex is given, not predicted.
        """
        states = [self._first_state(z)]
        sent: list[torch.Tensor] = []
        type_nll, edge_nll = z.new_zeros(len(z)), z.new_zeros(len(z))
        for v in range(1, vertices.shape[1]):
            sent.append(self.cell.message(states[-1], v - 1))
            type_nll = type_nll + F.cross_entropy(self.type_head(states[-1]), vertices[:, v], reduction="none")
            state, pairs = self._join(v, vertices[:, v], states, sent)
            scores = self.edge_head(torch.stack(pairs, dim=1)).squeeze(-1)
            truth = torch.tensor([float(u in self._sources[v]) for u in range(v - 1, -1, -1)], device=z.device)
            edge_nll = edge_nll + F.binary_cross_entropy_with_logits(
                scores, truth.expand_as(scores), reduction="none"
            ).sum(1)
            states.append(state)
        return type_nll, edge_nll

    def sample(
        self,
        z: torch.Tensor,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
        tilt: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Draw one graph per latent vector ``[n, latent]``: int64 ``[n, vertices]``, always of the space.

        The release samples edges too, then drops graphs in which a vertex is unconnected or an inner vertex is an input
        or an output, and reads only the types of the others. Here the edges are the space's own and input and output
        types are left out of the draw, so no draw is lost. A trained decoder is all but certain of the edges, so the
        two differ little. Types that the space's `type_mask` rules out are likewise left out.

        Args:
            z: ``[n, latent]``.
            generator: source of the draws, on the device of `z`.
            temperature: divides the scores of the types; above 1 for more variety.
            tilt: float ``[vertices, types]``, added to the scores thereafter. With minus a multiple of what each type
                costs as each vertex, cheaper types become likelier.

        Raises:
            ConfigError: `temperature` is not positive, or `tilt` of another shape or not finite.
        """
        self._check(temperature, tilt)
        state, sent = self._first_state(z), dict[int, torch.Tensor]()
        types = torch.full((len(z), 1), INPUT, device=z.device)
        for v in range(1, len(self._sources) - 1):
            self._send(v - 1, state, sent)
            scores = self._restricted(self.type_head(state) / temperature, types, tilt)
            drawn = torch.multinomial(scores.softmax(1), 1, generator=generator)
            types = torch.cat([types, drawn], dim=1)
            state = self._received(v, drawn[:, 0], sent)
        return F.pad(types, (0, 1), value=OUTPUT)

    @torch.no_grad()
    def sample_distinct(
        self,
        z: torch.Tensor,
        n: int,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
        tilt: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw different graphs for one latent vector, without replacement from the distribution of `sample`.

        Stochastic beam search (Kool, van Hoof and Welling, ICML 2019): each graph has a key, its
        log-probability plus Gumbel noise, and the `n` graphs of largest key are found top-down, because the key
        of a partial graph, the largest of all its completions, can be drawn before they are known. `z` is
        ``[1, latent]``, other arguments are as in `sample`.

        Returns:
            Types, int64 ``[m, vertices]``, by decreasing key, which is the order of a draw one after the other, and
            their log-probabilities in nats, float64 ``[m]``; ``m < n`` only where the space holds no more.

        Raises:
            ConfigError: as `sample`, `n` is below 1, or `z` is not one vector.
        """
        self._check(temperature, tilt)
        if n < 1 or z.dim() != 2 or len(z) != 1:
            raise ConfigError(
                f"distinct graphs, at least 1, are drawn for one latent vector [1, latent]; got n={n} and z of "
                f"shape {list(z.shape)}"
            )
        state, sent = self._first_state(z), dict[int, torch.Tensor]()
        types = torch.full((1, 1), INPUT, device=z.device)
        log_p = torch.zeros(1, dtype=torch.float64, device=z.device)
        # The order of keys does not depend on the largest one, so the root's needs no noise.
        key = torch.zeros_like(log_p)
        for v in range(1, len(self._sources) - 1):
            self._send(v - 1, state, sent)
            scores = self._restricted(self.type_head(state).double() / temperature, types, tilt)
            child_log_p = log_p[:, None] + scores.log_softmax(1)
            child_key = keys_below(key, child_log_p, generator).flatten()
            # Types that are not allowed have the key -inf; all others are finite.
            kept = min(n, int(scores.isfinite().sum()))
            key, chosen = child_key.topk(kept)
            parent, drawn = chosen // scores.shape[1], chosen % scores.shape[1]
            log_p = child_log_p.flatten()[chosen]
            types = torch.cat([types[parent], drawn[:, None]], dim=1)
            sent = {u: message[parent] for u, message in sent.items() if self._last_reader[u] >= v}
            state = self._received(v, drawn, sent)
        return F.pad(types, (0, 1), value=OUTPUT), log_p

    def _first_state(self, z: torch.Tensor) -> torch.Tensor:
        types = torch.full((len(z),), INPUT, device=z.device)
        state: torch.Tensor = self.cell(types, self.cell.lift(self.start(z).tanh()))
        return state

    def _send(self, vertex: int, state: torch.Tensor, sent: dict[int, torch.Tensor]) -> None:
        """Add the message of `vertex`, if an inner vertex will receive it."""
        if self._last_reader[vertex] > vertex:
            sent[vertex] = self.cell.message(state, vertex)

    def _received(self, vertex: int, types: torch.Tensor, sent: dict[int, torch.Tensor]) -> torch.Tensor:
        """The state of `vertex` with all its edges, ``[n, hidden]``."""
        total = self.cell.silence(len(types))
        for u in reversed(self._sources[vertex]):
            total = total + sent[u]
        state: torch.Tensor = self.cell(types, total)
        return state

    def _restricted(self, scores: torch.Tensor, prefix: torch.Tensor, tilt: torch.Tensor | None) -> torch.Tensor:
        """Scores ``[n, types]`` of the vertex after `prefix` ``[n, v]``, tilted; -inf for what may not be drawn."""
        if tilt is not None:
            scores = scores + tilt[prefix.shape[1]].to(scores)
        return scores.masked_fill(~self._type_mask(prefix), -torch.inf)

    def _check(self, temperature: float, tilt: torch.Tensor | None) -> None:
        if not temperature > 0:
            raise ConfigError(
                f"temperature must be positive, got {said(temperature)}; values near 0 give the likeliest type"
            )
        shape = (len(self._sources), self.cell.gru.input_size)
        if tilt is not None and (tilt.shape != shape or not tilt.isfinite().all()):
            raise ConfigError(
                f"tilt must be finite numbers [{shape[0]} vertices, {shape[1]} types], got {tilt.dtype} of shape "
                f"{list(tilt.shape)}"
            )

    def _join(
        self, vertex: int, types: torch.Tensor, states: list[torch.Tensor], sent: list[torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The state of `vertex` with all its edges, and what each edge's decision saw, nearest vertex first.

        The pairs ``[n, 2 * hidden]`` hold an earlier vertex's state and the new one's before that decision.
        """
        received = self.cell.silence(len(types))
        state = self.cell(types, received)
        pairs = []
        for u in range(vertex - 1, -1, -1):
            pairs.append(torch.cat([states[u], state], dim=1))
            if u in self._sources[vertex]:
                received = received + sent[u]
                state = self.cell(types, received)
        return state, pairs


def _any_inner_type(prefix: torch.Tensor, num_types: int) -> torch.Tensor:
    return (torch.arange(num_types, device=prefix.device) > OUTPUT).expand(len(prefix), -1)


def keys_below(key: torch.Tensor, child_log_p: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Keys of children ``[n, types]``, the largest of each row being the parent's `key` ``[n]``.

    Gumbel noise conditioned on its maximum, in the numerically stable form of Kool et al., Appendix B.3.
    """
    noise = -torch.empty_like(child_log_p).exponential_(generator=generator).log()
    free = child_log_p + noise
    below = free - free.amax(1, keepdim=True)
    gap = key[:, None] - free + torch.log(-torch.expm1(below))
    return key[:, None] - gap.relu() - torch.log1p(torch.exp(-gap.abs()))
