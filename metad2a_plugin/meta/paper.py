"""Meta-training of the paper's generator and predictor by gradient descent (Lee et al., ICLR 2021).

In every epoch each training row of the meta-database becomes a new random set of images of its task's
classes, with the row's architecture to generate or its accuracy to predict. Rows of one step that share a
class share its draw of images, so that a class is encoded once a step.
"""

from __future__ import annotations

import copy
import io
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch

from metad2a_plugin.errors import CheckpointError, ConfigError, DatasetError
from metad2a_plugin.meta.database import ClassFeatures, MetaDatabase, fingerprint
from metad2a_plugin.meta.metrics import pearson, spearman
from metad2a_plugin.models.generator import PaperGenerator
from metad2a_plugin.models.predictor import PaperPredictor
from metad2a_plugin.utils.checks import FINITE, TINY, settings
from metad2a_plugin.utils.files import UNREADABLE, write_atomically

_FORMAT = 1
_WARMUP = 0.05
_VALIDATION_SEED = 0  # the same images in every epoch and run, so that epochs can be compared
_LEAST = {"epochs": 1, "batch_size": 1, "images_per_class": 1, "seed": 0}
_RANGES: dict[str, tuple[float, float, str]] = {
    "lr": (TINY, FINITE, "a positive number, such as 1e-3"),
    "weight_decay": (0, FINITE, "0 or a positive number, such as 1e-2"),
    "target_std": (TINY, FINITE, "a positive number, such as 1"),
}
_SCHEDULES = ("cosine", "plateau")

Report = Callable[[dict[str, float]], None]
"""Called with each epoch's line of the log, after it was saved."""

Model = TypeVar("Model", PaperGenerator, PaperPredictor)


@dataclass(frozen=True)
class PaperConfig:
    """How a model of the paper is meta-trained: Adam, on random image sets of the training rows.

    Attributes:
        epochs: passes over the training rows.
        batch_size: rows of a step.
        lr: highest learning rate.
        weight_decay: decoupled from the gradient (AdamW).
        schedule: ``"cosine"`` rises over the first twentieth of the steps, then falls to zero; ``"plateau"``
            divides by ten once the training loss has not fallen for more than ten epochs.
        keep_best: return the weights of the epoch that did best on the validation rows, not the last ones.
        images_per_class: images drawn of each class.
        target_std: standard deviation of the predictor's targets; of no use to the generator.
        first_protocol_only: leave out the rows of protocol 1, whose accuracies lie on another scale.
        seed: of the initial weights, the order of the rows and the images drawn.

    Raises:
        ConfigError: a value is out of range.
    """

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float = 0.0
    schedule: str = "cosine"
    keep_best: bool = False
    images_per_class: int = 20
    target_std: float = 1.0
    first_protocol_only: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        settings(self, _LEAST, _RANGES)
        if self.schedule not in _SCHEDULES:
            raise ConfigError(f"schedule must be one of {_SCHEDULES}, got {self.schedule!r}")


GENERATOR = PaperConfig(
    epochs=24, batch_size=128, lr=3e-3, keep_best=True, images_per_class=10, first_protocol_only=True
)
"""A minute and a half of one core. Rows of protocol 1 hold cells of another kind, which a search does not want."""
PREDICTOR = PaperConfig(epochs=30, batch_size=256, lr=2e-3, weight_decay=0.05, images_per_class=10)
"""Three minutes of one core; the last epoch counts, so the validation rows choose nothing."""
GENERATOR_RELEASE = PaperConfig(epochs=400, batch_size=32, lr=1e-4, schedule="plateau", seed=333)
"""The authors' settings; their generator is the last epoch's."""
PREDICTOR_RELEASE = PaperConfig(
    epochs=400, batch_size=32, lr=1e-4, schedule="plateau", keep_best=True, target_std=0.01, seed=333
)
"""The authors' settings; their predictor is that of highest Pearson correlation on the validation rows."""


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
    on_epoch: Report = lambda line: None,
    device: str | torch.device = "cpu",
) -> PaperGenerator:
    """Meta-train a generator on the training rows of a database.

    The same arguments give the same weights on the CPU (with the same number of threads), also when
    a run with `run_dir` was interrupted in between. A line of the log holds the epoch from 1, the last learning
    rate, the loss and its parts per training row, ``valid_nll`` (nats per validation graph, teacher-forced, from
    the latent's mean) and seconds.

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
        ConfigError: the loss is not finite, or `run_dir` cannot be written.
        CheckpointError: the state in `run_dir` is damaged, or of other settings or data.
    """
    return _GeneratorRun(database, classes, config, run_dir, device).result(on_epoch)


def train_predictor(
    database: MetaDatabase,
    classes: ClassFeatures,
    config: PaperConfig = PREDICTOR,
    *,
    run_dir: str | os.PathLike[str] | None = None,
    on_epoch: Report = lambda line: None,
    device: str | torch.device = "cpu",
) -> TrainedPredictor:
    """Meta-train a predictor; arguments, files (``predictor.*``) and errors as in `train_generator`.

    The target is the accuracy, z-scored and times `PaperConfig.target_std`; the loss is the summed squared
    error. The log holds it per training row, and ``pearson`` and ``spearman``, the correlations of scores and
    accuracies of the validation rows.

    Raises:
        DatasetError: also where all training rows have the same accuracy.
    """
    run = _PredictorRun(database, classes, config, run_dir, device)
    return TrainedPredictor(run.result(on_epoch), run.mean, run.scale)


# -- one run -------------------------------------------------------------------------------------
class _Run(ABC, Generic[Model]):
    """One model in training; its state is the weights, the optimiser, the schedule and the log."""

    name: str

    def __init__(
        self,
        database: MetaDatabase,
        classes: ClassFeatures,
        config: PaperConfig,
        run_dir: str | os.PathLike[str] | None,
        device: str | torch.device,
    ) -> None:
        self.database: MetaDatabase = database
        self.classes: ClassFeatures = classes
        self.config: PaperConfig = config
        self.device = torch.device(device)
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
        self.best: dict[str, torch.Tensor] = copy.deepcopy(self.model.state_dict()) if config.keep_best else {}
        self.log: list[dict[str, float]] = []
        self.dir = None if run_dir is None else Path(run_dir)
        self.key = "" if self.dir is None else self._fingerprint()

    @abstractmethod
    def build(self, feature_dim: int) -> Model:
        """The model, with random weights."""

    @abstractmethod
    def losses(self, rows: torch.Tensor, draw: torch.Generator, noise: torch.Generator) -> dict[str, torch.Tensor]:
        """The loss, under that name, and its parts, summed over rows ``[n]``."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Metrics of the validation rows."""

    @abstractmethod
    def quality(self, line: dict[str, float]) -> float:
        """The metric that chooses the epoch; higher is better."""

    def result(self, report: Report) -> Model:
        """Train what is left to train."""
        if self.dir and (self.dir / f"{self.name}.pt").exists():
            self._load(self.dir / f"{self.name}.pt")
        while len(self.log) < self.config.epochs:
            line = self._epoch(len(self.log))
            if self.config.keep_best and self.quality(line) > max(map(self.quality, self.log), default=-math.inf):
                self.best = copy.deepcopy(self.model.state_dict())
            self.log.append(line)
            if self.dir:
                self._save(self.dir)
            report(line)
        if self.config.keep_best:
            self.model.load_state_dict(self.best)
        return self.model.eval()

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

    def _epoch(self, index: int) -> dict[str, float]:
        begin = time.perf_counter()
        # Each epoch has its own seed, so that a resumed run needs no generator state.
        seed = int(np.random.SeedSequence((self.config.seed, index)).generate_state(1, np.uint64)[0] >> 1)
        draw, noise = torch.Generator().manual_seed(seed), torch.Generator(self.device).manual_seed(seed)
        order = self.rows[torch.randperm(len(self.rows), generator=draw)]
        batches = order.split(self.config.batch_size)
        self.model.train()
        steps = []
        for step, rows in enumerate(batches, 1):
            if self.config.schedule == "cosine":
                self._set_lr((index + step / len(batches)) / self.config.epochs)
            parts = self.losses(rows, draw, noise)
            self.optimizer.zero_grad()
            parts["loss"].backward()
            self.optimizer.step()
            steps.append(torch.stack([part.detach() for part in parts.values()]))
        totals = (torch.stack(steps).sum(0) / len(self.rows)).tolist()
        mean = dict(zip(parts, totals, strict=True))
        lr = self.optimizer.param_groups[0]["lr"]
        if not math.isfinite(mean["loss"]):
            raise ConfigError(
                f"the {self.name}'s loss became {mean['loss']} in epoch {index + 1}; train with a lower "
                f"learning rate (such as lr={self.config.lr / 10:g}) and check the features for infinite values"
            )
        if self.config.schedule == "plateau":
            self.plateau.step(mean["loss"])
        self.model.eval()
        with torch.no_grad():
            metrics = self.validate()
        seconds = time.perf_counter() - begin
        return {"epoch": index + 1, "lr": lr, **mean, **metrics, "seconds": seconds}

    def _set_lr(self, done: float) -> None:
        """At a share `done` of all steps, the next one included."""
        lr = self.config.lr * min(1, done / _WARMUP) * (1 + math.cos(math.pi * done)) / 2
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    # -- files -----------------------------------------------------------------------------------
    def _fingerprint(self) -> str:
        """SHA-256 over all that the result depends on, but the device."""
        return fingerprint((_FORMAT, self.name, asdict(self.config)), self.database, self.classes)

    def _save(self, folder: Path) -> None:
        buffer = io.BytesIO()
        state = {
            "key": self.key,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "plateau": self.plateau.state_dict(),
            "best": self.best,
            "log": self.log,
        }
        torch.save(state, buffer)
        lines = [",".join(self.log[0]), *(",".join(map(str, line.values())) for line in self.log), ""]
        write_atomically(folder / f"{self.name}.csv", "\n".join(lines).encode())
        # Last of all, so that the log of a finished run is complete.
        write_atomically(folder / f"{self.name}.pt", buffer.getvalue())

    def _load(self, path: Path) -> None:
        advice = f"remove {str(path)!r} to train from the start, or choose another run_dir"
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
            if state["key"] != self.key:
                raise CheckpointError(f"{str(path)!r} is of a run with other settings or data; {advice}")
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.plateau.load_state_dict(state["plateau"])
            self.best, self.log = state["best"], list(state["log"])
        except CheckpointError:
            raise
        except UNREADABLE as error:
            raise CheckpointError(
                f"{str(path)!r} cannot be read ({type(error).__name__}: {error}); {advice}"
            ) from error


class _GeneratorRun(_Run[PaperGenerator]):
    name = "generator"

    def build(self, feature_dim: int) -> PaperGenerator:
        return PaperGenerator.of_space(self.database.space, feature_dim=feature_dim)

    def losses(self, rows: torch.Tensor, draw: torch.Generator, noise: torch.Generator) -> dict[str, torch.Tensor]:
        return self.model.loss_of_code(self.codes(rows, draw), self.graphs(rows), noise)

    def validate(self) -> dict[str, float]:
        code = self.codes(self.valid, torch.Generator().manual_seed(_VALIDATION_SEED))
        likelihood = self.model.log_likelihood(self.model.latent(code)[0], self.graphs(self.valid))
        return {"valid_nll": -likelihood.mean().item()}

    def quality(self, line: dict[str, float]) -> float:
        return -line["valid_nll"]


class _PredictorRun(_Run[PaperPredictor]):
    name = "predictor"

    def __init__(
        self,
        database: MetaDatabase,
        classes: ClassFeatures,
        config: PaperConfig,
        run_dir: str | os.PathLike[str] | None,
        device: str | torch.device,
    ) -> None:
        super().__init__(database, classes, config, run_dir, device)
        accuracy = database.accuracy[self.rows].double()
        spread = accuracy.std(correction=0).item()
        if not spread > 0:
            raise DatasetError("all training rows have the same accuracy, so there is nothing to predict")
        self.mean, self.scale = accuracy.mean().item(), spread / config.target_std
        self.targets = ((database.accuracy - self.mean) / self.scale).to(self.device)

    def build(self, feature_dim: int) -> PaperPredictor:
        return PaperPredictor.of_space(self.database.space, feature_dim=feature_dim)

    def losses(self, rows: torch.Tensor, draw: torch.Generator, noise: torch.Generator) -> dict[str, torch.Tensor]:
        error = self._scores(rows, draw) - self.targets[rows.to(self.device)]
        return {"loss": error.square().sum()}

    def validate(self) -> dict[str, float]:
        scores = self._scores(self.valid, torch.Generator().manual_seed(_VALIDATION_SEED)).cpu()
        accuracy = self.database.accuracy[self.valid]
        return {"pearson": pearson(scores, accuracy), "spearman": spearman(scores, accuracy)}

    def quality(self, line: dict[str, float]) -> float:
        return line["pearson"]

    def _scores(self, rows: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
        scores: torch.Tensor = self.model.head(self.codes(rows, draw), self.model.graph_code(self.graphs(rows)))
        return scores
