"""Meta-training of the paper's generator and predictor by gradient descent (Lee et al., ICLR 2021).

In every epoch each training row of the meta-database becomes a new random set of images of its task's
classes, with the row's architecture to generate or its accuracy to predict. Rows of one step that share a
class share its draw of images, so that a class is encoded once a step.
"""

from __future__ import annotations

import copy
import math
import os
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import torch

from metad2a_plugin.errors import DatasetError
from metad2a_plugin.meta.database import ClassFeatures, MetaDatabase, fingerprint
from metad2a_plugin.meta.metrics import pearson, spearman
from metad2a_plugin.meta.paper_config import GENERATOR, PREDICTOR, PaperConfig
from metad2a_plugin.models.generator import PaperGenerator
from metad2a_plugin.models.predictor import PaperPredictor
from metad2a_plugin.training.loop import Line, TrainingLoop, cosine
from metad2a_plugin.utils.locks import alone_in

_FORMAT = 1
_WARMUP = 0.05
_VALIDATION_SEED = 0  # the same images in every epoch and run, so that epochs can be compared
Model = TypeVar("Model", PaperGenerator, PaperPredictor)


class GeneratorEpoch(NamedTuple):
    """One line of the log; losses are per training row, `valid_nll` is nats per validation graph.

    `lr` is the learning rate of the last step; `valid_nll` is teacher-forced, from the latent's mean.
    """

    epoch: int
    lr: float
    loss: float
    vertex_nll: float
    edge_nll: float
    kl: float
    valid_nll: float
    seconds: float


class PredictorEpoch(NamedTuple):
    """One line of the log; `loss` is per training row, the others correlate scores and validation accuracies."""

    epoch: int
    lr: float
    loss: float
    pearson: float
    spearman: float
    seconds: float


@dataclass(frozen=True)
class TrainedPredictor:
    """A meta-trained predictor and the scale of its scores.

    Attributes:
        predictor: in evaluation mode.
        mean, scale: ``percent = mean + scale * score``.
    """

    predictor: PaperPredictor
    mean: float
    scale: float


def train_generator(
    database: MetaDatabase,
    classes: ClassFeatures,
    config: PaperConfig = GENERATOR,
    *,
    run_dir: str | os.PathLike[str] | None = None,
    on_epoch: Callable[[GeneratorEpoch], None] = lambda line: None,
    device: str | torch.device = "cpu",
) -> PaperGenerator:
    """Meta-train a generator on the training rows of a database.

    The same arguments give the same weights on the CPU (with the same number of threads), also when
    a run with `run_dir` was interrupted in between.

    Args:
        database, classes: from `load_database` and `ClassFeatures.group`.
        config: settings.
        run_dir: folder for the state ``generator.pt``, saved after each epoch, and the log ``generator.csv``;
            an interrupted run goes on from there, a finished one is not repeated.
        on_epoch: called with each new line of the log.
        device: where to train.

    Returns:
        The generator, in evaluation mode.

    Raises:
        DatasetError: no row to train on, or none to validate on.
        ConfigError: the loss is not finite, `run_dir` cannot be written, or another process is writing it.
        CheckpointError: the state in `run_dir` is damaged, or of other settings or data.
    """
    return _GeneratorRun(database, classes, config, device).result(on_epoch, run_dir)


def train_predictor(
    database: MetaDatabase,
    classes: ClassFeatures,
    config: PaperConfig = PREDICTOR,
    *,
    run_dir: str | os.PathLike[str] | None = None,
    on_epoch: Callable[[PredictorEpoch], None] = lambda line: None,
    device: str | torch.device = "cpu",
) -> TrainedPredictor:
    """Meta-train a predictor; arguments, files (``predictor.*``) and errors as in `train_generator`.

    The target is the accuracy, z-scored and times `PaperConfig.target_std`; the loss is the summed squared error.

    Raises:
        DatasetError: also where all training rows have the same accuracy.
    """
    run = _PredictorRun(database, classes, config, device)
    return TrainedPredictor(run.result(on_epoch, run_dir), run.mean, run.scale)


# -- one run -------------------------------------------------------------------------------------
class _Run(TrainingLoop[Line], Generic[Line, Model]):
    """One model in training; its state is the weights, the best ones, the optimiser, the schedule and the log."""

    name: str
    config: PaperConfig

    def __init__(
        self, database: MetaDatabase, classes: ClassFeatures, config: PaperConfig, device: str | torch.device
    ) -> None:
        super().__init__(config, torch.device(device), f"the {self.name}")
        self.database, self.classes = database, classes
        used = (database.protocol == 0) | (not config.first_protocol_only)
        self.rows, self.valid = (torch.nonzero(used & s).squeeze(1) for s in (~database.valid, database.valid))
        if not len(self.rows) or not len(self.valid):
            raise DatasetError(
                f"meta-training needs training and validation rows, got {len(self.rows)} and "
                f"{len(self.valid)}; check the columns split and protocol of rows.csv"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.model: Model = self.build(classes.features.shape[1]).to(self.device)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), config.lr, weight_decay=config.weight_decay)
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(self.optimizer, factor=0.1, patience=10)
        self.best: Model = copy.deepcopy(self.model)
        self.parts = {"model": self.model, "optimizer": self.optimizer, "plateau": self.plateau, "best": self.best}

    @abstractmethod
    def build(self, feature_dim: int) -> Model:
        """The model, with random weights, and what else the rows say."""

    @abstractmethod
    def losses(self, rows: torch.Tensor, draw: torch.Generator, noise: torch.Generator) -> dict[str, torch.Tensor]:
        """The loss, under that name, and its parts, summed over rows ``[n]``."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Metrics of the validation rows."""

    @abstractmethod
    def quality(self, line: Line) -> float:
        """The metric that chooses the epoch; higher is better."""

    def result(self, report: Callable[[Line], None], run_dir: str | os.PathLike[str] | None) -> Model:
        """Train what is left to train."""
        folder = None if run_dir is None else Path(run_dir)
        with alone_in(folder):
            self.complete(report, folder)
        return (self.best if self.config.keep_best else self.model).eval()

    def codes(self, rows: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
        """Set codes ``[n, latent]`` of rows ``[n]``, which share the images drawn of a class."""
        used, index = self.database.task_classes[self.database.task[rows]].unique(return_inverse=True)
        images = self.classes.draw(used, self.config.images_per_class, draw).to(self.device)
        encoder = self.model.set_encoder
        prototypes = encoder.images(images)[index.to(self.device)]
        codes: torch.Tensor = encoder.classes(prototypes)
        return codes

    def graphs(self, rows: torch.Tensor) -> torch.Tensor:
        """Architectures of rows, int64 ``[n, vertices]``."""
        return self.database.vertices[rows].to(self.device)

    def _epoch(self, index: int) -> Line:
        seed = torch.initial_seed()
        draw, noise = torch.Generator().manual_seed(seed), torch.Generator(self.device).manual_seed(seed)
        order = self.rows[torch.randperm(len(self.rows), generator=draw)]
        batches = order.split(self.config.batch_size)
        self.model.train()
        steps = []
        for step, rows in enumerate(batches, 1):
            if self.config.schedule == "cosine":
                done = (index + step / len(batches)) / self.config.epochs
                cosine(self.optimizer, self.config.lr, done, rise=done / _WARMUP)
            parts = self.losses(rows, draw, noise)
            self.optimizer.zero_grad()
            parts["loss"].backward()
            self.optimizer.step()
            steps.append(torch.stack([part.detach() for part in parts.values()]))
        totals = (torch.stack(steps).sum(0) / len(self.rows)).tolist()
        mean = dict(zip(parts, totals, strict=True))
        lr = self.optimizer.param_groups[0]["lr"]
        self._require_finite(mean["loss"], ", and check the features for infinite values")
        if self.config.schedule == "plateau":
            self.plateau.step(mean["loss"])
        self.model.eval()
        with torch.no_grad():
            metrics = self.validate()
        line = self.line(epoch=index + 1, lr=lr, **mean, **metrics, seconds=self.seconds)
        if self.config.keep_best and self.quality(line) > max(map(self.quality, self.history), default=-math.inf):
            self.best.load_state_dict(self.model.state_dict())
        return line

    @cached_property
    def key(self) -> str:
        """SHA-256 over all that the result depends on, but the device."""
        return fingerprint((_FORMAT, self.name, asdict(self.config)), self.database, self.classes)


class _GeneratorRun(_Run[GeneratorEpoch, PaperGenerator]):
    name = "generator"
    line = GeneratorEpoch
    FILES = ("generator.pt", "generator.csv")

    def build(self, feature_dim: int) -> PaperGenerator:
        return PaperGenerator.of_space(self.database.space, feature_dim=feature_dim)

    def losses(self, rows: torch.Tensor, draw: torch.Generator, noise: torch.Generator) -> dict[str, torch.Tensor]:
        return self.model.loss_of_code(self.codes(rows, draw), self.graphs(rows), noise)

    def validate(self) -> dict[str, float]:
        code = self.codes(self.valid, torch.Generator().manual_seed(_VALIDATION_SEED))
        likelihood = self.model.log_likelihood(self.model.latent(code)[0], self.graphs(self.valid))
        return {"valid_nll": -likelihood.mean().item()}

    def quality(self, line: GeneratorEpoch) -> float:
        return -line.valid_nll


class _PredictorRun(_Run[PredictorEpoch, PaperPredictor]):
    name = "predictor"
    line = PredictorEpoch
    FILES = ("predictor.pt", "predictor.csv")

    def build(self, feature_dim: int) -> PaperPredictor:
        accuracy = self.database.accuracy[self.rows].double()
        spread = accuracy.std(correction=0).item()
        if not spread > 0:
            raise DatasetError("all training rows have the same accuracy, so there is nothing to predict")
        self.mean, self.scale = accuracy.mean().item(), spread / self.config.target_std
        self.targets = ((self.database.accuracy - self.mean) / self.scale).to(self.device)
        return PaperPredictor.of_space(self.database.space, feature_dim=feature_dim)

    def losses(self, rows: torch.Tensor, draw: torch.Generator, noise: torch.Generator) -> dict[str, torch.Tensor]:
        error = self._scores(rows, draw) - self.targets[rows.to(self.device)]
        return {"loss": error.square().sum()}

    def validate(self) -> dict[str, float]:
        scores = self._scores(self.valid, torch.Generator().manual_seed(_VALIDATION_SEED)).cpu()
        accuracy = self.database.accuracy[self.valid]
        return {"pearson": pearson(scores, accuracy), "spearman": spearman(scores, accuracy)}

    def quality(self, line: PredictorEpoch) -> float:
        return line.pearson

    def _scores(self, rows: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
        scores: torch.Tensor = self.model.head(self.codes(rows, draw), self.model.graph_code(self.graphs(rows)))
        return scores
