"""Fit the latency and energy models of NAS-Bench-201 cells, one per device, and measure their error.

    python benchmarks/train_latency.py --data ../shared/data --out metad2a_plugin/pretrained/latency

Reads ``nas_bench_201/latency.csv.gz`` under `--data`. Live cells only: no search returns dead ones.
Every choice (blocks of features, logarithm or not, ridge penalty per device) is made by cross-validation
within the training cells; the held-out cells are looked at once, for the errors in the model card.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save as save_safetensors
from scipy.stats import spearmanr

from metad2a_plugin.devices.nasbench201 import LatencyModel
from metad2a_plugin.devices.nasbench201_features import cell_features, cell_ranks, feature_blocks
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.utils.files import data_folder, write_atomically, write_json

FOLDS = 5
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0)
UNSUPPORTED = -1.0


class Table(NamedTuple):
    """Measurements: `values` float64 ``[cells, devices]`` of `vertices` int64 ``[cells, 8]``."""

    vertices: torch.Tensor
    values: torch.Tensor
    devices: dict[str, dict[str, Any]]


def read(path: Path) -> Table:
    """Every latency and energy column once; columns that repeat another are named beside it."""
    with gzip.open(path, "rt", newline="") as stream:
        header, *rows = csv.reader(stream)
    space = NASBench201()
    vertices = space.encode([space.parse(row[header.index("arch_str")]) for row in rows])
    devices: dict[str, dict[str, Any]] = {}
    values: list[torch.Tensor] = []
    for j, column in enumerate(header):
        if not column.startswith(("help_", "hw_")) or column.endswith("_arithmetic_intensity"):
            continue
        name, unit = device_of(column)
        value = torch.tensor([float(row[j]) for row in rows], dtype=torch.float64)
        if name in devices:
            if not torch.allclose(value, values[list(devices).index(name)], rtol=1e-3):
                raise SystemExit(
                    f"columns {devices[name]['columns'][0]} and {column} differ, expected a repeat"
                )
            devices[name]["columns"].append(column)
        else:
            devices[name] = {"unit": unit, "columns": [column]}
            values.append(value)
    return Table(vertices, torch.stack(values, dim=1), devices)


def device_of(column: str) -> tuple[str, str]:
    """Our name for a column, and its unit."""
    if column.startswith("help_"):
        return column.removeprefix("help_"), "ms"
    _, dataset, device, quantity = column.split("_")
    name = device + ("_energy" if quantity == "energy" else "")
    return name + ("_imagenet16" if dataset.startswith("ImageNet16") else ""), (
        "mJ" if quantity == "energy" else "ms"
    )


def ridge(gram: torch.Tensor, products: torch.Tensor, penalty: float) -> torch.Tensor:
    """Weights float64 ``[features, targets]`` from X'X and X'Y."""
    eye = torch.eye(len(gram), dtype=gram.dtype)
    return torch.cholesky_solve(products, torch.linalg.cholesky(gram + penalty * eye))


def moments(features: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """X'X and X'Y in float64."""
    return (features.T @ features).double(), features.double().T @ targets


def relative(predicted: torch.Tensor, measured: torch.Tensor) -> torch.Tensor:
    return (predicted - measured).abs() / measured


def cross_validate(
    features: torch.Tensor, targets: torch.Tensor, logarithm: bool, penalties: Iterable[float]
) -> torch.Tensor:
    """Mean relative error of each penalty and column of `targets`, ``[penalties, targets]``."""
    y = targets.log() if logarithm else targets
    fold = torch.arange(len(y)) % FOLDS
    parts = [moments(features[fold == k], y[fold == k]) for k in range(FOLDS)]
    gram, products = (sum(p[i] for p in parts) for i in range(2))
    errors = []
    for k, (fold_gram, fold_products) in enumerate(parts):
        x, measured = features[fold == k].double(), targets[fold == k]
        predictions = [x @ ridge(gram - fold_gram, products - fold_products, p) for p in penalties]
        errors.append(
            torch.stack([relative(p.exp() if logarithm else p, measured).mean(0) for p in predictions])
        )
    return torch.stack(errors).mean(0)


def compare(
    features: torch.Tensor, values: torch.Tensor, sizes: dict[str, int]
) -> list[tuple[str, int, float]]:
    """Growing feature sets: name, number of features, cross-validated error averaged over devices."""
    rows: list[tuple[str, int, float]] = []
    end = 0
    for name, size in sizes.items():
        end += size
        error = cross_validate(features[:, :end], values, True, (3.0,)).mean().item()
        rows.append((("+ " if rows else "") + name, end, error))
    error = cross_validate(features, values, False, (3.0,)).mean().item()
    return [*rows, ("the last, fitted to the value instead of its logarithm", end, error)]


def mirror_noise(table: Table) -> torch.Tensor:
    """The mean relative error that a perfect model would show, from cells measured twice, ``[devices]``.

    Where no operation joins nodes 1 and 2, exchanging these two nodes gives another name for the same
    network, so that the two entries are two measurements of one thing; the noise is their
    difference over root two.
    """
    live = ~NASBench201().dead_mask(table.vertices)
    first = ((table.vertices[:, 3] == 2) & live).nonzero()[:, 0]
    mirrored = table.vertices[first][:, [0, 2, 1, 3, 4, 6, 5, 7]]
    position = torch.empty(len(table.vertices), dtype=torch.int64)
    position[cell_ranks(table.vertices)] = torch.arange(len(table.vertices))
    second = position[cell_ranks(mirrored)]
    a, b = (table.values[rows] for rows in (first[first < second], second[first < second]))
    difference = (a - b).abs() / ((a + b) / 2) / 2**0.5
    return torch.where((a > 0) & (b > 0), difference, torch.nan).nanmean(0)


def fit(table: Table, rows: torch.Tensor, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of the devices and of the support scores; adds `penalty` and `support` to their entries."""
    weights = torch.zeros(len(table.devices), features.shape[1])
    values = table.values[rows]
    supported = values > 0
    support: list[torch.Tensor] = []
    everywhere = supported.all(0)
    groups = [everywhere.nonzero()[:, 0]] + [j[None] for j in (~everywhere).nonzero()[:, 0]]
    entries = list(table.devices.values())
    for columns in groups:
        use = supported[:, columns].all(1)
        x, y = features[use], values[use][:, columns]
        best = cross_validate(x, y, True, PENALTIES).argmin(0)
        gram, products = moments(x, y.log())
        for k in best.unique().tolist():
            chosen = columns[best == k]
            weights[chosen] = ridge(gram, products[:, best == k], PENALTIES[k]).T.float()
            for j in chosen.tolist():
                entries[j] |= {"penalty": PENALTIES[k], "support": None}
    for j in (~everywhere).nonzero()[:, 0].tolist():
        entries[j]["support"] = len(support)
        gram, products = moments(features, supported[:, j : j + 1].double())
        support.append(ridge(gram, products, 3.0)[:, 0].float())
    return weights, torch.stack(support)


def measure(model: LatencyModel, table: Table, rows: torch.Tensor, noise: torch.Tensor) -> None:
    """Write each device's held-out errors into its entry."""
    vertices = table.vertices[rows]
    for j, (name, entry) in enumerate(table.devices.items()):
        measured = table.values[rows, j]
        ran = measured > 0
        error = relative(model.predict(name, vertices).double(), measured)[ran]
        entry["error"] = {
            "spearman": spearmanr(model.predict(name, vertices)[ran], measured[ran]).statistic,
            "mape": error.mean().item(),
            "p95": error.quantile(0.95).item(),
            "within_10": (error <= 0.1).double().mean().item(),
            "floor_mape": noise[j].item(),
            "cells": int(ran.sum()),
        }
        entry["error"] |= bound_quality(model, name, vertices, torch.where(ran, measured, torch.inf))
        if not ran.all():
            predicted = model.supported_mask(name, vertices)
            entry["error"]["support_precision"] = ran[predicted].double().mean().item()
            entry["error"]["support_recall"] = predicted[ran].double().mean().item()
        entry["error"] = {key: round(value, 5) for key, value in entry["error"].items()}
        whole = bool((table.values[:, j] == table.values[:, j].round()).all())
        entry["resolution"] = 1.0 if whole else None
        entry["unsupported_cells"] = int((table.values[:, j] == UNSUPPORTED).sum())


def bound_quality(
    model: LatencyModel, name: str, vertices: torch.Tensor, measured: torch.Tensor
) -> dict[str, float]:
    """Hard bounds at each decile: share of passing cells above it, share of cells below it that pass."""
    limits = measured[measured.isfinite()].quantile(torch.linspace(0.1, 0.9, 9, dtype=torch.float64))
    passing = torch.stack([model.bound_mask(name, limit, vertices) for limit in limits.tolist()])
    below = measured <= limits[:, None]
    return {
        "bound_violations": ((passing & ~below).sum() / passing.sum()).item(),
        "bound_recall": ((passing & below).sum() / below.sum()).item(),
    }


CARD = """# Latency and energy of NAS-Bench-201 cells on {count} device settings

One linear model per setting on {features} features of a cell (operations and pairs of them, operation counts,
counts and paths of the pruned cell, the pattern of zeros), fitted to the logarithm of the measured value by
ridge regression. Weights only: the measurements are not part of this package.

- Data: latencies and energies of the cells of NAS-Bench-201 from HELP (Lee et al., NeurIPS 2021, arXiv
  2106.08630) and HW-NAS-Bench (Li et al., ICLR 2021, arXiv 2103.10584). Dead cells ({dead} of 15,625) are
  left out: on some devices their networks were optimised away, and no search returns them.
- Split: {train} training and {held_out} held-out live cells (20%), drawn with seed {seed}.
- Fitted in {seconds:.0f} s on one CPU core by `{command}`.
- Names: a number at the end of a GPU's name (`_1`, `_32`, `_256`) is the batch size; `_energy` is an energy
  in mJ, everything else a latency in ms; `_imagenet16` is the network for ImageNet16-120, everything else the
  one for CIFAR-10. The networks are the benchmark's own; other widths and depths need other models.
- {repeats}
- {unsupported}
- {whole}

## Held-out error
Relative error is |predicted - measured| / measured. *Noise* is the mean relative error that a perfect model
would show, from cells that the table holds twice under two names. *Over* and *kept* describe hard bounds (a
cell passes if its prediction, inflated by the 95th percentile, is within the limit), with limits at the nine
deciles of the measured values: the share of passing cells that measured above the limit, and the share of
the cells below it that pass. The percentile comes from the same held-out cells.

| device | unit | Spearman | mean error | 95th percentile | within 10% | noise | over | kept |
|---|---|---|---|---|---|---|---|---|
{rows}

## Choice of features
Cross-validated within the training cells (5 folds, penalty 3), mean relative error averaged over the settings
that support every cell:

| features | number | mean error |
|---|---|---|
{choices}

The penalty of each setting (`penalty` in `config.json`) is the best of {penalties} by the same folds.

## Limits
A device is the one that was measured, with its software of that time. Where the noise is large the error
cannot be small: pick a bound with some room. Values for dead cells are extrapolations.

## Terms
Apache-2.0, as the code: made from published measurements, without images (`LICENSE-WEIGHTS.md` of the package).
"""


def card(config: dict[str, Any], choices: list[tuple[str, int, float]], **facts: Any) -> str:
    devices = config["devices"]
    percent = ("mape", "p95", "within_10", "floor_mape", "bound_violations", "bound_recall")
    rows = [
        f"| {name} | {d['unit']} | {d['error']['spearman']:.3f} | "
        + " | ".join(f"{100 * d['error'][key]:.1f}%" for key in percent)
        + " |"
        for name, d in devices.items()
    ]
    repeats = [
        f"`{d['columns'][1]}` repeats `{d['columns'][0]}`" for d in devices.values() if len(d["columns"]) > 1
    ]
    partial = {n: d for n, d in devices.items() if d["unsupported_cells"]}
    unsupported = ";\n  ".join(
        f"`{n}` {d['unsupported_cells']:,} cells (whether a cell runs is predicted too:\n  "
        f"{100 * d['error']['support_precision']:.1f}% of the held-out cells predicted to run do, and "
        f"{100 * d['error']['support_recall']:.1f}% of those that run are found)"
        for n, d in partial.items()
    )
    whole = ", ".join(f"`{n}`" for n, d in devices.items() if d["resolution"])
    return CARD.format(
        count=len(devices),
        rows="\n".join(rows),
        choices="\n".join(f"| {name} | {k:,} | {100 * error:.2f}% |" for name, k, error in choices),
        repeats="Columns that hold the same numbers are used once:\n  " + ";\n  ".join(repeats) + ".",
        unsupported=f"Cells that a device does not support are left out for it:\n  {unsupported}.",
        whole=f"Recorded in whole milliseconds, which alone costs up to half a millisecond:\n  {whole}.",
        penalties=", ".join(map(str, PENALTIES)),
        **facts,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--out", type=Path, default=Path("metad2a_plugin/pretrained/latency"))
    parser.add_argument("--seed", type=int, default=0, help="of the split")
    arguments = parser.parse_args()
    start = time.perf_counter()
    table = read(arguments.data / "nas_bench_201" / "latency.csv.gz")
    order = torch.randperm(len(table.values), generator=torch.Generator().manual_seed(arguments.seed))
    dead = NASBench201().dead_mask(table.vertices)
    cut = len(order) * 4 // 5
    train, held_out = (rows[~dead[rows]] for rows in (order[:cut], order[cut:]))
    features = cell_features()[cell_ranks(table.vertices[train])]
    weights, support = fit(table, train, features)
    config: dict[str, Any] = {"space": "nasbench201", "seed": arguments.seed, "devices": table.devices}
    everywhere = (table.values > 0).all(0)
    sizes = {name: block.shape[1] for name, block in feature_blocks().items()}
    choices = compare(features, table.values[train][:, everywhere], sizes)
    measure(LatencyModel(weights, support, config), table, held_out, mirror_noise(table))
    facts = {
        "features": f"{weights.shape[1]:,}",
        "dead": int(dead.sum()),
        "train": f"{len(train):,}",
        "held_out": f"{len(held_out):,}",
        "seed": arguments.seed,
        "seconds": time.perf_counter() - start,
        "command": "python benchmarks/train_latency.py --data ../shared/data",
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    tensors = {"weights": weights.contiguous(), "support": support.contiguous()}
    write_atomically(arguments.out / "model.safetensors", save_safetensors(tensors))
    write_json(arguments.out / "config.json", config)
    text = card(config, choices, **facts)
    write_atomically(arguments.out / "README.md", text.encode())
    print(text)


if __name__ == "__main__":
    main()
