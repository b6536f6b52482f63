"""Tables of `benchmarks/budget.py`, and what was wanted of it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from benchmarks import _common as common
else:
    import _common as common


def column(values: Mapping[str, Sequence[float]], place: int, digits: int = 2) -> str:
    known = [v[place] for v in values.values() if v[place] is not None and v[place] == v[place]]
    return common.mean_std(known, digits) if known else ""


def plain(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, Mapping):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return None if isinstance(value, float) and value != value else value


def texts(results: Mapping[str, Any]) -> dict[str, str]:
    header = ["", "Spearman", "regret of the first", "of the best of five", "share of best to mean", "of five"]
    lines = [[name, *(column(v, p, d) for p, d in ((0, 2), (2, 1), (3, 1), (4, 2), (5, 2)))]
             for name, v in results["cells"].items()]  # fmt: skip
    ours = results["cells"]["ours"]
    lines.append(["what seeds allow", column(ours, 1), "", "", "", ""])
    order = common.markdown(header, lines)
    header = ["", "Spearman within a set", "within a task", "regret of the first", "best to mean"]
    lines = [[name, *(column(v, p, d) for p, d in ((0, 2), (1, 2), (2, 1), (3, 1)))]
             for name, v in results["configurations"].items()]  # fmt: skip
    whole = common.markdown(header, lines)
    lines = [[name, *(f"{value:.3f}" for value in v.values())] for name, v in results["tables"].items()]
    table = common.markdown(["", "table left out", "dataset left out"], lines)
    seen = list(next(iter(results["curves"].values())))
    lines = [
        [title, *(column({n: v[title] for n, v in results["curves"].items()}, p, 1) for p in (0, 1))] for title in seen
    ]
    curve = common.markdown(["seen", "error, points", "the last value seen"], lines)
    lines = [[n, *(f"{value:.2f}" for value in v)] for n, v in results.get("ablations", {}).items()]
    left = common.markdown(["without", "configurations", "cells", "error, points"], lines)
    rows, intervals = results["rows"], results["intervals"]
    about = (
        f"{rows['trainings']:,} trainings of {rows['contexts']} contexts, {rows['image sets']} image sets; means over "
        f"left-out sets ± standard deviation. 90% intervals hold {column(intervals, 0)} of the accuracies; mean error "
        f"{column(intervals, 1, 1)} points.\n"
    )
    return {
        "budget_cells": order,
        "budget_configurations": whole,
        "budget_tables": table,
        "budget_curves": curve,
        "budget_inputs": left,
        "budget_about": about,
        "budget_aims": common.markdown(["aim", "wanted", "reached", ""], aims(results)),
    }


def mean(values: Mapping[str, Sequence[float | None]], place: int) -> float:
    """Over image sets of which it is known."""
    known = [v[place] for v in values.values() if v[place] is not None]
    return float(np.nanmean(np.array(known, dtype=float)))


def aims(results: Mapping[str, Any]) -> list[list[str]]:
    """What was wanted, and what was reached."""
    whole, cells, curves = (results[name] for name in ("configurations", "cells", "curves"))
    ours, others = cells["ours"], {name: values for name, values in cells.items() if name != "ours"}
    defaults = [values for name, values in whole.items() if name.startswith("default")]
    fixed, allowed = min(mean(values, 2) for values in defaults), mean(ours, 1)
    tenth = {name: values["a tenth"] for name, values in curves.items()}
    short = min(v["dataset left out"] for name, v in results["tables"].items() if "12 epochs" in name)
    inside = mean(results["intervals"], 0)
    checks = [
        ("configurations: Spearman within a set", 0.85, mean(whole["ours"], 0), "≥"),
        ("regret of the first, share of the best fixed default's", 1 / 3, mean(whole["ours"], 2) / fixed, "≤"),
        ("the same, of the blind twin's", 1.0, mean(whole["ours"], 2) / mean(whole["blind twin"], 2), "≤"),
        ("cells: Spearman, share of what seeds allow", 0.8, mean(ours, 0) / allowed, "≥"),
        *((f"cells: Spearman above {name}", mean(values, 0), mean(ours, 0), "≥") for name, values in others.items()),
        ("12-epoch tables, from the other dataset alone: Spearman, the lower", 0.9, short, "≥"),
        ("curves: error after a tenth, share of the last value's", 0.5, mean(tenth, 0) / mean(tenth, 1), "≤"),
        ("90% intervals hold at least", 0.85, inside, "≥"),
        ("90% intervals hold at most", 0.95, inside, "≤"),
    ]
    return [
        [what, f"{sign} {wanted:.2f}", f"{got:.2f}", "met" if (got >= wanted) == (sign == "≥") else "missed"]
        for what, wanted, got, sign in checks
    ]


def metrics(results: Mapping[str, Any]) -> dict[str, float]:
    """For the card."""
    return {
        "spearman_of_configurations": statistics.fmean(v[0] for v in results["configurations"]["ours"].values()),
        "spearman_of_cells": statistics.fmean(v[0] for v in results["cells"]["ours"].values()),
        "spearman_of_cells_that_seeds_allow": float(np.nanmean([v[1] for v in results["cells"]["ours"].values()])),
        "share_inside_90%_intervals": statistics.fmean(v[0] for v in results["intervals"].values()),
        "error_in_points": statistics.fmean(v[1] for v in results["intervals"].values()),
    }
