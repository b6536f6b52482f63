"""Learning by Passing Tests: Du, Zhang and Xie, *Learning by Passing Tests*, arXiv 2011.15102.

A learner, here DARTS's supernet with weights W and architecture alpha, is examined by a tester: a network of an
encoder E and a classifier C, with a selector V that gives each image x of a test bank the weight
s(x) = softmax(V(E(x)))_1. The selected images are the test. Three stages depend on each other:

    1. W descends its training loss.
    2. E and C descend  L_tester = loss(E, C; tester's training part)
       + gamma * mean over the bank of s(x) loss(E, C; x).
    3. alpha descends  L_test = sum of s(x) loss(alpha, W; x) / sum of s(x),  and V descends
       lambda * loss(E, C; tester's validation part) - L_test: a test should be hard, and worth learning from.

Each is solved by one step, through which the later stages differentiate, by finite differences or exactly as
`SearchConfig.second_order` says. V hears of the tester's validation only through the step of E and C: with ``"none"``,
which takes W as it is, V differentiates exactly. The learner's training half and the bank
are DARTS's two halves, so that the learner sees what it sees in DARTS. The tester trains on one half of the training
half and is validated on the other: neither meets the bank.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.one_shot.bilevel import Batch, draws
from metad2a_plugin.one_shot.config import SearchConfig
from metad2a_plugin.one_shot.darts import (
    DARTS,
    Tensors,
    differenced_gradient,
    next_weights,
    unrolled_gradient,
    weighted_mean,
)
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.training.images import TrainingData
from metad2a_plugin.utils.checks import FINITE, TINY, settings
from metad2a_plugin.utils.torch_device import seeded

_STREAM = 1  # of random numbers: the tester's are not drawn from the learner's


@dataclass(frozen=True)
class PassingTestsConfig(SearchConfig):
    """`SearchConfig` with a tester.

    Attributes:
        tester: False takes all images of the bank alike, which is DARTS.
        gamma: weight of the selected test in what the tester learns.
        lambda_: weight of the tester's validation in what the selector learns.
        tester_lr: of the SGD of E and C, with the momentum and weight decay of the learner's.
        selector_lr: of the Adam of V.
        tester_channels: width of the encoder's first layer.

    Raises:
        ConfigError: a value is out of range.
    """

    tester: bool = True
    gamma: float = 1.0
    lambda_: float = 1.0
    tester_lr: float = 0.025
    selector_lr: float = 3e-4
    tester_channels: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        positive, weight = "a positive number, such as 3e-4", "0 or a positive number, such as 1"
        ranges = dict.fromkeys(("tester_lr", "selector_lr"), (TINY, FINITE, positive))
        ranges |= dict.fromkeys(("gamma", "lambda_"), (0.0, FINITE, weight))
        settings(self, {"tester_channels": 1}, ranges)


class Tester(nn.Module):
    """Encoder and classifier; images ``[b, 3, h, w]`` to features ``[b, 4 * channels]`` and logits.

    Batch norm uses the statistics of the batch, as the supernet's does.
    """

    def __init__(self, num_classes: int, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, channels), (channels, 2 * channels), (2 * channels, 4 * channels)):
            layers += [
                nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                nn.BatchNorm2d(outputs, track_running_stats=False),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        self.encoder = nn.Sequential(*layers[:-1], nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(4 * channels, num_classes)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.encoder(images)
        return features, self.classifier(features)


class PassingTests(DARTS):
    """The search; made as `loop.GradientSearch` says, and started by `run`."""

    name = "lpt"
    config: PassingTestsConfig

    def __init__(
        self,
        dataset: ImageDataset | TrainingData,
        config: PassingTestsConfig | None = None,
        run_dir: str | os.PathLike[str] | None = None,
        space: SearchSpace | None = None,
    ) -> None:
        config = config or PassingTestsConfig()
        super().__init__(dataset, config, run_dir, space)
        with seeded((config.seed, 0, _STREAM), self.device):
            self.tester = Tester(len(self.data.class_names), config.tester_channels).to(self.device)
            self.selector = nn.Linear(4 * config.tester_channels, 2).to(self.device)
        self.tester_optimizer = torch.optim.SGD(
            self.tester.parameters(), config.tester_lr, config.momentum, weight_decay=config.weight_decay
        )
        self.selector_optimizer = torch.optim.Adam(self.selector.parameters(), config.selector_lr)
        self.parts |= {
            "tester": self.tester,
            "selector": self.selector,
            "tester_optimizer": self.tester_optimizer,
            "selector_optimizer": self.selector_optimizer,
        }
        self._tester_names = [name for name, _ in self.tester.named_parameters()]
        self._tester_weights = list(self.tester.parameters())
        # Every other image of each class.
        by_class = self.data.labels.argsort(stable=True)
        self._tester_parts = by_class[::2], by_class[1::2]
        self._log: list[tuple[torch.Tensor, torch.Tensor]] = []

    # -- losses ----------------------------------------------------------------------------------
    # Their argument `selector` is V, a weight and a bias; `tester` is E and C.
    def selection(self, selector: Tensors, tester: Tensors, bank: Batch) -> torch.Tensor:
        """s(x) of each image, ``[b]``."""
        return F.linear(self._answers(tester, bank)[0], *selector).softmax(1)[:, 1]

    def tester_loss(self, tester: Tensors, batch: Batch) -> torch.Tensor:
        return F.cross_entropy(self._answers(tester, batch)[1], batch.labels)

    def bank_loss(self, selector: Tensors, tester: Tensors, bank: Batch) -> torch.Tensor:
        """Of the selected test: gamma * mean of s(x) loss(E, C; x)."""
        features, logits = self._answers(tester, bank)
        weights = F.linear(features, *selector).softmax(1)[:, 1]
        return self.config.gamma * (weights * F.cross_entropy(logits, bank.labels, reduction="none")).mean()

    def stage_two(self, selector: Tensors, tester: Tensors, batch: Batch, bank: Batch) -> torch.Tensor:
        """L_tester."""
        return self.tester_loss(tester, batch) + self.bank_loss(selector, tester, bank)

    def stage_three(
        self, selector: Tensors, tester: Tensors, validation: Batch, bank: Batch, losses: torch.Tensor
    ) -> torch.Tensor:
        """What V descends; `losses` are the learner's of each image of the bank, ``[b]``."""
        selection = self.selection(selector, tester, bank)
        return self.config.lambda_ * self.tester_loss(tester, validation) - weighted_mean(losses, selection)

    def _answers(self, tester: Tensors, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        found: tuple[torch.Tensor, torch.Tensor] = functional_call(
            self.tester, dict(zip(self._tester_names, tester, strict=True)), (batch.images,), tie_weights=False
        )
        return found

    # -- one batch -------------------------------------------------------------------------------
    def _begin(self, epoch: int) -> None:
        self._log = []
        with seeded((self.config.seed, epoch, _STREAM), self.device):
            size = min(self.config.batch_size, len(self.data.labels))
            self._orders = [
                [part[batch] for batch in draws(len(part), self.batches, size)] for part in self._tester_parts
            ]

    def _step(self, step: int, train: Batch, bank: Batch) -> torch.Tensor:
        if not self.config.tester:
            return super()._step(step, train, bank)
        learned, validation = (self.batch(self.data.images, self.data.labels, order[step]) for order in self._orders)
        selector, tester = list(self.selector.parameters()), self._tester_weights
        stage_two = partial(self.stage_two, batch=learned, bank=bank)
        # (E', C') = (E, C) - lr * d L_tester / d(E, C).
        exact = self.config.second_order != "finite-differences"
        moved = next_weights(stage_two, selector, self.tester_optimizer, differentiable=exact)
        with torch.no_grad():
            selection = self.selection(selector, moved, bank)
        # alpha, with the s(x) of V and E' held fixed and W' = W - xi * dL(alpha, W) / dW, L on the training half:
        # dL_test(alpha, W') / d alpha - xi * [d^2 L(alpha, W) / d alpha dW] dL_test(alpha, W') / dW'.
        weights = self._step_alpha(train, bank, selection)
        # V, with J = lambda * loss(E', C'; validation) - L_test, which depends on V by itself and through E' and C':
        # dJ(V, E', C') / dV - lr * [d^2 bank_loss(V, E, C) / dV d(E, C)] dJ(V, E', C') / d(E', C').
        # The learner's losses are those of the new alpha with the W' of its step; V has no part in them.
        with torch.no_grad():
            losses = self.losses([self.alpha], weights, bank)
        stage_three = partial(self.stage_three, validation=validation, bank=bank, losses=losses)
        if exact:
            gradients = unrolled_gradient(stage_three, selector, moved)
        else:
            inner = partial(self.bank_loss, bank=bank)
            gradients = differenced_gradient(inner, stage_three, selector, tester, moved, self.config.tester_lr)
        for parameter, gradient in zip(selector, gradients, strict=True):
            parameter.grad = gradient
        self.selector_optimizer.step()
        # E and C:  d L_tester / d(E, C), with the new V.
        self.tester_optimizer.zero_grad()
        stage_two([v.detach() for v in selector], tester).backward()
        self.tester_optimizer.step()
        with torch.no_grad():
            self._log.append((selection.mean(), self.tester_loss(tester, validation)))
        # W:  d loss(alpha, W; training half) / dW.
        return self._step_weights(train)

    def _measure(self) -> dict[str, float]:
        if not self._log:
            return {}
        selected, loss = (float(torch.stack(column).mean()) for column in zip(*self._log, strict=True))
        return {"selected": selected, "tester_loss": loss}
