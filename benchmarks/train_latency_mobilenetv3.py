"""Fit the latency models of MobileNetV3 networks, one per device setting, and measure their error.

    python benchmarks/train_latency_mobilenetv3.py --data ../shared/data

Reads ``ofa/latency_12_devices.csv.gz`` under `--data`. A model is a look-up table: milliseconds of each layer, a part
that does not depend on the resolution and a part that grows with its square, and milliseconds of all else for each
resolution, by least squares of the relative error with a ridge penalty. Features and penalties are chosen by
cross-validation within the training networks; the held-out networks are looked at once, for the errors in the card.
The split, the folds and so the fit are drawn anew for each further seed, for the spread; the first one's is shipped.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save as save_safetensors

from metad2a_plugin.devices.mobilenetv3 import MobileNetV3LatencyModel, layer_features
from metad2a_plugin.meta.metrics import spearman
from metad2a_plugin.spaces.mobilenetv3.descriptors import KINDS, PLACES
from metad2a_plugin.spaces.mobilenetv3.layout import RESOLUTIONS
from metad2a_plugin.utils.files import data_folder, write_atomically, write_json

if TYPE_CHECKING:
    from benchmarks._ofa_data import SPACE, Rows, read, split_networks
else:
    from _ofa_data import SPACE, Rows, read, split_networks

FOLDS = 5
HELD_OUT = 0.2
PENALTIES = (1e-4, 1e-3, 1e-2, 3e-2, 0.1)
CHOSEN = "+ that grow with the square of the resolution"


def features(rows: Rows) -> dict[str, torch.Tensor]:
    """Growing sets of features, float64 ``[n, k]``, none of them measured."""
    by_resolution = torch.nn.functional.one_hot((rows.resolution - RESOLUTIONS[0]) // RESOLUTIONS.step).double()
    layers = layer_features(rows.vertices).flatten(1)
    scale = rows.resolution.double()[:, None] / 224
    macs = torch.empty(len(rows.resolution), dtype=torch.float64)
    for resolution in rows.resolution.unique().tolist():
        at = rows.resolution == resolution
        macs[at] = SPACE.costs(rows.vertices[at], input_size=resolution)[1]
    squared = torch.cat([by_resolution, layers, layers * scale**2], dim=1)
    return {
        "multiply-accumulates": torch.stack([torch.ones_like(macs), macs], dim=1),
        "layers, and the rest by resolution": torch.cat([by_resolution, layers], dim=1),
        CHOSEN: squared,
        "+ that grow with the resolution": torch.cat([squared, layers * scale], dim=1),
    }


def fit(x: torch.Tensor, y: torch.Tensor, penalty: float) -> torch.Tensor:
    """Weights float64 ``[k, devices]`` of least relative error; the penalty is relative to each feature's own size."""
    columns = []
    for measured in y.T:
        scaled = x / measured[:, None]
        gram = scaled.T @ scaled
        size = gram.diagonal()
        ridge = torch.diag(penalty * size + 1e-9 * size.mean())
        columns.append(torch.linalg.solve(gram + ridge, scaled.sum(0)))
    return torch.stack(columns, dim=1)


def relative(predicted: torch.Tensor, measured: torch.Tensor) -> torch.Tensor:
    return (predicted - measured).abs() / measured


def cross_validate(x: torch.Tensor, y: torch.Tensor, penalty: float) -> torch.Tensor:
    """Relative error of every row when it is left out of the fit, ``[n, devices]``."""
    fold = torch.arange(len(y)) % FOLDS
    errors = torch.empty_like(y)
    for k in range(FOLDS):
        out = fold == k
        errors[out] = relative(x[out] @ fit(x[~out], y[~out], penalty), y[out])
    return errors


def train(rows: Rows, train_rows: torch.Tensor, held_out: torch.Tensor, x: torch.Tensor) -> MobileNetV3LatencyModel:
    """Fitted to `train_rows`, with the errors on `held_out`."""
    y = rows.values[train_rows]
    errors = torch.stack([cross_validate(x[train_rows], y, penalty) for penalty in PENALTIES])
    best = errors.mean(1).argmin(0)
    weights = torch.empty(x.shape[1], y.shape[1], dtype=torch.float64)
    for k in best.unique().tolist():
        weights[:, best == k] = fit(x[train_rows], y[:, best == k], PENALTIES[k])
    config: dict[str, Any] = {"space": SPACE.name, "devices": {}}
    for j, column in enumerate(rows.columns):
        name = column.removesuffix("_ms")
        config["devices"][name] = {
            "unit": "ms",
            "batch_size": int(name.rpartition("_")[2]),
            "penalty": PENALTIES[int(best[j])],
            "margin": round(errors[best[j], :, j].quantile(0.95).item(), 5),
        }
    rest, layers = weights.T.float().split([len(RESOLUTIONS), 2 * PLACES * KINDS], dim=1)
    model = MobileNetV3LatencyModel(layers.reshape(-1, 2, PLACES, KINDS), rest, config)
    for j, name in enumerate(model.devices):
        config["devices"][name]["error"] = measure(model, name, rows, held_out, rows.values[held_out, j])
    return model


def measure(
    model: MobileNetV3LatencyModel, device: str, rows: Rows, at: torch.Tensor, measured: torch.Tensor
) -> dict[str, float]:
    """Errors on rows `at`; hard bounds are tried at each decile, at all resolutions."""
    vertices, resolution = rows.vertices[at], rows.resolution[at]
    predicted = torch.empty_like(measured)
    limits = measured.quantile(torch.linspace(0.1, 0.9, 9, dtype=torch.float64))
    passing = torch.zeros(len(limits), len(measured), dtype=torch.bool)
    for side in resolution.unique().tolist():
        of = resolution == side
        predicted[of] = model.predict(device, vertices[of], side).double()
        for k, limit in enumerate(limits.tolist()):
            passing[k, of] = model.bound_mask(device, limit, vertices[of], side)
    below, error, full = measured <= limits[:, None], relative(predicted, measured), resolution == 224
    found = {
        "spearman": spearman(predicted, measured),
        "spearman_224": spearman(predicted[full], measured[full]),
        "mape": error.mean().item(),
        "p95": error.quantile(0.95).item(),
        "within_10": (error <= 0.1).double().mean().item(),
        "bound_violations": ((passing & ~below).sum() / passing.sum()).item(),
        "bound_recall": ((passing & below).sum() / below.sum()).item(),
    }
    return {key: round(value, 5) for key, value in found.items()} | {"networks": len(at)}


CARD = """# Latency of MobileNetV3 networks on {count} device settings

A fitted look-up table per setting: milliseconds of each of the 20 layers by kernel and expand ratio, a part that does
not depend on the resolution and a part that grows with its square, and milliseconds of all else for each resolution.
Weights only: the measurements are not part of this package.

- Data: 5,000 networks of the Once-for-All MobileNetV3 space on four GPUs with batches of 1, 32 and 64 images, from HELP
  (Lee et al., NeurIPS 2021, arXiv 2106.08630). Each network was measured at one resolution of 128 to 224 pixels in
  steps of 4; other resolutions are refused. The width multiplier is not said there; it is most likely 1.2: the three
  networks that HELP publishes with their latency on `titan_rtx_64` are predicted within 3%, and their published
  accuracies are 2 points above those of subnets of width 1.0.
- Names: the number at the end is the batch size; milliseconds are those of the whole batch.
- Split: {train:,} training and {held_out:,} held-out networks (20%), drawn with seed 0; penalties by {folds}-fold
  cross-validation within the training networks.
- Fitted in {seconds:.0f} s on one CPU core, for all seeds, by
  `{command}`.

## Held-out error
Relative error is |predicted - measured| / measured. Mean error and Spearman are of the shipped fit, and beside them the
mean ± standard deviation over {seeds} fits with their own split. *Over* and *kept* describe hard bounds (a network
passes if its prediction, inflated by the 95th percentile of the cross-validated error, is within the limit), with
limits at the nine deciles of the measured values: the share of passing networks that measured above the limit, and the
share of the networks below it that pass.

| device | mean error | over seeds | Spearman | over seeds | at 224 px | 95th percentile | within 10% | over | kept |
|---|---|---|---|---|---|---|---|---|---|
{rows}

Spearman at 224 px is of {full} networks. Settings with one image are predicted least well, and larger sets of features
do not help them.

## Choice of features
Cross-validated within the training networks (penalty 0.001), mean relative error averaged over the settings:

| features | number | mean error |
|---|---|---|
{choices}

The last row is no better for its further weights, so the one above it is shipped. The penalty of each setting
(`penalty` in `config.json`) is the best of {penalties} by the same folds.

## Limits
A device is the one that was measured, with its software of that time.

## Terms
Apache-2.0, as the code: made from published measurements, without images (`LICENSE-WEIGHTS.md` of the package).
"""


def card(models: Sequence[MobileNetV3LatencyModel], choices: list[tuple[str, int, float]], **facts: Any) -> str:
    rows = []
    for name in models[0].devices:
        error, every = models[0].error(name), [model.error(name) for model in models]
        mape, rho = ([e[key] for e in every] for key in ("mape", "spearman"))
        rows.append(
            f"| {name} | {100 * error['mape']:.1f}% | {100 * fmean(mape):.2f} ± {100 * stdev(mape):.2f}% | "
            f"{error['spearman']:.3f} | {fmean(rho):.3f} ± {stdev(rho):.3f} | {error['spearman_224']:.3f} | "
            + " | ".join(f"{100 * error[k]:.1f}%" for k in ("p95", "within_10", "bound_violations", "bound_recall"))
            + " |"
        )
    return CARD.format(
        count=len(rows),
        rows="\n".join(rows),
        choices="\n".join(f"| {name} | {k:,} | {100 * error:.2f}% |" for name, k, error in choices),
        penalties=", ".join(f"{penalty:g}" for penalty in PENALTIES),
        folds=FOLDS,
        seeds=len(models),
        **facts,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data_folder())
    parser.add_argument("--out", type=Path, default=MobileNetV3LatencyModel.folder)
    parser.add_argument("--seeds", type=int, default=5, help="fits, each with its own split; the first is shipped")
    arguments = parser.parse_args()
    start = time.perf_counter()
    torch.set_num_threads(1)
    rows = read(arguments.data / "ofa" / "latency_12_devices.csv.gz")
    sets = features(rows)
    splits = [split_networks(rows.vertices, HELD_OUT, seed) for seed in range(arguments.seeds)]
    models = [train(rows, known, unseen, sets[CHOSEN]) for known, unseen in splits]
    train_rows, held_out = splits[0]
    y = rows.values[train_rows]
    choices = [
        (name, x.shape[1], cross_validate(x[train_rows], y, 1e-3).mean().item()) for name, x in sets.items()
    ]
    text = card(
        models,
        choices,
        train=len(train_rows),
        held_out=len(held_out),
        full=int((rows.resolution[held_out] == 224).sum()),
        seconds=time.perf_counter() - start,
        command="python benchmarks/train_latency_mobilenetv3.py --data ../shared/data",
    )
    shipped = models[0]
    tensors = {"layers": shipped._layers.contiguous(), "rest": shipped._rest.contiguous()}
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_atomically(arguments.out / "model.safetensors", save_safetensors(tensors))
    write_json(arguments.out / "config.json", shipped.config)
    write_atomically(arguments.out / "README.md", text.encode())
    print(text)


if __name__ == "__main__":
    main()
