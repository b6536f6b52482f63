"""What a meta-training is asked for, and the architectures that stand for a search space."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.registry import get_predictor, get_space
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.utils.checks import one_of

RECIPES = ("default", "paper", "release")
"""``default``: this package's predictor. ``paper``: the paper's predictor with a quick schedule. ``release``: the
paper's predictor and generator with the authors' schedule (hours)."""

TARGETS = ("rows", "best-of-10")
"""What a generator learns: the networks of the rows; or as many of the best predicted of ten random ones each
(`meta.targets`), for a database whose networks were not chosen for being good."""

_LISTED = 20_000  # architectures of a space whose population is all of them
_POPULATION = 4096  # networks that stand for all of a larger one


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
        targets: what it learns, one of `TARGETS`; by default the rows in NAS-Bench-201, whose released database holds
            good cells, and with `selection`.
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
        selected = self.selection or self.space == "nasbench201"
        return self.targets or ("rows" if selected else "best-of-10")


def population(space: SearchSpace, seed: int = 0) -> torch.Tensor:
    """All architectures of a space, encoded, or 4,096 random ones where there are too many."""
    if space.size <= _LISTED:
        return space.all_vertices()
    rng = random.Random(seed)
    return space.encode([space.sample_balanced(rng) for _ in range(_POPULATION)])


def require_listed(space: SearchSpace, what: str) -> None:
    """Refuse a space that is too large to be listed; `what` needs that.

    Raises:
        ConfigError: it is.
    """
    if space.size > _LISTED:
        raise ConfigError(
            f"{what} can only be learned in a search space of at most {_LISTED:,} architectures, which can be listed; "
            f"{space.name} has {space.size:.2e}"
        )
