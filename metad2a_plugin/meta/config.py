"""Settings of a meta-database, of the supernet behind one, and of a meta-training; nothing here imports torch."""

from __future__ import annotations

import random
from dataclasses import dataclass

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.registry import get_predictor, get_space
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.utils.checks import BELOW_ONE, FINITE, TINY, NamedSettings, one_of, settings
from metad2a_plugin.utils.lazy import torch

RECIPES = ("default", "paper", "release")
"""``default``: this package's predictor. ``paper``: the paper's predictor with a quick schedule. ``release``: the
paper's predictor and generator with the authors' schedule (hours)."""

TARGETS = ("rows", "best-of-10")
"""What a generator learns: the networks of the rows; or as many of the best predicted of ten random ones each
(`meta.targets`), for a database whose networks were not chosen for being good."""

_LISTED = 20_000  # architectures of a space whose population is all of them
_POPULATION = 4096  # networks that stand for all of a larger one
_PLAN_LEAST = dict.fromkeys(("tasks", "valid_tasks", "rows_per_task", "test_images", "calibration_images"), 1)
_PLAN_LEAST |= {"classes": 2, "seed": 0}
_SUPERNET_LEAST = {"input_size": 32, "epochs": 1, "batch_size": 2, "random": 0, "seed": 0}
_SUPERNET_RANGES: dict[str, tuple[float, float, str]] = {
    "width": (0.1, 4, "a multiplier of the channels, such as 0.35"),
    "lr": (TINY, FINITE, "a positive number, such as 2e-3"),
    "weight_decay": (0, FINITE, "0 or a positive number, such as 0.05"),
    "warmup": (0, BELOW_ONE, "a share of all steps, from 0 to less than 1"),
    "label_smoothing": (0, BELOW_ONE, "from 0 to less than 1"),
    "distillation": (0, FINITE, "0 or a positive number, such as 2"),
}


@dataclass(frozen=True)
class PlanConfig(NamedSettings):
    """Settings of a meta-database.

    Attributes:
        tasks: training tasks.
        valid_tasks: validation tasks, made of classes that no training task has.
        rows_per_task: networks measured on each task.
        classes: of a task.
        held_out: share of the classes that only validation tasks have.
        related: share of the tasks whose classes are neighbours in the order of their names (ImageNet's folders
            follow WordNet, so that these are fine-grained tasks); the others are drawn from all.
        test_images: of each class, that accuracies are measured on; a supernet of our own is not trained on them.
        calibration_images: of each class of a task, that batch norm is re-calibrated on; others than those.
        seed: of everything random.

    Raises:
        ConfigError: a value is out of range.
    """

    tasks: int = 1000
    valid_tasks: int = 200
    rows_per_task: int = 5
    classes: int = 20
    held_out: float = 0.25
    related: float = 0.5
    test_images: int = 15
    calibration_images: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        shares = {"held_out": (0.01, 0.99, "a share of the classes, such as 0.25")}
        settings(self, _PLAN_LEAST, shares | {"related": (0, 1, "a share of the tasks, from 0 to 1")})


@dataclass(frozen=True)
class SupernetConfig:
    """How a supernet is trained: AdamW with a cosine schedule.

    Attributes:
        width: multiplier of the channels.
        input_size: side of the images, in pixels.
        epochs: passes over the training images.
        batch_size: largest batch.
        lr: highest learning rate.
        weight_decay: on all parameters.
        warmup: share of all steps in which the learning rate rises linearly.
        label_smoothing: of the cross-entropy with labels.
        random: networks of a step besides the largest and the smallest.
        teacher: image encoder whose features networks learn to predict; None for labels alone.
        distillation: weight of that.
        seed: of initial weights, order, augmentation and networks.
        device: where it runs.

    Raises:
        ConfigError: a value is out of range.
    """

    width: float = 0.35
    input_size: int = 48
    epochs: int = 20
    batch_size: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    label_smoothing: float = 0.1
    random: int = 1
    teacher: str | None = "default"
    distillation: float = 5.0
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        settings(self, _SUPERNET_LEAST, _SUPERNET_RANGES)


@dataclass(frozen=True)
class MetaTrainConfig:
    """Settings of a meta-training.

    Attributes:
        space: registry name of the search space.
        recipe: one of `RECIPES`.
        encoder: registry name of the image encoder.
        protocol_step: see `load_database`.
        selection: the database's cells were chosen for being good, so that being in it is evidence; of use to the
            default recipe, in a space that can be listed.
        quality: registry name of a predictor that needs no dataset; networks are put in its order, and the database
            tells how hard datasets are and how much the order matters. For the default recipe, and databases that tell
            networks apart less well.
        generator: train one too.
        targets: what it learns, one of `TARGETS`; by default the rows with `selection`, and in spaces that can be
            listed, such as NAS-Bench-201, whose released database holds good cells.
        seed: of everything random.
        device: where the generator and the paper's predictor train.

    Raises:
        ConfigError: the recipe, the space or the targets are unknown, or the space is too large for `selection`.
    """

    space: str = "nasbench201"
    recipe: str = "default"
    encoder: str = "default"
    protocol_step: float | None = None
    selection: bool = False
    quality: str | None = None
    generator: bool = True
    targets: str | None = None
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        one_of("recipe", self.recipe, RECIPES)
        if self.targets is not None:
            one_of("generator targets", self.targets, TARGETS)
        space = get_space(self.space)
        if self.quality is not None and self.recipe != "default":
            raise ConfigError(f"the recipe {self.recipe!r} cannot use a quality; leave it out")
        if self.quality is not None and get_predictor(self.quality).needs_task:
            raise ConfigError(f"quality must be a predictor that needs no dataset, not {self.quality!r}")
        if self.selection:
            require_listed(space, "that networks were selected")

    @property
    def generator_targets(self) -> str:
        """`targets`, or what stands for None."""
        selected = self.selection or listed(get_space(self.space))
        return self.targets or ("rows" if selected else "best-of-10")


def listed(space: SearchSpace) -> bool:
    """Whether the population of a space is all of it."""
    return space.size <= _LISTED


def population(space: SearchSpace, seed: int = 0) -> torch.Tensor:
    """All architectures of a space, encoded, or 4,096 random ones where there are too many."""
    if listed(space):
        return space.all_vertices()
    rng = random.Random(seed)
    return space.encode([space.sample_balanced(rng) for _ in range(_POPULATION)])


def require_listed(space: SearchSpace, what: str) -> None:
    """Refuse a space too large to be listed.

    Raises:
        ConfigError: says that `what` can only be learned in a smaller one.
    """
    if not listed(space):
        raise ConfigError(
            f"{what} can only be learned in a search space of at most {_LISTED:,} architectures, which can be listed; "
            f"{space.name} has {space.size:.2e}"
        )
