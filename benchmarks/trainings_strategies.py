"""How many trainings a search needs: on the tables of NAS-Bench-201, and within contexts of the database of trainings.

    python benchmarks/trainings_strategies.py --data ../shared/data

A pool is a set of cells with values: all cells of a table, or the cells that were trained in one context (image set,
size, budget). Nothing is trained: a query looks its value up, and none is made twice. MetaD2A's search is the process
of its strategy over the pool (`models.residual.GrowingProcess`), with predictions that are right, useless or wrong.
Tables after 12 epochs were looked at in development, those after 200 and the trainings were not.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from metad2a_plugin import MetaD2A
from metad2a_plugin.meta.trainings.database import Trainings, load_trainings
from metad2a_plugin.models.residual import LEARN_FROM, Describe, GrowingProcess, structure_of

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

AT = (1, 10, 30, 100)
"""Queries that the table of tables shows."""
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


# -- pools ---------------------------------------------------------------------------------------
def table_pools(data: common.Data) -> list[Pool]:
    """All different cells that can learn, with the validation accuracies of each table."""
    ranking = MetaD2A.from_pretrained("nasbench201").rank(None)
    index = [common.SPACE.index(cell) for cell in common.SPACE.decode(ranking.vertices)]

    def column(name: str) -> torch.Tensor:
        return torch.tensor(data.table.column(name)[index])

    quality, size = ranking.prediction.mean.double(), column("flops_m").log1p()
    pools = []
    for set_name, other in (("cifar10", "imagenet16"), ("imagenet16", "cifar10")):
        for epochs, suffix in ((12, "_ep12"), (200, "")):
            # The checkpoint has seen both tables after 200 epochs; the other set's after 12 is a prior that has not.
            priors = {"checkpoint's": quality, "other set's": column(f"{other}_valid_ep12"), "FLOPs": size}
            pools.append(Pool(f"{set_name}, {epochs}", ranking.vertices, column(f"{set_name}_valid{suffix}"), priors))
    return pools


def context_pools(trainings: Trainings) -> list[Pool]:
    """Contexts with many cells; of a cell that was trained with several seeds, the first row."""
    searcher, pools = MetaD2A.from_pretrained("nasbench201"), []
    for context in trainings.context.unique().tolist():
        rows = trainings.rows(trainings.context == context)
        _, first = np.unique(rows.vertices.numpy(), axis=0, return_index=True)
        if len(first) < LEAST:
            continue
        chosen = rows.rows(torch.from_numpy(np.sort(first)))
        vertices = common.SPACE.simplify(chosen.vertices)
        size = common.SPACE.costs(vertices)[1].double().log1p()
        priors = {"checkpoint's": searcher.predict(None, vertices).mean.double(), "FLOPs": size}
        name = f"{chosen.image_set[0]}, context {context}"
        pools.append(Pool(name, vertices, chosen.accuracy.double(), priors))
    return pools


# -- results -------------------------------------------------------------------------------------
def queries_needed(curve: torch.Tensor, pool: Pool) -> int:
    """Until `SHARE` of the way from the pool's mean to its best."""
    level = pool.values.mean() + SHARE * (pool.values.max() - pool.values.mean())
    return int((curve < level).sum()) + 1


def run(pool: Pool, names: Mapping[str, Search], runs: int, queries: int, folder: Path) -> dict[str, torch.Tensor]:
    """Best values after each query, ``[runs, queries]``; finished searches are kept."""
    found = {}
    for name, search in names.items():
        parts = (pool.vertices.tolist(), pool.values.tolist(), {k: v.tolist() for k, v in pool.priors.items()})
        key = {"pool": zlib.crc32(repr(parts).encode()), "search": name, "runs": runs, "queries": queries}
        path = folder / f"{pool.name}-{name}.json".replace(" ", "_")

        def compute(search: Search = search) -> list[list[float]]:
            return [pool.curve(search, seed, queries).tolist() for seed in range(runs)]

        found[name] = torch.tensor(common.remember(path, key, compute), dtype=torch.float64)
        print(pool.name, name, found[name].mean(0)[[q - 1 for q in AT if q <= queries]].numpy().round(2), flush=True)
    return found


def table_of_tables(found: Mapping[str, Mapping[str, torch.Tensor]], pools: list[Pool]) -> str:
    header = ["search", *(f"{pool.name} epochs, {q}" for pool in pools for q in AT)]
    rows = []
    for name in found[pools[0].name]:
        means = [float(found[pool.name][name][:, q - 1].mean()) for pool in pools for q in AT]
        rows.append([name, *(f"{mean:.2f}" for mean in means)])
    best = [f"{float(pool.values.max()):.2f}" for pool in pools for _ in AT]
    return common.markdown(header, [*rows, ["best of the table", *best]])


def table_of_contexts(found: Mapping[str, Mapping[str, torch.Tensor]], pools: list[Pool]) -> str:
    header = ["search", "mean queries", "deviation over contexts", "contexts where random search needs fewer"]
    rows = []
    needed = {
        name: [np.mean([queries_needed(curve, pool) for curve in found[pool.name][name]]) for pool in pools]
        for name in found[pools[0].name]
    }
    for name, queries in needed.items():
        behind = sum(own > other for own, other in zip(queries, needed["random search"], strict=True))
        rows.append([name, f"{np.mean(queries):.1f}", f"{np.std(queries):.1f}", f"{behind} of {len(queries)}"])
    return common.markdown(header, rows)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--trainings", type=Path, default=Path("benchmarks/trainings"))
    parser.add_argument("--seeds", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data, folder = common.Data(arguments.data), arguments.runs / "trainings_strategies"
    contexts, tables = context_pools(load_trainings(arguments.trainings)), table_pools(data)
    runs, texts = arguments.seeds, {}
    on_contexts = {pool.name: run(pool, searches(pool), runs, len(pool.values), folder) for pool in contexts}
    texts["trainings_strategies_contexts"] = table_of_contexts(on_contexts, contexts)
    on_tables = {pool.name: run(pool, searches(pool), runs, max(AT), folder) for pool in tables}
    texts["trainings_strategies_tables"] = table_of_tables(on_tables, tables)
    results = {
        "settings": common.settings(arguments),
        "contexts": {name: {s: curves.mean(0).tolist() for s, curves in f.items()} for name, f in on_contexts.items()},
        "tables": {name: {s: curves.mean(0).tolist() for s, curves in f.items()} for name, f in on_tables.items()},
    }
    common.write(arguments.out, "trainings_strategies", results, texts)


if __name__ == "__main__":
    main()
