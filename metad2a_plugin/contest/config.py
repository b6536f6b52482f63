"""Settings of `auto`; nothing here imports torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from metad2a_plugin.utils.checks import BELOW_ONE, FINITE, TINY, settings

_LEAST = {"seed": 0}
_RANGES: dict[str, tuple[float, float, str]] = {
    "seconds": (10, FINITE, "10 seconds or more, such as 1800 for half an hour"),
    "validation": (TINY, BELOW_ONE, "a share between 0 and 1, such as 0.15"),
    "test": (TINY, BELOW_ONE, "a share between 0 and 1, such as 0.15"),
}


@dataclass(frozen=True)
class AutoConfig:
    """Settings.

    Attributes:
        seconds: that there are for all of it.
        flip: whether images may be mirrored; mirrored digits, letters or signs are other objects.
        encoder: whose features a linear classifier reads, and which is trained further itself.
        validation: share of the images, without those of the test, that choices are made by.
        test: share of the images that nothing is chosen by; the result is measured on it once.
        seed: of everything random.
        device: where networks train, as in `TrainConfig`.

    Raises:
        ConfigError: a value is out of range.
    """

    seconds: float
    flip: bool = False
    encoder: str = "default"
    validation: float = 0.2
    test: float = 0.15
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        settings(self, _LEAST, _RANGES)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)
