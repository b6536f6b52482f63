"""DARTS: Liu, Simonyan and Yang, *DARTS: Differentiable Architecture Search*, ICLR 2019, arXiv 1806.09055.

Every edge of the cell computes all its operations, weighted by the softmax of its architecture parameters (eq. 2).
The weights w descend the loss of one half of the data; the architecture parameters alpha descend the loss of the
other half, at the weights that w becomes after its next step (eq. 5 and 6, algorithm 1).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch.func import functional_call
from torch.nn import functional as F

from metad2a_plugin.one_shot.bilevel import Batch
from metad2a_plugin.one_shot.loop import GradientSearch

Tensors = Sequence[torch.Tensor]
Loss = Callable[[Tensors, Tensors], torch.Tensor]
"""Of the upper variables (here alpha) and the lower ones (here w), a scalar."""


def next_weights(
    loss: Loss, upper: Tensors, optimizer: torch.optim.SGD, differentiable: bool = False
) -> list[torch.Tensor]:
    """The lower variables after the optimiser's next step, which is not taken.

    w' = w - xi * d loss(alpha, w) / dw, of section 2.3, with the momentum and the weight decay of the optimiser.

    Args:
        loss: what the step descends.
        upper: variables that the loss depends on.
        optimizer: of the lower ones.
        differentiable: whether the step is part of their graph, so that its derivative by `upper` can be taken.
    """
    [group] = optimizer.param_groups
    lower: list[torch.Tensor] = group["params"]
    gradients = torch.autograd.grad(loss(upper, lower), lower, create_graph=differentiable, materialize_grads=True)
    moved = []
    for w, gradient in zip(lower, gradients, strict=True):
        change = gradient + group["weight_decay"] * w.detach()
        # Not optimizer.state[w], which would make an empty entry.
        momentum = optimizer.state.get(w, {}).get("momentum_buffer")
        if momentum is not None:
            change = change + group["momentum"] * momentum
        # One whose step does not depend on `upper` is a leaf.
        moved.append((w.detach() - group["lr"] * change).requires_grad_())
    return moved


def unrolled_gradient(outer: Loss, upper: Tensors, moved: Tensors) -> list[torch.Tensor]:
    """The exact gradient of ``outer(upper, moved)`` by `upper`; `moved` is of a differentiable `next_weights`.

    With alpha for `upper`, w for the lower variables and w' for `moved`, by the chain rule (eq. 7):

        d outer(alpha, w'(alpha)) / d alpha
            = d outer(alpha, w') / d alpha - lr * [d^2 inner(alpha, w) / d alpha dw] v,  v = d outer(alpha, w') / dw'.

    Autograd takes the product with v by differentiating the step once more; ReLUs, which are linear on both sides of
    zero, have a second derivative of 0 there.

    Returns:
        One tensor for each of `upper`.
    """
    return list(torch.autograd.grad(outer(upper, moved), upper, materialize_grads=True))


def differenced_gradient(
    inner: Loss, outer: Loss, upper: Tensors, lower: Tensors, moved: Tensors, lr: float, difference: float = 0.01
) -> list[torch.Tensor]:
    """As `unrolled_gradient`, with the product with v as a difference of gradients at w +- eps * v (eq. 8).

    eps is difference / ||v||. On small networks that crosses many kinks of their ReLUs, and is mostly noise.

    Args:
        inner: what the step descends; terms without `upper` may be left out here.
        outer: what is to be lowered.
        upper: variables of which the gradient is wanted.
        lower: variables that take the step.
        moved: see `next_weights`.
        lr: size of the step.
        difference: how far the weights are moved to measure the second derivative.

    Returns:
        One tensor for each of `upper`.
    """
    gradients = torch.autograd.grad(outer(upper, moved), [*upper, *moved], materialize_grads=True)
    direct, v = gradients[: len(upper)], gradients[len(upper) :]
    norm = torch.cat([part.flatten() for part in v]).norm()
    if norm == 0:
        return list(direct)
    eps = difference / norm
    plus, minus = (
        torch.autograd.grad(
            inner(upper, [(w + sign * eps * part).detach() for w, part in zip(lower, v, strict=True)]), upper
        )
        for sign in (1, -1)
    )
    return [d - lr * (p - m) / (2 * eps) for d, p, m in zip(direct, plus, minus, strict=True)]


def weighted_mean(losses: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """By weights of 0 or more, ``[b]`` each; 0 where all weights are."""
    return (weights * losses).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


class DARTS(GradientSearch):
    """The search; made as `loop.GradientSearch` says, and started by `run`."""

    name = "darts"

    def losses(self, alpha: Tensors, weights: Tensors, batch: Batch) -> torch.Tensor:
        """The mixture's cross-entropy of each image, ``[b]``.

        Args:
            alpha: one tensor ``[decisions, operations]``.
            weights: the supernet's, in the order of its parameters.
            batch: images and labels.
        """
        given = dict(zip(self._names, weights, strict=True))
        inputs = batch.images, alpha[0].softmax(1)
        logits = functional_call(self.supernet, given, inputs, tie_weights=self._tied)
        return F.cross_entropy(logits, batch.labels, reduction="none")

    def loss(
        self, alpha: Tensors, weights: Tensors, batch: Batch, selection: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mean of `losses`; with weights ``[b]`` of the images, by these and normalised by their sum."""
        losses = self.losses(alpha, weights, batch)
        return losses.mean() if selection is None else weighted_mean(losses, selection)

    def _step(self, step: int, train: Batch, bank: Batch) -> torch.Tensor:
        self._step_alpha(train, bank)
        return self._step_weights(train)

    def _step_alpha(self, train: Batch, bank: Batch, selection: torch.Tensor | None = None) -> Tensors:
        """Algorithm 1, line 1; returns w', which for first order is w (xi = 0)."""
        moved, self.alpha.grad = self.alpha_gradient(train, bank, self.config.second_order, selection)
        self.alpha_optimizer.step()
        return moved

    def alpha_gradient(
        self, train: Batch, bank: Batch, second_order: str, selection: torch.Tensor | None = None
    ) -> tuple[Tensors, torch.Tensor]:
        """w', and the gradient that alpha descends, ``[decisions, operations]``; nothing is changed.

        Args:
            train, bank: batches of the two halves.
            second_order: as in `SearchConfig`.
            selection: see `loss`.
        """
        inner, outer = partial(self.loss, batch=train), partial(self.loss, batch=bank, selection=selection)
        alpha: Tensors = [self.alpha]
        moved: Tensors = self._weights
        if second_order != "none":
            moved = next_weights(inner, alpha, self.optimizer, differentiable=second_order == "exact")
        if second_order == "finite-differences":
            lr = self.optimizer.param_groups[0]["lr"]
            [gradient] = differenced_gradient(inner, outer, alpha, self._weights, moved, lr)
        else:
            [gradient] = unrolled_gradient(outer, alpha, moved)
        return [weight.detach() for weight in moved], gradient

    def _step_weights(self, train: Batch) -> torch.Tensor:
        """Algorithm 1, line 2."""
        self.optimizer.zero_grad()
        loss = self.loss([self.alpha.detach()], self._weights, train)
        loss.backward()
        self.optimizer.step()
        return loss.detach()
