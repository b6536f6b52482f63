"""How many queries AREA spares beside regularized evolution: many seeds, its settings, and what its scores are worth.

    python benchmarks/area.py --data ../shared/data

A query looks a cell's validation accuracy up in the benchmark's table. Scores are a public table's, and for those that
are averaged over minibatches own ones of a sample of random cells; these cost half a second of a core or so each, and
are kept as they are made in ``runs/area``. All else takes minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import stats

from metad2a_plugin.plugins.predictor import Predictor
from metad2a_plugin.predictors.naswot import NASWOTPredictor
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.strategies import RegularizedEvolution

if TYPE_CHECKING:
    from benchmarks import _common as common
    from benchmarks import naswot
else:
    import _common as common
    import naswot

LEVEL_AT = 100
"""Queries of evolution at random start whose mean accuracy is to be reached."""
AIM, SHOWN = 60, (10, 30, 60, 100)
PAPER = 10, 3
"""The paper's population and tournament; twice as many cells are scored as the population has."""
SETTINGS = ((5, 3), PAPER, (10, 5), (10, 10), (20, 3), (20, 10), (50, 3), (50, 10), (50, 25))
EVOLUTION, AREA = "regularized evolution, random start", "AREA, the public table's scores"
PUBLISHED = {"cifar10": (91.20, 0.27), "imagenet16-120": (45.70, 1.05)}
"""Validation accuracy of AREA in the paper, with the standard deviation of its runs."""
RESAMPLES = 1000
NOTES = """
{sentence}
{of_settings}

Means of {seeds} seeds, in percent: validation accuracy, which a search is told and by which it chooses. *Catches up* is
the number of queries after which the mean of the best so far reaches that of evolution at random start after {level},
with a 95% interval by bootstrap of both searches' seeds. Population 10, tournament 3 and the 10 best of 20 by score are
the paper's.

{starts}
A start is a population of 10: at random, or the 10 best of those that are scored. *Public* scores are those that a
table holds for {recorded:,} cells, and their twins, which compute the same: {covered:,} of 15,625 cells, of which
starts are drawn; dead cells come last. *Own* ones are of a sample of {cells} random cells, of which starts are drawn;
of one minibatch of 128 CIFAR-10 images and set of initial weights, or the mean of {minibatches}; *in random order* are
the same cells without any score. *The table's own accuracies* begin with what a score that is always right would find.
Kendall's correlation of own scores and test accuracies over the live cells of the sample: {tau}.

**Population and tournament.** Evolution with the same setting, and AREA by public scores; both catch up with evolution
of population 10 and tournament 3.

{settings}
**What the paper's protocol gives.** Told is the accuracy after 12 epochs, as where a search must train; reported is the
200-epoch accuracy of the best by what was told, after {last} queries; mean ± standard deviation of the seeds. The paper
reports the validation accuracy of AREA alone.

{protocol}"""

Curves = np.ndarray
"""Validation accuracy of the best so far, ``[seeds, queries]``."""


# -- scores --------------------------------------------------------------------------------------
def public(data: common.Data, dataset: str) -> dict[int, float]:
    """The public table's scores by index; those of their twins, too, and dead cells last."""
    known = naswot.recorded(data, dataset)
    vertices = common.SPACE.all_vertices()
    kind = common.SPACE.canonical_ids(vertices).tolist()
    of_kind = {kind[index]: score for index, score in known.items()}
    dead = common.SPACE.dead_mask(vertices).tolist()
    found = {i: known.get(i, of_kind.get(k)) for i, k in enumerate(kind)}
    return {i: naswot.LAST if dead[i] else s for i, s in found.items() if dead[i] or s is not None}  # type: ignore[misc]


def own(options: argparse.Namespace, make: Callable[[int], Predictor]) -> np.ndarray:
    """Scores of the sample on each minibatch, ``[minibatches, cells]``; those that are not kept yet are made."""
    cells, found = naswot.draws(0, options.cells), []
    for minibatch in range(options.minibatches):
        path = options.runs / "area" / f"scores-{minibatch}.jsonl"
        kept = naswot.scores(path, cells, partial(make, minibatch))
        found.append([kept[common.SPACE.index(cell)] for cell in cells])
        print(f"minibatch {minibatch}: {len(cells)} scores", flush=True)
    return np.array(found)


@cache
def _cells() -> list[Architecture]:
    """Of the space, in the order of their indices."""
    return list(common.SPACE.enumerate())


# -- searches ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Start:
    """The first population: the best by score of some cells that are drawn; without scores it is random.

    Attributes:
        scores: by index, of the cells that are drawn from.
        drawn: for each of the population.
    """

    scores: Mapping[int, float] | None = None
    drawn: int = 2

    def cells(self, seed: int, population: int) -> list[int]:
        """Indices, the best first."""
        if self.scores is None:
            return []
        drawn = random.Random(seed).sample(sorted(self.scores), self.drawn * population)
        return sorted(drawn, key=self.scores.__getitem__, reverse=True)[:population]


def asked(told: np.ndarray, start: Start, setting: tuple[int, int], seed: int, queries: int) -> list[int]:
    """Indices of the cells that a search asks for, ``[queries]``; what AREA begins with is told to evolution."""
    population, sample = setting
    strategy = RegularizedEvolution(common.SPACE, seed=seed, population_size=population, sample_size=sample)
    found = start.cells(seed, population)[:queries]
    for index in found:
        strategy.tell(_cells()[index], float(told[index]))
    while len(found) < queries:
        [cell] = strategy.ask()
        found.append(common.SPACE.index(cell))
        strategy.tell(cell, float(told[found[-1]]))
    return found


def best_so_far(told: np.ndarray, cells: Sequence[int]) -> np.ndarray:
    """Index of the best by what was told, after each query, the earliest among equals."""
    values = told[list(cells)]
    rises = np.flatnonzero(values > np.concatenate([[-np.inf], np.maximum.accumulate(values)[:-1]]))
    number = np.searchsorted(rises, np.arange(len(values)), side="right") - 1
    found: np.ndarray = np.array(cells)[rises[number]]
    return found


def curves(told: np.ndarray, start: Start, setting: tuple[int, int], options: argparse.Namespace) -> Curves:
    """Of each seed; what was asked for is kept."""

    def compute() -> list[list[int]]:
        return [asked(told, start, setting, seed, options.queries) for seed in range(options.seeds)]

    key = {"told": told.tolist(), "scores": sorted((start.scores or {}).items()), "drawn": start.drawn}
    key |= {"setting": setting, "seeds": options.seeds, "queries": options.queries}
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    runs = common.remember(options.runs / "area" / f"{name}.json", {"name": name}, compute)
    return np.array([np.maximum.accumulate(told[run]) for run in runs])


# -- how many queries ----------------------------------------------------------------------------
def needed(curve: Curves, level: float) -> int:
    """Queries until a mean curve reaches a level; one more than it has where it does not."""
    return int((curve < level - 1e-9).sum()) + 1  # a mean is no more exact


def catches_up(search: Curves, reference: Curves) -> tuple[int, int, int]:
    """Queries that a search needs for the reference's accuracy after `LEVEL_AT`, and the ends of the 95% interval."""
    rng = np.random.default_rng(0)
    at = min(LEVEL_AT, reference.shape[1]) - 1

    def resampled(curve: Curves) -> Curves:
        counts = rng.multinomial(len(curve), np.full(len(curve), 1 / len(curve)), RESAMPLES)
        found: np.ndarray = counts @ curve / len(curve)
        return found

    levels = resampled(reference)[:, at]
    again = [needed(curve, level) for curve, level in zip(resampled(search), levels, strict=True)]
    low, high = np.quantile(again, (0.025, 0.975), method="nearest")
    return needed(search.mean(0), float(reference[:, at].mean())), int(low), int(high)


def said(found: tuple[int, int, int], queries: int) -> str:
    """``75 [62, 90]``."""
    middle, low, high = (f"over {queries}" if n > queries else str(n) for n in found)
    return f"{middle} [{low}, {high}]"


Number = tuple[int, int, int]


def sentence(found: Mapping[str, Number], options: argparse.Namespace) -> str:
    """What a reader can quote of AREA."""
    parts = []
    for name, (middle, low, high) in found.items():
        fewer = high < LEVEL_AT
        told = "fewer queries than evolution" if fewer else "no fewer queries that could be told"
        parts.append(f"{said((middle, low, high), options.queries)} queries on {common.TITLES[name]} ({told})")
    met = "within" if found["cifar10"][0] <= AIM else "beyond"
    return (
        f"**Over {options.seeds} seeds AREA, with the paper's settings, reaches the accuracy of evolution's "
        f"{LEVEL_AT} queries after {' and '.join(parts)}; on CIFAR-10 this is {met} the aim of {AIM}.**"
    )


def sentence_of_settings(grid: Mapping[tuple[int, int], Sequence[Number]], options: argparse.Namespace) -> str:
    """The same of the setting, by numbers of evolution and AREA on CIFAR-10."""
    best = min(grid, key=lambda setting: grid[setting][0][0])
    (evolution, area), (start, _) = grid[best], grid[PAPER]
    worth, of_start = start[0] - evolution[0], start[0] - grid[PAPER][1][0]
    more = "more" if worth > of_start else "not more"
    return (
        f"**The setting is worth {more} than the start: with population {best[0]} and tournament {best[1]}, the best "
        f"of those tried, evolution needs {said(evolution, options.queries)} queries on CIFAR-10 from a random start, "
        f"and AREA {said(area, options.queries)}.**"
    )


# -- parts ---------------------------------------------------------------------------------------
def starts(data: common.Data, dataset: str, sample: Sequence[int], scores: np.ndarray) -> dict[str, Start]:
    known, accuracy = public(data, dataset), data.table.accuracies(dataset, "valid")

    def of_sample(values: np.ndarray) -> dict[int, float]:
        return dict(zip(sample, values.tolist(), strict=True))

    shuffled = np.random.default_rng(0).permutation(len(sample)).astype(float)
    return {
        EVOLUTION: Start(),
        AREA: Start(known),
        "AREA, public scores, best of 100": Start(known, drawn=10),
        "AREA, public scores, best of 1,000": Start(known, drawn=100),
        "AREA, own sample in random order": Start(of_sample(shuffled)),
        "AREA, own scores, one minibatch": Start(of_sample(scores[0])),
        f"AREA, own scores, mean of {len(scores)} minibatches": Start(of_sample(scores.mean(0))),
        "AREA, the table's own accuracies": Start({i: float(accuracy[i]) for i in known}),
    }


def protocol(data: common.Data, dataset: str, start: Start, options: argparse.Namespace) -> dict[str, list[float]]:
    """Accuracies of the best by the 12-epoch one, a seed each."""
    told, found = data.table.accuracies(dataset, "valid", 12), []
    for seed in range(options.seeds):
        cells = asked(told, start, PAPER, seed, min(LEVEL_AT, options.queries))
        found.append(best_so_far(told, cells)[-1])
    return {split: data.table.accuracies(dataset, split)[found].tolist() for split in ("valid", "test")}


def run(options: argparse.Namespace, **network: Any) -> None:
    """All parts; `network` are options of the networks that are scored."""
    data = common.Data(options.data)

    def predictor(minibatch: int) -> Predictor:
        images = data.images("cifar10")
        return NASWOTPredictor(common.SPACE, images, seed=minibatch, progress=False, **network)

    scores = own(options, predictor)
    sample = [common.SPACE.index(cell) for cell in naswot.draws(0, options.cells)]
    at = [q for q in SHOWN if q <= options.queries]
    results: dict[str, Any] = {"settings": common.settings(options), "starts": {}, "grid": {}, "protocol": {}}
    rows: dict[str, list[list[str]]] = {"starts": [], "grid": [], "protocol": []}
    quoted, covered = {}, 0
    grids: dict[str, dict[tuple[int, int], list[Number]]] = {dataset: {} for dataset in common.TITLES}
    for dataset, title in common.TITLES.items():
        told, ways = data.table.accuracies(dataset, "valid"), starts(data, dataset, sample, scores)
        found = {name: curves(told, start, PAPER, options) for name, start in ways.items()}
        reference = found[EVOLUTION]
        for name, curve in found.items():
            number = catches_up(curve, reference)
            means = curve.mean(0)
            results["starts"][f"{dataset}, {name}"] = {"catches up": number, "mean": means.round(4).tolist()}
            rows["starts"].append([title, name, *(f"{means[q - 1]:.2f}" for q in at), said(number, options.queries)])
        quoted[dataset] = catches_up(found[AREA], reference)
        for setting in SETTINGS:
            pair = [curves(told, ways[name], setting, options) for name in (EVOLUTION, AREA)]
            numbers = [catches_up(curve, reference) for curve in pair]
            results["grid"][f"{dataset}, {setting}"] = grids[dataset][setting] = numbers
            lasts = [f"{curve.mean(0)[at[-1] - 1]:.2f}" for curve in pair]
            told_of = [said(number, options.queries) for number in numbers]
            rows["grid"].append([title, *map(str, setting), *told_of, *lasts])
        for name in (EVOLUTION, AREA):
            accuracies = protocol(data, dataset, ways[name], options)
            results["protocol"][f"{dataset}, {name}"] = accuracies
            paper = "{:.2f} ± {:.2f}".format(*PUBLISHED[dataset]) if name == AREA else ""
            rows["protocol"].append([title, name, *(common.mean_std(a, 2) for a in accuracies.values()), paper])
        covered = len(ways[AREA].scores or ())
    live = ~common.SPACE.dead_mask(common.SPACE.all_vertices()[sample]).numpy()
    tau = []
    for dataset, title in common.TITLES.items():
        accuracy = data.table.accuracies(dataset, "test")[sample][live]
        single = [float(stats.kendalltau(s[live], accuracy)[0]) for s in scores]
        mean = float(stats.kendalltau(scores.mean(0)[live], accuracy)[0])
        tau.append(f"{common.mean_std(single)} for one minibatch and {mean:.3f} for their mean on {title}")
    text = NOTES.format(
        sentence=sentence(quoted, options),
        of_settings=sentence_of_settings(grids["cifar10"], options),
        seeds=options.seeds,
        level=LEVEL_AT,
        starts=common.markdown(("dataset", "search", *(f"{q} queries" for q in at), "catches up"), rows["starts"]),
        recorded=len(naswot.recorded(data, "cifar10")),
        covered=covered,
        cells=options.cells,
        minibatches=options.minibatches,
        tau="; ".join(tau),
        settings=common.markdown(
            (
                "dataset",
                "population",
                "tournament",
                "evolution catches up",
                "AREA catches up",
                f"evolution, {at[-1]} queries",
                f"AREA, {at[-1]} queries",
            ),
            rows["grid"],
        ),
        last=min(LEVEL_AT, options.queries),
        protocol=common.markdown(("dataset", "search", "validation", "test", "paper, validation"), rows["protocol"]),
    ).lstrip()
    common.write(options.out, "area", results, {"area": text})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--queries", type=int, default=200, help="of each search")
    parser.add_argument("--cells", type=int, default=120, help="in the sample that is scored here")
    parser.add_argument("--minibatches", type=int, default=4, help="that each of them is scored on")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    run(options)


if __name__ == "__main__":
    main()
