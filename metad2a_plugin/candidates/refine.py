"""More queries of the predictor where they promise most, in a space too large to list.

Predictions are nearly sums over the parts of a network. So such sums are fitted to the networks scored so far, the
networks of the largest sums within the limits are found (with Lagrange multipliers on the costs, which are sums too),
the predictor scores them, and so on for some rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from metad2a_plugin.candidates.chains import Chains
from metad2a_plugin.candidates.limits import Limit
from metad2a_plugin.candidates.pool import Pool
from metad2a_plugin.candidates.surrogate import additive_fit
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.predictor import Prediction

Predict = Callable[[torch.Tensor], Prediction]
"""A predictor for one dataset: encoded networks, int64 ``[n, vertices]``, each of which is one query."""
ROUNDS = 2
_PENALTY = 0.1  # of the fit
_BEST = 0.75  # of a round's networks, those of the largest sums; the others are drawn around them
_NEAR, _HEAT = 0.5, 0.05  # what counts as near the best, and as around it, in standard deviations of the first
_PASSES = 3  # over several limits, each with a multiple of its own


@dataclass(frozen=True)
class Scored:
    """Networks that the predictor has scored, each once.

    Attributes:
        vertices: int64 ``[n, vertices]``.
        prediction: of them.
        refined: how many of them were asked about after the first ones.
        rejected: how many others were left out, by reason; see `Pool`.
    """

    vertices: torch.Tensor
    prediction: Prediction
    refined: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def ask(cls, predict: Predict, vertices: torch.Tensor) -> Scored:
        """What a predictor says of networks.

        Raises:
            ConfigError: some of its scores are NaN.
        """
        scored = cls(vertices, predict(vertices))
        if missing := int(scored.value.isnan().sum()):
            raise ConfigError(f"the predictor gives NaN for {missing} of {len(vertices)} networks, which have no order")
        return scored

    @property
    def value(self) -> torch.Tensor:
        """The scores, float64 ``[n]``."""
        return self.prediction.mean.double()

    def sorted(self) -> Scored:
        """Best first."""
        rows = self.prediction.mean.argsort(descending=True, stable=True)
        return replace(self, vertices=self.vertices[rows], prediction=self.prediction[rows])

    def __add__(self, other: Scored) -> Scored:
        return Scored(torch.cat([self.vertices, other.vertices]), self.prediction + other.prediction)


def refine(
    first: Scored,
    predict: Predict,
    chains: Chains,
    limits: Sequence[Limit],
    queries: int,
    rng: torch.Generator,
    rounds: int = ROUNDS,
) -> Scored:
    """The networks of `first` and up to `queries` more, all within the limits.

    Args:
        first: widely spread candidates within the limits.
        predict: the predictor.
        chains: of the search space.
        limits: hard ones. Those whose costs are no sums are kept to by rejection.
        queries: of the predictor.
        rng: on the CPU.
        rounds: the queries are made in so many.
    """
    seen, spread = first, float(first.value.std(correction=0).clamp(min=1e-9))
    for part in range(rounds):
        wanted = queries // rounds + (part < queries % rounds)
        near = ((seen.value - seen.value.max()) / (_NEAR * spread)).exp() + 1e-3
        scores = additive_fit(chains.space, seen.vertices, seen.value, _PENALTY, near)
        new = propose(scores, chains, limits, seen.vertices, wanted, _HEAT * spread, rng)
        if not len(new):
            break
        seen += Scored.ask(predict, new)
    return seen


def propose(
    scores: torch.Tensor,
    chains: Chains,
    limits: Sequence[Limit],
    seen: torch.Tensor,
    wanted: int,
    heat: float,
    rng: torch.Generator,
) -> torch.Tensor:
    """Up to `wanted` networks within the limits that were not seen: those of the largest sums, and some around them."""
    if not wanted:
        return seen[:0]
    pool, priced = Pool(chains.space, limits), price(scores, chains, limits)
    best = pool.fresh(chains.best(priced, 10 * wanted), seen)
    best = best[chains.sums(scores, best).argsort(descending=True, stable=True)][: round(_BEST * wanted)]
    around = pool.fresh(chains.draw(priced / heat, 4 * wanted, rng), torch.cat([seen, best]))
    return torch.cat([best, around])[:wanted]


def price(scores: torch.Tensor, chains: Chains, limits: Sequence[Limit]) -> torch.Tensor:
    """`scores` less the costs' multiples for which the network of the largest sum is within the limits.

    Each multiple is about the least; float64 ``[vertices, types]``.
    """
    # In units in which costs differ as much as scores; what all networks have, in the first row, is none of that.
    size = scores[1:].std().clamp(min=1e-9)
    steerable = [(lim, lim.table * (size / lim.table[1:].std())) for lim in limits if lim.table is not None]
    multiples = [0.0] * len(steerable)
    # One after the other, each the least for the present values of the others.
    for _ in range(1 if len(steerable) == 1 else _PASSES):
        for i, (limit, table) in enumerate(steerable):
            others = [(m, t) for k, (m, (_, t)) in enumerate(zip(multiples, steerable, strict=True)) if k != i]
            multiples[i] = _least_multiple(_less(scores, others), table, limit, chains)
    return _less(scores, [(m, table) for m, (_, table) in zip(multiples, steerable, strict=True)])


def _less(scores: torch.Tensor, priced: Sequence[tuple[float, torch.Tensor]]) -> torch.Tensor:
    for multiple, table in priced:
        scores = scores - multiple * table
    return scores


def _least_multiple(scores: torch.Tensor, table: torch.Tensor, limit: Limit, chains: Chains) -> float:
    """About the least for which the best network keeps to the limit: of a coarse grid, then of a finer one."""
    assert limit.table is not None
    grid = torch.cat([torch.zeros(1), 2.0 ** torch.arange(-6, 18)]).double()
    for _ in range(2):
        best = chains.top(scores - grid[:, None, None] * table)
        within = (chains.sums(limit.table, best) <= limit.most).nonzero()[:, 0]
        first = int(within[0]) if len(within) else len(grid) - 1
        if first == 0:
            break
        grid = torch.linspace(float(grid[first - 1]), float(grid[first]), 17, dtype=torch.float64)
    return float(grid[0] if first == 0 else grid[-1])
