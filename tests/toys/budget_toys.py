"""A model that knows budgets, as simple as one can be, and a place for it among the shipped checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from meta_toys import SPACE, checkpoint

from metad2a_plugin.models import checkpoint as checkpoints
from metad2a_plugin.models.checkpoint import Checkpoint
from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.plugins.predictor import Prediction
from metad2a_plugin.plugins.task import Task
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.utils import files

_CONV3 = SPACE.vertex_types.index("nor_conv_3x3")
_SKIP = SPACE.vertex_types.index("skip_connect")
FEW = 100
"""Steps below which skip connections are worth more than convolutions."""


@dataclass(frozen=True)
class ToyBudgetModel:
    """Convolutions are good after many steps, skip connections after few; more steps and larger networks are better."""

    feature_dim: int
    knows_budgets = True

    def predict_task(self, task: Task | None, vertices: torch.Tensor, budget: Budget | None = None) -> Prediction:
        best = _CONV3 if budget is None or budget.steps >= FEW else _SKIP
        quality = (vertices == best).sum(1).float()
        value = quality if budget is None else quality + self._level(budget)
        return Prediction(40 + value, torch.full_like(value, 2.0), percent=True)

    def median_task(self, task: Task | None, vertices: torch.Tensor, budget: Budget) -> torch.Tensor:
        return self.predict_task(task, vertices, budget).mean

    def predict_designs(self, task: Task | None, vertices: torch.Tensor, budgets: Sequence[Budget]) -> Prediction:
        rows = [self.predict_task(task, row[None], budget) for row, budget in zip(vertices, budgets, strict=True)]
        return Prediction(torch.cat([r.mean for r in rows]), torch.cat([r.std for r in rows]), percent=True)

    @staticmethod
    def _level(budget: Budget) -> float:
        size = budget.options.get("channels", 16) * budget.options.get("cells", 5)
        return float(3 * torch.tensor(float(budget.steps)).log() + torch.tensor(float(size)).log())

    def distance(self, task: Task, budget: Budget | None = None) -> None:
        return None

    def to(self, device: str | torch.device) -> ToyBudgetModel:
        return self

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {"feature_dim": torch.tensor([float(self.feature_dim)])}

    @classmethod
    def from_state_dict(cls, state: dict[str, torch.Tensor], space: SearchSpace) -> ToyBudgetModel:
        return cls(int(state["feature_dim"]))


def budget_checkpoint() -> Checkpoint:
    blind = checkpoint()
    return replace(
        blind,
        name="toy-budget",
        predictor=ToyBudgetModel(blind.predictor.feature_dim),
        generator=None,
        training={"scale": "Accuracies of a toy."},
    )


def ship(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the toy be the shipped checkpoint ``nasbench201-budget``, beside those that are shipped."""
    monkeypatch.setitem(checkpoints.PREDICTORS, "toy-budget", ToyBudgetModel)
    for shipped in files.PRETRAINED.iterdir():
        if shipped.name != "nasbench201-budget":
            (folder / shipped.name).symlink_to(shipped)
    for module in (files, checkpoints):
        monkeypatch.setattr(module, "PRETRAINED", folder)
    budget_checkpoint().save(folder / "nasbench201-budget")
