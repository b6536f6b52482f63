"""Settings of the searches by gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.training.config import NetworkConfig
from metad2a_plugin.utils.checks import BELOW_ONE, FINITE, TINY, settings

_LEAST = {"epochs": 1, "order": 1, "batch_size": 2, "input_size": 8, "seed": 0, "split_seed": 0}
_RANGES: dict[str, tuple[float, float, str]] = {
    "lr": (TINY, FINITE, "a positive number, such as 0.025"),
    "momentum": (0, BELOW_ONE, "from 0 to less than 1, such as 0.9"),
    "weight_decay": (0, FINITE, "0 or a positive number, such as 3e-4"),
    "alpha_lr": (TINY, FINITE, "a positive number, such as 3e-4"),
    "alpha_weight_decay": (0, FINITE, "0 or a positive number, such as 1e-3"),
}


@dataclass(frozen=True)
class SearchConfig(NetworkConfig):
    """How DARTS searches; the defaults are those of Liu et al. (ICLR 2019, appendix A.1), in NAS-Bench-201's network.

    Attributes:
        epochs: passes over the training half.
        batch_size: largest batch.
        lr, momentum, weight_decay: of the weights' SGD; the learning rate falls to zero along a cosine.
        alpha_lr, alpha_weight_decay: of the architecture parameters' Adam, with betas 0.5 and 0.999.
        order: 2 looks one step of the weights ahead, 1 takes the weights as they are and needs two passes through
            the supernet instead of five.
        allow_none: whether a cell may have ``none`` on an edge, as in the benchmark's own runs of DARTS (Dong and
            Yang, ICLR 2020). False leaves ``none`` out when the cell is read off, as DARTS does in its own space.
        options: of the supernet, as in `TrainConfig`.
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
    order: int = 2
    allow_none: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    input_size: int = 32
    augment: bool = True
    flip: bool = False
    seed: int = 0
    split_seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        settings(self, _LEAST, _RANGES)
        if self.order > 2:
            raise ConfigError(f"order must be 1 or 2, got {self.order!r}")
        super().__post_init__()
