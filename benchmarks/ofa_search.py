"""The most accurate subnets of Once-for-All within FLOPs bounds: our search, OFA's evolution and random draws.

    python benchmarks/ofa_search.py --data ../shared/data

All search by the same predictor, ``ofa-imagenet``. What they find is judged by another one, which they never ask: that
of Once-for-All, ``official_accuracy_predictor.pth`` in ``ofa`` under `--data`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from metad2a_plugin import MetaD2A, get_predictor
from metad2a_plugin.candidates.find import Effort
from metad2a_plugin.candidates.generate import Draw
from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.models.checkpoint import shipped
from metad2a_plugin.plugins.registry import predictor_of
from metad2a_plugin.plugins.strategy import maximize
from metad2a_plugin.predictors.imagenet import ImageNetPredictor
from metad2a_plugin.search.metad2a import pareto_space
from metad2a_plugin.search.ranking import Origin, rank
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.strategies import OFAEvolution

if TYPE_CHECKING:
    from benchmarks import _common as common
    from benchmarks._ofa_data import SPACE, official
else:
    import _common as common
    from _ofa_data import SPACE, official

BOUNDS = (200, 300, 400)
"""Millions of multiply-accumulates, at which our search is to reach the evolution's judged accuracy."""
FEW, MANY = 1_000, 50_100
"""Queries: of a search by default, and of OFA's evolution, 500 generations of 100 and the networks it starts from."""
TOP = 10
OURS, EVOLUTION = "ours, 1,000", "OFA's evolution, 50,100"


class Run(NamedTuple):
    """The best networks of one seed.

    Attributes:
        predicted: by ``ofa-imagenet``, percent.
        judged, judged_top, spread: by OFA's predictor, of the best, and mean and standard deviation over the ten best.
        flops: of the best, in millions.
        queries: of ``ofa-imagenet``.
        seconds: wall clock.
    """

    predicted: float
    judged: float
    judged_top: float
    spread: float
    flops: float
    queries: int
    seconds: float


def judge(data: Path, found: Sequence[Architecture], queries: int, seconds: float) -> Run:
    """What the judge says of networks, best first."""
    vertices = SPACE.encode(found[:TOP])
    judged = official(data / "ofa", vertices, torch.full((len(vertices),), 224))
    predicted = float(ImageNetPredictor(SPACE).predict(None, vertices[:1]).mean[0])
    flops = float(SPACE.costs(vertices)[1][0])
    return Run(predicted, float(judged[0]), float(judged.mean()), float(judged.std()), flops, queries, seconds)


def searched(options: Any, bound: int, seed: int) -> dict[str, Run]:
    return {OURS: _searched(options, bound, seed)}


def generated(options: Any, bound: int, seed: int) -> dict[str, Run]:
    """With candidates of a checkpoint's generator, counted with the 1,000 classes of the others."""
    searcher = MetaD2A.from_pretrained(options.model)
    task = searcher.task(options.data / "images" / f"{options.images}.zip", progress=False)
    title = f"ours, generated for {options.images}, {FEW:,}"
    return {title: _searched(options, bound, seed, partial(searcher.source, task, seed))}


def random(options: Any, bound: int, seed: int) -> dict[str, Run]:
    """Of few draws, and of as many as the evolution has queries."""
    return {f"random, steered, {n:,}": _searched(options, bound, seed, candidates=n) for n in (FEW, options.random)}


def evolution(options: Any, bound: int, seed: int) -> dict[str, Run]:
    """After few queries, and after all of OFA's."""
    predictor = get_predictor("ofa-imagenet")(SPACE)
    strategy, runs = OFAEvolution(SPACE, seed=seed, max_flops=bound), {}
    begin = time.perf_counter()
    for title, queries in ((f"OFA's evolution, {FEW:,}", FEW), (EVOLUTION, MANY - FEW)):
        maximize(strategy, lambda networks: predictor.predict(None, networks).mean.tolist(), queries)
        seconds = time.perf_counter() - begin
        best = dict.fromkeys(network for network, _ in sorted(strategy.history, key=lambda pair: -pair[1]))
        runs[title] = judge(options.data, list(best)[:TOP], len(strategy.history), seconds)
    return runs


def _searched(
    options: Any, bound: int, seed: int, source: Callable[[], Draw] | None = None, candidates: int | None = None
) -> Run:
    begin = time.perf_counter()
    predictor = predictor_of("ofa-imagenet", SPACE, SPACE.input_size)
    limits, effort = Limits(SPACE, max_flops=bound), Effort(candidates, seed=seed)
    result = rank(limits, predictor, effort, Origin(draw=source() if source else None)).result(slice(TOP))
    return judge(options.data, result.architectures, result.queries, time.perf_counter() - begin)


def all_runs(options: Any) -> dict[str, dict[int, list[Run]]]:
    """By method, bound and seed; finished ones are read."""
    methods = [searched, evolution, random]
    if options.model in shipped() or Path(options.model).is_dir():
        methods.insert(1, generated)
    found: dict[str, dict[int, list[Run]]] = {}
    for bound, seed, method in product(options.bounds, range(options.seeds), methods):
        name = f"{method.__name__}-{bound}-{seed}"
        key = {"name": name, "random": options.random, "model": options.model, "images": options.images}
        part = options.runs / "ofa_search" / f"{name}.json"
        for title, run in common.remember(part, key, partial(method, options, bound, seed)).items():
            found.setdefault(title, {}).setdefault(bound, []).append(Run(*run))
    return found


def rows_of(found: dict[str, dict[int, list[Run]]], bounds: Sequence[int]) -> list[list[str]]:
    rows = []
    for bound in bounds:
        for name, by_bound in found.items():
            runs = by_bound[bound]

            def show(attribute: str, digits: int, runs: Sequence[Run] = runs) -> str:
                return common.mean_std([getattr(run, attribute) for run in runs], digits)

            rows.append(
                [
                    str(bound),
                    name,
                    f"{statistics.fmean(run.queries for run in runs):,.0f}",
                    show("predicted", 2),
                    show("judged", 2),
                    show("judged_top", 2),
                    show("seconds", 1),
                ]
            )
    return rows


def differences(found: dict[str, dict[int, list[Run]]], bounds: Sequence[int]) -> list[list[str]]:
    """Our means less those of the evolution, by bound and over all bounds."""
    rows, every = [], []
    for bound in bounds:
        mine, theirs = found[OURS][bound], found[EVOLUTION][bound]
        gaps = [_mean(mine, what) - _mean(theirs, what) for what in ("predicted", "judged", "judged_top")]
        every.append(gaps)
        aimed = "≥ 0 met" if gaps[1] >= 0 else "≥ 0 missed"
        rows.append([str(bound), *(f"{gap:+.3f}" for gap in gaps), aimed])
    means = [statistics.fmean(gaps) for gaps in zip(*every, strict=True)]
    return [*rows, ["mean", *(f"{gap:+.3f}" for gap in means), ""]]


def _mean(runs: Sequence[Run], what: str) -> float:
    return statistics.fmean(getattr(run, what) for run in runs)


NOTES = """
{seeds} seeds each, mean ± standard deviation; 224 px, width 1.0, bounds in millions of multiply-accumulates.
*Predicted* is the accuracy by `ofa-imagenet`, which all search by, of the network ranked first; *judged* is what OFA's
released predictor says of it, a model that none of them asks, on its own scale (its level is about 6 points higher),
and *ten best* its mean over the ten best. *Steered* draws are ours, about half of them within the bound; *random* ranks
them all. Seconds are wall clock on one core of a machine that other work shared.

The ten best of a search, which our predictor all but ties, differ by ± {spread:.2f} for the judge (standard deviation):
of one network a seed, at one bound, a few hundredths mean little.
"""


def figure(options: Any, found: dict[str, dict[int, list[Run]]]) -> None:
    front = pareto_space(SPACE, "ofa-imagenet", seed=0)
    others = {
        name: [(run.flops, run.predicted) for runs in found[name].values() for run in runs]
        for name in (OURS, EVOLUTION, f"random, steered, {FEW:,}")
    }
    front.draw(options.out / "ofa_search.png", others)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--bounds", type=int, nargs="+", default=list(BOUNDS))
    parser.add_argument("--random", type=int, default=MANY, help="queries of the longer random search")
    parser.add_argument("--model", default="mobilenetv3", help="whose generator is tried, if it is there")
    parser.add_argument("--images", default="caltech101", help="the dataset that it generates for")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = all_runs(options)
    header = ("bound", "search", "queries", "predicted", "judged", "judged, ten best", "seconds")
    gaps = ("bound", "predicted", "judged", "judged, ten best", "aim (judged)")
    spread = statistics.fmean(_mean(runs, "spread") for runs in found[OURS].values())
    text = (
        common.markdown(header, rows_of(found, options.bounds))
        + NOTES.format(seeds=options.seeds, spread=spread)
        + "\nOurs less the evolution, with a fiftieth of its queries:\n\n"
        + common.markdown(gaps, differences(found, options.bounds))
    )
    runs = {
        name: {str(bound): [run._asdict() for run in runs] for bound, runs in by_bound.items()}
        for name, by_bound in found.items()
    }
    common.write(options.out, "ofa_search", {"settings": common.settings(options), "runs": runs}, {"ofa_search": text})
    figure(options, found)


if __name__ == "__main__":
    main()
