"""MDENAS: Zheng et al., *Multinomial Distribution Learning for Effective NAS*, ICCV 2019, arXiv 1905.07529."""

from __future__ import annotations

import math
from typing import Any

import torch

from metad2a_plugin.errors import CheckpointError, ConfigError, said
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.utils.checks import one_of

RECORDS = ("mean", "last")
_TIE = 1e-12  # far below what a comparison moves
_WIDTHS = (1, 32, 1024)  # of the search for a live architecture, each tried where the one before has none


class MDENAS(Strategy):
    """Learns one multinomial distribution over the operations of each edge; asks for samples of it.

    After each told value an operation gains probability from every other one of its edge that was drawn more often
    and yet has the lower accuracy, and loses it to every one that was drawn less often and has the higher one
    (section 3.3, equation 6). So only orders count: the unit of what is told does not matter.

    What is told may come from anywhere: a table, stand-alone training, a predictor, or weights that all architectures
    share and that each query trains for one more epoch, as in the paper (section 3.4); see
    `one_shot.shared_weights.SharedWeights`. Samples may repeat. An edge is an inner vertex of the encoded
    architecture, so that every search space will do.

    `recommendation` is the likeliest operation of each edge, which need not have been asked for (section 3.4), and of
    equally likely ones the more accurate; `best` stays the best told. Where these operations together are dead, it is
    the likeliest live architecture near them, then the best live one told; None where all of these are dead.

    Args:
        space: the search space.
        seed: the same seed and the same tells give the same samples.
        learning_rate: what a comparison moves, alpha of equation 6; 0.01 in the paper.
        record: the accuracy of an operation is the ``"mean"`` of all architectures with it, or that of the
            ``"last"`` one, as equation 5 reads. The latter is meant for shared weights, which get better with each
            query; on values that stay as they are it is mostly chance, and the search stops at worse cells.

    Raises:
        ConfigError: `learning_rate` is not positive, or another `record`.
    """

    def __init__(self, space: SearchSpace, *, seed: int = 0, learning_rate: float = 0.01, record: str = "mean") -> None:
        super().__init__(space, seed=seed)
        number = isinstance(learning_rate, (int, float)) and not isinstance(learning_rate, bool)
        if not number or not 0 < learning_rate <= 100:
            expected = "a positive number up to 100, such as 0.01"
            raise ConfigError(f"learning_rate must be {expected}, got {said(learning_rate)}")
        self.learning_rate = learning_rate
        self.record = one_of("record", record, RECORDS)
        shape = space.num_vertices - 2, len(space.vertex_types)
        probabilities = torch.ones(shape, dtype=torch.float64)
        probabilities[:, :2] = 0  # input and output are no operations
        self._probabilities = probabilities / probabilities.sum(1, keepdim=True)
        self._epochs = torch.zeros(shape, dtype=torch.float64)
        self._accuracy = torch.zeros(shape, dtype=torch.float64)

    @property
    def probabilities(self) -> torch.Tensor:
        """Of each type at each inner vertex, float64 ``[vertices - 2, types]``."""
        return self._probabilities.clone()

    @property
    def recommendation(self) -> Architecture | None:
        if not self.history:
            return None
        # At first many are equally likely: then the better of those that were drawn.
        order = self._known_accuracy.nan_to_num(nan=-math.inf).argsort(1).argsort(1)
        scores = self._probabilities + _TIE * order
        for width in _WIDTHS:
            found = self._likeliest(scores, width)
            live = (~self.space.dead_mask(found)).nonzero()[:, 0]
            if len(live):
                return self.space.decode(found[live[:1]])[0]
        told = [pair for pair in self.history if not self.space.is_dead(pair[0])]
        return max(told, key=lambda pair: pair[1])[0] if told else None

    def _likeliest(self, scores: torch.Tensor, width: int) -> torch.Tensor:
        """Encoded architectures, the likeliest first, of the `width` likeliest beginnings at every vertex.

        With a width of one it is the likeliest operation of each.
        """
        prefix, chance = torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, dtype=torch.float64)
        for row in scores:
            allowed = self._allowed(prefix, row)
            chances = (chance[:, None] + (allowed / allowed.sum(1, keepdim=True)).log()).flatten()
            best = chances.argsort(descending=True, stable=True)[:width]
            best = best[chances[best].isfinite()]
            prefix = torch.cat([prefix[best // len(row)], (best % len(row))[:, None]], dim=1)
            chance = chances[best]
        return torch.cat([prefix, torch.ones(len(prefix), 1, dtype=torch.int64)], dim=1)

    def _ask(self, n: int) -> list[Architecture]:
        return [self._sample() for _ in range(n)]

    def _sample(self) -> Architecture:
        prefix = torch.zeros(1, 1, dtype=torch.int64)
        for row in self._probabilities:
            drawn = self._draw(self._allowed(prefix, row)[0])
            prefix = torch.cat([prefix, torch.tensor([[drawn]])], dim=1)
        return self.space.decode(torch.cat([prefix, torch.ones(1, 1, dtype=torch.int64)], dim=1))[0]

    def _allowed(self, prefix: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The scores ``[types]`` of the next vertex, 0 for types that it may not have, ``[n, types]``."""
        # What an earlier choice leaves may have lost all of its probability.
        return torch.where(self.space.type_mask(prefix), scores.clamp(min=_TIE), 0)

    def _draw(self, scores: torch.Tensor) -> int:
        return self.rng.choices(range(len(scores)), weights=scores.tolist())[0]

    @property
    def _known_accuracy(self) -> torch.Tensor:
        """What is recorded of each operation, NaN where it was never drawn, float64 ``[vertices - 2, types]``."""
        return torch.where(self._epochs > 0, self._accuracy, torch.nan)

    def _tell(self, architecture: Architecture, value: float) -> None:
        drawn = self.space.encode([architecture])[0, 1:-1]
        edges = torch.arange(len(drawn))
        self._epochs[edges, drawn] += 1
        # Equation 5: how often each operation was trained, and its accuracy.
        share = 1 / self._epochs[edges, drawn] if self.record == "mean" else 1.0
        self._accuracy[edges, drawn] += share * (value - self._accuracy[edges, drawn])
        # Equation 6, for each pair of operations of an edge; those never drawn have no accuracy to compare.
        epochs, accuracy = self._epochs, self._known_accuracy
        more = epochs[:, :, None] - epochs[:, None, :]
        better = accuracy[:, :, None] - accuracy[:, None, :]
        gain = ((more < 0) & (better > 0)).sum(2) - ((more > 0) & (better < 0)).sum(2)
        moved = (self._probabilities + self.learning_rate * gain).clamp(min=0)
        self._probabilities = moved / moved.sum(1, keepdim=True)

    def state_dict(self) -> dict[str, Any]:
        tables = {name: getattr(self, f"_{name}").tolist() for name in ("probabilities", "epochs", "accuracy")}
        return super().state_dict() | {"record": self.record, **tables}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        if state["record"] != self.record:
            raise CheckpointError(f"this state was kept with record={state['record']!r}, not {self.record!r}")
        for name in ("probabilities", "epochs", "accuracy"):
            setattr(self, f"_{name}", torch.tensor(state[name], dtype=torch.float64))
