"""What `BudgetModel` is fitted to: rows of trainings and of benchmark tables, as the model reads them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from metad2a_plugin.meta.trainings.database import Trainings
from metad2a_plugin.models.budget_curve import SHARES, binomial, interpolation
from metad2a_plugin.models.budget_inputs import DATASET, budget_features, budget_names, components, standardised
from metad2a_plugin.models.budget_kernel import Contexts, Networks, marginal
from metad2a_plugin.models.budget_process import Evidence, Head
from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.plugins.task import Task
from metad2a_plugin.spaces.base import SearchSpace

AGREEMENT = 0.95
"""Correlation that tables of two datasets, after the same schedule, are taken to have where there is only one."""


@dataclass(frozen=True)
class TableContext:
    """A benchmark table: what every architecture of the space reached on one known dataset.

    Attributes:
        source: dataset that it is of; tables of one source are left out together.
        image_set: name of the image set whose rows share its effects.
        task: features of its images.
        budget: with `images`.
        accuracy: percent, in the order of `SearchSpace.all_vertices`, ``[size]``.
        held_out: images that accuracies were measured on.
        schedule: tables of one schedule make one prior column.
    """

    source: str
    image_set: str
    task: Task
    budget: Budget
    accuracy: torch.Tensor
    held_out: int
    schedule: str


@dataclass(frozen=True)
class BudgetFitConfig:
    """Settings of a fit.

    Attributes:
        learned_from: rows that the variances of the last accuracy are learned from, at the most.
        curves_from: the same of the other points of curves; 0 leaves these as they start, for those who ask for none.
        iterations: of L-BFGS, for each.
        descriptors: principal components of the descriptors of architectures.
        table_rows: architectures of each table that become rows.
        without: inputs to leave out: features of budgets or datasets by name, or ``budget``, ``dataset``, ``columns``.
        seed: of everything random.
    """

    learned_from: int = 1000
    curves_from: int = 300
    iterations: int = 30
    descriptors: int = 32
    table_rows: int = 100
    without: tuple[str, ...] = ()
    seed: int = 0


class Made:
    """Rows as the model reads them."""

    def __init__(
        self,
        trainings: Trainings,
        tasks: Mapping[int, Task],
        tables: Sequence[TableContext],
        config: BudgetFitConfig,
        described: Callable[[Task], torch.Tensor],
    ) -> None:
        self.trainings, self.config = trainings, config
        space = trainings.space
        first = _first(trainings.context)
        budgets = [budget_of(trainings, int(row)) for row in first]
        numbers = torch.stack([budget_features(space, b) for b in [*budgets, *(t.budget for t in tables)]])
        told = {task: described(tasks[task]) for task in set(trainings.task.tolist())}
        datasets = [told[int(trainings.task[row])] for row in first]
        images = torch.stack([*datasets, *(described(t.task) for t in tables)])
        real = slice(len(first))
        self.budget_center, self.budget_scale = _standard(numbers[real], budget_names(space), "budget", config)
        self.dataset_center, self.dataset_scale = _standard(images[real], DATASET, "dataset", config)
        sets = {
            name: number for number, name in enumerate(dict.fromkeys([*trainings.sets, *(t.image_set for t in tables)]))
        }
        owners = [sets[trainings.sets[int(trainings.task[row])]] for row in first] + [sets[t.image_set] for t in tables]
        sources = list(dict.fromkeys(t.source for t in tables))
        task_ids = [int(trainings.task[row]) for row in first] + [
            len(trainings.sets) + sources.index(t.source) for t in tables
        ]
        contexts = Contexts(
            (numbers - self.budget_center) / self.budget_scale,
            standardised(images, self.dataset_center, self.dataset_scale),
            torch.tensor(owners),
            torch.tensor(task_ids),
            torch.arange(len(numbers)),
        )
        kept = "columns" not in config.without
        every = space.all_vertices() if tables else trainings.vertices[:0]
        self.columns, of_table = _columns(space, every, tables if kept else (), config.seed)
        # Some are enough for components.
        raw = torch.cat(space.describe(every[::4] if len(every) else trainings.vertices), dim=1).double()
        self.descriptor_center, self.descriptor_map = _components(raw, space, config.descriptors)
        picked = _picked(every, space, tables, config)
        vertices = torch.cat([trainings.vertices, *(every[p] for p in picked)])
        places = space.places(vertices)
        own = [self.columns[places[: len(trainings)]]] if kept and tables else [torch.zeros(len(trainings), 0).double()]
        own += [of_table[t][p] if kept else torch.zeros(len(p), 0).double() for t, p in enumerate(picked)]
        features = components(space, vertices, self.descriptor_center, self.descriptor_map)
        context = [trainings.context.unique(return_inverse=True)[1]]
        context += [torch.full((len(p),), len(first) + t) for t, p in enumerate(picked)]
        networks = Networks(features, torch.cat(own), space.places(space.simplify(vertices)))
        self.evidence = Evidence(contexts, torch.cat(context), networks, places)
        self.real = torch.arange(len(vertices)) < len(trainings)
        self._table_values = [(t.accuracy[p].double(), t.held_out) for t, p in zip(tables, picked, strict=True)]
        self.space = space

    def targets(self, head: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rows that a head can learn from, its targets, and their known noise."""
        held_out = self.trainings.settings["held_out_images"]
        last = logit(self.trainings.accuracy.double(), held_out)
        if head == 0:
            known = _binomials(last, held_out)
            values = [logit(a, torch.tensor(float(n))) for a, n in self._table_values]
            known = torch.cat(
                [
                    known,
                    *(
                        _binomials(v, torch.tensor(float(n)))
                        for v, (_, n) in zip(values, self._table_values, strict=True)
                    ),
                ]
            )
            return torch.arange(len(known)), torch.cat([last, *values]), known
        share, epochs = SHARES[head - 1], self.trainings.settings["epochs"]
        rows = torch.nonzero(share * epochs >= 0.999)[:, 0]
        at = (share * epochs[rows]).clamp(min=1)
        low = at.floor().long()
        part = (at.log() - low.log()) / ((low + 1).log() - low.log())
        curve = logit(self.trainings.curve[rows].double(), held_out[rows, None])
        pick = curve.gather(1, (low - 1)[:, None])[:, 0], curve.gather(1, low[:, None])[:, 0]
        return rows, (1 - part) * pick[0] + part * pick[1] - last[rows], torch.zeros(len(rows)).double()

    def left_out(self, head: Head) -> tuple[torch.Tensor, torch.Tensor]:
        """Errors of every row and their expected deviation, from the rows of other image sets alone, ``[n]`` each."""
        index = self.evidence.context[head.rows]
        networks = self.evidence.networks[head.rows]
        inverse = torch.linalg.inv(marginal(head.hyper, self.evidence.contexts, networks, index, head.noise))
        weight = inverse @ (head.target - head.mean)
        owner = self.evidence.contexts.image_set[index]
        errors, deviation = torch.zeros(2, len(index)).double()
        for one in owner.unique():
            rows = torch.nonzero(owner == one)[:, 0]
            spread = torch.linalg.inv(inverse[rows][:, rows])
            errors[rows], deviation[rows] = spread @ weight[rows], spread.diagonal().sqrt()
        return errors, deviation

    def wiggle(self) -> torch.Tensor:
        """Variance of single values of curves around what is interpolated, ``[1]``."""
        squares = []
        for curve, epochs, held in zip(
            self.trainings.curve,
            self.trainings.settings["epochs"].long().tolist(),
            self.trainings.settings["held_out_images"],
            strict=True,
        ):
            if epochs >= 34:
                values = logit(curve[:epochs].double(), held)
                at = (torch.tensor([*SHARES, 1.0]) * epochs).round().long() - 1
                squares.append((values - interpolation(epochs) @ values[at]).square().mean() / 1.6)
        return (torch.stack(squares).median()[None] if squares else torch.tensor([0.05])).double()


def budget_of(trainings: Trainings, row: int) -> Budget:
    """What a row was trained with."""
    values = {name: float(column[row]) for name, column in trainings.settings.items()}
    options = {name: int(values[name]) for name in trainings.space.sizes}
    return Budget(
        epochs=int(values["epochs"]),
        batch_size=int(values["batch_size"]),
        input_size=int(values["input_size"]),
        lr=values["lr"],
        flip=bool(values["flip"]),
        images=int(values["train_images"]),
        options=options,
    )


def logit(percent: torch.Tensor, held_out: torch.Tensor) -> torch.Tensor:
    """Of accuracies in percent, counted on so many images; finite at 0 and 100 too."""
    return ((percent / 100 * held_out + 0.5) / (held_out + 1)).logit()


def _binomials(logits: torch.Tensor, held_out: torch.Tensor) -> torch.Tensor:
    return binomial(logits.sigmoid(), 1.0) / held_out


def _standard(
    values: torch.Tensor, names: Sequence[str], group: str, config: BudgetFitConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Center and scale; what is left out gets an infinite scale, so that it is always 0."""
    center = values.nanmean(0).nan_to_num()
    scale = (values - center).square().nanmean(0).sqrt().nan_to_num()
    # What never changes says nothing, and stays in its unit.
    scale = torch.where(scale > 1e-6, scale, 1.0)
    out = torch.tensor([group in config.without or name in config.without for name in names])
    return center, scale.masked_fill(out, math.inf)


def _first(context: torch.Tensor) -> list[int]:
    """A row of each context, in the order of their numbers."""
    found: dict[int, int] = {}
    for row, number in enumerate(context.tolist()):
        found.setdefault(number, row)
    return [found[number] for number in sorted(found)]


def _columns(
    space: SearchSpace, every: torch.Tensor, tables: Sequence[TableContext], seed: int
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Prior columns by `SearchSpace.places`, and those of each table's rows: without what it says itself.

    Where no other dataset has a table of the same schedule, a table's rows see their own with noise: as much as if it
    were that of another dataset.
    """
    schedules = list(dict.fromkeys(t.schedule for t in tables))
    if not tables:
        return torch.zeros(0, 0).double(), []
    dead = space.dead_mask(every)
    scores: dict[tuple[str, str], list[torch.Tensor]] = {}
    for table in tables:
        value = logit(table.accuracy.double(), torch.tensor(float(table.held_out)))
        score = ((value - value[~dead].mean()) / value[~dead].std()).clamp(-4, 4).masked_fill(dead, 0.0)
        scores.setdefault((table.schedule, table.source), []).append(score)

    noise = torch.randn(len(every), len(schedules), generator=torch.Generator().manual_seed(seed)).double()

    def columns(without: str | None) -> torch.Tensor:
        found = []
        for number, schedule in enumerate(schedules):
            told = {source: torch.stack(s).mean(0) for (of, source), s in scores.items() if of == schedule}
            used = [score for source, score in told.items() if source != without]
            own = used or [AGREEMENT * score + (1 - AGREEMENT**2) ** 0.5 * noise[:, number] for score in told.values()]
            found.append(torch.stack(own).mean(0))
        return torch.stack(found, 1)

    # Rounded as a checkpoint stores them.
    by_place = torch.zeros(space.size, len(schedules)).double()
    by_place[space.places(every)] = columns(None).half().double()
    return by_place, [columns(table.source) for table in tables]


def _components(raw: torch.Tensor, space: SearchSpace, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Center, and a map to principal components that together have unit mean square."""
    structure = space.describe(space.encode([]))[0].shape[1]
    center, spread = raw.mean(0), raw.std(0)
    scale = torch.where(spread > 1e-6, spread, 1.0)
    scale[:structure] *= structure**0.5
    scale[structure:] = (raw[:, structure:] - raw[:, structure:].mean(0)).square().sum(1).mean().sqrt().clamp(min=1e-6)
    x = (raw - center) / scale
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    kept = vectors[:, values.argsort(descending=True)[:most]]
    size = (x @ kept).square().sum(1).mean().sqrt()
    return center, kept / scale[:, None] / size


def _picked(
    every: torch.Tensor, space: SearchSpace, tables: Sequence[TableContext], config: BudgetFitConfig
) -> list[torch.Tensor]:
    """Rows of `every` that are taken of each table."""
    if not tables:
        return []
    live = torch.nonzero(~space.dead_mask(every))[:, 0]
    generator = torch.Generator().manual_seed(config.seed + 1)
    return [live[torch.randperm(len(live), generator=generator)[: config.table_rows]] for _ in tables]
