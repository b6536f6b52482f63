"""What the searches by gradients share: the two halves of the data, the schedule, the log and the state."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.one_shot.config import SearchConfig
from metad2a_plugin.one_shot.outcome import SPACE, SearchEpoch, SearchOutcome, best_cell
from metad2a_plugin.spaces.nasbench201.cell import CELL_EDGES, OPS
from metad2a_plugin.spaces.nasbench201.supernet import NASBench201Supernet
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import TrainingData, augmented, prepare
from metad2a_plugin.utils.files import UNREADABLE, write_atomically
from metad2a_plugin.utils.torch_device import seeded, usable

_FORMAT = 1
_EVALUATION_BATCH = 512


class Batch(NamedTuple):
    """Normalised images float32 ``[b, 3, size, size]`` and labels int64 ``[b]``."""

    images: torch.Tensor
    labels: torch.Tensor


def halves(dataset: ImageDataset, config: SearchConfig) -> TrainingData:
    """Decode a dataset and split it, class by class, into the training half and the architecture half.

    The latter is called the validation part in what is returned.

    Raises:
        DatasetError: no class has two images; or too many images are broken.
    """
    split = TrainConfig(input_size=config.input_size, validation=0.5, split_seed=config.split_seed)
    return prepare(dataset, split)


class Loop(ABC):
    """A search in progress; its state is the `parts`, the architecture parameters and the history.

    Args:
        dataset: images, or the result of `halves` with the same settings.
        config: settings.
        run_dir: after each epoch the state is saved in a folder in it that is named by method, data and settings; an
            interrupted search goes on from there, a finished one is not repeated.

    Raises:
        ConfigError: the device cannot be used, or the halves are of other settings.
        DatasetError: see `halves`.
    """

    name: str

    def __init__(
        self,
        dataset: ImageDataset | TrainingData,
        config: SearchConfig,
        run_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self.config, self.device = config, usable(config.device)
        self.data = dataset if isinstance(dataset, TrainingData) else halves(dataset, config)
        if self.data.split != (config.input_size, 0.5, config.split_seed):
            raise ConfigError(
                f"the data were prepared with (input_size, validation, split_seed) = {self.data.split}, the search "
                f"needs {(config.input_size, 0.5, config.split_seed)}; call halves() with the same settings"
            )
        with seeded((config.seed,), self.device):
            self.supernet = NASBench201Supernet(len(self.data.class_names), config.channels, config.cells)
        self.supernet.to(self.device)
        # Zeros, so that at first all operations have equal weight (Liu et al., appendix A.1).
        self.alpha = torch.zeros(len(CELL_EDGES), len(OPS), device=self.device, requires_grad=True)
        self.optimizer = torch.optim.SGD(
            self.supernet.parameters(), config.lr, config.momentum, weight_decay=config.weight_decay
        )
        self.alpha_optimizer = torch.optim.Adam(
            [self.alpha], config.alpha_lr, (0.5, 0.999), weight_decay=config.alpha_weight_decay
        )
        self.parts: dict[str, nn.Module | torch.optim.Optimizer] = {
            "supernet": self.supernet,
            "optimizer": self.optimizer,
            "alpha_optimizer": self.alpha_optimizer,
        }
        self.history: list[SearchEpoch] = []
        self.batches = -(-len(self.data.labels) // config.batch_size)
        self.dir = None if run_dir is None else Path(run_dir) / self._key()

    @abstractmethod
    def _step(self, step: int, train: Batch, bank: Batch) -> torch.Tensor:
        """Update everything once; returns the loss of the weights, without a graph."""

    def _begin(self, epoch: int) -> None:  # noqa: B027
        """Draw what steps of an epoch need besides the two halves."""

    def _measure(self) -> dict[str, float]:
        """Further columns of the log."""
        return {}

    def run(self, on_epoch: Callable[[SearchEpoch], None] = lambda epoch: None) -> SearchOutcome:
        """Search what is left to search.

        The same arguments give the same result on the CPU (with the same number of threads), interrupted or not.

        Args:
            on_epoch: called with each new line of the log.

        Raises:
            ConfigError: the loss is not finite, or `run_dir` cannot be written.
            CheckpointError: the state in `run_dir` is damaged.
        """
        if self.dir and (self.dir / "search.pt").exists():
            self._load(self.dir / "search.pt")
        while len(self.history) < self.config.epochs:
            self.history.append(self._epoch(len(self.history)))
            if self.dir:
                self._save(self.dir)
            on_epoch(self.history[-1])
        return SearchOutcome(self.alpha.detach().cpu().clone(), tuple(self.history), self.config.allow_none)

    def batch(self, images: torch.Tensor, labels: torch.Tensor, chosen: torch.Tensor) -> Batch:
        """Some of the images, normalised by mean and deviation of the training half."""
        return Batch(self._normalised(images[chosen]), labels[chosen].to(self.device))

    def _normalised(self, images: torch.Tensor) -> torch.Tensor:
        mean, std = (torch.tensor(v, device=self.device)[:, None, None] for v in (self.data.mean, self.data.std))
        return (images.to(self.device).float() / 255 - mean) / std

    def _epoch(self, index: int) -> SearchEpoch:
        begin, config, data = time.perf_counter(), self.config, self.data
        # Each epoch has its own seed, so that a resumed search needs no generator state.
        with seeded((config.seed, index), self.device):
            order = torch.randperm(len(data.labels)).tensor_split(self.batches)
            bank = draws(len(data.validation_labels), self.batches, len(order[0]))
            images = augmented(data.images, config.flip) if config.augment else data.images
        self._begin(index)
        losses = []
        for step, (train, held_out) in enumerate(zip(order, bank, strict=True)):
            self._set_lr(index * self.batches + step)
            tested = self.batch(data.validation_images, data.validation_labels, held_out)
            losses.append(self._step(step, self.batch(images, data.labels, train), tested))
        loss = float(torch.stack(losses).mean())
        cell = best_cell(self.alpha, config.allow_none)
        mixture = self.alpha.detach().softmax(1)
        mixture_loss, accuracy = self._evaluate(mixture)
        if not (math.isfinite(loss) and math.isfinite(mixture_loss)):
            raise ConfigError(
                f"the supernet's loss became {loss} (architecture half: {mixture_loss}) in epoch {index + 1} with "
                f"lr={config.lr:g} and alpha_lr={config.alpha_lr:g}; search with a lower one, such as "
                f"lr={config.lr / 10:g}, or with a tester with a lower tester_lr, selector_lr or gamma"
            )
        entropy = float(torch.special.entr(mixture).sum(1).mean())
        return SearchEpoch(
            epoch=index + 1,
            lr=self.optimizer.param_groups[0]["lr"],
            loss=loss,
            mixture_loss=mixture_loss,
            mixture_accuracy=accuracy,
            cell_accuracy=self._evaluate(cell.choices)[1],
            entropy=entropy,
            cell=SPACE.format(cell),
            seconds=time.perf_counter() - begin,
            **self._measure(),
        )

    def _set_lr(self, step: int) -> None:
        lr = self.config.lr * (1 + math.cos(math.pi * step / (self.batches * self.config.epochs))) / 2
        self.optimizer.param_groups[0]["lr"] = lr

    @torch.no_grad()
    def _evaluate(self, selection: torch.Tensor | tuple[int, ...]) -> tuple[float, float]:
        """Loss and accuracy, in percent, of a mixture or a cell on the architecture half."""
        labels = self.data.validation_labels
        # Parts of equal size, since batch norm uses the statistics of each; mixed, since classes are in order.
        parts = -(-len(labels) // _EVALUATION_BATCH)
        order = torch.cat([torch.arange(part, len(labels), parts) for part in range(parts)])
        logits = torch.cat(
            [
                self.supernet(self._normalised(self.data.validation_images[part]), selection).cpu()
                for part in order.tensor_split(parts)
            ]
        )
        right = logits.argmax(1) == labels[order]
        return float(F.cross_entropy(logits, labels[order])), 100 * right.double().mean().item()

    # -- files -----------------------------------------------------------------------------------
    def _key(self) -> str:
        """Folder name: all that the result depends on, but the device."""
        config = asdict(self.config) | {"device": ""}
        text = json.dumps((_FORMAT, self.name, config, self.data.fingerprint))
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def _save(self, folder: Path) -> None:
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"alpha": self.alpha.detach(), "history": [tuple(epoch) for epoch in self.history]}
        buffer = io.BytesIO()
        torch.save(state, buffer)
        lines = [",".join(SearchEpoch._fields), *(",".join(map(str, epoch)) for epoch in self.history), ""]
        write_atomically(folder / "epochs.csv", "\n".join(lines).encode())
        write_atomically(folder / "search.pt", buffer.getvalue())

    def _load(self, path: Path) -> None:
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
            with torch.no_grad():
                self.alpha.copy_(state["alpha"])
            self.history = [SearchEpoch(*line) for line in state["history"]]
        except UNREADABLE as error:
            raise CheckpointError(
                f"{str(path)!r} cannot be read ({type(error).__name__}: {error}); remove it to search from the start"
            ) from error


def draws(count: int, batches: int, size: int) -> list[torch.Tensor]:
    """So many batches of indices below `count`, in random order, which begins anew where it ends.

    Draws come from the global CPU generator.
    """
    order = torch.randperm(count)
    steps = torch.arange(batches * min(size, count)).view(batches, -1) % count
    return list(order[steps])
