"""What DARTS and Learning by Passing Tests share: the supernet and its mixture, the schedule and the log."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F

from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.one_shot.bilevel import Batch, BilevelSearch
from metad2a_plugin.one_shot.config import SearchConfig
from metad2a_plugin.one_shot.outcome import SearchEpoch, SearchOutcome, best_cell
from metad2a_plugin.plugins.registry import DEFAULT_SPACE, get_space
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.spaces.interfaces import WeightSharing, weight_sharing
from metad2a_plugin.training.images import TrainingData
from metad2a_plugin.training.loop import cosine
from metad2a_plugin.utils.torch_device import seeded

_EVALUATION_BATCH = 512


class GradientSearch(BilevelSearch[SearchEpoch]):
    """A `BilevelSearch` in a supernet; its state is the `parts`, with the architecture parameters, and the history.

    Args:
        dataset, run_dir: as of `BilevelSearch`.
        config: settings; None takes the defaults.
        space: whose architectures share the weights, `WeightSharing`; None takes the default one.

    Raises:
        ConfigError: the space has no supernet or other options, the device cannot be used, or the halves are of other
            settings.
        DatasetError: see `halves`.
    """

    config: SearchConfig
    line = SearchEpoch
    space: WeightSharing

    def __init__(
        self,
        dataset: ImageDataset | TrainingData,
        config: SearchConfig | None = None,
        run_dir: str | os.PathLike[str] | None = None,
        space: SearchSpace | None = None,
    ) -> None:
        sharing = weight_sharing(get_space(DEFAULT_SPACE) if space is None else space)
        config = config or SearchConfig()
        config = replace(config, options=sharing.all_options(config.options))
        super().__init__(dataset, config, run_dir, sharing, "the supernet")
        with seeded((config.seed,), self.device):
            self.supernet = sharing.supernet(len(self.data.class_names), **config.options)
        self.supernet.to(self.device)
        self._names = [name for name, _ in self.supernet.named_parameters()]
        self._weights = list(self.supernet.parameters())
        # Looking for tied weights anew in each call would take a tenth of a step.
        self._tied = len(list(self.supernet.named_parameters(remove_duplicate=False))) > len(self._names)
        # Zeros, so that at first all operations have equal weight (Liu et al., appendix A.1).
        self.alpha = nn.Parameter(torch.zeros(len(sharing.options), len(sharing.operations), device=self.device))
        self.optimizer = torch.optim.SGD(self._weights, config.lr, config.momentum, weight_decay=config.weight_decay)
        self.alpha_optimizer = torch.optim.Adam(
            [self.alpha], config.alpha_lr, (0.5, 0.999), weight_decay=config.alpha_weight_decay
        )
        self.parts = {
            "alpha": nn.ParameterList([self.alpha]),
            "supernet": self.supernet,
            "optimizer": self.optimizer,
            "alpha_optimizer": self.alpha_optimizer,
        }

    @abstractmethod
    def _step(self, step: int, train: Batch, bank: Batch) -> torch.Tensor:
        """Update everything once; returns the loss of the weights, without a graph."""

    def _begin(self, epoch: int) -> None:
        """Draw what steps of an epoch need besides the two halves."""

    def _measure(self) -> dict[str, float]:
        """Further columns of the log."""
        return {}

    def run(self, on_epoch: Callable[[SearchEpoch], None] = lambda epoch: None) -> SearchOutcome:
        """`search`, and what was found.

        Args:
            on_epoch: called with each new line of the log.

        Raises:
            ConfigError, CheckpointError: as of `search`.
        """
        self.search(on_epoch)
        return SearchOutcome(
            self.space, self.alpha.detach().cpu().clone(), tuple(self.history), self.config.allow_none
        )

    def _epoch(self, index: int) -> SearchEpoch:
        config = self.config
        self._begin(index)
        losses = []
        for step, (train, bank) in enumerate(self.pairs()):
            lr = cosine(self.optimizer, config.lr, index * self.batches + step, self.batches * config.epochs)
            losses.append(self._step(step, train, bank))
        loss = float(torch.stack(losses).mean())
        cell = best_cell(self.space, self.alpha, config.allow_none)
        mixture = self.alpha.detach().softmax(1)
        mixture_loss, accuracy = self._evaluate(mixture)
        for value in (loss, mixture_loss):
            self._require_finite(
                value,
                f", or with a lower alpha_lr than {config.alpha_lr:g}; or, of the tester, search with a lower one of "
                "tester_lr, selector_lr and gamma",
            )
        entropy = float(torch.special.entr(mixture).sum(1).mean())
        return SearchEpoch(
            epoch=index + 1,
            lr=lr,
            loss=loss,
            mixture_loss=mixture_loss,
            mixture_accuracy=accuracy,
            cell_accuracy=self._evaluate(cell.choices)[1],
            entropy=entropy,
            cell=self.space.format(cell),
            seconds=self.seconds,
            **self._measure(),
        )

    @torch.no_grad()
    def _evaluate(self, selection: torch.Tensor | tuple[int, ...]) -> tuple[float, float]:
        """Loss and accuracy, in percent, of a mixture or a cell on the architecture half."""
        labels = self.data.validation_labels
        # Parts of equal size, since batch norm uses the statistics of each; mixed, since classes are in order.
        parts = -(-len(labels) // _EVALUATION_BATCH)
        order = torch.cat([torch.arange(part, len(labels), parts) for part in range(parts)])
        images = (self._normalised(self.data.validation_images[part]) for part in order.tensor_split(parts))
        self.supernet.eval()
        logits = torch.cat([self.supernet(part, selection).cpu() for part in images])
        self.supernet.train()
        right = logits.argmax(1) == labels[order]
        return float(F.cross_entropy(logits, labels[order])), 100 * right.double().mean().item()
