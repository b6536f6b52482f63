"""Whether NASLib's Trainer loses anything of our strategies: our regularized evolution in it, beside NASLib's own.

    PYTHONPATH=NASLib python benchmarks/naslib_agreement.py --data ../shared/data

Both have NASLib's settings (population 30, tournament 10) and look up the same tables; seeds draw different cells, so
that runs agree as samples, not one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from metad2a_plugin.adapters.trace import Trace

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common

SIZES = {"population_size": 30, "sample_size": 10}
OURS, THEIRS = "our evolution in NASLib's Trainer", "NASLib's own evolution"
NOTES = """
Accuracy in percent of the best by validation after {queries} queries, mean and standard deviation of {repeats} runs.
The difference is ours less theirs, with its standard error; *agree* says that it is smaller than the standard deviation
of runs, and than twice its standard error.
"""


def runs(data: common.Data, dataset: str, ours: bool, queries: int, repeats: int) -> list[Trace]:
    from metad2a_plugin.adapters import naslib

    name, options = ("regularized-evolution", SIZES) if ours else ("re", {"settings": SIZES})
    return [
        naslib.search(name, data.table, dataset, epochs=queries, seed=seed, **options) for seed in range(repeats)
    ]


def compare(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float | bool]:
    """The difference of two samples, and whether it is within their spread."""
    difference = float(np.mean(ours) - np.mean(theirs))
    spread = float(np.sqrt((np.var(ours, ddof=1) + np.var(theirs, ddof=1)) / 2))
    error = spread * np.sqrt(1 / len(ours) + 1 / len(theirs))
    return {
        "difference": difference,
        "standard_error": float(error),
        "spread": spread,
        "agree": bool(abs(difference) < min(spread, 2 * error)),
    }


def table(found: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]) -> str:
    rows = []
    for dataset, methods in found.items():
        for split, title in (("told", "validation"), ("test", "test")):
            ours, theirs = (methods[name][split] for name in (OURS, THEIRS))
            result = compare(ours, theirs)
            difference = f"{result['difference']:+.2f} ± {result['standard_error']:.2f}"
            means = [common.mean_std(values, 2) for values in (ours, theirs)]
            rows.append([common.TITLES[dataset], title, *means, difference, "agree" if result["agree"] else "differ"])
    return common.markdown(("dataset", "accuracy", OURS, THEIRS, "difference", "verdict"), rows)


def main(argv: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--queries", type=int, default=100)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    data = common.Data(arguments.data)
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for dataset in common.TITLES:
        found[dataset] = {}
        for name in (OURS, THEIRS):
            traces = runs(data, dataset, name == OURS, arguments.queries, arguments.repeats)
            found[dataset][name] = {
                split: [float(trace.curve(split)[-1]) for trace in traces] for split in ("told", "test")
            }
    results: dict[str, Any] = {"settings": common.settings(arguments) | SIZES, "final": found}
    text = table(found) + NOTES.format(queries=arguments.queries, repeats=arguments.repeats)
    common.write(arguments.out, "naslib_agreement", results, {"naslib_agreement": text})


if __name__ == "__main__":
    main()
