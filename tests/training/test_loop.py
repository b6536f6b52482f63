"""The loop by itself: a training that draws random numbers ends the same, however often it was stopped."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn

from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.training.loop import TrainingLoop, cosine


@dataclass(frozen=True)
class Settings:
    epochs: int = 4
    lr: float = 0.1
    seed: int = 0


class Line(NamedTuple):
    epoch: int
    loss: float


class Walk(TrainingLoop[Line]):
    """A weight that takes random steps."""

    line = Line
    FILES = ("walk.pt", "walk.csv")

    def __init__(self, config: Settings = Settings(), worst: float = 1.0) -> None:
        super().__init__(config, torch.device("cpu"), "the walk")
        self.module, self.worst = nn.Linear(1, 1, bias=False), worst
        nn.init.zeros_(self.module.weight)
        self.optimizer = torch.optim.SGD(self.module.parameters(), config.lr, momentum=0.9)
        self.parts = {"module": self.module, "optimizer": self.optimizer}

    @property
    def key(self) -> str:
        return f"walk with seed {self.config.seed}"

    def _epoch(self, index: int) -> Line:
        loss = (self.module.weight * torch.randn(())).sum() * self.worst
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self._require_finite(loss.item(), ", or stay")
        return Line(index + 1, loss.item())


def test_a_stopped_run_ends_like_a_whole_one(tmp_path: Path) -> None:
    def stop(line: Line) -> None:
        raise InterruptedError

    whole, state = Walk(), torch.get_rng_state()
    whole.complete(lambda line: None)
    assert torch.get_rng_state().equal(state)
    for _ in range(4):
        torch.manual_seed(torch.seed() % 99)
        with pytest.raises(InterruptedError):
            Walk().complete(stop, tmp_path)
    resumed = Walk()
    resumed.complete(stop, tmp_path)  # nothing is left, so nothing is reported
    assert resumed.finished and resumed.history == whole.history
    assert resumed.module.weight.equal(whole.module.weight) and resumed.module.weight.item() != 0
    with (tmp_path / "walk.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [Line(int(line["epoch"]), float(line["loss"])) for line in lines] == whole.history
    assert sorted(path.name for path in tmp_path.iterdir()) == ["walk.csv", "walk.pt"]


def test_a_state_of_something_else_is_refused(tmp_path: Path) -> None:
    Walk().complete(lambda line: None, tmp_path)
    with pytest.raises(CheckpointError, match="other settings or data; remove it to train from the start, or choose"):
        Walk(Settings(seed=1)).load_state(tmp_path / "walk.pt")
    content = (tmp_path / "walk.pt").read_bytes()
    for damaged in (b"", b"text", content[:-100], content[:100]):
        (tmp_path / "walk.pt").write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"walk.pt' cannot be read .*; remove it to train from the start"):
            Walk().load_state(tmp_path / "walk.pt")


def test_a_loss_that_is_not_finite_is_no_epoch(tmp_path: Path) -> None:
    run = Walk(worst=math.inf)
    with pytest.raises(ConfigError, match=r"the walk's loss became nan in epoch 1 with lr=0.1; .* lr=0.01, or stay"):
        run.complete(lambda line: None, tmp_path)
    assert run.history == [] and not list(tmp_path.iterdir())


def test_the_rate_rises_and_falls_along_half_a_cosine() -> None:
    optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))]} for _ in range(2)])
    rates = [cosine(optimizer, 2.0, step, 100, (step + 1) / 10) for step in range(101)]
    assert [group["lr"] for group in optimizer.param_groups] == [rates[-1]] * 2
    assert rates[0] == pytest.approx(0.2) and max(rates) == rates[9] and rates[100] == pytest.approx(0, abs=1e-12)
    assert rates[50] == pytest.approx(1.0) and rates[75] == pytest.approx(1 - math.sqrt(0.5))
    assert cosine(optimizer, 2.0, 0.5) == pytest.approx(1.0)
