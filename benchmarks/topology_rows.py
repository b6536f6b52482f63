"""Do wide and shallow cells train faster, and not better, on 19 image sets? Width and depth in the real trainings.

    python benchmarks/topology_rows.py

Rank correlations of a cell's width and depth with the accuracy of the rows of ``benchmarks/trainings`` within their
contexts: early and late in the same trainings, and in short and in long ones; intervals over image sets. Seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch

from metad2a_plugin.analysis.topology import topology
from metad2a_plugin.meta.trainings.database import Trainings, load_trainings
from metad2a_plugin.spaces.interfaces import CellSpace

if TYPE_CHECKING:
    from benchmarks import _common as common
    from benchmarks import _jobs as jobs
    from benchmarks._trainings import FOLDER
else:
    import _common as common
    import _jobs as jobs
    from _trainings import FOLDER

EARLY, CURVE = 0.1, 10
"""Share of the epochs after which an accuracy is an early one, and the epochs of such trainings, at the least."""
LEAST, ENOUGH = 3, 30
"""Cells of a context, and rows of an image set, at the least."""
TITLES = {
    "early": "after a tenth of the epochs",
    "late": "after the last",
    "later": "difference",
    "short": "short trainings",
    "long": "long trainings",
    "longer": "difference",
}
OVER = {"all": "all live cells", "same": "same operations"}
NOTES = """
Rank correlations with the accuracy in {rows:,} trainings of {contexts:,} contexts, within which all is the same but the
cell and the seed; only contexts of {least} live cells or more. Ranks are taken within a context and pooled over those
of an image set; *same operations*: freed of what the numbers of convolutions, pools and skips on a cell's paths
explain, so that the wiring is left. Means over {sets} image sets of {enough} such rows or more, with a 95% interval by
Student's t; a difference is one within a set. The first three columns are of the same trainings, of {curve} epochs or
more; *short* and *long* are contexts of fewer or more steps of the optimiser than half of the rows have, {steps:,}.
"""
Found = dict[str, dict[str, dict[str, list[float]]]]
"""By group of `OVER`, by width or depth and by column of `TITLES`: a value for each image set."""


class Rows(NamedTuple):
    """Rows of live cells in contexts of several, ``[n]`` each."""

    image_set: list[str]
    context: torch.Tensor
    steps: torch.Tensor
    epochs: torch.Tensor
    early: torch.Tensor
    late: torch.Tensor
    width: torch.Tensor
    depth: torch.Tensor
    operations: torch.Tensor  # how often each is on the cell's paths, [n, operations]


def rows_of(trainings: Trainings) -> Rows:
    space = trainings.space
    assert isinstance(space, CellSpace)
    live = ~space.dead_mask(trainings.vertices)
    counts = torch.bincount(trainings.context[live], minlength=int(trainings.context.max()) + 1)
    found = trainings.rows(live & (counts[trainings.context] >= LEAST))
    epochs = found.settings["epochs"].long()
    batches = (found.settings["train_images"] / found.settings["batch_size"]).ceil().long()
    width, depth = topology(space, found.vertices)
    pruned = space.pruned(found.vertices)
    operations = [(pruned == op).sum(1) for op in pruned.unique().tolist() if op != space.none]
    early = (EARLY * epochs).round().long().clamp(min=1)
    return Rows(
        image_set=list(found.image_set),
        context=found.context,
        steps=epochs * batches,
        epochs=epochs,
        early=found.curve.gather(1, early[:, None] - 1)[:, 0],
        late=found.accuracy,
        # Widths in sixths: equal ones are equal numbers.
        width=(6 * width).round(),
        depth=depth,
        operations=torch.stack(operations, dim=1),
    )


def centred_ranks(values: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """Ranks within each group, from -1 to 1, ties alike; float64 ``[n]``."""
    found = torch.zeros(len(values), dtype=torch.float64)
    for group in groups.unique():
        rows = groups == group
        own = values[rows]
        found[rows] = (own[:, None] - own[None]).sign().double().sum(1) / max(1, len(own) - 1)
    return found


def partial(x: torch.Tensor, y: torch.Tensor, others: torch.Tensor) -> float:
    """Correlation of what a linear fit to others, ``[n, m]``, leaves of centred columns; NaN where it is nothing."""
    both = torch.stack([x, y], dim=1)
    if others.shape[1]:
        both = both - others @ torch.linalg.lstsq(others, both, driver="gelsd").solution
    norms = both.norm(dim=0)
    return float(both.prod(dim=1).sum() / norms.prod()) if bool((norms > 1e-9).all()) else float("nan")


def correlations(rows: Rows) -> tuple[Found, list[str], int]:
    """What is found, the image sets that count, and the steps that part short from long contexts."""
    middle = int(rows.steps.median())
    long, curves = rows.steps > middle, rows.epochs >= CURVE
    of = {"early": (rows.early, curves), "late": (rows.late, curves)}
    of |= {"short": (rows.late, ~long), "long": (rows.late, long)}
    names = sorted(set(rows.image_set))
    masks = {name: torch.tensor([one == name for one in rows.image_set]) for name in names}
    names = [n for n in names if all(int((masks[n] & mask).sum()) >= ENOUGH for _, mask in of.values())]
    ranked = {what: centred_ranks(getattr(rows, what), rows.context) for what in ("width", "depth")}
    counts = torch.stack([centred_ranks(column, rows.context) for column in rows.operations.T], dim=1)
    found: Found = {over: {what: {column: [] for column in TITLES} for what in ranked} for over in OVER}
    accuracies = {kind: (centred_ranks(values, rows.context), mask) for kind, (values, mask) in of.items()}
    for over, others in (("all", counts[:, :0]), ("same", counts)):
        for what, place in ranked.items():
            values = found[over][what]
            for name in names:
                for kind, (accuracy, mask) in accuracies.items():
                    own = masks[name] & mask
                    values[kind].append(partial(place[own], accuracy[own], others[own]))
            for column, after, before in (("later", "late", "early"), ("longer", "long", "short")):
                values[column] = [a - b for a, b in zip(values[after], values[before], strict=True)]
    return found, names, middle


def table(found: Found) -> str:
    rows = [
        [OVER[over], what, *(jobs.shown(values) for values in columns.values())]
        for over, both in found.items()
        for what, columns in both.items()
    ]
    return common.markdown(("over", "of", *TITLES.values()), rows)


def sentence(found: Found, sets: int) -> str:
    """What a reader can quote."""

    def told(values: Sequence[float]) -> str:
        return jobs.shown(values, sign="+")

    wide, deep = found["same"]["width"], found["same"]["depth"]
    changes = [
        f"{what} {'gains' if verdict == 'better' else 'loses'} {when}"
        for what in ("width", "depth")
        for column, when in (("later", "in the course of a training"), ("longer", "from short to long trainings"))
        if (verdict := jobs.verdict(found["same"][what][column])) in ("better", "worse")
    ]
    return (
        f"On {sets} image sets, among cells of the same operations width goes with accuracy by {told(wide['early'])} "
        f"after a tenth of a training and by {told(wide['late'])} after all of it, depth by {told(deep['early'])} and "
        f"{told(deep['late'])}; as far as can be told, {', '.join(changes) or 'nothing changes with the time'} (rank "
        "correlations, 95% intervals over sets)."
    )


def by_set(found: Found, names: Sequence[str]) -> str:
    """Of each set, among cells of the same operations."""
    columns = ("early", "late", "short", "long")
    header = ("image set", *(f"{what}, {TITLES[c]}" for what in ("width", "depth") for c in columns))
    places = [found["same"][what][c] for what in ("width", "depth") for c in columns]
    return common.markdown(header, [[n, *(f"{values[i]:+.2f}" for values in places)] for i, n in enumerate(names)])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the database")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    rows = rows_of(load_trainings(options.folder))
    found, names, middle = correlations(rows)
    if not names:
        raise SystemExit(f"no image set in {options.folder} has {ENOUGH} trainings of each kind; measure more of them")
    notes = NOTES.format(
        rows=len(rows.late),
        contexts=len(rows.context.unique()),
        least=LEAST,
        sets=len(names),
        enough=ENOUGH,
        curve=CURVE,
        steps=middle,
    )
    said = sentence(found, len(names))
    text = "\n".join([f"**{said}**\n", table(found), notes.strip() + "\n", by_set(found, names)])
    given: Mapping[str, object] = {n: v for n, v in common.settings(options).items() if n != "folder"}
    results = {"settings": given, "sentence": said, "sets": names, "correlations": found}
    common.write(options.out, "topology_rows", results, {"topology_rows": text})


if __name__ == "__main__":
    main()
