"""How NNI spells the architectures of this package's search spaces; needs no NNI."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from metad2a_plugin.errors import ArchitectureError, ConfigError
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.nasbench201.cell import CELL_EDGES, OPS
from metad2a_plugin.spaces.restricted import RestrictedSpace

from ._nni_mobilenetv3 import LABELS, MEND, MobileNetV3Bridge

_EDGES = tuple(f"{source}_{target}" for source, target in CELL_EDGES)
_CELL = f"NasBench201 (six choices {', '.join(_EDGES)} of none, skip_connect, conv_1x1, conv_3x3, avg_pool_3x3)"
_OF_PROXYLESS = re.compile(r"s\d+_i\d+")
_OF_MOBILENETS = re.compile(r"(s\d+|stem)_\w+")


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
    """The bridge of the model space with these choices, by their labels and names alone.

    Where a label of a cell offers some of the five operations only, the space is that part of NAS-Bench-201.

    Args:
        choices: what each label can be.

    Raises:
        ConfigError: no known space looks like that.
    """
    if wrong := [label for label in choices if not isinstance(label, str)]:
        raise ConfigError(
            f"labels must be text, got {wrong[0]!r} ({type(wrong[0]).__name__}): YAML reads 0_1 as a number, so write "
            f"'cell/0_1' and so on; known is {_CELL}"
        )
    prefix, plain = _without_prefix(choices)
    if any(map(_OF_PROXYLESS.fullmatch, plain)):
        raise ConfigError(
            "these are the labels of ProxylessNAS, which is no search space that the strategies know; known are "
            f"{_CELL}, and Once-for-All's MobileNetV3Space ({MEND})"
        )
    if plain.keys() & LABELS:
        return MobileNetV3Bridge(prefix, plain)
    if set(plain) == set(_EDGES):
        return CellBridge(prefix, plain)
    labels = ", ".join(sorted(choices)) or "none at all"
    numbers = all(label.isdigit() for label in choices) and bool(choices)
    missing = sorted(set(_EDGES) - set(plain)) if set(plain) & set(_EDGES) else []
    raise ConfigError(
        f"this model space is of no search space that the strategies know; known are {_CELL}, and Once-for-All's "
        f"MobileNetV3Space ({MEND}). It has the labels {labels}"
        + (": YAML reads 0_1 as a number, so write 'cell/0_1' and so on" if numbers else "")
        + (f" and lacks {', '.join(missing)}: a fixed edge is a choice of one operation" if missing else "")
    )


def own_labels(labels: Iterable[str]) -> set[str]:
    """Those that are an architecture's, among labels or names that can have other hyper-parameters beside them.

    Other labels that begin like those of MobileNetV3's stages count as the architecture's, so that they are refused.
    """
    groups: dict[str, set[str]] = {}
    for label in labels:
        prefix, slash, name = label.rpartition("/")
        groups.setdefault(prefix + slash, set()).add(name)
    found = set()
    for prefix, names in groups.items():
        if names & LABELS or any(map(_OF_PROXYLESS.fullmatch, names)):
            found |= {prefix + name for name in names if name in LABELS or _OF_MOBILENETS.fullmatch(name)}
        else:
            found |= {prefix + name for name in names if name in _EDGES}
    return found


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
    """NNI's ``NasBench201``, or a part of it, and ours.

    Args:
        prefix: of all labels.
        choices: what each label, without the prefix, can be: one or more of the five operations.

    Attributes:
        names: what each label, in the order of the edges, calls the operations that it can have, by their index.

    Raises:
        ConfigError: a label offers anything else, or all of them together one cell only.

    >>> bridge = CellBridge("cell/", {label: [op.removeprefix("nor_") for op in OPS] for label in _EDGES})
    >>> cell = bridge.space.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|")
    >>> bridge.sample(cell)["cell/0_1"], bridge.architecture(bridge.sample(cell)) == cell
    ('conv_3x3', True)
    """

    def __init__(self, prefix: str, choices: Mapping[str, Sequence[Any]]) -> None:
        self.names = {prefix + edge: _spelled(prefix + edge, list(choices[edge])) for edge in _EDGES}
        whole = get_space("nasbench201")
        allowed = [sorted(names) for names in self.names.values()]
        self.space = whole if all(len(options) == len(OPS) for options in allowed) else RestrictedSpace(whole, allowed)

    def sample(self, architecture: Architecture) -> dict[str, Any]:
        choices = self.space.validate(architecture).choices
        return {label: names[op] for (label, names), op in zip(self.names.items(), choices, strict=True)}

    def architecture(self, sample: Mapping[str, Any]) -> Architecture:
        indices = {label: {name: op for op, name in names.items()} for label, names in self.names.items()}
        try:
            choices = tuple(ops[sample[label]] for label, ops in indices.items())
        except (KeyError, TypeError) as error:
            raise ArchitectureError(f"{dict(sample)!r} is no sample of {_CELL}: {error}") from error
        return Architecture(self.space.name, choices)


def _spelled(label: str, names: list[Any]) -> dict[int, str]:
    """What a label calls each operation that it can have, by its index."""
    known = {name: index for index, op in enumerate(OPS) for name in (op, op.removeprefix("nor_"))}
    found = {known[name]: name for name in names if isinstance(name, str) and name in known}
    if not names or len(found) < len(names):
        no_text = [name for name in names if not isinstance(name, str)]
        raise ConfigError(
            f"{label!r} has the choices {', '.join(map(str, names)) or 'none at all'}; the strategies know {_CELL}, "
            "and parts of it where a label offers fewer of these, each once"
            + (f"; {no_text[0]!r} is no text: put names between quotes in YAML" if no_text else "")
        )
    return found


def architecture_of(sample: Mapping[str, Any]) -> Architecture:
    """The architecture of a sample, such as ``export_top_models(formatter="dict")`` gives.

    Args:
        sample: values by label; other hyper-parameters beside the architecture's are passed over.

    Raises:
        ConfigError: it is of no known space.
        ArchitectureError: it is of a known space, but malformed.
    """
    if not isinstance(sample, Mapping) or not all(isinstance(label, str) for label in sample):
        raise ArchitectureError(f"a sample has values by label, such as {{'cell/0_1': 'conv_3x3'}}, got {sample!r}")
    own = own_labels(sample)
    plain = {label: value for label, value in sample.items() if label in own} or sample
    return bridge_of_sample(plain).architecture(plain)


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
