"""This package's predictors as predictors of NASLib; what is no cell of NAS-Bench-201 is an `ArchitectureError`."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from metad2a_plugin.data import load_dataset
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.models.residual import LEARN_FROM, Describe, ResidualProcess, structure_of
from metad2a_plugin.plugins.budget import AnyBudget, default_model
from metad2a_plugin.plugins.predictor import Prediction
from metad2a_plugin.plugins.registry import predictor_of
from metad2a_plugin.search.metad2a import MetaD2A
from metad2a_plugin.search.predictor import CheckpointPredictor
from metad2a_plugin.search.scoring import task_of
from metad2a_plugin.utils.parameters import Parameterized

from ._naslib_encodings import SPACE, from_naslib
from ._naslib_host import Predictor
from ._naslib_images import images_of
from ._naslib_optimizer import MODEL, number


class _CellPredictor(Parameterized, Predictor):
    """What this package's predictors have in common in NASLib: one search space, nothing to be tuned."""

    def __init__(self, ss_type: str | None, encoding_type: Any, hpo_wrapper: bool) -> None:
        super().__init__(None, encoding_type)
        if ss_type is not None:
            self.set_ss_type(ss_type)
        self.hpo_wrapper = hpo_wrapper
        self.hyperparams: Any = None

    def set_ss_type(self, ss_type: str) -> None:
        if ss_type != "nasbench201":
            raise ConfigError(f"of NASLib's search spaces this predictor knows 'nasbench201', got {ss_type!r}")
        self.ss_type = ss_type

    def set_hyperparams(self, hyperparams: Any) -> None:
        if hyperparams:
            raise ConfigError(f"this predictor has no hyper-parameters, got {hyperparams!r}")


class NamedPredictor(_CellPredictor):
    """Any predictor of this package as one of NASLib, such as ``naswot``; it learns nothing from labelled cells.

    Args:
        name: registry name, see `available("predictors")`.
        dataset: images, for predictors that look at some; anything that `load_dataset` takes.
        seed: of the choice of images, and of the predictor.
        encoding_type, ss_type, hpo_wrapper: NASLib's, as in `MetaD2APredictor`.
        **options: for the predictor; also ``budget``, for one that knows budgets.

    Raises:
        ConfigError: no such predictor, it does not take these options, or it needs a dataset and has none.
        DatasetError: the dataset cannot be read.
    """

    def __init__(
        self,
        name: str,
        dataset: Any = None,
        *,
        seed: int = 0,
        encoding_type: Any = None,
        ss_type: str | None = None,
        hpo_wrapper: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(ss_type, encoding_type, hpo_wrapper)
        images = None if dataset is None else load_dataset(images_of(dataset))
        self._predictor = predictor_of(name, SPACE, options.pop("input_size", None), images, seed, **options)
        self._task = task_of(self._predictor, images, seed)

    def query(self, xtest: Sequence[Any], info: Any = None) -> np.ndarray:
        """Scores of graphs or encodings, float64 ``[n]``, higher is better."""
        found = self._predictor.predict(self._task, [from_naslib(cell) for cell in xtest])
        return found.mean.double().numpy()


class MetaD2APredictor(_CellPredictor):
    """MetaD2A's predictor as one of NASLib: scores cells without any labelled one, and learns from those it gets.

    With fewer than three labelled cells, scores are accuracies of the meta-training tasks, in percent; with more, they
    are on the scale of the labels: a Gaussian process of the cell, with the prediction as its mean, see
    `models.evidence`.

    Args:
        dataset: images of the dataset, as in `MetaD2AOptimizer`.
        model: as in `MetaD2AOptimizer`.
        budget: what networks are trained with, a `Budget` or its settings by name; None is long training.
        seed: of the choice of images.
        encoding_type, ss_type, hpo_wrapper: NASLib's; encodings are read as they come, and nothing is to be tuned.

    Raises:
        ConfigError: another search space than ``nasbench201``.
        CheckpointError: the model cannot be read.
    """

    def __init__(
        self,
        dataset: Any = None,
        model: str | MetaD2A | None = None,
        *,
        budget: AnyBudget = None,
        seed: int = 0,
        encoding_type: Any = None,
        ss_type: str | None = None,
        hpo_wrapper: bool = False,
    ) -> None:
        super().__init__(ss_type, encoding_type, hpo_wrapper)
        self.dataset, self.seed = dataset, seed
        if model is None:
            model = MODEL if budget is None else default_model(SPACE.name, budgeted=True)
        self._searcher = model if isinstance(model, MetaD2A) else MetaD2A.from_pretrained(model)
        self._ranker = CheckpointPredictor(SPACE, self._searcher.checkpoint, budget)
        self._process: ResidualProcess | None = None

    def pre_process(self) -> None:
        """Read the dataset and predict every cell, once."""
        _ = self._predicted

    def fit(self, xtrain: Sequence[Any], ytrain: Sequence[float], info: Any = None) -> None:
        """Learn from labelled cells, in place of those of an earlier fit.

        Args:
            xtrain: graphs or encodings, as in `from_naslib`; may be empty.
            ytrain: their accuracies; cells whose accuracy is no finite number are left out with a warning.
            info: not used.

        Raises:
            ConfigError: as many labels as cells are needed.
        """
        if len(xtrain) != len(ytrain):
            raise ConfigError(f"{len(xtrain)} cells and {len(ytrain)} labels: every cell needs one")
        labels = torch.tensor([number(y) for y in ytrain], dtype=torch.float64)
        known = labels.isfinite()
        if not known.all():
            missing = int((~known).sum())
            warnings.warn(f"{missing} of {len(labels)} labels are no finite numbers: left out", stacklevel=2)
        self._process = None
        if known.sum() >= LEARN_FROM:
            vertices, prior = self._encode(xtrain)
            self._process = ResidualProcess(
                vertices[known], labels[known], prior.mean[known], self._predicted.mean, self._describe
            )

    def query(self, xtest: Sequence[Any], info: Any = None) -> np.ndarray:
        """Scores of graphs or encodings, float64 ``[n]``, higher is better."""
        return self.predict(xtest)[0]

    def predict(self, xtest: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the scores, float64 ``[n]`` each."""
        vertices, prior = self._encode(xtest)
        if self._process is None:
            assert prior.std is not None
            return prior.mean.numpy(), prior.std.numpy()
        mean, std = self._process.predict(vertices, prior.mean)
        return mean.numpy(), std.numpy()

    # -- private -----------------------------------------------------------------------------
    def _encode(self, cells: Sequence[Any]) -> tuple[torch.Tensor, Prediction]:
        """Cells in their simplest form, int64 ``[n, 8]``, and what is predicted of them, float64 ``[n]``."""
        vertices = SPACE.simplify(SPACE.encode([from_naslib(cell) for cell in cells]))
        index = [SPACE.index(cell) for cell in SPACE.decode(vertices)]
        return vertices, self._predicted[index]

    @cached_property
    def _describe(self) -> Describe:
        return structure_of(SPACE, SPACE.all_vertices())

    @cached_property
    def _predicted(self) -> Prediction:
        """Of every cell, in official order: a search asks for them one by one, and often; float64 ``[15625]``."""
        task = None if self.dataset is None else self._searcher.task(images_of(self.dataset), seed=self.seed)
        vertices = SPACE.all_vertices()
        found = self._ranker.predict(task, vertices)
        # The paper's predictor has never seen a cell whose input reaches no output, and takes it for an average one.
        dead = SPACE.dead_mask(vertices)
        mean = torch.where(dead, found.mean.clamp(max=float(found.mean[~dead].min())), found.mean)
        return Prediction(mean.double(), None if found.std is None else found.std.double())


class MetaD2AEnsemble(MetaD2APredictor):
    """The predictor as the ensemble that BANANAS and NPENAS ask for their acquisition function.

    These take the mean and the spread of the members' scores, so two members stand at one standard deviation on
    either side of the mean. To search with it, return one from an override of ``_get_ensemble``.
    """

    def query(self, xtest: Sequence[Any], info: Any = None) -> np.ndarray:
        """Scores of two members, float64 ``[2, n]``."""
        mean, std = self.predict(xtest)
        return np.stack([mean - std, mean + std])
