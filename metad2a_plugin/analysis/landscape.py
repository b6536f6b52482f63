"""How a trained network lies in its surroundings: loss surface, gradient variance, and how fast training was.

The plane is that of Li et al., Visualizing the Loss Landscape of Neural Nets, NeurIPS 2018, section 4, which Shu, Wang
and Cai (ICLR 2020, section 4) compare architectures by: two random directions, each filter as long as the network's
own. The loss and the variance of minibatch gradients are computed on a grid on it.

Batch norm uses the statistics of the minibatch everywhere, as in training. With its running averages, which belong to
the trained weights alone, every step away from them would look like a cliff that training never sees.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.utils.checks import FINITE, TINY, settings
from metad2a_plugin.utils.torch_device import usable

_Batch = tuple[torch.Tensor, torch.Tensor]
_EVERY = 2  # gradients are computed at every second point of the grid in each direction


@dataclass(frozen=True)
class LandscapeConfig:
    """Where and on how much a loss surface is computed.

    Attributes:
        radius: the grid goes from minus to plus so much along each direction; 1 is as far as the weights are from zero.
        points: of the grid along each direction, 4k + 1 such as 5, 9 or 13: the trained network is the middle one.
        images: at most so many of the images given, drawn at random.
        batch_size: largest minibatch.
        seed: of the two directions and of the draw and order of the images.
        device: a torch device, or ``"auto"``.

    Raises:
        ConfigError: a value is out of range.
    """

    radius: float = 1.0
    points: int = 9
    images: int = 256
    batch_size: int = 32
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        ranges = {"radius": (TINY, FINITE, "a positive number, such as 1.0")}
        settings(self, {"points": 5, "images": 4, "batch_size": 2, "seed": 0}, ranges)
        if self.points % 4 != 1:
            raise ConfigError(f"points must be 4k + 1, such as 5, 9 or 13, got {self.points}")


@dataclass(frozen=True)
class Landscape:
    """A trained network's surroundings.

    Attributes:
        steps: coordinates of the grid's points along either direction, ascending.
        losses: mean cross-entropy at ``[first direction, second direction]``, in nats.
        variances: of the minibatch gradients, at every second step of both directions: the mean squared distance of a
            minibatch's gradient from their mean (unbiased, summed over all parameters), as in the paper.
        scaled_variances: the same of the gradient with respect to weights in units of their filter's norm in the
            trained network, without biases and batch-norm parameters. Batch norm makes the size of the weights
            meaningless, and small weights have large gradients: compare networks by this one.
        images, minibatches: how many.
    """

    steps: tuple[float, ...]
    losses: tuple[tuple[float, ...], ...]
    variances: tuple[tuple[float, ...], ...]
    scaled_variances: tuple[tuple[float, ...], ...]
    images: int
    minibatches: int

    @property
    def loss(self) -> float:
        """Of the trained network."""
        return self.losses[len(self.steps) // 2][len(self.steps) // 2]

    @property
    def rise(self) -> float:
        """Mean loss within half the radius, less the trained network's: how sharp the minimum is."""
        grid, steps = torch.tensor(self.losses), torch.tensor(self.steps)
        distance = (steps[:, None].square() + steps[None].square()).sqrt()
        near = (distance > 0) & (distance <= self.steps[-1] / 2 + 1e-6)
        return float(grid[near].mean() - self.loss)

    @property
    def curvature(self) -> float:
        """Mean absolute second derivative along the two directions over the grid: low where the surface is smooth."""
        grid, step = torch.tensor(self.losses, dtype=torch.float64), self.steps[1] - self.steps[0]
        second = [(lines[2:] - 2 * lines[1:-1] + lines[:-2]).abs() for lines in (grid, grid.T)]
        return float(torch.cat([s.flatten() for s in second]).mean()) / step**2

    @property
    def variance(self) -> float:
        """Mean of `variances`."""
        return float(torch.tensor(self.variances).mean())

    @property
    def scaled_variance(self) -> float:
        """Mean of `scaled_variances`."""
        return float(torch.tensor(self.scaled_variances).mean())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, which `from_dict` reads."""
        names = ("loss", "rise", "curvature", "variance", "scaled_variance")
        return asdict(self) | {name: getattr(self, name) for name in names}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Landscape:
        """Inverse of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: the values are no landscape.
        """
        names = ("losses", "variances", "scaled_variances")
        losses, variances, scaled = (tuple(tuple(map(float, row)) for row in values[name]) for name in names)
        steps, counts = tuple(map(float, values["steps"])), (int(values["images"]), int(values["minibatches"]))
        return cls(steps, losses, variances, scaled, *counts)


def landscape(
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    config: LandscapeConfig | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Landscape:
    """Loss surface and gradient variance around a trained network, which is left as it is.

    The same arguments give the same result on the CPU.

    Args:
        network: takes pixels, uint8 ``[batch, 3, size, size]``, and gives logits ``[batch, classes]``.
        images: uint8 ``[n, 3, size, size]``, four or more; those of the training part, not augmented, show the surface
            that training went down.
        labels: int64 ``[n]``.
        config: None takes the defaults.
        progress: called with the points done and their number.

    Raises:
        ConfigError: there are fewer than four images, or as many labels; the loss is not finite somewhere.
    """
    config = config or LandscapeConfig()
    device = usable(config.device)
    if len(images) < 4 or len(images) != len(labels):
        raise ConfigError(
            f"a loss surface needs four images or more, each with a label; got {len(images)} and {len(labels)} labels"
        )
    generator = torch.Generator().manual_seed(config.seed)
    chosen = torch.randperm(len(images), generator=generator)[: config.images]
    # Two or more of equal size, each of at least two images, for batch norm.
    count = max(2, -(-len(chosen) // config.batch_size))
    batches = [(images[rows].to(device), labels[rows].to(device)) for rows in chosen.tensor_split(count)]
    around = _Surroundings(network, batches, generator, device)
    steps = torch.linspace(-config.radius, config.radius, config.points).tolist()
    losses, variances, scaled = [], [], []
    for i, a in enumerate(steps):
        losses.append([around.loss(a, b) for b in steps])
        if i % _EVERY == 0:
            pairs = [around.variance(a, b) for b in steps[::_EVERY]]
            variances.append(tuple(plain for plain, _ in pairs))
            scaled.append(tuple(relative for _, relative in pairs))
        progress(i + 1, len(steps))
    if not all(math.isfinite(value) for row in (*losses, *variances) for value in row):
        raise ConfigError(f"the loss is not finite everywhere within radius {config.radius:g}; choose a smaller one")
    return Landscape(
        tuple(steps), tuple(map(tuple, losses)), tuple(variances), tuple(scaled), around.images, len(batches)
    )


def epochs_to_common_loss(curves: Sequence[Sequence[float]]) -> tuple[float, list[int]]:
    """How fast networks converge: the epoch, from 1, in which each first has a training loss that all of them reach.

    Args:
        curves: training loss of each epoch, for each network.

    Returns:
        That loss, the highest of the networks' lowest ones, and the epochs.

    >>> epochs_to_common_loss([[2.0, 1.0, 0.5], [2.0, 1.5, 1.0]])
    (1.0, [2, 3])
    """
    level = max(min(curve) for curve in curves)
    return level, [next(epoch for epoch, loss in enumerate(curve, 1) if loss <= level) for curve in curves]


class _Surroundings:
    """A copy of the network that can be moved on a plane of random directions."""

    def __init__(
        self, network: nn.Module, batches: Sequence[_Batch], generator: torch.Generator, device: torch.device
    ) -> None:
        self._network, self._batches = copy.deepcopy(network).eval(), batches
        for module in self._network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):  # without running averages, it uses the batch's
                module.running_mean = module.running_var = None
        self._network.to(device)
        self.images = sum(len(labels) for _, labels in batches)
        self._weights = [p for p in self._network.parameters() if p.requires_grad]
        self._trained = [p.detach().clone() for p in self._weights]
        self._directions = [[_direction(w, generator).to(device) for w in self._trained] for _ in range(2)]
        self._norms = [_filter_norms(w) if w.ndim > 1 else torch.zeros_like(w) for w in self._trained]

    @torch.no_grad()
    def loss(self, a: float, b: float) -> float:
        """At trained + a * first + b * second direction (Li et al., equation 1)."""
        self._move(a, b)
        losses = [self._loss(*batch) * len(batch[1]) for batch in self._batches]
        return float(torch.stack(losses).sum()) / self.images

    def variance(self, a: float, b: float) -> tuple[float, float]:
        """Variance of the minibatch gradients there, plain and in units of the filters' norms."""
        self._move(a, b)
        total = [torch.zeros_like(w, dtype=torch.float64) for w in self._weights]
        squares = torch.zeros(2, dtype=torch.float64)
        for batch in self._batches:
            # Operations that cannot reach the output have no gradient.
            found = torch.autograd.grad(self._loss(*batch), self._weights, allow_unused=True)
            gradients = [torch.zeros_like(s) if g is None else g.double() for g, s in zip(found, total, strict=True)]
            squares += self._squares(gradients)
            total = [s + g for s, g in zip(total, gradients, strict=True)]
        n = len(self._batches)
        plain, scaled = ((squares - self._squares(total) / n) / (n - 1)).clamp(min=0).tolist()
        return plain, scaled

    def _squares(self, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        """Squared norms, plain and with filters' norms as units."""
        plain = torch.stack([g.square().sum() for g in gradients]).sum()
        scaled = torch.stack([(g * norm).square().sum() for g, norm in zip(gradients, self._norms, strict=True)]).sum()
        return torch.stack([plain, scaled]).cpu()

    def _loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(self._network(images), labels)

    @torch.no_grad()
    def _move(self, a: float, b: float) -> None:
        for weight, trained, first, second in zip(self._weights, self._trained, *self._directions, strict=True):
            weight.copy_(trained + a * first + b * second)


def _direction(weight: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Random, each filter as long as the network's; zero for biases and batch norm (Li et al., section 4)."""
    if weight.ndim < 2:
        return torch.zeros_like(weight, device="cpu")
    drawn = torch.randn(weight.shape, generator=generator, dtype=weight.dtype)
    return drawn * (_filter_norms(weight).cpu() / _filter_norms(drawn).clamp(min=1e-10))


def _filter_norms(weight: torch.Tensor) -> torch.Tensor:
    """Norm of each output's weights, with the shape of `weight` but for ones."""
    return weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.ndim - 1))
