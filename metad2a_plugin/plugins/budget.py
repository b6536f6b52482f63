"""`Budget`: what a network is trained with, which decides how well it does at least as much as its architecture.

>>> budget = Budget(epochs=30, batch_size=64, options={"channels": 16, "cells": 1})
>>> budget.resolved(images=1500).steps
570
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias, Union

from metad2a_plugin.errors import ConfigError, said
from metad2a_plugin.utils import files
from metad2a_plugin.utils.checks import FINITE, TINY, NamedSettings, integer, settings

VALIDATION = 0.2
"""Share of a dataset's images that a training holds out unless told."""

_LEAST = {"epochs": 1, "batch_size": 2, "input_size": 8}
_RANGES: dict[str, tuple[float, float, str]] = {"lr": (TINY, FINITE, "a positive number, such as 0.1")}

AnyBudget: TypeAlias = Union["Budget", Mapping[str, Any], None]
"""A budget, its settings by name as `Budget.from_dict` reads them, or None, which is long training."""


@dataclass(frozen=True)
class Budget(NamedSettings):
    """How long, on what and in which size a network is trained; in its place None means long training.

    Attributes:
        epochs: passes over the training images.
        batch_size: largest batch.
        input_size: side of the square images, in pixels.
        lr: highest learning rate.
        flip: whether images are mirrored at random.
        images: to train on, without those held out; None takes those of the dataset, see `resolved`.
        options: of the network, as the search space knows them, such as ``channels`` and ``cells``; what is left out
            has the space's default.

    Raises:
        ConfigError: a value is out of range, or an option has the name of a setting.
    """

    epochs: int = 30
    batch_size: int = 128
    input_size: int = 32
    lr: float = 0.1
    flip: bool = False
    images: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        settings(self, _LEAST, _RANGES)
        if not isinstance(self.flip, bool):
            raise ConfigError(f"flip must be true or false, got {said(self.flip)}")
        if self.images is not None:
            integer("images", self.images, 1)
        if not isinstance(self.options, Mapping):
            raise ConfigError(f"options must be options of the network by name, got {said(self.options)}")
        object.__setattr__(self, "options", dict(self.options))
        if clash := self.options.keys() & self.names():
            raise ConfigError(f"{min(clash)} is a setting of the budget, no option of the network; give it by itself")

    def __hash__(self) -> int:
        return hash(repr(sorted(self.to_dict().items())))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Of the settings."""
        return tuple(setting.name for setting in fields(cls))

    @classmethod
    def of(cls, given: AnyBudget) -> Budget | None:
        """A budget itself, one of its `to_dict`, or None.

        Raises:
            ConfigError: it is none of these, or a value is out of range.
        """
        if given is None or isinstance(given, Budget):
            return given
        if not isinstance(given, Mapping):
            example = {"epochs": 30}
            raise ConfigError(f"budget must be a Budget or settings by name, such as {example}, got {said(given)}")
        return cls.from_dict(given)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, options among the settings."""
        plain: dict[str, Any] = {name: getattr(self, name) for name in self.names() if name != "options"}
        return plain | dict(self.options)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Budget:
        """Inverse of `to_dict`: what is no setting is an option of the network, which its space checks.

        Raises:
            ConfigError: a value is out of range.
        """
        given = {name: value for name, value in plain.items() if name in cls.names() and name != "options"}
        return cls(**given, options={name: value for name, value in plain.items() if name not in given})

    def resolved(self, images: int | None, validation: float = VALIDATION) -> Budget:
        """The same where `images` is given; else that of a dataset.

        Args:
            images: of the dataset, all of them; None where that is not known.
            validation: share of them that is held out.

        Raises:
            ConfigError: neither is known.
        """
        if self.images is not None:
            return self
        if images is None:
            raise ConfigError("how many images a network is trained on is not known; give the budget's images")
        return replace(self, images=max(1, round(images * (1 - validation))))

    def __str__(self) -> str:
        images = "" if self.images is None else f" of {self.images:,} images ({self.steps:,} steps)"
        details = [f"{self.input_size} pixels", f"batch {self.batch_size}", f"learning rate {self.lr:g}"]
        details += ["flips"] * self.flip + [f"{name} {value}" for name, value in self.options.items()]
        return f"{self.epochs} epoch{'s' * (self.epochs != 1)}{images}, {', '.join(details)}"

    @property
    def steps_per_epoch(self) -> int:
        """Of the optimiser; needs `images`.

        Raises:
            ConfigError: `images` is None.
        """
        return -(-self._images // self.batch_size)

    @property
    def steps(self) -> int:
        """Of the whole training; needs `images`."""
        return self.epochs * self.steps_per_epoch

    @property
    def seen(self) -> int:
        """Images of the whole training, each as often as it is seen; needs `images`."""
        return self.epochs * self._images

    @property
    def _images(self) -> int:
        if self.images is None:
            raise ConfigError("a budget without images has no steps; call resolved(images) with those of the dataset")
        return self.images


def budget_model(space: str) -> str | None:
    """Name of the shipped checkpoint of a space whose model knows budgets; None where there is none."""
    name = f"{space}-budget"
    return name if (files.PRETRAINED / name / "config.json").is_file() else None


def default_model(space: str, budgeted: bool) -> str:
    """Name of the checkpoint that is taken where none was given: named like the space, or the one that knows budgets.

    Args:
        space: name of the search space.
        budgeted: whether there is a budget.

    Raises:
        ConfigError: there is a budget, and no shipped model of the space knows any.
    """
    if not budgeted:
        return space
    if (name := budget_model(space)) is None:
        raise ConfigError(f"no shipped model of the space {space!r} knows budgets; leave the budget out")
    return name


def refused(what: str, space: str) -> ConfigError:
    """The error where a budget was given to what cannot use one.

    Args:
        what: was given the budget.
        space: name of the search space.
    """
    name = budget_model(space)
    other = f"leave the budget out, or take the model {name!r}, which does" if name else "leave the budget out"
    return ConfigError(f"{what} knows no budgets; {other}")
