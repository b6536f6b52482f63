"""What the shipped generators draw: valid, different, new and good architectures?

    python benchmarks/generator.py --data ../shared/data

Table accuracies only score what was drawn.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

import torch

from metad2a_plugin import MetaD2A
from metad2a_plugin.data import Task, extract_task
from metad2a_plugin.models.generator import TEMPERATURE

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

DATASETS = {"cifar10": "CIFAR-10", "mnist": "MNIST", "clothing10": "clothing", "caltech101": "Caltech-101"}
CANDIDATES = 500
SHARES = {
    "valid": 100.0,
    "unique_independent": None,
    "unique": 95.0,
    "novel": 40.0,
    "live": None,
    "networks": None,
}
"""What is counted in percent of the draws, and what we aim at."""
HEADER = ("dataset", "valid", "unique, independent", "unique", "novel", "live", "networks", "candidates")
NOTES = """
Percent of {draws:,} draws for one dataset. *Unique, independent* counts independent draws, all other columns draws
without replacement, which is what a search uses. Draws are valid by construction: the wiring is the space's own, so a
draw decides operations only. *Novel* cells are not among the training rows of the meta-database. *Live* cells have a
path from input to output; *networks* counts different live ones, that is after dead operations are removed and equal
ones merged. *Candidates* are the different networks that a search for {candidates} gets. The row of validation tasks
is the mean of {tasks} of them.
"""
QUALITY_NOTES = """
Mean predicted accuracy (percent, on the scale of meta-training tasks) and mean test accuracy after 200 epochs in the
benchmark table: of independent draws, of all 15,625 cells (what uniform random draws have), and of the live ones.
"""


def draw_report(
    searcher: MetaD2A, task: Task, known: set[tuple[int, ...]], draws: int, seed: int = 0
) -> dict[str, float]:
    """Shares in percent, and the number of candidates of a search.

    Args:
        searcher: has a generator.
        task: a dataset.
        known: training cells of the meta-database, encoded.
        draws: how many to draw.
        seed: of the draws.
    """
    independent = independent_draws(searcher, task, draws, seed)
    distinct = searcher.generate(task, draws, seed=seed)
    live = distinct[~common.SPACE.dead_mask(distinct)]
    networks = common.SPACE.canonical_ids(common.SPACE.simplify(live)).unique()
    drawn = set(map(tuple, distinct.tolist()))
    counts = {
        "valid": len(common.SPACE.decode(torch.cat([independent, distinct]))) / 2,  # decode refuses any other
        "unique_independent": len(independent.unique(dim=0)),
        "unique": len(drawn),
        "novel": len(drawn - known),
        "live": len(live),
        "networks": len(networks),
    }
    report = {name: 100 * count / draws for name, count in counts.items()}
    return report | {"candidates": len(searcher.rank(task, candidates=CANDIDATES, seed=seed).vertices)}


@torch.inference_mode()
def independent_draws(searcher: MetaD2A, task: Task, draws: int, seed: int) -> torch.Tensor:
    """From the distribution that `MetaD2A.generate` draws from without replacement, int64 ``[draws, vertices]``."""
    generator = searcher.checkpoint.generator
    if generator is None:
        raise SystemExit(f"the checkpoint {searcher.checkpoint.name!r} has no generator")
    z = generator.encode(task.draw(seed=seed))[0].mean(0, keepdim=True)
    return generator.decoder.sample(z.expand(draws, -1), torch.Generator().manual_seed(seed), TEMPERATURE)


def quality(
    searcher: MetaD2A, task: Task, draws: int, truth: torch.Tensor | None, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Mean predicted and, with the table's accuracies `truth` ``[15625]``, mean true accuracy by kind of cells."""
    everything = common.SPACE.all_vertices()
    drawn = [common.SPACE.index(a) for a in common.SPACE.decode(independent_draws(searcher, task, draws, seed))]
    kinds = {
        "generated": torch.tensor(drawn),
        "random": torch.arange(len(everything)),
        "random, live": torch.nonzero(~common.SPACE.dead_mask(everything)).squeeze(1),
    }
    values = {"predicted": searcher.predict(task, everything).mean}
    if truth is not None:
        values["measured"] = truth
    return {kind: {name: float(v[index].mean()) for name, v in values.items()} for kind, index in kinds.items()}


def rows(reports: Mapping[str, Sequence[Mapping[str, float]]]) -> list[list[str]]:
    found = [
        [
            name,
            *(f"{fmean(r[share] for r in each):.1f}%" for share in SHARES),
            f"{min(r['candidates'] for r in each):.0f}",
        ]
        for name, each in reports.items()
    ]
    every = [report for each in reports.values() for report in each]
    worst = {share: min(report[share] for report in every) for share in SHARES}
    aims = ["" if least is None else common.aim([worst[share]], least, 0) for share, least in SHARES.items()]
    return [*found, ["aim, for the worst", *aims, common.aim([min(r["candidates"] for r in every)], CANDIDATES, 0)]]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--models", nargs="+", default=["nasbench201", "nasbench201-paper"], help="names or folders")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--tasks", type=int, default=20, help="validation tasks of the meta-database")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    run(options)


def run(options: argparse.Namespace) -> None:
    data = common.Data(options.data)
    known = set(map(tuple, data.database.vertices[~data.database.valid].tolist()))
    tasks = {title: [extract_task(data.images(name))] for name, title in DATASETS.items()}
    tasks["validation tasks"] = data.validation_tasks(options.tasks)
    truth = {"CIFAR-10": torch.from_numpy(data.table.accuracies().copy())}
    results, texts = {}, []
    for model in options.models:
        searcher = MetaD2A.from_pretrained(model)
        reports = {name: [draw_report(searcher, t, known, options.draws) for t in each] for name, each in tasks.items()}
        means = {name: quality(searcher, each[0], options.draws, truth.get(name)) for name, each in tasks.items()}
        del means["validation tasks"]
        name = searcher.checkpoint.name
        results[name] = {"draws": reports, "quality": means}
        texts.append(f"**{name}**\n\n{common.markdown(HEADER, rows(reports))}\n{quality_table(means)}")
    notes = NOTES.format(draws=options.draws, candidates=CANDIDATES, tasks=options.tasks) + QUALITY_NOTES
    written = {"settings": common.settings(options), "models": results}
    written["settings"]["models"] = list(results)
    common.write(options.out, "generator", written, {"generator": "\n".join(texts) + notes})


def quality_table(means: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    kinds = list(next(iter(means.values())))
    header = ("mean accuracy", *kinds)
    found = [
        [f"{name}, {what}", *(f"{values[kind][what]:.2f}" for kind in kinds)]
        for name, values in means.items()
        for what in values[kinds[0]]
    ]
    return common.markdown(header, found)


if __name__ == "__main__":
    main()
