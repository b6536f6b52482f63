"""MetaD2A's predictor as a regressor of scikit-learn."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, column_or_1d

from metad2a_plugin.candidates.find import EXHAUSTIVE
from metad2a_plugin.errors import ArchitectureError, ConfigError, said
from metad2a_plugin.models.residual import LEARN_FROM, ResidualProcess, structure_of
from metad2a_plugin.plugins.budget import AnyBudget, Budget
from metad2a_plugin.plugins.registry import DEFAULT_SPACE, get_space
from metad2a_plugin.search.metad2a import MetaD2A
from metad2a_plugin.search.predictor import CheckpointPredictor
from metad2a_plugin.spaces.base import SearchSpace

_SAMPLE = 4000
"""Architectures that stand for a space too large to list."""


class ArchitectureRegressor(RegressorMixin, BaseEstimator):
    """Accuracies of architectures: a Gaussian process of those that were measured, with MetaD2A's prediction as mean.

    See `models.residual`. Values may have any scale; higher is not assumed to be better where they say otherwise.

    Args:
        space: search space, by name.
        dataset: images that architectures are for, as `load_dataset` takes them; None takes the average
            meta-training task.
        model: a shipped checkpoint by name, its folder, or a `MetaD2A`; None takes the space's own, or for a budget
            the one that knows budgets.
        budget: what networks are trained with, a `Budget` or its settings by name; None is long training.
        random_state: of the choice of images, and of those that stand for a space too large to list.

    Attributes:
        n_labels_: how many values were learned from.
    """

    def __init__(
        self,
        space: str = DEFAULT_SPACE,
        *,
        dataset: Any = None,
        model: str | MetaD2A | None = None,
        budget: AnyBudget = None,
        random_state: Any = 0,
    ) -> None:
        self.space = space
        self.dataset = dataset
        self.model = model
        self.budget = budget
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> ArchitectureRegressor:  # noqa: N803
        """Learn from measured architectures.

        Args:
            X: architectures in any notation that the space reads, ``[n]`` or ``[n, 1]``.
            y: a value of each, such as its accuracy in percent, ``[n]``; at least three.

        Raises:
            ArchitectureError: one is none of the space.
            ConfigError: too few values, or not one finite value for each.
            DatasetError: the dataset cannot be used.
        """
        space, budget = get_space(self.space), Budget.of(self.budget)
        cells = _texts(X)
        if y is None:
            raise ConfigError("ArchitectureRegressor requires y to be passed, but the target y is None")
        values = torch.from_numpy(np.asarray(column_or_1d(y, warn=True), dtype=np.float64))
        if len(values) != len(cells) or len(cells) < LEARN_FROM or not values.isfinite().all():
            raise ConfigError(
                f"{len(cells)} architectures and {len(values)} values, {int(values.isfinite().sum())} of them finite, "
                f"were given; each needs a finite one, and there must be at least {LEARN_FROM}"
            )
        told = space.simplify(space.encode([space.parse(cell) for cell in cells]))
        searcher = MetaD2A.of_space(space, self.model, budgeted=budget is not None)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._task = None if self.dataset is None else searcher.task(self.dataset, seed=seed)
        self._prior = CheckpointPredictor(space, searcher.checkpoint, budget)
        everything = _population(space, seed)
        self._floor = self._prior.predict(self._task, everything[~space.dead_mask(everything)]).mean.double().min()
        describe = structure_of(space, everything)
        self._process = ResidualProcess(told, values, self._predicted(told), self._predicted(everything), describe)
        self.n_labels_ = len(values)
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:  # noqa: N803
        """Values of architectures, float64 ``[n]``, in the unit of those given to `fit`.

        Args:
            X: as in `fit`.
            return_std: give a standard deviation of each as well, as a second array.

        Raises:
            ArchitectureError: one is none of the space.
            sklearn.exceptions.NotFittedError: `fit` was not called.
        """
        check_is_fitted(self)
        space = self._prior.space
        vertices = space.simplify(space.encode([space.parse(cell) for cell in _texts(X)]))
        mean, std = self._process.predict(vertices, self._predicted(vertices))
        return (mean.numpy(), std.numpy()) if return_std else mean.numpy()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.input_tags.string = True
        return tags

    # -- private ---------------------------------------------------------------------------------
    def _predicted(self, vertices: torch.Tensor) -> torch.Tensor:
        """By the model, float64 ``[n]``; what leads nowhere is no better than the worst that leads somewhere."""
        found = self._prior.predict(self._task, vertices).mean.double()
        return torch.where(self._prior.space.dead_mask(vertices), found.clamp(max=self._floor), found)


def _texts(given: Any) -> list[Any]:
    """Architectures of a list, an array, a series or a column of a frame."""
    if isinstance(given, str) or not hasattr(given, "__len__"):
        raise ArchitectureError(f"X must be a list or an array of architectures, got {said(given)}")
    if hasattr(given, "to_numpy") or isinstance(given, np.ndarray):
        array = np.asarray(given, dtype=object)
        if array.ndim != 1 and array.shape != (len(array), 1):
            raise ArchitectureError(f"X must be architectures [n] or [n, 1], got an array {list(array.shape)}")
        return list(array.reshape(-1))
    return [one[0] if isinstance(one, (list, tuple)) and len(one) == 1 else one for one in given]


def _population(space: SearchSpace, seed: int) -> torch.Tensor:
    """All of a space in simplest form, or a sample of a large one, int64 ``[m, vertices]``."""
    if space.size <= EXHAUSTIVE:
        return space.simplify(space.all_vertices())
    rng = random.Random(seed)
    return space.simplify(space.encode([space.sample(rng) for _ in range(_SAMPLE)]))
