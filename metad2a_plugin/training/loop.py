"""One loop for all that is trained in epochs: it is saved after each, and goes on where it was interrupted."""

from __future__ import annotations

import csv
import io
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import nn

from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.utils.files import UNREADABLE, write_atomically
from metad2a_plugin.utils.kept import unreadable
from metad2a_plugin.utils.tensors import load_state
from metad2a_plugin.utils.torch_device import seeded

Part = nn.Module | torch.optim.Optimizer | torch.optim.lr_scheduler.LRScheduler


class Schedule(Protocol):
    """What the settings of every training hold."""

    @property
    def epochs(self) -> int: ...
    @property
    def lr(self) -> float: ...
    @property
    def seed(self) -> int: ...


class _NamedTuple(Protocol):
    def _asdict(self) -> dict[str, Any]: ...


Line = TypeVar("Line", bound=_NamedTuple)


def cosine(optimizer: torch.optim.Optimizer, lr: float, step: float, steps: float = 1, rise: float = 1) -> float:
    """Set and return the learning rate of a step: it rises linearly, then falls along half a cosine.

    Args:
        optimizer: of which all groups get it.
        lr: highest learning rate.
        step, steps: how far training is, of how much.
        rise: share of the warm-up that is done; 1 or more after it.
    """
    lr = lr * min(1, rise) * (1 + math.cos(math.pi * step / steps)) / 2
    for group in optimizer.param_groups:
        group["lr"] = lr
    return lr


class TrainingLoop(ABC, Generic[Line]):
    """Something in training; its state is its parts and its history.

    A subclass fills `parts` and trains an epoch in `_epoch`.

    Attributes:
        line: the named tuple that a line of the log is.
        FILES: names of the state and the log.
        RESTART: how to go on where the state is damaged, for the message.
        parts: what changes in training, by name.
        history: a line of the log for each epoch so far.

    Args:
        config: settings.
        device: where it trains.
        subject: what it is called in messages.
    """

    config: Schedule
    line: Callable[..., Line]
    FILES: ClassVar[tuple[str, str]] = ("state.pt", "epochs.csv")
    RESTART: ClassVar[str] = "remove it to train from the start"

    def __init__(self, config: Schedule, device: torch.device, subject: str) -> None:
        self.config, self.device, self.subject = config, device, subject
        self.parts: dict[str, Part] = {}
        self.history: list[Line] = []
        self._started = 0.0

    @abstractmethod
    def _epoch(self, index: int) -> Line:
        """Train an epoch, numbered from 0, and measure; the global generators have been seeded for it."""

    @property
    def key(self) -> str:
        """Of all that the result depends on, but the device; a state of another is refused."""
        return ""

    @property
    def finished(self) -> bool:
        """Whether no epoch is left."""
        return len(self.history) >= self.config.epochs

    @property
    def seconds(self) -> float:
        """Since the epoch began."""
        return time.perf_counter() - self._started

    def step(self) -> Line:
        """Train the next epoch.

        Raises:
            ConfigError: the loss is not finite.
        """
        self._started, index = time.perf_counter(), len(self.history)
        # Each epoch has its own seed, so that a resumed run needs no generator state.
        with seeded((self.config.seed, index), self.device):
            self.history.append(self._epoch(index))
        return self.history[-1]

    def complete(
        self,
        report: Callable[[Line], None],
        folder: Path | None = None,
        stop: Callable[[list[Line]], bool] = lambda history: False,
    ) -> None:
        """Train the epochs that are left.

        Args:
            report: called with each new line of the log, after it was saved.
            folder: holds the two `FILES`, the state and the log, saved after each epoch; training goes on from there.
                The caller sees to it that no other process writes them, see `utils.locks`.
            stop: given the history before each epoch but the first, whether to leave the others out.

        Raises:
            ConfigError: the loss is not finite, or a file cannot be written.
            CheckpointError: the state is damaged, or of other settings or data.
        """
        state, log = (None if folder is None else folder / name for name in self.FILES)
        if state and state.exists():
            self.load_state(state)
        while not self.finished and not (self.history and stop(self.history)):
            line = self.step()
            if state and log:
                rows = [line._asdict() for line in self.history]
                text = io.StringIO()
                csv.writer(text, lineterminator="\n").writerows([rows[0], *(map(str, row.values()) for row in rows)])
                write_atomically(log, text.getvalue().encode())
                # Last of all, so that the log of a finished run is complete.
                write_atomically(state, self.state())
            report(line)

    def state(self) -> bytes:
        """All that it takes to go on, for `load_state`."""
        buffer = io.BytesIO()
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        torch.save(state | {"key": self.key, "history": [line._asdict() for line in self.history]}, buffer)
        return buffer.getvalue()

    def load_state(self, path: Path) -> None:
        """Go on from a file of `state`.

        Raises:
            CheckpointError: the file is damaged, or of other settings or data.
        """
        try:
            state = load_state(path, self.device)
            key = state["key"]
            if key == self.key:
                for name, part in self.parts.items():
                    part.load_state_dict(state[name])
                self.history = [self.line(**columns) for columns in state["history"]]
        except UNREADABLE as error:
            raise unreadable(path, error, self.RESTART) from error
        if key != self.key:
            raise CheckpointError(
                f"{str(path)!r} is of other settings or data; {self.RESTART}, or choose another folder"
            )

    def _require_finite(self, loss: float, advice: str = "") -> None:
        """Refuse a loss that is not, with a `ConfigError` that names a lower learning rate; `advice` ends it."""
        if not math.isfinite(loss):
            lr = self.config.lr
            raise ConfigError(
                f"{self.subject}'s loss became {loss} in epoch {len(self.history) + 1} with lr={lr:g}; train with a "
                f"lower learning rate, such as lr={lr / 10:g}{advice}"
            )
