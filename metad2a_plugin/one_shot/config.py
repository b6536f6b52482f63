"""Settings of the searches by gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from metad2a_plugin.training.config import NetworkConfig
from metad2a_plugin.utils.checks import BELOW_ONE, FINITE, TINY, instance, one_of, settings

_LEAST = {"epochs": 1, "batch_size": 2, "input_size": 8, "seed": 0, "split_seed": 0}
_RANGES: dict[str, tuple[float, float, str]] = {
    "lr": (TINY, FINITE, "a positive number, such as 0.025"),
    "momentum": (0, BELOW_ONE, "from 0 to less than 1, such as 0.9"),
    "weight_decay": (0, FINITE, "0 or a positive number, such as 3e-4"),
    "alpha_lr": (TINY, FINITE, "a positive number, such as 3e-4"),
    "alpha_weight_decay": (0, FINITE, "0 or a positive number, such as 1e-3"),
}


FORMS = ("none", "finite-differences", "exact")


@dataclass(frozen=True)
class BilevelConfig(NetworkConfig):
    """What searches share that train weights on one half of the images and a mixture on the other.

    Attributes:
        epochs: passes over the training half.
        batch_size: largest batch.
        lr, momentum, weight_decay: of the weights' SGD; the learning rate falls to zero along a cosine.
        alpha_lr, alpha_weight_decay: of the mixture's Adam, with betas 0.5 and 0.999.
        options: of the networks, as in `TrainConfig`.
        input_size: side of the square images, in pixels.
        augment: random crops of the images that train weights.
        flip: also mirror them.
        seed: of initial weights, order and augmentation.
        split_seed: of the two halves.
        device: ``"cpu"``, ``"cuda"``, ...; ``"auto"`` takes a GPU where there is one.

    Raises:
        ConfigError: a value is out of range, `flip` is set without `augment`, or an option has the name of a setting.
    """

    epochs: int = 50
    batch_size: int = 64
    lr: float = 0.025
    momentum: float = 0.9
    weight_decay: float = 3e-4
    alpha_lr: float = 3e-4
    alpha_weight_decay: float = 1e-3
    options: Mapping[str, Any] = field(default_factory=dict)
    input_size: int = 32
    augment: bool = True
    flip: bool = False
    seed: int = 0
    split_seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        settings(self, _LEAST, _RANGES)
        super().__post_init__()


@dataclass(frozen=True)
class SearchConfig(BilevelConfig):
    """How DARTS searches; the defaults are those of Liu et al. (ICLR 2019, appendix A.1), in NAS-Bench-201's network.

    Attributes:
        second_order: how the architecture's gradient looks one step of the weights ahead. ``"finite-differences"``, as
            in the papers, takes five passes through the supernet; ``"exact"`` differentiates through the step, for
            0.9 to 1.4 times the time and more memory; ``"none"`` takes the weights as they are, and two passes.
        allow_none: whether a cell may have ``none`` on an edge, as in the benchmark's own runs of DARTS (Dong and
            Yang, ICLR 2020). False leaves ``none`` out when the cell is read off, as DARTS does in its own space.

    Raises:
        ConfigError: as `BilevelConfig`, or another `second_order`.
    """

    second_order: str = "finite-differences"
    allow_none: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("second_order", self.second_order, FORMS)
        instance("allow_none", self.allow_none, bool, "True or False")
