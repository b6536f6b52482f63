"""MetaD2A as a search strategy: propose what the meta-trained predictor ranks highest, then learn from the values."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch

from metad2a_plugin.errors import CheckpointError
from metad2a_plugin.models.residual import LEARN_FROM, GrowingProcess, structure_of
from metad2a_plugin.plugins.budget import AnyBudget, Budget, budget_model
from metad2a_plugin.plugins.strategy import Strategy
from metad2a_plugin.search.metad2a import MetaD2A
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.strategies.stopping import CurveModel, CurveReader


class MetaD2AStrategy(Strategy):
    """Proposes networks in the order of their predicted accuracy on a dataset; none twice.

    With `adapt`, the order follows the told values from the third on: a Gaussian process of the architecture, with
    the prediction as its mean, says where most improvement is to be expected. It learns from the values how far the
    prediction is to be believed, so that it leaves one that is wrong; see `models.evidence`. This goes beyond the
    paper, which trains the first few in the predicted order; ``adapt=False`` does that.

    With `stopping`, and a budget and a model that predicts learning curves for it, trainings are stopped that will
    hardly end above the best one; what is predicted of their end is learned from like a value. No model, no stopping.

    Args:
        space: the search space; the model must be of it.
        seed: of the choice of images and of the generator.
        dataset: what to search for: anything `MetaD2A.search` takes. None ranks for the average meta-training
            task, without any dataset.
        model: a shipped checkpoint, its folder, or a `MetaD2A`; by default the checkpoint named like the space, for a
            budget the one that knows budgets.
        budget: what networks are trained with, or its settings by name; None is long training.
        adapt: learn from the told values.
        stopping: have trainings stopped that are not worth their other epochs. Values must be accuracies in percent.
        **options: for `MetaD2A.rank`: attributes of `Limits` and `Effort`, options of the networks.

    Raises:
        ConfigError: the model is of another space, or knows no budgets and is given one; or no architecture is within
            the limits.
        CheckpointError: the model cannot be read.
        DatasetError: the dataset cannot be used.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        seed: int = 0,
        dataset: Any = None,
        model: str | MetaD2A | None = None,
        budget: AnyBudget = None,
        adapt: bool = True,
        stopping: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(space, seed=seed)
        self.adapt, self.stopping = adapt, stopping
        self.budget = Budget.of(budget)
        self._searcher = MetaD2A.of_space(space, model, budgeted=self.budget is not None)
        self._ranking = self._searcher.rank(dataset, seed=seed, budget=self.budget, **options)
        self._vertices, self._accuracy = self._ranking.vertices, self._ranking.prediction.mean.double()
        self._asked: set[int] = set()
        self._partial: list[tuple[int, Architecture, list[float]]] = []

    @classmethod
    def uses_budget(cls, space: SearchSpace, options: Mapping[str, Any]) -> bool:
        model = options.get("model")
        if model is None:
            return budget_model(space.name) is not None
        return MetaD2A.of_space(space, model).predictor.knows_budgets

    def _ask(self, n: int) -> list[Architecture]:
        score = self._score.clone()
        score[sorted(self._asked)] = -torch.inf
        chosen = score.argsort(descending=True, stable=True)[: min(n, len(score) - len(self._asked))]
        self._asked |= set(chosen.tolist())
        return self.space.decode(self._vertices[chosen])

    def _tell(self, architecture: Architecture, value: float) -> None:
        simplest, place = self._find(architecture)
        if place is not None:
            self._asked.add(place)
        if self.adapt:
            self._learn(simplest, place, value)

    def _learn(self, simplest: torch.Tensor, place: int | None, value: float) -> None:
        if place is not None:
            self._process.tell_of(place, value)
        else:
            predicted = self._ranking.predictor.predict(self._ranking.task, simplest[None]).mean[0]
            self._process.tell(simplest, float(predicted), value)
        self.__dict__.pop("_score", None)

    def _should_stop(self, architecture: Architecture, curve: list[float]) -> bool:
        if not self.stopping or self._curves is None or self.best is None:
            return False
        simplest, _ = self._find(architecture)
        return self._curves.hopeless(simplest, curve, self.best[1])

    def _tell_partial(self, architecture: Architecture, curve: list[float]) -> None:
        simplest, place = self._find(architecture)
        if place is not None:
            self._asked.add(place)
        if self._curves is None or len(curve) > self._curves.budget.epochs:
            return
        self._partial.append((len(self.history), architecture, curve))
        if self.adapt:
            self._learn(simplest, place, self._curves.forecast(simplest, curve).mean)

    @cached_property
    def _curves(self) -> CurveReader | None:
        model = self._searcher.checkpoint.predictor
        if self.budget is None or not isinstance(model, CurveModel):
            return None
        task = self._ranking.task
        return CurveReader(model, task, self.budget.resolved(None if task is None else task.images))

    def _find(self, architecture: Architecture) -> tuple[torch.Tensor, int | None]:
        """Its simplest encoding, ``[vertices]``, and its place in the ranking, if it is ranked."""
        [simplest] = self.space.simplify(self.space.encode([architecture]))
        return simplest, self._index.get(tuple(simplest.tolist()))

    @cached_property
    def _score(self) -> torch.Tensor:
        """Of every ranked network, ``[networks]``, until something is told; higher is better."""
        if not self.adapt or len(self.history) < LEARN_FROM:
            return self._accuracy
        return self._process.improvement()

    @cached_property
    def _process(self) -> GrowingProcess:
        describe = structure_of(self.space, self._vertices)
        return GrowingProcess(self._vertices, self._accuracy, describe, squashed=True)

    @cached_property
    def _index(self) -> dict[tuple[int, ...], int]:
        return {tuple(row): i for i, row in enumerate(self._vertices.tolist())}

    def state_dict(self) -> dict[str, Any]:
        asked = self.space.decode(self._vertices[sorted(self._asked)])
        plain = None if self.budget is None else self.budget.to_dict()
        stopped = [[told, self.space.format(architecture), curve] for told, architecture, curve in self._partial]
        own = {"asked": [self.space.format(a) for a in asked], "budget": plain, "partial": stopped}
        return super().state_dict() | own

    def load_state_dict(self, state: dict[str, Any]) -> None:
        # States of before there were budgets are of long training.
        if isinstance(state, dict) and Budget.of(state.get("budget")) != self.budget:
            found, own = (budget or "long training" for budget in (Budget.of(state.get("budget")), self.budget))
            raise CheckpointError(f"this state is of a search for {found}, not for {own}; give that budget")
        super().load_state_dict(state)
        self._asked.clear()
        if "_process" in self.__dict__:
            self._process.forget()
        self.__dict__.pop("_score", None)
        # By the network, not by its place: another seed or limit ranks others.
        for text in state["asked"]:
            _, place = self._find(self.space.parse(text))
            if place is not None:
                self._asked.add(place)
        # In the order in which it was heard; states of before trainings were stopped have none of these.
        history, self.history, self._partial = self.history, [], []
        stopped = [(told, self.space.parse(text), curve) for told, text, curve in state.get("partial", [])]
        for number in range(len(history) + 1):
            for _, architecture, curve in (heard for heard in stopped if heard[0] == number):
                self._tell_partial(architecture, list(curve))
            if number < len(history):
                self.history.append(history[number])
                self._tell(*history[number])
