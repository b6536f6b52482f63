"""Does the space of the nearest known task hold better cells, and that of the farthest worse ones? Asked of real rows.

    python benchmarks/known_tasks.py --data ../shared/data

Known tasks are the image sets of `benchmarks/trainings`: of each, the best quarter of the cells that were trained there
within one budget are its good cells. Every set in turn is the new one, and is none of the known ones. Nothing is
trained but the small networks of the Fisher distances, some minutes a seed on one core; these are kept.
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from metad2a_plugin.data import ImageDataset, load_dataset
from metad2a_plugin.meta.metrics import spearman
from metad2a_plugin.meta.trainings.config import TrainingsConfig
from metad2a_plugin.meta.trainings.database import Trainings, load_trainings
from metad2a_plugin.meta.trainings.tasks import TaskPlan
from metad2a_plugin.similarity.config import TaskConfig
from metad2a_plugin.similarity.fisher import DISTANCES
from metad2a_plugin.similarity.measure import fisher_on, task_data, train_task_network

if TYPE_CHECKING:
    from benchmarks import _common as common
    from benchmarks import _jobs as jobs
    from benchmarks._trainings import FOLDER
else:
    import _common as common
    import _jobs as jobs
    from _trainings import FOLDER

GOOD, MANY, LEAST = 0.25, 12, 3
"""Share of a known context's cells that are good; cells of such a context, and of one of a new set, at the least."""
DRAWS = 5
PAIRS = (
    ("nearest", "whole"),
    ("farthest", "whole"),
    ("random", "whole"),
    ("nearest", "farthest"),
    ("nearest", "random"),
    ("chosen by its own rows", "random"),
)
NOTES = """
{sentence}

{table}
{sets} image sets, each in turn the new one; {seeds} seeds of the Fisher distances ({steps} steps, {images} images,
{fisher} of them for the information). A part is the cells that have, at each edge, an operation that one of the good
cells has there, and good cells are the best quarter of the {many} or more that were trained on a known set within one
context; over all such contexts of the known set. What is compared are the {rows:,} rows of the new set's contexts of
{least} or more cells, standardised within their context: 0 is the mean of the context's cells, 1 a standard deviation
better. *One cell* is the mean of the part's cells, *best of {draws}* what so many random draws among them find.
*Random* is the mean of all known sets, *chosen by its own rows* the known set whose part was best on one half of the
new set's contexts, scored on the other half: what a perfect measure of similarity could come to. Intervals of 95% are
by Student's t over the image sets, each the mean of its seeds. The order of the known sets by distance agrees between
two seeds with a Spearman correlation of {agreement}.
"""


# -- rows ----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Rows:
    """Rows of contexts with some cells, with their accuracies standardised within the context."""

    vertices: torch.Tensor
    values: torch.Tensor
    context: torch.Tensor
    sets: tuple[str, ...]

    @classmethod
    def of(cls, trainings: Trainings) -> Rows:
        kept, values = [], []
        for context in trainings.context.unique().tolist():
            rows = (trainings.context == context).nonzero()[:, 0]
            found = trainings.accuracy[rows].double()
            if len(rows) >= LEAST and float(found.std()) > 0:
                kept.append(rows)
                values.append((found - found.mean()) / found.std())
        chosen = torch.cat(kept)
        sets = tuple(trainings.image_set[row] for row in chosen.tolist())
        return cls(trainings.vertices[chosen], torch.cat(values), trainings.context[chosen], sets)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(set(self.sets)))

    @cached_property
    def _mine(self) -> dict[str, torch.Tensor]:
        return {name: torch.tensor([s == name for s in self.sets]) for name in self.names}

    @cached_property
    def _parts(self) -> dict[str, list[torch.Tensor]]:
        return {name: self.parts(name) for name in self.names}

    def parts(self, name: str) -> list[torch.Tensor]:
        """Which types the good cells of each large context of a known set have, bool ``[vertices, types]``."""
        found = []
        for context in self.context[self._mine[name]].unique().tolist():
            rows = (self.context == context).nonzero()[:, 0]
            if len(rows) >= MANY:
                good = rows[self.values[rows].argsort(descending=True)[: round(GOOD * len(rows))]]
                allowed = torch.zeros(self.vertices.shape[1], int(self.vertices.max()) + 1, dtype=torch.bool)
                allowed[torch.arange(len(allowed)), self.vertices[good]] = True
                found.append(allowed)
        return found

    def scores(self, known: str, new: str, among: torch.Tensor | None = None) -> tuple[float, float]:
        """Of the new set's rows inside the parts of a known one: the mean, and the expected best of `DRAWS`."""
        mine = self._mine[new] if among is None else self._mine[new] & among
        vertices, values, found = self.vertices[mine], self.values[mine], []
        for allowed in self._parts[known]:
            inside = values[allowed[torch.arange(len(allowed)), vertices].all(1)]
            if len(inside) >= DRAWS:
                found.append((float(inside.mean()), best_of(inside)))
        if not found:
            return math.nan, math.nan
        one, best = np.mean(found, axis=0).tolist()
        return one, best

    def whole(self, new: str) -> tuple[float, float]:
        values = self.values[self._mine[new]]
        return float(values.mean()), best_of(values)

    def halves(self, new: str) -> tuple[torch.Tensor, torch.Tensor]:
        """The contexts of a new set in two, bool ``[rows]`` each."""
        first = torch.isin(self.context, self.context[self._mine[new]].unique()[::2])
        return first, ~first


def best_of(values: torch.Tensor) -> float:
    """The expected best of `DRAWS` different ones; of fewer than these there is none, NaN."""
    count = len(values)
    if count < DRAWS:
        return math.nan
    chances = torch.tensor([math.comb(i, DRAWS) / math.comb(count, DRAWS) for i in range(count + 1)])
    return float((values.sort().values * chances.double().diff()).sum())


# -- distances -----------------------------------------------------------------------------------
def images(data: common.Data) -> dict[str, ImageDataset]:
    """Of each image set its first task, the set as a whole."""
    made_of = json.loads((FOLDER / "build.json").read_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes of few images are in no task
        sets = [
            load_dataset("sklearn:digits" if name == "digits" else data.root / "images" / f"{name}.zip")
            for name in made_of["images"]
        ]
        plan = TaskPlan(sets, TrainingsConfig(**made_of["trainings"]))
        of_set: dict[str, int] = {}
        for number, name in enumerate(load_trainings(FOLDER).sets):
            of_set.setdefault(name, number)
        return {name: plan.dataset(number) for name, number in of_set.items()}


def distances(datasets: Mapping[str, ImageDataset], config: TaskConfig) -> dict[str, list[list[float]]]:
    """By the distance's name, ``[known][new]`` in the order of the datasets."""
    tasks = [task_data(dataset, config) for dataset in datasets.values()]
    networks = [train_task_network(task, config) for task in tasks]
    found = {kind: [[0.0] * len(tasks) for _ in tasks] for kind in DISTANCES}
    for target, task in enumerate(tasks):
        table = [fisher_on(network, task, config) for network in networks]
        for kind, distance in DISTANCES.items():
            for source, fisher in enumerate(table):
                found[kind][source][target] = distance(fisher, table[target])
    return found


# -- results -------------------------------------------------------------------------------------
Scores = dict[str, list[tuple[float, float]]]
"""Of each choice, of each new set the mean over seeds of both scores."""


def compare(rows: Rows, measured: Sequence[Sequence[Sequence[float]]], names: Sequence[str]) -> Scores:
    """Scores of the parts of known sets that are chosen by the distances of each seed, ``[seeds][known][new]``."""
    found: Scores = {name: [] for pair in PAIRS for name in pair}
    for number, new in enumerate(names):
        known = [n for n in range(len(names)) if n != number]
        table = {n: rows.scores(names[n], new) for n in known}
        usable = [n for n in known if np.isfinite(table[n]).all()]
        chosen: dict[str, list[int]] = {"nearest": [], "farthest": []}
        for of_seed in measured:
            order = sorted(usable, key=lambda n: of_seed[n][number])
            chosen["nearest"].append(order[0])
            chosen["farthest"].append(order[-1])
        for choice, numbers in (*chosen.items(), ("random", usable)):
            found[choice].append(_mean([table[n] for n in numbers]))
        found["whole"].append(rows.whole(new))
        found["chosen by its own rows"].append(_by_own_rows(rows, names, new, usable))
    return found


def _by_own_rows(rows: Rows, names: Sequence[str], new: str, known: Sequence[int]) -> tuple[float, float]:
    found, halves = [], rows.halves(new)
    for choosing, scored in (halves, halves[::-1]):
        worth = {n: rows.scores(names[n], new, choosing)[0] for n in known}
        for best in sorted(known, key=lambda n: np.nan_to_num(worth[n], nan=-np.inf), reverse=True):
            score = rows.scores(names[best], new, scored)
            if np.isfinite(score).all():
                found.append(score)
                break
    return _mean(found)


def _mean(scores: Sequence[tuple[float, float]]) -> tuple[float, float]:
    one, best = np.mean(scores, axis=0).tolist()
    return one, best


def gains(scores: Scores, left: str, right: str, kind: int) -> list[float]:
    """Differences of two choices, a new set each."""
    return [a[kind] - b[kind] for a, b in zip(scores[left], scores[right], strict=True)]


def table(by_distance: Mapping[str, Scores]) -> str:
    rows = []
    for distance, scores in by_distance.items():
        for left, right in PAIRS:
            if distance == next(iter(by_distance)) or {left, right} & {"nearest", "farthest"}:
                pair = [gains(scores, left, right, kind) for kind in (0, 1)]
                shown = [text for gain in pair for text in (jobs.shown(gain), jobs.verdict(gain))]
                by = distance if {left, right} & {"nearest", "farthest"} else ""
                rows.append([f"{left} - {right}", by, *shown, jobs.seeds_to_tell(pair[0])])
    header = ("difference", "distance", "one cell", "", f"best of {DRAWS}", "", "sets to tell, one cell")
    return common.markdown(header, rows)


def sentence(scores: Scores, sets: int) -> str:
    """What a reader can quote, by the first distance."""
    said = []
    for left, right in (("nearest", "whole"), ("farthest", "whole"), ("random", "whole"), ("nearest", "farthest")):
        gain = gains(scores, left, right, 0)
        than = "the whole space" if right == "whole" else f"that of the {right} known set"
        verdict = jobs.verdict(gain)
        told = f"is {verdict} than {than}" if verdict != "cannot be told" else f"cannot be told from {than}"
        article = "a" if left == "random" else "the"
        said.append(f"the part of {article} {left} known set {told} ({jobs.shown(gain)} standard deviations a cell)")
    return f"**Over {sets} image sets {'; '.join(said)}.**"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=200, help="of the small networks")
    parser.add_argument("--images", type=int, default=600, help="of a set, at most")
    parser.add_argument("--fisher-images", type=int, default=100)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    rows = Rows.of(load_trainings(FOLDER))
    run(options, rows, images(common.Data(options.data)))


def run(options: argparse.Namespace, rows: Rows, datasets: Mapping[str, ImageDataset]) -> None:
    names = list(datasets)
    measured: dict[str, list[list[list[float]]]] = {kind: [] for kind in DISTANCES}
    for seed in range(options.seeds):
        config = TaskConfig(
            images=options.images,
            steps=options.steps,
            fisher_images=options.fisher_images,
            seed=seed,
            init_seed=seed,
        )
        key = asdict(config) | {"sets": [dataset.content_hash for dataset in datasets.values()]}
        path = options.runs / "known_tasks" / f"{seed}.json"
        for kind, matrix in common.remember(path, key, partial(distances, datasets, config)).items():
            measured[kind].append(matrix)
        print(f"seed {seed}", flush=True)
    found = {kind: compare(rows, matrices, names) for kind, matrices in measured.items()}
    text = NOTES.format(
        sentence=sentence(next(iter(found.values())), len(names)),
        table=table(found),
        sets=len(names),
        seeds=options.seeds,
        steps=options.steps,
        images=options.images,
        fisher=options.fisher_images,
        many=MANY,
        least=LEAST,
        draws=DRAWS,
        rows=len(rows.values),
        agreement=" and ".join(f"{agreement(m):.2f} ({kind})" for kind, m in measured.items()),
    ).lstrip()
    results = {"settings": common.settings(options), "sets": names, "distances": measured, "scores": found}
    common.write(options.out, "known_tasks", results, {"known_tasks": text})


def agreement(measured: Sequence[Sequence[Sequence[float]]]) -> float:
    """Of the order of the known sets, between two seeds; the mean over new sets and pairs of seeds."""
    tables, found = [torch.tensor(matrix, dtype=torch.float64) for matrix in measured], []
    for new in range(len(tables[0])):
        known = torch.arange(len(tables[0])) != new
        columns = [t[known, new] for t in tables]
        found += [spearman(a, b) for i, a in enumerate(columns) for b in columns[:i]]
    return sum(found) / len(found) if found else math.nan


if __name__ == "__main__":
    main()
