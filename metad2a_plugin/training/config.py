"""How architectures are trained, each by itself: `TrainConfig`; and what it shares with other settings."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, TypeVar

from metad2a_plugin.errors import ConfigError, said
from metad2a_plugin.plugins.budget import VALIDATION, Budget
from metad2a_plugin.utils.checks import BELOW_ONE, FINITE, TINY, NamedSettings, instance, settings

_LEAST = {"epochs": 1, "input_size": 8, "seed": 0, "split_seed": 0}
EDGE = "edge"
"""A `TrainConfig.padding`."""
LEAST_BATCH = 16
_BATCHES = (LEAST_BATCH, 32, 64, 128)
_STEPS_PER_EPOCH = 25
FEW_STEPS = 300
"""Of the optimiser: networks that begin with random weights have learned little after fewer."""

_RANGES: dict[str, tuple[float, float, str]] = {
    "lr": (TINY, FINITE, "a positive number, such as 0.1"),
    "momentum": (TINY, BELOW_ONE, "a number between 0 and 1, such as 0.9"),
    "weight_decay": (0, FINITE, "0 or a positive number, such as 5e-4"),
    "warmup": (0, BELOW_ONE, "a share of all steps, from 0 to less than 1"),
    "label_smoothing": (0, BELOW_ONE, "from 0 to less than 1"),
    "validation": (TINY, BELOW_ONE, "a share between 0 and 1, such as 0.2"),
}

_Config = TypeVar("_Config", bound="NetworkConfig")


def batch_size_for(images: int) -> int:
    """The batch size where none is given: the largest of 16, 32, 64 and 128 that leaves an epoch 25 steps.

    Few images in large batches are few steps, in which a network learns little.

    Args:
        images: to train on, without those held out.

    >>> [batch_size_for(images) for images in (300, 826, 1600, 50_000)]
    [16, 32, 64, 128]
    """
    return max((batch for batch in _BATCHES if images >= batch * _STEPS_PER_EPOCH), default=LEAST_BATCH)


class NetworkConfig(NamedSettings):
    """What settings have in common, of dataclasses with `augment`, `flip` and the `options` of networks."""

    augment: bool
    flip: bool
    options: Mapping[str, Any]
    WRITTEN: ClassVar[Mapping[str, Any]] = {}
    """Options that are always written, and how where they are not given."""
    LATER: ClassVar[tuple[str, ...]] = ()
    """Settings that came later: they are not written where they are not given."""

    def __post_init__(self) -> None:
        for name in ("augment", "flip"):
            instance(name, getattr(self, name), bool, "True or False")
        instance("options", self.options, Mapping, "options of the network by name")
        if self.flip and not self.augment:
            raise ConfigError("flip=True needs augment=True; set both, or neither")
        if not isinstance(self.options, Mapping):
            raise ConfigError(f"options must be options of the network by name, got {said(self.options)}")
        object.__setattr__(self, "options", dict(self.options))
        if clash := self.options.keys() & self.names():
            raise ConfigError(f"{min(clash)} is a setting of the training, no option of the network; give it by itself")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Of the settings."""
        return tuple(setting.name for setting in fields(cls))  # type: ignore[arg-type]  # of the subclass

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, options among the settings; names and contents of files depend on their order."""
        plain: dict[str, Any] = {}
        for name in self.names():
            value = getattr(self, name)
            if not (value is None and name in self.LATER):
                plain |= {**self.WRITTEN, **value} if name == "options" else {name: value}
        return plain

    @classmethod
    def from_dict(cls: type[_Config], plain: Mapping[str, Any]) -> _Config:
        """Inverse of `to_dict`.

        Raises:
            ConfigError: a value is out of range.
        """
        given: dict[str, Any] = {name: value for name, value in plain.items() if name in cls.names()}
        given["options"] = {name: v for name, v in plain.items() if name not in given and v is not None}
        return cls(**given)


@dataclass(frozen=True)
class TrainConfig(NetworkConfig):
    """How architectures are trained: SGD with Nesterov momentum and a cosine schedule.

    The defaults follow NAS-Bench-201 (Dong and Yang, ICLR 2020, section 2.3) but for the number of epochs (200
    there), the batch size (256 there), the warm-up and the flips.

    Attributes:
        epochs: passes over the training part.
        batch_size: largest batch; an epoch is cut into batches of equal size, so none is tiny. None follows the number
            of images, see `batch_size_for`.
        lr: highest learning rate.
        momentum: Nesterov momentum.
        weight_decay: on all parameters.
        warmup: share of all steps in which the learning rate rises linearly.
        label_smoothing: of the cross-entropy.
        augment: random crops of the image padded by an eighth of its side.
        padding: of these: ``"edge"`` continues the border of the image; None is black.
        flip: also mirror images at random. Off by default, because mirrored digits, letters or signs are other
            objects; turn it on for photographs.
        input_size: side of the square images, in pixels.
        options: of the network, as the search space knows them (`SearchSpace.check_options`), such as ``channels`` and
            ``cells`` of NAS-Bench-201 (16 and 5 if left out) or ``width`` of MobileNetV3 (1.0).
        weights: that networks begin with: ``"shipped"``, or the file of a supernet of the space; None begins with
            random ones.
        validation: share of the images held out.
        seed: of initial weights, order and augmentation.
        split_seed: of the validation part; independent of `seed`, so that runs can be compared.
        device: ``"cpu"``, ``"cuda"``, ...; ``"auto"`` takes a GPU where there is one.

    Raises:
        ConfigError: a value is out of range, `flip` is set without `augment`, or an option has the name of a setting.
    """

    # As they were when they were settings: files of then are found and read.
    WRITTEN = dict.fromkeys(("channels", "cells", "width"))
    LATER = ("weights", "padding")

    epochs: int = 30
    batch_size: int | None = None
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.05
    label_smoothing: float = 0.0
    augment: bool = True
    flip: bool = False
    input_size: int = 32
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    padding: str | None = None
    validation: float = VALIDATION
    seed: int = 0
    split_seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.padding not in (None, EDGE):
            raise ConfigError(f"padding must be {EDGE!r} or None for black, got {self.padding!r}")
        settings(self, _LEAST if self.batch_size is None else {**_LEAST, "batch_size": 2}, _RANGES)
        super().__post_init__()

    def batch_of(self, images: int) -> int:
        """The batch size of a training on so many images, without those held out."""
        return batch_size_for(images) if self.batch_size is None else self.batch_size

    def steps(self, images: int) -> int:
        """Of the optimiser, in a training on so many images, without those held out."""
        return self.epochs * -(-images // self.batch_of(images))

    def resolved(self, images: int) -> TrainConfig:
        """The same with the batch size for so many images, without those held out."""
        return replace(self, batch_size=self.batch_of(images))

    @property
    def budget(self) -> Budget:
        """What a network is trained with, for predictors that know budgets.

        Raises:
            ConfigError: the batch size follows the number of images; `resolved` gives it.
        """
        if self.batch_size is None:
            raise ConfigError("a budget needs a batch size: give one, or call resolved(images) first")
        shared = {name: getattr(self, name) for name in Budget.names() if hasattr(self, name)}
        return Budget(**shared)

    def part(self, names: Collection[str]) -> dict[str, Any]:
        """Some of the settings; in place of ``options``, each option of the network by its name."""
        chosen = {name: getattr(self, name) for name in names if name != "options"}
        return chosen | dict(self.options if "options" in names else {})
