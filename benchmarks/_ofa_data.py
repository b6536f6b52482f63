"""The measurements of Once-for-All's networks under ``ofa`` in the data folder."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path
from typing import NamedTuple

import torch

from metad2a_plugin.spaces.mobilenetv3.descriptors import layers_and_depths
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space

SPACE = MobileNetV3Space()


class Rows(NamedTuple):
    """`values` float64 ``[n, columns]``, measured of networks `vertices` int64 ``[n, 22]`` at `resolution` ``[n]``."""

    vertices: torch.Tensor
    resolution: torch.Tensor
    values: torch.Tensor
    columns: tuple[str, ...]


def read(path: Path, *columns: str) -> Rows:
    """The columns named, or all behind the four that say the network and its resolution."""
    with gzip.open(path, "rt", newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = columns or tuple(rows[0])[4:]
    measured = [
        SPACE.from_config({k: list(map(int, row[k].split("-"))) for k in ("ks", "e", "d")} | {"r": int(row["r"])})
        for row in rows
    ]
    return Rows(
        SPACE.encode([architecture for architecture, _ in measured]),
        torch.tensor([resolution for _, resolution in measured]),
        torch.tensor([[float(row[name]) for name in names] for row in rows], dtype=torch.float64),
        names,
    )


def split_networks(vertices: torch.Tensor, share: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Row numbers of a larger part and of a `share`; rows of one network are in one part."""
    _, network = vertices.unique(dim=0, return_inverse=True)
    order = torch.randperm(int(network.max()) + 1, generator=torch.Generator().manual_seed(seed))
    apart = torch.zeros(len(order), dtype=torch.bool)
    apart[order[: round(share * len(order))]] = True
    chosen = apart[network]
    return (~chosen).nonzero()[:, 0], chosen.nonzero()[:, 0]


def official(folder: Path, vertices: torch.Tensor, resolution: torch.Tensor) -> torch.Tensor:
    """Accuracies by the predictor that OFA has released, in percent, float64 ``[n]``.

    Args:
        folder: with ``official_accuracy_predictor.pth``.
        vertices: int64 ``[n, 22]``.
        resolution: int64 ``[n]``, pixels.
    """
    state = torch.load(folder / "official_accuracy_predictor.pth", weights_only=True, map_location="cpu")
    sides = torch.nn.functional.one_hot((resolution - 112) // 16, 8)
    x = torch.cat([layers_and_depths(vertices)[:, :120].float(), sides.float()], dim=1)
    tensors = list(state.values())
    for i, (weight, bias) in enumerate(zip(tensors[::2], tensors[1::2], strict=True)):
        x = torch.nn.functional.linear(x.relu() if i else x, weight, bias)
    return 100 * x[:, 0].double()
