"""How NNI spells the architectures of this package's search spaces; needs no NNI."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from metad2a_plugin.errors import ArchitectureError, ConfigError
from metad2a_plugin.registry import get_space
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.nasbench201 import CELL_EDGES, OPS

_LABELS = tuple(f"{source}_{target}" for source, target in CELL_EDGES)
_KNOWN = f"NasBench201 (six choices {', '.join(_LABELS)} of none, skip_connect, conv_1x1, conv_3x3, avg_pool_3x3)"


class Bridge:
    """One NNI search space and the `SearchSpace` that it is.

    Args:
        choices: what each label can be.

    Raises:
        ConfigError: no known space looks like that.

    >>> bridge = Bridge({f"cell/{label}": [op.removeprefix("nor_") for op in OPS] for label in _LABELS})
    >>> cell = bridge.space.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|")
    >>> bridge.sample(cell)["cell/0_1"], bridge.architecture(bridge.sample(cell)) == cell
    ('conv_3x3', True)
    """

    def __init__(self, choices: Mapping[str, Sequence[Any]]) -> None:
        prefixes = {label.rpartition("/")[0] for label in choices}
        self._prefix = f"{prefix}/" if len(prefixes) == 1 and (prefix := prefixes.pop()) else ""
        if set(choices) != {self._prefix + label for label in _LABELS}:
            labels = ", ".join(sorted(map(str, choices))) or "none at all"
            numbers = all(str(label).isdigit() for label in choices) and bool(choices)
            raise ConfigError(
                f"this model space is of no search space that the strategies know; known is {_KNOWN}. "
                f"It has the labels {labels}"
                + (": YAML reads 0_1 as a number, so write 'cell/0_1' and so on" if numbers else "")
            )
        first = list(next(iter(choices.values())))
        self._names = tuple(op if op in first else op.removeprefix("nor_") for op in OPS)
        for label, names in choices.items():
            if set(names) != set(self._names):
                raise ConfigError(
                    f"{label!r} has the choices {', '.join(map(str, names))}; the strategies know {_KNOWN}, so each "
                    "label must offer all five"
                )
        self.space = get_space("nasbench201")

    def sample(self, architecture: Architecture) -> dict[str, str]:
        """What NNI freezes a model space with."""
        self.space.validate(architecture)
        return {
            self._prefix + label: self._names[op] for label, op in zip(_LABELS, architecture.choices, strict=True)
        }

    def architecture(self, sample: Mapping[str, Any]) -> Architecture:
        """Inverse of `sample`.

        Raises:
            ArchitectureError: a label is missing, or its value is no operation.
        """
        try:
            choices = tuple(self._names.index(sample[self._prefix + label]) for label in _LABELS)
        except (KeyError, ValueError) as error:
            raise ArchitectureError(f"{dict(sample)!r} is no sample of {_KNOWN}: {error}") from error
        return Architecture(self.space.name, choices)


def bridge_of(sample: Mapping[str, Any]) -> Bridge:
    """The bridge of a space that a sample is of, whichever way it spells labels and operations.

    Raises:
        ConfigError: no known space has such samples.
    """
    long = any(str(op).startswith("nor_") for op in sample.values())
    return Bridge({label: OPS if long else [op.removeprefix("nor_") for op in OPS] for label in sample})


def architecture_of(sample: Mapping[str, Any]) -> Architecture:
    """The architecture of a sample, such as ``export_top_models(formatter="dict")`` gives.

    Raises:
        ConfigError: it is of no known space.
        ArchitectureError: it is of a known space, but malformed.
    """
    return bridge_of(sample).architecture(sample)


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
