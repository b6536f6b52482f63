"""How NNI spells the architectures of this package's search spaces; needs no NNI."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from metad2a_plugin.errors import ArchitectureError, ConfigError
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.nasbench201.cell import CELL_EDGES, OPS

from ._nni_mobilenetv3 import LABELS, MEND, MobileNetV3Bridge

_EDGES = tuple(f"{source}_{target}" for source, target in CELL_EDGES)
_CELL = f"NasBench201 (six choices {', '.join(_EDGES)} of none, skip_connect, conv_1x1, conv_3x3, avg_pool_3x3)"


class Bridge(Protocol):
    """One NNI search space and the `SearchSpace` that it is."""

    @property
    def space(self) -> SearchSpace:
        """The search space."""

    def sample(self, architecture: Architecture) -> dict[str, Any]:
        """What NNI freezes a model space with."""

    def architecture(self, sample: Mapping[str, Any]) -> Architecture:
        """Inverse of `sample`.

        Raises:
            ArchitectureError: the sample is malformed.
        """


def bridge_of_space(choices: Mapping[str, Sequence[Any]]) -> Bridge:
    """The bridge of the model space with these choices.

    Args:
        choices: what each label can be.

    Raises:
        ConfigError: no known space looks like that.
    """
    prefix, plain = _without_prefix(choices)
    if plain.keys() & LABELS:
        return MobileNetV3Bridge(prefix, plain)
    if set(plain) == set(_EDGES):
        return CellBridge(prefix, plain)
    labels = ", ".join(sorted(map(str, choices))) or "none at all"
    numbers = all(str(label).isdigit() for label in choices) and bool(choices)
    raise ConfigError(
        f"this model space is of no search space that the strategies know; known are {_CELL}, and Once-for-All's "
        f"MobileNetV3Space ({MEND}). It has the labels {labels}"
        + (": YAML reads 0_1 as a number, so write 'cell/0_1' and so on" if numbers else "")
    )


def bridge_of_sample(sample: Mapping[str, Any]) -> Bridge:
    """The bridge of a space that a sample is of, whichever way it spells labels and options.

    Raises:
        ConfigError: no known space has such samples.
    """
    prefix, plain = _without_prefix(sample)
    if plain.keys() & LABELS:
        return MobileNetV3Bridge.default(prefix)
    long = any(str(op).startswith("nor_") for op in sample.values())
    return bridge_of_space({label: OPS if long else [op.removeprefix("nor_") for op in OPS] for label in sample})


def _without_prefix(labels: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """What all labels begin with, up to their last slash, and the rest of them."""
    prefixes = {label.rpartition("/")[0] for label in labels}
    prefix = f"{first}/" if len(prefixes) == 1 and (first := prefixes.pop()) else ""
    return prefix, {label.removeprefix(prefix): value for label, value in labels.items()}


class CellBridge:
    """NNI's ``NasBench201`` and ours.

    Args:
        prefix: of all labels.
        choices: what each label, without the prefix, can be.

    Raises:
        ConfigError: a label lacks an operation, or has others.

    >>> bridge = CellBridge("cell/", {label: [op.removeprefix("nor_") for op in OPS] for label in _EDGES})
    >>> cell = bridge.space.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|")
    >>> bridge.sample(cell)["cell/0_1"], bridge.architecture(bridge.sample(cell)) == cell
    ('conv_3x3', True)
    """

    def __init__(self, prefix: str, choices: Mapping[str, Sequence[Any]]) -> None:
        self._prefix = prefix
        first = list(next(iter(choices.values())))
        self._names = tuple(op if op in first else op.removeprefix("nor_") for op in OPS)
        for label, names in choices.items():
            if set(names) != set(self._names):
                raise ConfigError(
                    f"{prefix + label!r} has the choices {', '.join(map(str, names))}; the strategies know {_CELL}, so "
                    "each label must offer all five"
                )
        self.space = get_space("nasbench201")

    def sample(self, architecture: Architecture) -> dict[str, Any]:
        self.space.validate(architecture)
        return {self._prefix + edge: self._names[op] for edge, op in zip(_EDGES, architecture.choices, strict=True)}

    def architecture(self, sample: Mapping[str, Any]) -> Architecture:
        try:
            choices = tuple(self._names.index(sample[self._prefix + edge]) for edge in _EDGES)
        except (KeyError, ValueError) as error:
            raise ArchitectureError(f"{dict(sample)!r} is no sample of {_CELL}: {error}") from error
        return Architecture(self.space.name, choices)


def architecture_of(sample: Mapping[str, Any]) -> Architecture:
    """The architecture of a sample, such as ``export_top_models(formatter="dict")`` gives.

    Raises:
        ConfigError: it is of no known space.
        ArchitectureError: it is of a known space, but malformed.
    """
    return bridge_of_sample(sample).architecture(sample)


def number(metric: Any) -> float | None:
    """The value of a reported metric, a number or a dictionary with a number as ``default``; None if there is none."""
    value = metric.get("default") if isinstance(metric, Mapping) else metric
    if value is None or isinstance(value, (str, bytes, bool)):
        return None
    try:
        value = float(value)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
