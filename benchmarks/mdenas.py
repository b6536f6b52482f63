"""MDENAS on the benchmark tables: what it recommends after so many steps, by what it keeps of an operation.

    python benchmarks/mdenas.py --data ../shared/data

Told is the validation accuracy after 12 epochs, which stands for the short trainings of the method; reported is the
test accuracy after 200 epochs of the recommended cell. Finished runs stay under ``runs/mdenas``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from metad2a_plugin.plugins.strategy import maximize
from metad2a_plugin.strategies.mdenas import MDENAS, RECORDS

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

STEPS = (100, 200, 400)
AIM = {100: 92.70, 200: 93.29, 400: 93.44}
"""Test accuracies on CIFAR-10 that another implementation reached, keeping the mean."""
TOLERANCE = 0.3
NOTES = """
Test accuracy after 200 epochs, in percent, of the cell that MDENAS recommends (the likeliest operation of each edge)
after so many steps, each of which tells it one cell's validation accuracy after 12 epochs: mean and standard deviation
of {repeats} seeds. *Mean* and *last* are what is kept of the accuracies of an operation. Aim, for the mean on CIFAR-10:
within {tolerance} points of 92.70, 93.29 and 93.44, which an independent implementation reached on the same table.
*Best told* is the incumbent of the same runs, the best of all cells told, by those 12-epoch accuracies.
"""


def run_of(data: common.Data, dataset: str, record: str, seed: int) -> list[tuple[float, float]]:
    """Test accuracies of the recommendation and of the incumbent after each number of `STEPS`."""
    table = data.table
    told, test = table.accuracies(dataset, "valid", 12), table.accuracies(dataset, "test")
    strategy, found = MDENAS(common.SPACE, seed=seed, record=record), []
    for steps in STEPS:
        missing = steps - len(strategy.history)
        maximize(strategy, lambda cells: told[table.index_of(list(cells))].tolist(), missing, batch=1)
        assert strategy.recommendation is not None and strategy.best is not None
        cells = table.index_of([strategy.recommendation, strategy.best[0]])
        found.append((float(test[cells[0]]), float(test[cells[1]])))
    return found


def run(options: argparse.Namespace) -> None:
    data = common.Data(options.data)
    results: dict[str, dict[str, dict[str, list[list[float]]]]] = {}
    rows = []
    for dataset, title in common.TITLES.items():
        results[dataset] = {}
        for record in RECORDS:
            kept = options.runs / "mdenas" / dataset
            runs = [
                common.remember(
                    kept / f"{record}-{seed}.json", {"steps": list(STEPS)}, partial(run_of, data, dataset, record, seed)
                )
                for seed in range(options.repeats)
            ]
            columns = [list(zip(*(found[i] for found in runs), strict=True)) for i in range(len(STEPS))]
            named = zip(map(str, STEPS), columns, strict=True)
            results[dataset][record] = {steps: [list(c) for c in column] for steps, column in named}
            cells = [common.mean_std(column[0], 2) for column in columns]
            judged = dataset == "cifar10" and record == "mean"
            near = [abs(sum(c[0]) / len(c[0]) - AIM[s]) <= TOLERANCE for s, c in zip(STEPS, columns, strict=True)]
            verdict = ", ".join("met" if ok else "missed" for ok in near) if judged else ""
            rows.append([title, record, *cells, common.mean_std(columns[-1][1], 2), verdict])
    header = ("dataset", "record", *(f"{steps} steps" for steps in STEPS), f"best told of {STEPS[-1]}", "aim")
    text = common.markdown(header, rows) + NOTES.format(repeats=options.repeats, tolerance=TOLERANCE)
    common.write(options.out, "mdenas", {"settings": common.settings(options), "runs": results}, {"mdenas": text})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=60, help="seeds")
    run(parser.parse_args(arguments))


if __name__ == "__main__":
    main()
