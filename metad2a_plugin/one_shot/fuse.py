"""FUSE: the search of Le, Soltani, Ravier and Tarokh, *Neural Architecture Search From Task Similarity Measure*, 2021.

A few candidates, the best so far and random ones, are mixed: the output is the sum of theirs, weighted by a softmax of
alpha, a number for each. Weights and alpha descend the loss in turns, the weights on one half of the images, alpha on
the other. The candidate of the largest weight goes into the next round, with new random ones.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.nn.lean import lean
from metad2a_plugin.one_shot.bilevel import BilevelSearch
from metad2a_plugin.one_shot.config import BilevelConfig
from metad2a_plugin.plugins.registry import DEFAULT_SPACE, get_space
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.interfaces import weight_sharing
from metad2a_plugin.spaces.restricted import RestrictedSpace
from metad2a_plugin.spaces.visited import Visited
from metad2a_plugin.training.images import TrainingData
from metad2a_plugin.training.loop import cosine
from metad2a_plugin.utils.checks import FINITE, TINY, instance, integer, settings
from metad2a_plugin.utils.kept import digest
from metad2a_plugin.utils.torch_device import seeded


class FuseRound(NamedTuple):
    """One line of the log.

    `loss` is the mean over the steps of the mixture's on the training half, `mixture_loss` that on the other half.
    `candidates` begin with the best of the rounds before; `weights` are theirs at the end, and `best` has the largest.
    """

    round: int
    loss: float
    mixture_loss: float
    candidates: tuple[str, ...]
    weights: tuple[float, ...]
    best: str
    seconds: float


@dataclass(frozen=True)
class FuseConfig(BilevelConfig):
    """How FUSE searches; the paper leaves most of it open.

    Attributes:
        epochs: passes over the training half in a round.
        alpha_lr: higher than that of DARTS, for a round has few steps.
        rounds: at most.
        minutes: after which no further round begins; None is no limit. The first round is always made.
        candidates: in a round: the best so far and random ones.
        shared_weights: have all candidates take their weights from one supernet, which learns over all rounds. Else
            each has its own, and all of them begin anew in each round, so that none has learned for longer.

    Raises:
        ConfigError: as `BilevelConfig`, or one of these is out of range.
    """

    epochs: int = 2
    alpha_lr: float = 1e-2
    rounds: int = 10
    minutes: float | None = None
    candidates: int = 3
    shared_weights: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        integer("rounds", self.rounds, 1)
        integer("candidates", self.candidates, 2)
        instance("shared_weights", self.shared_weights, bool, "True or False")
        if self.minutes is not None:
            settings(self, {}, {"minutes": (TINY, FINITE, "a positive number, such as 10, or None")})


class FUSE(BilevelSearch[FuseRound]):
    """The search; its state is the history, and the supernet if there is one.

    Args:
        dataset, run_dir: as of `BilevelSearch`.
        config: settings; None takes the defaults.
        space: that candidates are drawn from; None takes the default one.

    Raises:
        ConfigError: the space has no such options, or no supernet for shared weights; the device cannot be used, or the
            halves are of other settings.
        DatasetError: see `bilevel.halves`.
    """

    name = "fuse"
    config: FuseConfig
    line = FuseRound
    FILES = ("search.pt", "rounds.csv")

    def __init__(
        self,
        dataset: ImageDataset | TrainingData,
        config: FuseConfig | None = None,
        run_dir: str | os.PathLike[str] | None = None,
        space: SearchSpace | None = None,
    ) -> None:
        space = get_space(DEFAULT_SPACE) if space is None else space
        config = config or FuseConfig()
        config = replace(config, options=space.all_options(config.options))
        sharing = weight_sharing(space) if config.shared_weights else None
        super().__init__(dataset, config, run_dir, space, "the mixture")
        self.supernet: nn.Module | None = None
        if sharing is not None:
            with seeded((config.seed,), self.device):
                self.supernet = sharing.supernet(len(self.data.class_names), **config.options).to(self.device)
            self.optimizer = self._sgd(self.supernet.parameters())
            self.parts = {"supernet": self.supernet, "optimizer": self.optimizer}

    def run(self, on_round: Callable[[FuseRound], None] = lambda line: None) -> list[Architecture]:
        """`search`, and all that were candidates, the best first.

        Behind the best of the last round come those that were the best of most rounds, and of equally many those with
        the larger weights when they were last mixed.

        Args:
            on_round: called with each new line of the log.

        Raises:
            ConfigError, CheckpointError: as of `search`.
        """
        self.search(on_round)
        won = Counter(line.best for line in self.history)
        weight = {text: w for line in self.history for text, w in zip(line.candidates, line.weights, strict=True)}
        last = self.history[-1].best
        ranked = sorted(weight, key=lambda text: (text == last, won[text], weight[text]), reverse=True)
        return [self.space.parse(text) for text in ranked]

    @property
    def finished(self) -> bool:
        """Whether the rounds or the time are over, or nothing is left to draw."""
        if not self.history:
            return False
        minutes = self.config.minutes
        late = minutes is not None and sum(line.seconds for line in self.history) >= 60 * minutes
        return late or len(self.history) >= self.config.rounds or not self._drawn(1)

    @property
    def key(self) -> str:
        part = self.space.allowed if isinstance(self.space, RestrictedSpace) else None
        return digest((super().key, part))

    def _drawn(self, most: int) -> list[Architecture]:
        """Random architectures that can learn, for the next round; none is the same network as one before."""
        visited = Visited(self.space, "canonical")
        for line in self.history:
            for text in line.candidates:
                visited.add(self.space.parse(text))
        rng = random.Random(f"{self.config.seed} {len(self.history)}")
        drawn: list[Architecture] = []
        while len(drawn) < most and (architecture := visited.sample(rng)):
            visited.add(architecture)
            if not self.space.is_dead(architecture):
                drawn.append(architecture)
        return drawn

    def _sgd(self, weights: Iterable[nn.Parameter]) -> torch.optim.SGD:
        config = self.config
        return torch.optim.SGD(weights, config.lr, config.momentum, weight_decay=config.weight_decay)

    def _networks(self, candidates: Sequence[Architecture]) -> list[nn.Module]:
        """One for each, in training mode; pixels are normalised already."""
        if self.supernet is not None:
            return [_Path(self.supernet, candidate.choices) for candidate in candidates]
        options: Mapping[str, object] = self.config.options
        classes = len(self.data.class_names)
        return [self.space.build(candidate, classes, **options).to(self.device) for candidate in candidates]

    def _epoch(self, index: int) -> FuseRound:
        config = self.config
        best = [self.space.parse(self.history[-1].best)] if self.history else []
        candidates = best + self._drawn(config.candidates - len(best))
        if not candidates:
            raise ConfigError(f"no architecture of {self.space.name!r} that may be searched can learn; allow others")
        networks = self._networks(candidates)
        weights = [weight for network in networks for weight in network.parameters()]
        optimizer = self._sgd(weights) if self.supernet is None else self.optimizer
        alpha = torch.zeros(len(candidates), device=self.device, requires_grad=True)
        alpha_optimizer = torch.optim.Adam(
            [alpha], config.alpha_lr, (0.5, 0.999), weight_decay=config.alpha_weight_decay
        )
        losses, bank_losses = [], []
        with ExitStack() as stack:
            for network in networks:
                stack.enter_context(lean(network))
            for step, (train, bank) in enumerate(pair for _ in range(config.epochs) for pair in self.pairs()):
                cosine(optimizer, config.lr, step, self.batches * config.epochs)
                optimizer.zero_grad()
                outputs = torch.stack([network(train.images) for network in networks])
                loss = _loss(outputs, alpha.detach(), train.labels)
                loss.backward()
                optimizer.step()
                with torch.no_grad():
                    outputs = torch.stack([network(bank.images) for network in networks])
                bank_loss = _loss(outputs, alpha, bank.labels)
                [alpha.grad] = torch.autograd.grad(bank_loss, [alpha])
                alpha_optimizer.step()
                losses.append(loss.detach())
                bank_losses.append(bank_loss.detach())
        means = [float(torch.stack(column).mean()) for column in (losses, bank_losses)]
        for mean in means:
            self._require_finite(mean)
        texts = tuple(map(self.space.format, candidates))
        mixture = tuple(alpha.detach().softmax(0).tolist())
        won = texts[mixture.index(max(mixture))]
        return FuseRound(index + 1, means[0], means[1], texts, mixture, won, self.seconds)


class _Path(nn.Module):
    """A supernet along the path of one architecture."""

    def __init__(self, supernet: nn.Module, choices: tuple[int, ...]) -> None:
        super().__init__()
        self.supernet, self.choices = supernet, choices

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.supernet(images, self.choices)


def _loss(outputs: torch.Tensor, alpha: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the mixture of logits ``[candidates, b, classes]`` by the softmax of `alpha`."""
    return F.cross_entropy(torch.einsum("c,cbk->bk", alpha.softmax(0), outputs), labels)
