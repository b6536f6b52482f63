"""Meta-training from files to a checkpoint: what ``metad2a meta-train`` does."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as to_safetensors

from metad2a_plugin.data import DatasetWarning, ImageDataset, extract_task, get_encoder
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.meta.card import card
from metad2a_plugin.meta.config import MetaTrainConfig, listed, population, require_listed
from metad2a_plugin.meta.database import ClassFeatures, MetaDatabase, fingerprint, load_database
from metad2a_plugin.meta.fit import BenchmarkTable, FitConfig, Member, fit_ensemble
from metad2a_plugin.meta.paper import train_generator, train_predictor
from metad2a_plugin.meta.paper_config import GENERATOR, GENERATOR_RELEASE, PREDICTOR, PREDICTOR_RELEASE
from metad2a_plugin.meta.targets import best_predicted
from metad2a_plugin.meta.validation import calibrated, generator_metrics, validate
from metad2a_plugin.models.checkpoint import AccuracyModel, Checkpoint
from metad2a_plugin.models.ensemble import SubspaceEnsemble
from metad2a_plugin.models.generator import PaperGenerator
from metad2a_plugin.models.predictor import PaperAccuracy
from metad2a_plugin.plugins.registry import get_predictor, get_space
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.utils.files import write_atomically
from metad2a_plugin.utils.kept import kept
from metad2a_plugin.utils.locks import alone_in
from metad2a_plugin.utils.progress import Progress
from metad2a_plugin.utils.tensors import TensorFile

_FITS = 1  # changes whenever a kept fit could not be told from one of other code


def meta_train(
    database_dir: Path | str,
    images: ImageDataset,
    out: Path | str,
    config: MetaTrainConfig | None = None,
    *,
    tables: Mapping[str, BenchmarkTable] | None = None,
    run_dir: Path | str | None = None,
    progress: Progress = lambda stage, done, total, note: None,
    command: str = "",
) -> Checkpoint:
    """Meta-train a predictor and a generator, validate them, and write a checkpoint folder with its card.

    Args:
        database_dir: rows, tasks and classes; see `meta.database`.
        images: of the database's classes; a class's name is its folder in ``map_clsloc.txt``.
        out: the checkpoint's folder.
        config: settings.
        tables: accuracies of the whole space on known datasets, by name; of use to the default recipe only.
        run_dir: where unfinished work is kept; the same call goes on from there. None keeps it beside `out`.
        progress: see `Progress`.
        command: for the card.

    Raises:
        DatasetError: a file is missing or wrong, or a class has no image.
        ConfigError: settings contradict each other, or a folder cannot be written.
        CheckpointError: the state in `run_dir` is damaged.
    """
    config = config or MetaTrainConfig()
    if tables and config.recipe != "default":
        raise ConfigError(f"the recipe {config.recipe!r} cannot use benchmark tables; leave them out")
    out = Path(out)
    run_dir = out.with_name(f"{out.name}.run") if run_dir is None else Path(run_dir)
    space = get_space(config.space)
    if tables:
        require_listed(space, "what benchmark tables say")
    database = load_database(database_dir, space, protocol_step=config.protocol_step)
    classes, encoder_fingerprint = class_features(database, images, config.encoder, config.device)
    predictor, twin = _predictor(database, classes, config, tables or {}, run_dir, progress)
    metrics, generator = validate(predictor, database, classes, twin), None
    if config.generator:
        targets = _targets(predictor, database, classes, config, progress)
        generator = _generator(targets, classes, config, run_dir, progress)
        metrics |= generator_metrics(generator, predictor, targets, classes, config.seed)
    checkpoint = Checkpoint(
        name=out.name,
        space=config.space,
        encoder=config.encoder,
        encoder_fingerprint=encoder_fingerprint,
        predictor=predictor,
        generator=generator,
        training={
            "recipe": config.recipe,
            "seed": config.seed,
            "tables": sorted(tables or ()),
            "quality": config.quality,
            "generator_targets": config.generator_targets if config.generator else None,
            "rows": int((~database.valid).sum()),
            "validation_rows": int(database.valid.sum()),
            "tasks": len(database.task_classes),
            "classes": database.task_classes.shape[1],
            "images": len(classes.features),
            "command": command,
            "metrics": metrics,
        },
    )
    checkpoint.save(out)
    write_atomically(out / "README.md", card(checkpoint).encode())
    return checkpoint


def class_features(
    database: MetaDatabase, images: ImageDataset, encoder: str = "default", device: str = "cpu"
) -> tuple[ClassFeatures, str]:
    """Features of the images by class of the database, and the encoder's fingerprint.

    Raises:
        DatasetError: a class that some task uses has no image.
    """
    wanted = {database.class_folders[c] for c in database.task_classes.unique().tolist()}
    names = np.array(images.class_names)[images.labels]
    network = get_encoder(encoder, device)
    with warnings.catch_warnings():
        # Classes of no task were left out on purpose.
        warnings.filterwarnings("ignore", message=".* have no usable image", category=DatasetWarning)
        task = extract_task(images.subset(np.isin(names, list(wanted))), network, max_images_per_class=None)
    folders = np.array(task.class_names)[task.labels.numpy()]
    return ClassFeatures.group(task.features, folders, database, encoder), network.fingerprint


def _predictor(
    database: MetaDatabase,
    classes: ClassFeatures,
    config: MetaTrainConfig,
    tables: Mapping[str, BenchmarkTable],
    run_dir: Path,
    progress: Progress,
) -> tuple[AccuracyModel, SubspaceEnsemble | None]:
    """The predictor and, of the default recipe, its twin that does not see the dataset."""
    if config.recipe == "default":
        # The defaults are those of the released database, which has about one row a task.
        fit = FitConfig(seed=config.seed, selection=config.selection)
        if not listed(database.space):  # networks are told apart less well
            fit = replace(fit, task_level=True, images=True, response=None)
        if config.quality is not None:  # nothing is left to differ in
            fit = replace(fit, members=1, fold_members=1)
        memory = _Memory(run_dir, fit, config.quality, database, classes, tables, progress)
        architectures = population(database.space, config.seed)
        fitted = partial(
            fit_ensemble,
            database,
            classes,
            architectures,
            fit,
            tables=list(tables.values()),
            quality=_quality(config.quality, database.space, architectures),
        )
        with alone_in(memory.folder):
            predictor = fitted(remember=memory)
            twin = fitted(blind=True, remember=lambda name, fit: memory(f"twin-{name}", fit))
        return calibrated(predictor, database, classes), twin
    recipe = PREDICTOR_RELEASE if config.recipe == "release" else PREDICTOR
    recipe = replace(recipe, seed=config.seed)
    trained = train_predictor(
        database,
        classes,
        recipe,
        run_dir=run_dir,
        device=config.device,
        on_epoch=lambda line: progress(
            "predictor", line.epoch, recipe.epochs, f"validation Pearson {line.pearson:.3f}"
        ),
    )
    model = PaperAccuracy(trained.predictor.cpu(), trained.mean, trained.scale, noise=1.0)
    return calibrated(model, database, classes), None


def _quality(name: str | None, space: SearchSpace, architectures: torch.Tensor) -> torch.Tensor | None:
    return None if name is None else get_predictor(name)(space).predict(None, architectures).mean


def _targets(
    predictor: AccuracyModel,
    database: MetaDatabase,
    classes: ClassFeatures,
    config: MetaTrainConfig,
    progress: Progress,
) -> MetaDatabase:
    if config.generator_targets == "rows":
        return database
    return best_predicted(
        database,
        classes,
        predictor,
        seed=config.seed,
        on_task=lambda done, total: progress("targets", done, total, ""),
    )


def _generator(
    database: MetaDatabase, classes: ClassFeatures, config: MetaTrainConfig, run_dir: Path, progress: Progress
) -> PaperGenerator:
    recipe = GENERATOR_RELEASE if config.recipe == "release" else GENERATOR
    recipe = replace(recipe, seed=config.seed)
    return train_generator(
        database,
        classes,
        recipe,
        run_dir=run_dir,
        device=config.device,
        on_epoch=lambda line: progress(
            "generator", line.epoch, recipe.epochs, f"validation nll {line.valid_nll:.3f}"
        ),
    ).cpu()


class _Memory:
    """Keeps every fit of an ensemble, and a log of them, in a folder that is named by all it depends on."""

    def __init__(
        self,
        run_dir: Path,
        config: FitConfig,
        quality: str | None,
        database: MetaDatabase,
        classes: ClassFeatures,
        tables: Mapping[str, BenchmarkTable],
        progress: Progress,
    ) -> None:
        key = fingerprint((_FITS, asdict(config), quality), database, classes, *tables.values())
        self.folder = run_dir / f"ensemble-{key[:16]}"
        self.total = 2 * config.members + config.folds * config.fold_members
        self.done = 0
        self.progress = progress

    def __call__(self, name: str, fit: Callable[[], Member]) -> Member:
        seconds: list[float] = []

        def fitted() -> Member:
            begin, member = time.perf_counter(), fit()
            seconds.append(time.perf_counter() - begin)
            return member

        member = kept(
            self.folder / f"{name}.safetensors",
            lambda path: TensorFile(path).read(unchecked=("gate",)),
            fitted,
            lambda member: to_safetensors({k: v.contiguous() for k, v in member.items()}),
        )
        if seconds:
            with (self.folder / "fits.csv").open("a") as log:
                print(name, f"{member['objective']:.3f}", f"{seconds[0]:.2f}", sep=",", file=log)
        self.done += 1
        self.progress("predictor", self.done, self.total, name)
        return member
