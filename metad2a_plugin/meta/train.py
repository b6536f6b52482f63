"""Meta-training from files to a checkpoint: what ``metad2a meta-train`` does."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors

from metad2a_plugin._files import write_atomically
from metad2a_plugin.data import DatasetWarning, ImageDataset, extract_task, get_encoder
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.meta.database import ClassFeatures, MetaDatabase, fingerprint, load_database
from metad2a_plugin.meta.fit import BenchmarkTable, FitConfig, Member, fit_ensemble, task_codes
from metad2a_plugin.meta.metrics import pearson, spearman
from metad2a_plugin.meta.paper import (
    GENERATOR,
    GENERATOR_RELEASE,
    PREDICTOR,
    PREDICTOR_RELEASE,
    train_generator,
    train_predictor,
)
from metad2a_plugin.models.checkpoint import AccuracyModel, Checkpoint
from metad2a_plugin.models.ensemble import Prediction, SubspaceEnsemble
from metad2a_plugin.models.generator import TEMPERATURE, PaperGenerator
from metad2a_plugin.models.predictor import PaperAccuracy
from metad2a_plugin.registry import get_space

RECIPES = ("default", "paper", "release")
"""``default``: this package's predictor. ``paper``: the paper's predictor with a quick schedule. ``release``: the
paper's predictor and generator with the authors' schedule (hours)."""

_FITS = 1  # changes whenever a kept fit could not be told from one of other code

Progress = Callable[[str, int, int, str], None]
"""Called with the name of a stage, steps done, steps in all, and a note."""


@dataclass(frozen=True)
class MetaTrainConfig:
    """Settings of a meta-training.

    Attributes:
        space: registry name of the search space.
        recipe: one of `RECIPES`.
        encoder: registry name of the image encoder.
        protocol_step: see `load_database`.
        selection: the database's cells were chosen for being good, so that being in it is evidence; of use to the
            default recipe.
        generator: train one too.
        seed: of everything random.
        device: where the generator and the paper's predictor train.

    Raises:
        ConfigError: the recipe is unknown, or it does not know the space.
    """

    space: str = "nasbench201"
    recipe: str = "default"
    encoder: str = "default"
    protocol_step: float | None = None
    selection: bool = False
    generator: bool = True
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.recipe not in RECIPES:
            raise ConfigError(f"recipe must be one of {', '.join(RECIPES)}, got {self.recipe!r}")
        if self.space != "nasbench201":
            raise ConfigError(f"meta-training knows the space 'nasbench201', not {self.space!r}")


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
    database = load_database(database_dir, space, protocol_step=config.protocol_step)
    classes, encoder_fingerprint = class_features(database, images, config.encoder, config.device)
    predictor = _predictor(database, classes, config, tables or {}, run_dir, progress)
    generator = _generator(database, classes, config, run_dir, progress) if config.generator else None
    metrics = validate(predictor, database, classes)
    if generator is not None:
        metrics |= generator_metrics(generator, database, classes, config.seed)
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
) -> AccuracyModel:
    if config.recipe == "default":
        fit = FitConfig(seed=config.seed, selection=config.selection)
        memory = _Memory(run_dir, fit, database, classes, tables, progress)
        population = get_space(config.space).all_vertices()
        return fit_ensemble(
            database, classes, population, fit, tables=list(tables.values()), remember=memory
        )
    recipe = PREDICTOR_RELEASE if config.recipe == "release" else PREDICTOR
    recipe = replace(recipe, seed=config.seed)
    trained = train_predictor(
        database,
        classes,
        recipe,
        run_dir=run_dir,
        device=config.device,
        on_epoch=lambda line: progress(
            "predictor", int(line["epoch"]), recipe.epochs, f"validation Pearson {line['pearson']:.3f}"
        ),
    )
    model = PaperAccuracy(trained.predictor.cpu(), trained.mean, trained.scale, noise=1.0)
    # Calibrated on half of the validation tasks; `validate` measures the coverage on the other half.
    rows = torch.nonzero(database.valid).squeeze(1)
    rows = rows[_calibration_half(database, rows)]
    mean, _ = _paper_rows(model, database, classes, rows)
    error = (database.accuracy[rows] - mean).abs()
    return replace(model, noise=float(error.quantile(0.9)) / 1.645)


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
            "generator", int(line["epoch"]), recipe.epochs, f"validation nll {line['valid_nll']:.3f}"
        ),
    ).cpu()


class _Memory:
    """Keeps every fit of an ensemble, and a log of them, in a folder that is named by all it depends on."""

    def __init__(
        self,
        run_dir: Path,
        config: FitConfig,
        database: MetaDatabase,
        classes: ClassFeatures,
        tables: Mapping[str, BenchmarkTable],
        progress: Progress,
    ) -> None:
        key = fingerprint((_FITS, asdict(config)), database, classes, *tables.values())
        self.folder = run_dir / f"ensemble-{key[:16]}"
        self.total = config.members + config.folds * config.fold_members
        self.done = 0
        self.progress = progress

    def __call__(self, name: str, fit: Callable[[], Member]) -> Member:
        path = self.folder / f"{name}.safetensors"
        try:
            member = load_file(path)
        except (OSError, SafetensorError):
            begin = time.perf_counter()
            member = fit()
            write_atomically(path, to_safetensors({k: v.contiguous() for k, v in member.items()}))
            with (self.folder / "fits.csv").open("a") as log:
                print(name, f"{member['objective']:.3f}", f"{time.perf_counter() - begin:.2f}", sep=",", file=log)
        self.done += 1
        self.progress("predictor", self.done, self.total, name)
        return member


# -- validation ----------------------------------------------------------------------------------
def validate(predictor: AccuracyModel, database: MetaDatabase, classes: ClassFeatures) -> dict[str, float]:
    """How well validation rows are predicted, with and without the dataset.

    Keys: ``pearson`` and ``spearman`` of predicted and measured accuracy; the same with ``_new`` on the rows of
    tasks that no training row has. Where the model can do that, ``_level`` with a dataset moving all architectures
    alike, and ``_blind`` from the architecture alone. ``coverage_90``, the share of the rows of protocol 0 inside the
    90% interval that a search shows, and ``width_90``, its mean width in points; with ``_all`` the same over all
    rows, of an interval that allows for either protocol.
    """
    rows = torch.nonzero(database.valid).squeeze(1)
    truth, main = database.accuracy[rows], database.protocol[rows] == 0
    others: dict[str, float] = {}
    if isinstance(predictor, SubspaceEnsemble):
        codes = (task_codes(database, classes, predictor.anchors) - predictor.task_center) / predictor.task_scale
        code, cells = codes[database.task[rows]], predictor.cell_features(database.vertices[rows])
        shown = predictor.predict_code(code, cells)
        mean, low, high = predictor.mixture(code, cells)
        level, _, _ = replace(predictor, interaction=torch.zeros_like(predictor.interaction)).mixture(code, cells)
        blind, _, _ = predictor.mixture(None, cells)
        for name, values in (("level", level), ("blind", blind)):
            others |= {f"pearson_{name}": pearson(values, truth), f"spearman_{name}": spearman(values, truth)}
        others |= {
            "coverage_90_all": ((truth >= low) & (truth <= high)).float().mean().item(),
            "width_90_all": (high - low).mean().item(),
        }
    elif isinstance(predictor, PaperAccuracy):
        shown = Prediction(*_paper_rows(predictor, database, classes, rows))
        mean = shown.mean
        check = main & ~_calibration_half(database, rows)
        main = check if check.any() else main  # a single task leaves none to check on
    else:
        raise TypeError(f"cannot validate a {type(predictor).__name__}")
    new = ~torch.isin(database.task[rows], database.task[~database.valid])
    low, high = shown.interval(0.9)
    return {
        "pearson": pearson(mean, truth),
        "spearman": spearman(mean, truth),
        "pearson_new": pearson(mean[new], truth[new]),
        "spearman_new": spearman(mean[new], truth[new]),
        **others,
        "coverage_90": ((truth >= low) & (truth <= high))[main].float().mean().item(),
        "width_90": (high - low)[main].mean().item(),
    }


def _calibration_half(database: MetaDatabase, rows: torch.Tensor) -> torch.Tensor:
    """Which of the validation rows ``[rows]`` are of every second task, bool."""
    return database.task[rows].unique(return_inverse=True)[1] % 2 == 0


@torch.inference_mode()
def _paper_rows(
    model: PaperAccuracy, database: MetaDatabase, classes: ClassFeatures, rows: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of the accuracy of rows, ``[rows]`` each, over `PaperAccuracy.DRAWS` draws."""
    generator = torch.Generator().manual_seed(0)
    graphs, scores = model.network.graph_code(database.vertices[rows]), []
    for _ in range(model.DRAWS):
        sets = classes.draw(database.task_classes[database.task[rows]], 20, generator)
        codes = torch.cat([model.network.set_code(part) for part in sets.split(64)])
        scores.append(model.network.head(codes, graphs))
    percent = model.center + model.scale * torch.stack(scores)
    return percent.mean(0), (percent.var(0) + model.noise**2).sqrt()


@torch.inference_mode()
def generator_metrics(
    generator: PaperGenerator, database: MetaDatabase, classes: ClassFeatures, seed: int, tasks: int = 20, n: int = 1000
) -> dict[str, float]:
    """Validity, uniqueness and novelty, in percent, of `n` architectures for each of some validation tasks.

    ``unique_independent`` counts independent draws, ``unique`` draws without replacement (what a search uses);
    ``novel`` are those of the latter that the training rows do not hold. ``live`` are those with a path from
    input to output.
    """
    space = get_space("nasbench201")
    rows = torch.nonzero(database.valid).squeeze(1)
    chosen = database.task[rows].unique()[:tasks]
    known = {tuple(v) for v in database.vertices[~database.valid].tolist()}
    rng = torch.Generator().manual_seed(seed)
    totals = dict.fromkeys(("valid", "live", "unique_independent", "unique", "novel"), 0.0)
    for task in chosen:
        sets = classes.draw(database.task_classes[task].expand(10, -1), 20, rng)
        z = generator.encode(sets)[0].mean(0, keepdim=True)
        independent = generator.sample(z.expand(n, -1), rng, TEMPERATURE)
        distinct, _ = generator.sample_distinct(z, n, rng, TEMPERATURE)
        drawn = {tuple(v) for v in distinct.tolist()}
        totals["valid"] += len(space.decode(distinct)) / n  # decode refuses what is no architecture
        totals["live"] += (~space.dead_mask(distinct)).double().mean().item()
        totals["unique_independent"] += len(independent.unique(dim=0)) / n
        totals["unique"] += len(drawn) / n
        totals["novel"] += len(drawn - known) / len(drawn)
    return {f"generator_{name}": 100 * total / len(chosen) for name, total in totals.items()}


# -- card ----------------------------------------------------------------------------------------
def card(checkpoint: Checkpoint) -> str:
    """The model card of a checkpoint, markdown."""
    training: dict[str, Any] = dict(checkpoint.training)
    metrics = training["metrics"]
    tables = ", ".join(training["tables"]) or "none"
    data = (
        f"{training['rows']:,} training rows, {training['validation_rows']:,} validation rows, "
        f"{training['tasks']:,} tasks; {training['images']:,} images of their classes"
    )
    lines = [
        f"# {checkpoint.name}: MetaD2A for {checkpoint.space}",
        "",
        f"Predictor: {checkpoint.kind}. Recipe: {training['recipe']}, seed {training['seed']}.",
        f"Image encoder: {checkpoint.encoder}.",
        "",
        "## Data",
        f"- Meta-database: {data}.",
        f"- Benchmark tables: {tables}.",
        "",
        "## Measured",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value:.3f} |" for name, value in metrics.items()),
        "",
        "Correlations are on the validation rows, from images alone: `_new` on tasks that no training row has,",
        "`_level` with the dataset moving all architectures alike, `_blind` without the images. `coverage_90` is the",
        "share of validation rows measured by the main protocol inside the 90% interval that a search shows, in",
        "`_all` of all rows inside one that allows for either protocol. `generator_*` are percent of 1,000",
        "architectures for each of at most 20 validation tasks.",
        "",
        "## Made by",
        f"`{training['command'] or 'metad2a_plugin.meta.train.meta_train'}`",
        "",
        "## Limits",
        f"Accuracies are on the scale of the meta-training tasks ({training['classes']} classes each). On another",
        "dataset they rank architectures; they do not tell what a network will reach. The further a dataset is from",
        "the meta-training tasks, the less the ranking depends on it.",
        "",
    ]
    return "\n".join(lines)
