"""More queries of the predictor where they promise most, in a space too large to list.

Predictions are nearly sums over the parts of a network. So such sums are fitted to the networks scored so far, the
networks of the largest sums within the limits are found (with Lagrange multipliers on the costs, which are sums too),
the predictor scores them, and so on for some rounds.

The network of the highest prediction owes part of it to an error of the predictor. What a fit to the first, widely
spread candidates says of a network does not hang on such an error, so networks are ranked by the mean of the two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from metad2a_plugin.candidates.bounds import Limit
from metad2a_plugin.candidates.chains import Chains
from metad2a_plugin.candidates.generate import least_multiple
from metad2a_plugin.candidates.pool import Pool
from metad2a_plugin.candidates.surrogate import additive_fit
from metad2a_plugin.models.ensemble import Prediction

Score = Callable[[torch.Tensor], Prediction]
"""From encoded networks, int64 ``[n, vertices]``, to their predicted accuracies; each network is one query."""

ROUNDS = 3
SMOOTH = 0.5
"""Weight, in the order of networks, of what the fit to the first candidates says; the prediction has the rest."""
_PURE, _MIXED = 1.0, 0.1  # penalties of the fit to the first candidates, and to all, mostly the best
_BEST = 0.75  # of a round's networks, those of the largest sums; the others are drawn around them
_SPREAD, _HEAT = 0.5, 0.05  # what counts as near the best, and as around it, in standard deviations of the first


@dataclass(frozen=True)
class Scored:
    """Networks that the predictor has scored.

    Attributes:
        vertices: int64 ``[n, vertices]``.
        prediction: of their accuracies.
        order: what they are ranked by, float64 ``[n]``, higher is better.
    """

    vertices: torch.Tensor
    prediction: Prediction
    order: torch.Tensor

    def sorted(self) -> Scored:
        """Best first."""
        by = self.order.argsort(descending=True, stable=True)
        return Scored(self.vertices[by], Prediction(self.prediction.mean[by], self.prediction.std[by]), self.order[by])


def refine(
    first: Scored,
    score: Score,
    chains: Chains,
    limits: Sequence[Limit],
    queries: int,
    rng: torch.Generator,
    *,
    rounds: int = ROUNDS,
    smooth: float = SMOOTH,
) -> Scored:
    """The networks of `first` and up to `queries` more, all within the limits.

    Args:
        first: widely spread candidates within the limits.
        score: the predictor.
        chains: of the search space.
        limits: hard ones. Those whose costs are no sums are kept to by rejection.
        queries: of the predictor.
        rng: on the CPU.
        rounds: the queries are made in so many.
        smooth: weight of what the fit to `first` says, 0 to 1.
    """
    space, vertices, mean, std = chains.space, first.vertices, first.prediction.mean, first.prediction.std
    spread = mean.double().std().clamp(min=1e-9).nan_to_num(1.0)
    broad = additive_fit(space, vertices, mean.double(), _PURE)

    def order() -> torch.Tensor:
        return (1 - smooth) * mean.double() + smooth * chains.sums(broad, vertices)

    for part in range(rounds):
        wanted = queries // rounds + (part < queries % rounds)
        near = ((order() - order().max()) / (_SPREAD * spread)).exp() + 1e-3
        local = additive_fit(space, vertices, mean.double(), _MIXED, near)
        scores = (1 - smooth) * local + smooth * broad
        new = _propose(scores, chains, limits, vertices, wanted, float(_HEAT * spread), rng)
        if not len(new):
            break
        found = score(new)
        vertices = torch.cat([vertices, new])
        mean, std = torch.cat([mean, found.mean]), torch.cat([std, found.std])
    return Scored(vertices, Prediction(mean, std), order())


def _propose(
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
    # In units in which costs differ as much as scores.
    steerable = [(lim, lim.table * (scores.std() / lim.table[1:].std())) for lim in limits if lim.table is not None]
    multiples = [0.0] * len(steerable)

    def within(at: Sequence[float], limit: Limit) -> bool:
        return bool(limit.within(chains.best(_less(scores, at, steerable), 1))[0])

    for _ in range(2 * len(steerable)):
        broken = [i for i, (limit, _) in enumerate(steerable) if not within(multiples, limit)]
        if not broken:
            break
        for i in broken:

            def enough(multiple: float, i: int = i) -> bool:
                return within([*multiples[:i], multiple, *multiples[i + 1 :]], steerable[i][0])

            multiples[i] = least_multiple(enough, multiples[i], steps=20)
    return _less(scores, multiples, steerable)


def _less(
    scores: torch.Tensor, multiples: Sequence[float], steerable: Sequence[tuple[Limit, torch.Tensor]]
) -> torch.Tensor:
    for multiple, (_, table) in zip(multiples, steerable, strict=True):
        scores = scores - multiple * table
    return scores
