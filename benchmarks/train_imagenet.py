"""Fit the model of ImageNet accuracy of Once-for-All subnets, and measure it beside OFA's own predictor.

    python benchmarks/train_imagenet.py --data ../shared/data

Reads the two tables ``imagenet_top1_*`` and ``official_accuracy_predictor.pth`` in ``ofa`` under `--data`. A fifth of
the networks is held out and looked at once, after all choices. Of the others, a fifth is drawn anew for each seed to
choose features and penalty by; the models of the seeds are fitted to the rest, the shipped one to all that is not held
out.

The rows below 224 pixels come in four series, one after the other, that differ in level by up to 0.8 points, which no
property of a network explains. So a level is fitted to each series; what is predicted is the mean of the four.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors.torch import save as save_safetensors

from metad2a_plugin.meta.metrics import pearson, spearman
from metad2a_plugin.predictors.imagenet import MEASURED, ImageNetModel, feature_blocks
from metad2a_plugin.utils.files import data_folder, write_atomically, write_json

if TYPE_CHECKING:
    from benchmarks import _common as common
    from benchmarks._ofa_data import SPACE, Rows, official, read, split_networks
else:
    import _common as common
    from _ofa_data import SPACE, Rows, official, read, split_networks

HELD_OUT = 0.2
PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
BAR = 0.95
"""The least Spearman at 224 pixels that was aimed at."""


class Table(NamedTuple):
    """All measured rows.

    Attributes:
        rows: networks, resolutions, top-1 accuracies in percent.
        series: int64 ``[n]``, rows of one resolution and one series have one number, in the order of `places`.
        places: resolution and series of each number.
        blocks: parts of the features, float64 ``[n, k]`` each.
    """

    rows: Rows
    series: torch.Tensor
    places: list[tuple[int, int]]
    blocks: dict[str, torch.Tensor]

    @property
    def top1(self) -> torch.Tensor:
        return self.rows.values[:, 0]


def load(folder: Path) -> Table:
    full = read(folder / "imagenet_top1_w1.0_r224.csv.gz", "top1")
    lower = read(folder / "imagenet_top1_w1.0_r128_160_192.csv.gz", "top1")
    vertices, resolution, top1 = (torch.cat(pair) for pair in zip(full[:3], lower[:3], strict=True))
    rows = Rows(vertices, resolution, top1, full.columns)
    places = [(224, 0)] * len(full.values) + list(zip(lower.resolution.tolist(), runs(lower.resolution), strict=True))
    order = sorted(set(places))
    blocks: dict[str, torch.Tensor] = {}
    for side in MEASURED:
        at = rows.resolution == side
        for name, block in feature_blocks(rows.vertices[at], side).items():
            blocks.setdefault(name, torch.empty(len(at), block.shape[1], dtype=torch.float64))[at] = block
    return Table(rows, torch.tensor([order.index(place) for place in places]), order, blocks)


def runs(resolution: torch.Tensor) -> list[int]:
    """The series of each row: one begins where the file goes back to 128 pixels after rows of 192."""
    numbers, number, ending = [], 0, False
    for side in resolution.tolist():
        ending = ending or side == 192
        if side == 128 and ending:
            number, ending = number + 1, False
        numbers.append(number)
    return numbers


# -- fitting -------------------------------------------------------------------------------------
def ridge(x: torch.Tensor, y: torch.Tensor, free: torch.Tensor, penalty: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of `x`, float64 ``[n, k]``, with a penalty, and of `free`, float64 ``[n, m]``, without."""
    both = torch.cat([free, x], dim=1)
    penalties = torch.cat([torch.full((free.shape[1],), 1e-6), torch.full((x.shape[1],), penalty)]).double()
    weights = torch.linalg.solve(both.T @ both + torch.diag(penalties), both.T @ y)
    return weights[free.shape[1] :], weights[: free.shape[1]]


def fit(table: Table, at: torch.Tensor, names: Sequence[str], penalty: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of the blocks `names`, and the level of each series, for the logarithm of the error."""
    x = torch.cat([table.blocks[name][at] for name in names], dim=1)
    free = torch.nn.functional.one_hot(table.series[at], len(table.places)).double()
    return ridge(x, (100 - table.top1[at]).log(), free, penalty)


def shipped_form(table: Table, weights: torch.Tensor, levels: torch.Tensor) -> ImageNetModel:
    """With the mean of the series at each resolution."""
    sides = torch.tensor([resolution for resolution, _ in table.places])
    return ImageNetModel(weights, torch.stack([levels[sides == r].mean() for r in MEASURED]), {})


def predictions(model: ImageNetModel, table: Table) -> torch.Tensor:
    """Accuracies of all rows in percent, float64 ``[n]``."""
    found = torch.empty_like(table.top1)
    for resolution in MEASURED:
        at = table.rows.resolution == resolution
        found[at] = model.predict(table.rows.vertices[at], resolution).double()
    return found


def choose(table: Table, splits: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> list[tuple[str, int, float, float]]:
    """Growing sets of features with their best penalty: name, number, penalty, error on validation rows.

    The error is that of accuracies in points when the level of a row's series is known, the mean over resolutions.
    """
    found = []
    for k in range(1, len(table.blocks) + 1):
        names = list(table.blocks)[:k]
        x = torch.cat([table.blocks[name] for name in names], dim=1)
        errors = []
        for penalty in PENALTIES:
            parts = []
            for train, valid in splits:
                weights, levels = fit(table, train, names, penalty)
                predicted = 100 - (x[valid] @ weights + levels[table.series[valid]]).exp()
                off = (predicted - table.top1[valid]).abs()
                parts += [off[table.rows.resolution[valid] == r].mean().item() for r in MEASURED]
            errors.append(fmean(parts))
        best = min(range(len(errors)), key=errors.__getitem__)
        found.append((names[-1], x.shape[1], PENALTIES[best], errors[best]))
    return found


# -- what it is compared with --------------------------------------------------------------------
def by_resolution(table: Table, train: torch.Tensor, x: torch.Tensor, penalty: float) -> torch.Tensor:
    """A ridge regression of accuracies for each resolution alone, in percent."""
    found = torch.empty_like(table.top1)
    for r in MEASURED:
        at, known = table.rows.resolution == r, train[table.rows.resolution[train] == r]
        weights, level = ridge(x[known], table.top1[known], torch.ones(len(known), 1).double(), penalty)
        found[at] = x[at] @ weights + level
    return found


def work(table: Table) -> torch.Tensor:
    """Multiply-accumulates in millions, float64 ``[n, 1]``."""
    found = torch.empty_like(table.top1)
    for r in MEASURED:
        at = table.rows.resolution == r
        found[at] = SPACE.costs(table.rows.vertices[at], input_size=r)[1]
    return found[:, None]


# -- measuring -----------------------------------------------------------------------------------
def scores(table: Table, predicted: torch.Tensor, at: torch.Tensor, resolution: int) -> dict[str, float]:
    """Of the rows `at` at one resolution; `within` is the Spearman inside a series, the mean over them by rows."""
    rows = at[table.rows.resolution[at] == resolution]
    guess, truth, series = predicted[rows], table.top1[rows], table.series[rows]
    inside = [(series == s).nonzero()[:, 0] for s in series.unique()]
    return {
        "spearman": spearman(guess, truth),
        "pearson": pearson(guess, truth),
        "error": (guess - truth).abs().mean().item(),
        "within": sum(len(i) * spearman(guess[i], truth[i]) for i in inside) / len(rows),
        "rows": len(rows),
    }


def measure(table: Table, predicted: Sequence[torch.Tensor], at: torch.Tensor) -> dict[str, dict[str, list[float]]]:
    """`scores` of each of several predictions, by resolution and metric."""
    found: dict[str, dict[str, list[float]]] = {}
    for r in reversed(MEASURED):
        every = [scores(table, p, at, r) for p in predicted]
        found[str(r)] = {key: [round(s[key], 5) for s in every] for key in every[0]}
    return found


def left_out(table: Table, train: torch.Tensor, held_out: torch.Tensor, penalty: float) -> dict[str, dict[str, float]]:
    """Scores at 160 and at 192 pixels of models that have no row of that resolution."""
    found = {}
    for resolution in MEASURED[1:-1]:
        known = train[table.rows.resolution[train] != resolution]
        weights, levels = fit(table, known, list(table.blocks), penalty)
        low, high = (MEASURED[MEASURED.index(resolution) + step] for step in (-1, 1))
        sides = torch.tensor([side for side, _ in table.places])
        share = (resolution - low) / (high - low)
        between = (1 - share) * levels[sides == low].mean() + share * levels[sides == high].mean()
        levels[sides == resolution] = between
        model = shipped_form(table, weights, levels)
        found[str(resolution)] = scores(table, predictions(model, table), held_out, resolution)
    return found


def half_widths(table: Table, models: Sequence[ImageNetModel], valid: Sequence[torch.Tensor]) -> list[float]:
    """The 90th percentile of the error on rows that were left out of the fit, for each resolution."""
    off: dict[int, list[torch.Tensor]] = {r: [] for r in MEASURED}
    for model, rows in zip(models, valid, strict=True):
        error = (predictions(model, table)[rows] - table.top1[rows]).abs()
        for r, parts in off.items():
            parts.append(error[table.rows.resolution[rows] == r])
    return [round(torch.cat(parts).quantile(0.9).item(), 4) for parts in off.values()]


# -- writing -------------------------------------------------------------------------------------
NOTES = """
Held-out rows of the measured ImageNet top-1 accuracies of subnets of OFA's supernet of width 1.0 ({held_out:,} of
{networks:,} networks, {counts}).
*Ours* is the shipped `ofa-imagenet`, fitted to all other rows; *seeds* are {seeds} models fitted to random four fifths
of these, mean ± standard deviation. *OFA's* is the predictor that Once-for-All has released, also with its mean error
on the other rows of the resolution taken off. *Layers* and *MACs* are ridge regressions for each resolution, on which
layers and depths a network has and on its multiply-accumulates. Errors are in points of accuracy.

Rows below 224 px were measured in four series whose levels differ by up to {gap:.1f} points, whatever the network:
*in a series* is the Spearman inside of them (the mean, weighted by rows), all other columns are over the four together.

Aim: a Spearman of at least {bar:.2f} at 224 px, {met}; at least OFA's at every resolution, over all rows and in a
series, {beats}.
"""

CARD = """# ImageNet accuracy of Once-for-All subnets

A linear model of the logarithm of the error on {features} features of a network: its layers and depths, these times the
resolution, powers of the logarithms of its multiply-accumulates and parameters, and pairs of depths. Weights only: the
measurements are not part of this package.

- Predicts: top-1 accuracy on the 50,000 validation images of ImageNet, of a subnet with the weights of OFA's supernet
  `ofa_mbv3_d234_e346_k357_w1.0`, not trained further. Not for width 1.2, and not for networks trained otherwise.
- Data: {rows:,} measured accuracies of {networks:,} networks at 128, 160, 192 and 224 pixels.
- Split: {held_out:,} networks held out (20%, all their rows), drawn with seed 0; {seeds} draws of {valid:,} validation
  networks from the others chose features and penalty.
- Between the measured resolutions, the level is interpolated.
- Intervals: the 90th percentile of the absolute error on validation rows of all draws, for each resolution.
- Fitted in {seconds:.0f} s on one CPU core by `{command}`.

## Held-out rows
{table}{notes}
## Intervals of 90%
| resolution | half the length | coverage, held-out rows |
|---|---|---|
{intervals}

## A resolution without rows
Models that have seen no row of a resolution, on the held-out rows there: what to expect between the measured ones.

| resolution | Spearman | Spearman in a series | mean absolute error |
|---|---|---|---|
{gaps}

## Choice of features
Mean absolute error on validation rows where the level of the series is known, the mean over resolutions and draws,
with the best penalty of {penalties}:

| features | number | penalty | error |
|---|---|---|---|
{choices}

## Limits
Measured networks at 224 px have {least:.0f} to {most:.0f} million multiply-accumulates; beyond, the model extrapolates.
A search for the highest prediction finds some of the model's errors with it.

## Terms
Apache-2.0, as the code: made from published measurements, without images (`LICENSE-WEIGHTS.md` of the package).
"""


def rows_of(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[list[str]]:
    rows = []
    for r in reversed(MEASURED):
        for name, found in results.items():
            s = found[str(r)]

            def show(key: str, digits: int, s: Mapping[str, Any] = s) -> str:
                return common.mean_std(s[key], digits)

            inside = show("within", 3) if r != 224 else ""
            rows.append([str(r), name, show("spearman", 3), inside, show("pearson", 3), show("error", 2)])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--out", type=Path, default=ImageNetModel.folder)
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--seeds", type=int, default=10, help="draws of validation networks")
    arguments = parser.parse_args()
    start = time.perf_counter()
    torch.set_num_threads(1)
    table = load(arguments.data / "ofa")
    train, held_out = split_networks(table.rows.vertices, HELD_OUT, seed=0)
    splits = []
    for seed in range(1, arguments.seeds + 1):
        known, valid = split_networks(table.rows.vertices[train], HELD_OUT, seed)
        splits.append((train[known], train[valid]))
    choices = choose(table, splits)
    penalty, names = choices[-1][2], list(table.blocks)
    models = [shipped_form(table, *fit(table, known, names, penalty)) for known, _ in splits]
    widths = half_widths(table, models, [valid for _, valid in splits])
    weights, levels = fit(table, train, names, penalty)
    shipped = shipped_form(table, weights, levels)

    # All is chosen: now the held-out rows.
    ours = predictions(shipped, table)
    released = official(arguments.data / "ofa", table.rows.vertices, table.rows.resolution)
    shift = torch.zeros_like(released)
    for r in MEASURED:
        known = train[table.rows.resolution[train] == r]
        shift[table.rows.resolution == r] = (table.top1[known] - released[known]).mean()
    compared = {
        "ours": [ours],
        "ours, seeds": [predictions(model, table) for model in models],
        "OFA's": [released],
        "OFA's, level put right": [released + shift],
        "layers": [by_resolution(table, train, table.blocks["layers and depths"], 1.0)],
        "MACs": [by_resolution(table, train, work(table), 0.0)],
    }
    results = {name: measure(table, p, held_out) for name, p in compared.items()}
    covered = []
    for r, width in zip(MEASURED, widths, strict=True):
        at = held_out[table.rows.resolution[held_out] == r]
        covered.append(((ours[at] - table.top1[at]).abs() <= width).double().mean().item())
    gaps = left_out(table, train, held_out, penalty)

    spread = {r: [levels[i].item() for i, place in enumerate(table.places) if place[0] == r] for r in MEASURED}
    error = {r: (100 - table.top1[table.rows.resolution == r]).mean().item() for r in MEASURED}
    first, second = results["ours"], results["OFA's"]
    full = table.rows.resolution == 224
    beats = all(first[str(r)][k][0] >= second[str(r)][k][0] for r in MEASURED for k in ("spearman", "within"))
    networks = len(table.rows.vertices.unique(dim=0))
    unseen = len(table.rows.vertices[held_out].unique(dim=0))
    notes = NOTES.format(
        held_out=unseen,
        networks=networks,
        counts=", ".join(f"{first[str(r)]['rows'][0]} rows at {r} px" for r in reversed(MEASURED)),
        seeds=arguments.seeds,
        gap=max(error[r] * (max(s) - min(s)) for r, s in spread.items()),
        bar=BAR,
        met="met" if first["224"]["spearman"][0] >= BAR else "missed",
        beats="met" if beats else "missed",
    )
    header = ("px", "predictor", "Spearman", "in a series", "Pearson", "mean absolute error")
    shown = common.markdown(header, rows_of(results))
    text = CARD.format(
        features=len(weights),
        rows=len(table.top1),
        networks=networks,
        held_out=unseen,
        seeds=arguments.seeds,
        valid=len(table.rows.vertices[splits[0][1]].unique(dim=0)),
        seconds=time.perf_counter() - start,
        command="python benchmarks/train_imagenet.py --data ../shared/data",
        table=shown,
        notes=notes,
        intervals="\n".join(
            f"| {r} | {w:.2f} | {100 * c:.1f}% |" for r, w, c in zip(MEASURED, widths, covered, strict=True)
        ),
        gaps="\n".join(
            f"| {r} | {s['spearman']:.3f} | {s['within']:.3f} | {s['error']:.2f} |" for r, s in gaps.items()
        ),
        choices="\n".join(f"| {name} | {k} | {p:g} | {e:.3f} |" for name, k, p, e in choices),
        penalties=", ".join(f"{p:g}" for p in PENALTIES),
        least=work(table)[full].min().item(),
        most=work(table)[full].max().item(),
    )
    config = {
        "space": SPACE.name,
        "width": 1.0,
        "half_width": widths,
        "penalty": penalty,
        "held_out": {r: {k: v[0] for k, v in s.items()} for r, s in first.items()},
        "coverage": [round(c, 4) for c in covered],
    }
    tensors = {"weights": shipped.weights.contiguous(), "level": shipped.level.contiguous()}
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_atomically(arguments.out / "model.safetensors", save_safetensors(tensors))
    write_json(arguments.out / "config.json", config)
    write_atomically(arguments.out / "README.md", text.encode())
    common.write(
        arguments.results,
        "imagenet",
        {"seeds": arguments.seeds, "predictors": results, "left_out": gaps, "choices": choices},
        {"imagenet": shown + notes},
    )


if __name__ == "__main__":
    main()
