"""What the default predictor is fitted to: standardised descriptors of cells and codes of datasets."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from metad2a_plugin.meta.database import ClassFeatures, MetaDatabase
from metad2a_plugin.models.set_code import OF_CLASSES, OF_IMAGES, embed, image_separability, remoteness, separability
from metad2a_plugin.spaces.base import SearchSpace


def task_codes(
    database: MetaDatabase, classes: ClassFeatures, anchors: torch.Tensor, images: bool = False
) -> torch.Tensor:
    """Raw code of every task of the database, float32 ``[tasks, code]``; with `images`, `image_separability` too."""
    prototypes, unit = classes.prototypes(), anchor_unit(anchors)
    by_class = embed(prototypes.unsqueeze(1), anchors, unit)
    embedding = torch.stack([by_class[task].mean(0) for task in database.task_classes])
    parts = [embedding, separability(prototypes[database.task_classes], unit)]
    if images:
        told = torch.stack([image_separability(*_images(classes, task), unit) for task in database.task_classes])
        parts.append(told.where(told.isfinite(), told.nanmean(0)))
    return torch.cat(parts, dim=1)


def _images(classes: ClassFeatures, task: torch.Tensor, most: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    """Features ``[n, dim]`` and labels ``[n]`` of a task, of at most so many images a class (as `Task.sets`)."""
    count = classes.count[task].clamp(max=most)
    start = classes.start[task].tolist()
    features = [classes.features[s : s + n] for s, n in zip(start, count.tolist(), strict=True)]
    return torch.cat(features), torch.repeat_interleave(torch.arange(len(task)), count)


def anchor_unit(anchors: torch.Tensor) -> float:
    """Median squared distance between anchors."""
    return float(torch.pdist(anchors).square().median())


def _whitening(anchors: torch.Tensor, others: int) -> torch.Tensor:
    """``[code, code]`` matrix W such that ``code @ W`` has the kernels' inner product, and `others` as they are."""
    unit, n = anchor_unit(anchors), len(anchors)
    kernels = embed(anchors.unsqueeze(1), anchors, unit).double().split(n, dim=1)
    # The jitter keeps weights on near-duplicate anchors from cancelling in float32.
    blocks = [torch.linalg.cholesky(k + 1e-2 * torch.eye(n, dtype=k.dtype)) for k in kernels]
    inverse = [torch.linalg.solve_triangular(b, torch.eye(n, dtype=b.dtype), upper=False).T for b in blocks]
    return torch.block_diag(*inverse, torch.eye(others, dtype=torch.float64)).float()


def _unit_scale(x: torch.Tensor) -> torch.Tensor:
    return x.square().sum(1).mean().sqrt().clamp(min=1e-9)


@dataclass(frozen=True)
class Cells:
    """Standardised descriptors of the population and of the rows, ``[n, descriptors]`` each."""

    structural: int
    center: torch.Tensor
    scale: torch.Tensor
    population: torch.Tensor
    rows: torch.Tensor


def describe(space: SearchSpace, population: torch.Tensor, rows: torch.Tensor, subspace: int) -> Cells:
    """Descriptors of encoded cells, on scales that give a member of `subspace` structural ones unit mean square."""
    structure, details = space.describe(population)
    raw, structural = torch.cat([structure, details], dim=1), structure.shape[1]
    center, spread = raw.mean(0), structure.std(0)
    scale = torch.cat(
        [
            torch.where(spread > 1e-6, spread, 1.0) * min(subspace, structural) ** 0.5,
            _unit_scale(details - details.mean(0)).expand(details.shape[1]),
        ]
    )
    row_raw = torch.cat(space.describe(rows), dim=1)
    return Cells(structural, center, scale, (raw - center) / scale, (row_raw - center) / scale)


@dataclass(frozen=True)
class Tasks:
    """The datasets of the rows as the models see them, and how they are made of raw codes."""

    anchors: torch.Tensor
    center: torch.Tensor
    scale: torch.Tensor
    whitening: torch.Tensor  # [code, features]
    factors: torch.Tensor  # [code, factors]
    rows: torch.Tensor  # [rows, features]
    row_factors: torch.Tensor  # [rows, factors]
    reach: torch.Tensor


def encode(
    database: MetaDatabase, classes: ClassFeatures, rows: torch.Tensor, factors: int, seed: int, images: bool = False
) -> Tasks:
    """The datasets of training rows, whose classes are the anchors.

    Args:
        database, classes: what the rows are of.
        rows: their numbers.
        factors: principal components to find.
        seed: of the search for them.
        images: codes say how well images are told apart, too.
    """
    # Rounded as a checkpoint stores them, so that the weights fit the anchors that will be read back.
    anchors = classes.prototypes()[database.task_classes[database.task[rows]].unique()].half().float()
    row_code = task_codes(database, classes, anchors, images)[database.task[rows]]
    others = [OF_CLASSES, OF_IMAGES] if images else [OF_CLASSES]
    whitening = _whitening(anchors, sum(others))
    center, scale = row_code.mean(0), torch.ones(row_code.shape[1])
    embedded = len(scale) - sum(others)
    scale[embedded:] = row_code[:, embedded:].std(0).clamp(min=1e-6)
    standard = (row_code - center) / scale
    feature = standard @ whitening
    sizes = [*[len(anchors)] * (embedded // len(anchors)), *others]
    for group in torch.arange(len(scale)).split(sizes):
        whitening[:, group] /= _unit_scale(feature[:, group])
    row_tasks = standard @ whitening
    with torch.random.fork_rng(devices=[]):  # it starts from a random basis
        torch.manual_seed(seed)
        components = torch.pca_lowrank(row_tasks, factors, niter=6)[2]
    spread = (row_tasks @ components).std(0)
    # Few tasks have fewer components than are looked for.
    components = torch.where(spread > 1e-3 * spread.max(), components / spread, 0)
    projection = whitening @ components
    row_factors = (standard @ projection).clamp(-3, 3)
    reach = remoteness(row_code, len(anchors)).amax()
    return Tasks(anchors, center, scale, whitening, projection, row_tasks, row_factors, reach)
