"""What a NAS-Bench-201 cell can do, as numbers: paths, depth, costs, and the operations left after pruning."""

from __future__ import annotations

from collections.abc import Sequence

import torch

# Operation indices of each input-output path: 3<-0; 3<-1<-0; 3<-2<-0; 3<-2<-1<-0.
PATHS = ((3,), (0, 4), (1, 5), (0, 2, 5))
_NONE, _SKIP, _CONV1, _CONV3, _POOL = range(5)

STRUCTURE = (
    *(f"count_{op}" for op in ("skip", "conv1", "conv3", "pool")),
    "params",
    "log_params",
    "paths",
    *(f"{how}_{what}" for what in ("convs", "conv3s", "pools", "ops") for how in ("max", "min", "mean")),
    "identity_path",
    "parameter_free_paths",
    "convolution_paths",
    "pooling_paths",
    "receptive_field",
    *(f"gain_{k}" for k in ("flat", "steep", "damped")),
    "dead",
)
"""Names of the columns of `structure`."""


def rank(vertices: torch.Tensor) -> torch.Tensor:
    """Position of encoded cells int64 ``[n, 8]`` in the lexicographic order of their operations, int64 ``[n]``."""
    powers = 5 ** torch.arange(5, -1, -1, device=vertices.device)
    return ((vertices[:, 1:-1] - 2) * powers).sum(1)


def prune(ops: torch.Tensor) -> torch.Tensor:
    """Replace operations on no input-output path by `none`; int64 ``[n, 6]`` to ``[n, 6]``."""
    edges = (ops != _NONE).unbind(1)
    reach1, reach2 = edges[0], edges[1] | (edges[0] & edges[2])
    leave2, leave1 = edges[5], edges[4] | (edges[2] & edges[5])
    useful = [edges[0] & leave1, edges[1] & leave2, edges[2] & reach1 & leave2]
    useful += [edges[3], edges[4] & reach1, edges[5] & reach2]
    return torch.where(torch.stack(useful, dim=1), ops, torch.zeros_like(ops))


def structure(ops: torch.Tensor) -> torch.Tensor:
    """The columns of `STRUCTURE` for pruned operations int64 ``[n, 6]``; float32 ``[n, 28]``.

    ``max/min/mean_*`` run over the cell's live paths (-1 for a dead cell); ``gain_*`` is the log of the sum
    over paths of the product of one gain per operation, a data-free measure of signal flow.
    """
    alive = torch.stack([(ops[:, list(path)] != _NONE).all(1) for path in PATHS], dim=1)

    def along_paths(weight: Sequence[float]) -> torch.Tensor:
        value = torch.tensor(weight)[ops]
        return torch.stack([value[:, list(path)].sum(1) for path in PATHS], dim=1)

    count = [(ops == op).sum(1).float() for op in (_SKIP, _CONV1, _CONV3, _POOL)]
    params = 0.028 * count[1] + 0.243 * count[2]
    columns = [*count, params, (0.0733 + params).log(), alive.sum(1).float()]
    dead = ~alive.any(1)
    convs, conv3s, pools, length = (
        along_paths(w) for w in ([0, 0, 1, 1, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1], [0, 1, 1, 1, 1])
    )
    for value in (convs, conv3s, pools, length):
        high = value.masked_fill(~alive, -1).amax(1)
        low = value.masked_fill(~alive, 99).amin(1).masked_fill(dead, -1)
        mean = (value * alive).sum(1) / alive.sum(1).clamp(min=1)
        columns += [high, low, mean.masked_fill(dead, -1)]
    identity = alive & (convs == 0) & (pools == 0)
    columns += [
        identity.any(1).float(),
        identity.sum(1).float(),
        (alive & (convs > 0) & (pools == 0)).sum(1).float(),
        (alive & (convs == 0) & (pools > 0)).sum(1).float(),
        (conv3s + pools).masked_fill(~alive, -1).amax(1),
    ]
    for conv3, conv1, pool in ((3.0, 1.0, 1.0), (9.0, 1.0, 1.0), (1.0, 0.5, 0.2)):
        gain = along_paths(torch.tensor([1.0, 1.0, conv1, conv3, pool]).log().tolist()).exp()
        columns.append((1e-3 + (gain * alive).sum(1)).log())
    return torch.stack([*columns, dead.float()], dim=1)


def one_hot_pairs(ops: torch.Tensor) -> torch.Tensor:
    """One-hot operations and the product of every two edges' one-hots; int64 ``[n, 6]`` to ``[n, 405]``."""
    hot = torch.nn.functional.one_hot(ops, 5).float()
    columns = [hot.flatten(1)]
    for j in range(1, hot.shape[1]):
        for i in range(j):
            columns.append((hot[:, j, :, None] * hot[:, i, None, :]).flatten(1))
    return torch.cat(columns, dim=1)


def describe(vertices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Descriptors of encoded cells: structure ``[n, 28]`` and pairwise operations ``[n, 405]``.

    Args:
        vertices: int64 ``[n, 8]`` from `NASBench201.encode`.
    """
    ops = prune(vertices[:, 1:-1] - 2)
    return structure(ops), one_hot_pairs(ops)
