"""How many trainings a search needs, and what stopping bad ones saves: within contexts of the database of trainings.

    python benchmarks/trainings_strategies.py --data ../shared/data

A context is a task (a subset of an image set) with a budget; the first with many cells of every image set are taken.
Its pool is the cells that were trained in it. Nothing is trained: a query looks its value up, and none is made twice.
MetaD2A's search is the process of its strategy over the pool (`models.residual.GrowingProcess`), with several
predictions to start from, also useless and wrong ones. The model of budgets that predicts for an image set knows none
of its rows. Nothing was tuned on these contexts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from metad2a_plugin import MetaD2A
from metad2a_plugin.meta.trainings.database import Trainings
from metad2a_plugin.meta.trainings.evidence import budget_of
from metad2a_plugin.meta.trainings.fit import BudgetFitConfig
from metad2a_plugin.models.residual import LEARN_FROM, Describe, GrowingProcess, structure_of
from metad2a_plugin.strategies.stopping import CurveReader, Forecast

if TYPE_CHECKING:
    from benchmarks import _common as common
    from benchmarks._trainings import FOLDER, Measured
    from benchmarks.budget import Study
else:
    import _common as common
    from _trainings import FOLDER, Measured
    from budget import Study

AT = (1, 3, 5, 10)
"""Queries that the table shows."""
SHARE = 0.95
"""Of the way from a pool's mean to its best that counts as arrived."""
LEAST = 12
"""Cells of a context, at the least."""
JITTER = 0.1
"""Deviation of the noise that makes predictions of one run differ from those of another, in theirs."""
_PARENTS, _SAMPLE = 10, 3


@dataclass(frozen=True)
class Pool:
    """Cells with values, and predictions of them by name.

    Attributes:
        vertices: simplified, encoded cells, int64 ``[m, vertices]``.
        values: of each, float64 ``[m]``; higher is better.
        priors: predictions of each, float64 ``[m]``.
    """

    name: str
    vertices: torch.Tensor
    values: torch.Tensor
    priors: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @cached_property
    def describe(self) -> Describe:
        return structure_of(common.SPACE, self.vertices)

    def curve(self, search: Search, seed: int, queries: int) -> torch.Tensor:
        """Best value after each query, ``[queries]``."""
        asked = search(self, seed)
        told: list[int] = []
        for _ in range(min(queries, len(self.values))):
            told.append(asked.send(float(self.values[told[-1]])) if told else next(asked))
        found = self.values[told].cummax(0).values
        return torch.cat([found, found[-1:].expand(queries - len(found))])


Search = Callable[[Pool, int], "Generator[int, float, None]"]
"""A generator of numbers of cells, that is sent the value of each."""


# -- searches ------------------------------------------------------------------------------------
def random_search(pool: Pool, seed: int) -> Generator[int, float, None]:
    order = torch.randperm(len(pool.values), generator=torch.Generator().manual_seed(seed)).tolist()
    while order:
        yield order.pop()


def evolution(pool: Pool, seed: int) -> Generator[int, float, None]:
    """Regularized evolution (Real et al., 2019): a child is the cell nearest to its parent that was not asked for."""
    rng, left = random.Random(seed), list(range(len(pool.values)))
    population: list[tuple[float, int]] = []
    while left:
        if len(population) < _PARENTS:
            chosen = rng.choice(left)
        else:
            parent = max(rng.sample(population, _SAMPLE))[1]
            changed = (pool.vertices[left] != pool.vertices[parent]).sum(1)
            chosen = left[rng.choice((changed == changed.min()).nonzero()[:, 0].tolist())]
        left.remove(chosen)
        value = yield chosen
        # The oldest dies; in a small pool the first generation is all of it.
        population = [*population, (value, chosen)][-_PARENTS:]


def process_search(pool: Pool, seed: int, prior: str | None) -> Generator[int, float, None]:
    """MetaD2A's strategy; without a prior the same process, started with random cells, is Bayesian optimisation."""
    generator = torch.Generator().manual_seed(seed)
    size = len(pool.values)
    if prior == "random":
        predicted = torch.randn(size, dtype=torch.float64, generator=generator)
    elif prior is None:
        predicted = torch.zeros(size, dtype=torch.float64)
    else:
        sign = -1 if prior.startswith("wrong ") else 1
        found = pool.priors[prior.removeprefix("wrong ")]
        noise = torch.randn(size, dtype=torch.float64, generator=generator)
        predicted = sign * found + JITTER * found.std() * noise
    first = torch.rand(size, dtype=torch.float64, generator=generator) if prior is None else predicted
    process = GrowingProcess(pool.vertices, predicted, pool.describe, squashed=True)
    asked = torch.zeros(size, dtype=torch.bool)
    while not asked.all():
        score = first if len(process) < LEARN_FROM else process.improvement()
        chosen = int(score.masked_fill(asked, -torch.inf).argmax())
        asked[chosen] = True
        value = yield chosen
        process.tell(pool.vertices[chosen], float(predicted[chosen]), value)


BLIND: dict[str, Search] = {
    "random search": random_search,
    "evolution": evolution,
    "BO without a prior": partial(process_search, prior=None),
}


def searches(pool: Pool) -> dict[str, Search]:
    """All that can be tried on a pool."""
    names = [*pool.priors, "random", *(f"wrong {name}" for name in pool.priors)]
    return BLIND | {f"MetaD2A, {name} prior": partial(process_search, prior=name) for name in names}


# -- contexts ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Context:
    """A pool with the whole curves of its trainings, percent, and what predicts them."""

    pool: Pool
    curves: list[list[float]]
    reader: CurveReader

    @cached_property
    def _hopes(self) -> dict[tuple[int, int], Forecast]:
        return {}

    def stopped(self, number: int, best: float) -> int | None:
        """Epochs after which the training of a cell is stopped, if it is."""
        for epoch in range(1, len(self.curves[number])):
            if not self.reader.ready(epoch):
                continue
            if (number, epoch) not in self._hopes:
                vertices, curve = self.pool.vertices[number], self.curves[number][:epoch]
                self._hopes[number, epoch] = self.reader.forecast(vertices, curve)
            if self._hopes[number, epoch].hopeless(best):
                return epoch
        return None

    def saved(self, seed: int) -> tuple[float, float]:
        """Share of the epochs that a random search is spared, and what its best loses by it, in points."""
        spent, best = 0, -np.inf
        for number in torch.randperm(len(self.curves), generator=torch.Generator().manual_seed(seed)).tolist():
            epoch = None if best == -np.inf else self.stopped(number, best)
            spent += len(self.curves[number]) if epoch is None else epoch
            best = best if epoch is not None else max(best, self.curves[number][-1])
        return 1 - spent / sum(map(len, self.curves)), float(self.pool.values.max()) - best


def rows_of_contexts(trainings: Trainings, of_a_set: int) -> dict[str, torch.Tensor]:
    """By name, those with many cells, a few of each image set; of a cell trained with several seeds, the first row."""
    found: dict[str, torch.Tensor] = {}
    for context in trainings.context.unique().tolist():
        rows = (trainings.context == context).nonzero()[:, 0]
        kind = trainings.space.places(trainings.space.simplify(trainings.vertices[rows]))
        chosen = rows[np.sort(np.unique(kind.numpy(), return_index=True)[1])]
        image_set = trainings.image_set[int(chosen[0])]
        if len(chosen) >= LEAST and sum(name.startswith(f"{image_set},") for name in found) < of_a_set:
            found[f"{image_set}, context {context}"] = chosen
    return found


def contexts(study: Study, of_a_set: int) -> list[Context]:
    """Those of `rows_of_contexts`, with what is predicted of them."""
    trainings, searcher = study.trainings, MetaD2A.from_pretrained("nasbench201")
    models = dict(study.models((), curves=True))
    found: list[Context] = []
    for name, chosen in rows_of_contexts(trainings, of_a_set).items():
        number, image_set = int(trainings.task[chosen[0]]), trainings.image_set[int(chosen[0])]
        vertices = trainings.space.simplify(trainings.vertices[chosen])
        model, task, budget = models[image_set], study.measured.tasks[number], budget_of(trainings, int(chosen[0]))
        priors = {
            "budget model's": model.predict_task(task, vertices, budget).mean.double(),
            "long training's": searcher.predict(task, vertices).mean.double(),
            "FLOPs": trainings.space.costs(vertices)[1].double().log1p(),
        }
        pool = Pool(name, vertices, trainings.accuracy[chosen].double(), priors)
        curves = [trainings.curve[row][: budget.epochs].tolist() for row in chosen.tolist()]
        found.append(Context(pool, curves, CurveReader(model, task, budget)))
    return found


# -- results -------------------------------------------------------------------------------------
def gain(values: torch.Tensor, pool: Pool) -> torch.Tensor:
    """Of the way from the pool's mean to its best."""
    return (values - pool.values.mean()) / (pool.values.max() - pool.values.mean())


def queries_needed(curve: torch.Tensor, pool: Pool) -> int:
    """Until `SHARE` of that way."""
    return int((gain(curve, pool) < SHARE).sum()) + 1


def table(found: Mapping[str, Mapping[str, torch.Tensor]], pools: Mapping[str, Pool]) -> str:
    """A row for each search."""
    header = ["search", *(f"gain after {q}, %" for q in AT), "queries to 95%", "contexts where random search is faster"]
    needed, gains = {}, {}
    for name in found[next(iter(pools))]:
        runs = [(found[key][name], pool) for key, pool in pools.items()]
        needed[name] = [float(np.mean([queries_needed(curve, pool) for curve in curves])) for curves, pool in runs]
        gains[name] = [np.mean([100 * float(gain(curves[:, q - 1], pool).mean()) for curves, pool in runs]) for q in AT]
    rows = []
    for name, queries in needed.items():
        behind = sum(own > other for own, other in zip(queries, needed["random search"], strict=True))
        row = [name, *(f"{share:.0f}" for share in gains[name]), common.mean_std(queries, 1)]
        rows.append([*row, f"{behind} of {len(queries)}"])
    return common.markdown(header, rows)


def table_of_stopping(found: Sequence[Context], runs: int) -> str:
    """A row for each context."""
    rows = []
    for context in found:
        saved, lost = np.mean([context.saved(seed) for seed in range(runs)], axis=0)
        rows.append([context.pool.name, str(len(context.curves[0])), f"{100 * saved:.0f}", f"{lost:.2f}"])
    means = [float(np.mean([float(row[column]) for row in rows])) for column in (2, 3)]
    return common.markdown(
        ["context", "epochs", "epochs saved, %", "best lost, points"],
        [*rows, ["mean", "", f"{means[0]:.0f}", f"{means[1]:.2f}"]],
    )


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the database")
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--of-a-set", type=int, default=1, help="contexts of each image set, at the most")
    parser.add_argument("--groups", type=int, default=4, help="as of benchmarks/budget.py")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    measured = Measured(common.Data(options.data), options.runs / "features", options.folder)
    found = contexts(Study(measured, options.groups, BudgetFitConfig()), options.of_a_set)
    pools, curves = {context.pool.name: context.pool for context in found}, {}
    for name, pool in pools.items():
        curves[name] = {
            search: torch.stack([pool.curve(make, seed, len(pool.values)) for seed in range(options.seeds)])
            for search, make in searches(pool).items()
        }
        print(name, flush=True)
    texts = {
        "trainings_strategies": table(curves, pools),
        "trainings_stopping": table_of_stopping(found, options.seeds),
    }
    means = {name: {search: runs.mean(0).tolist() for search, runs in f.items()} for name, f in curves.items()}
    given = {name: value for name, value in common.settings(options).items() if name != "folder"}
    common.write(options.out, "trainings_strategies", {"settings": given, "best so far": means}, texts)


if __name__ == "__main__":
    main()
