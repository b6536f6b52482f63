"""What the tensors of a checkpoint must be: their axes, which share sizes, and the ranges of their values.

Shapes are compared before anything is read or built; values once they are read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

import torch

from metad2a_plugin.models.budget_curve import SHARES
from metad2a_plugin.models.budget_inputs import DATASET, budget_names
from metad2a_plugin.models.budget_kernel import PARTS
from metad2a_plugin.models.budget_kernel import SHARES as ARCHITECTURE_SHARES
from metad2a_plugin.models.set_code import EMBEDDING_SCALES, OF_CLASSES, OF_IMAGES
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.utils.schema import SchemaError
from metad2a_plugin.utils.tensors import Shape, bound_shapes, finite

Value = TypeVar("Value")
HEADS = ("last", *(f"after_{share:g}" for share in SHARES))
"""Names of the processes of a model of budgets."""
LONG = "long."
"""What the names of its predictor of long training begin with."""
_WEIGHT = (-1e6, 1e6)
_POSITIVE = (1e-6, 1e6)
_COUNT = (1.0, 1e6)
_SPREAD = (0.0, 1e3)
_LOGARITHM = (-20.0, 20.0)
_NUMBERS = (-1.0, 2.0**24)  # as whole numbers that float32 holds

_ENSEMBLE = {
    "cell_center": "raw",
    "cell_scale": "raw",
    "cell_weight": "members descriptors",
    "cell_effect": "cells",
    "anchors": "anchors dim",
    "unit": "1",
    "task_center": "code",
    "task_scale": "code",
    "task_weight": "members code",
    "task_spread": "1",
    "factors": "code factors",
    "interaction": "members factors descriptors",
    "gate": "members 2",
    "radius": "1",
    "classes": "1",
    "reach": "1",
    "offset": "members",
    "second_offset": "members",
    "second_logit": "terms",
    "noise": "2",
    "response": "2",
    "images": "1",
}
_ENSEMBLE_RANGES = {
    **dict.fromkeys(("cell_scale", "task_scale", "unit", "radius", "reach"), _POSITIVE),
    **dict.fromkeys(("task_spread", "noise"), _SPREAD),
    **dict.fromkeys(("classes", "images"), _COUNT),
    "gate": (-1e6, math.inf),  # infinite where all cells take all of the interaction
}
_BUDGET = {
    **dict.fromkeys(("budget_center", "budget_scale"), "budget"),
    **dict.fromkeys(("dataset_center", "dataset_scale"), "dataset"),
    "descriptor_center": "raw",
    "descriptor_map": "raw descriptors",
    "columns": "cells columns",
    "correlation": "heads heads",
    "wiggle": "1",
    "contexts.budget": "contexts budget",
    "contexts.dataset": "contexts dataset",
    **dict.fromkeys(("contexts.image_set", "contexts.task", "contexts.number"), "contexts"),
    **dict.fromkeys(("context", "places"), "trainings"),
    "networks.columns": "trainings columns",
}
_HEAD = {
    **dict.fromkeys(("rows", "target", "noise"), "HEAD"),
    **dict.fromkeys(("mean", "scale", "hyper.architecture", "hyper.noise"), "1"),
    **dict.fromkeys(("hyper.budget_length", "hyper.budget_slope", "hyper.noise_slope"), "budget"),
    **dict.fromkeys(("hyper.dataset_length", "hyper.dataset_slope"), "dataset"),
    "hyper.context": str(len(PARTS)),
    "hyper.descriptors": str(len(ARCHITECTURE_SHARES)),
    "hyper.columns": f"{len(ARCHITECTURE_SHARES)} columns",
}
_BUDGET |= {f"{head}.{name}": axes.replace("HEAD", head) for head in HEADS for name, axes in _HEAD.items()}
_WHOLE = ("contexts.image_set", "contexts.task", "contexts.number", "context", "places", *(f"{h}.rows" for h in HEADS))
_BUDGET_RANGES = {
    **dict.fromkeys(("budget_scale", "dataset_scale"), _POSITIVE),
    **dict.fromkeys(_WHOLE, _NUMBERS),
    "wiggle": _SPREAD,
    "correlation": (-1.0, 1.0),
    **{f"{head}.noise": _SPREAD for head in HEADS},
    **{f"{head}.scale": _POSITIVE for head in HEADS},
    **{name: _LOGARITHM for name in _BUDGET if ".hyper." in name},
}


def check_ensemble_shapes(shapes: Mapping[str, Shape], space: SearchSpace) -> None:
    """Refuse shapes that are not those of a `SubspaceEnsemble` of the installed space.

    Raises:
        SchemaError: names the tensor.
    """
    raw, cells = _described(space), space.size if shapes.get("cell_effect") != (0,) else 0
    found = shapes.get("cell_center", (raw,))
    if found != (raw,):
        raise SchemaError(
            f"it reads {found[0] if found else 0} descriptors of an architecture, and the installed space "
            f"{space.name!r} has {raw}"
        )
    sizes = {"raw": raw, "cells": cells, "descriptors": raw + (cells > 0), "terms": raw + (cells > 0) + 1}
    bound = bound_shapes(shapes, _ENSEMBLE, sizes)
    if not min(bound["members"], bound["anchors"], bound["dim"]):
        raise SchemaError("it has no members, no anchors or no features")
    code = len(EMBEDDING_SCALES) * bound["anchors"] + OF_CLASSES
    if bound["code"] not in (code, code + OF_IMAGES):
        raise SchemaError(f"its code of a dataset has {bound['code']} numbers, expected {code} or {code + OF_IMAGES}")


def check_ensemble_values(state: Mapping[str, torch.Tensor]) -> None:
    """Refuse values with which a `SubspaceEnsemble` gives no numbers; errors as above."""
    _in_ranges(state, _ENSEMBLE_RANGES)
    if not state["gate"][:, 1].isfinite().all():
        raise SchemaError("'gate' holds slopes that are not finite")
    if not state["response"][1] >= _POSITIVE[0]:
        raise SchemaError("'response' must have a positive unit")


def check_budget_shapes(shapes: Mapping[str, Shape], space: SearchSpace) -> None:
    """Refuse shapes that are not those of a `BudgetModel` of the installed space; errors as above."""
    check_ensemble_shapes(part(shapes, LONG), space)
    own = {name: shape for name, shape in shapes.items() if not name.startswith(LONG)}
    for what, name, has in (
        ("features of a budget", "budget_center", len(budget_names(space))),
        ("features of a dataset", "dataset_center", len(DATASET)),
        ("descriptors of an architecture", "descriptor_center", _described(space)),
        ("errors' correlations", "correlation", len(HEADS)),
    ):
        if name in own and own[name][:1] != (has,):
            raise SchemaError(f"it has {list(own[name])} {what}, expected are {has}")
    cells = 0 if own.get("columns", (0,))[:1] == (0,) else space.size
    sizes = {"budget": len(budget_names(space)), "dataset": len(DATASET), "raw": _described(space), "cells": cells}
    bound = bound_shapes(own, _BUDGET, sizes | {"heads": len(HEADS)})
    if not min(bound["contexts"], bound["trainings"], *(bound[head] for head in HEADS)):
        raise SchemaError("it has no trainings")


def check_budget_values(state: Mapping[str, torch.Tensor], space: SearchSpace) -> None:
    """Refuse values with which a `BudgetModel` gives no numbers; errors as above."""
    check_ensemble_values(part(state, LONG))
    _in_ranges({name: tensor for name, tensor in state.items() if not name.startswith(LONG)}, _BUDGET_RANGES)
    for name in _WHOLE:
        if (state[name] != state[name].round()).any():
            raise SchemaError(f"{name!r} must hold whole numbers")
    contexts, trainings = len(state["contexts.budget"]), len(state["context"])
    rows = [f"{head}.rows" for head in HEADS]
    for name, end in (("context", contexts), ("places", space.size), *((name, trainings) for name in rows)):
        if state[name].min() < 0 or state[name].max() >= end:
            raise SchemaError(f"{name!r} must hold numbers from 0 to {end - 1}")
    correlation = state["correlation"].double()
    if not torch.allclose(correlation, correlation.T, atol=1e-5) or torch.linalg.eigvalsh(correlation).min() < -1e-4:
        raise SchemaError("'correlation' is no matrix of correlations")


def _described(space: SearchSpace) -> int:
    """Numbers that describe an architecture."""
    return sum(part.shape[1] for part in space.describe(space.encode([])))


def _in_ranges(state: Mapping[str, torch.Tensor], ranges: Mapping[str, tuple[float, float]]) -> None:
    for name, tensor in state.items():
        least, most = ranges.get(name, _WEIGHT)
        finite(name, tensor, least=least, most=most)


def part(named: Mapping[str, Value], prefix: str) -> dict[str, Value]:
    """What has names with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in named.items() if name.startswith(prefix)}
