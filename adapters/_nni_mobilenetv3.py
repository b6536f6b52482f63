"""NNI's hub space ``MobileNetV3Space`` with the settings that make it Once-for-All's network; needs no NNI."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from metad2a_plugin.errors import ArchitectureError, ConfigError
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.mobilenetv3.layout import DEPTHS, EXPANDS, KERNELS, LAYERS, STAGES, layout
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space

_CHANNELS = layout(1.0)
SETTINGS: dict[str, Any] = {
    "base_widths": (
        *(_CHANNELS.stem, _CHANNELS.stem),
        *(stage.width for stage in _CHANNELS.stages),
        *(_CHANNELS.head, _CHANNELS.features),
    ),
    "expand_ratios": EXPANDS,
    "squeeze_excite": ("none", *("force" if stage.squeeze else "none" for stage in _CHANNELS.stages)),
    "depth_range": (DEPTHS[0], DEPTHS[-1]),
    "stride": (2, 1, *(stage.stride for stage in _CHANNELS.stages), 1, 1),
    "activation": (
        *("hswish", "relu"),
        *("hswish" if stage.hard_swish else "relu" for stage in _CHANNELS.stages),
        *("hswish", "hswish"),
    ),
    "se_from_exp": True,
    "bn_eps": 1e-5,
}
"""Arguments of NNI's class; the others (width_multipliers, num_labels, dropout_rate, bn_momentum) are free."""

FIXED = {"stem_ks": 3, "s0_i0_ks": 3}
"""Choices of NNI's space that are none of Once-for-All's: kernels of the stem and of the fixed layer after it."""
_LAYERS = tuple((stage, layer) for stage in range(1, STAGES + 1) for layer in range(LAYERS))
_OPTIONS = {
    **{f"s{stage}_depth": DEPTHS for stage in range(1, STAGES + 1)},
    **{f"s{stage}_i{layer}_ks": KERNELS for stage, layer in _LAYERS},
    **{f"s{stage}_i{layer}_exp": EXPANDS for stage, layer in _LAYERS},
}
LABELS = _OPTIONS.keys() | FIXED.keys()
MEND = "make it with metad2a_plugin.adapters.nni.ofa_space(width=1.0, num_classes=1000)"


def check_settings(given: Mapping[str, Any]) -> None:
    """Whether NNI's space is Once-for-All's network of some width.

    Args:
        given: all arguments of NNI's class, defaults included.

    Raises:
        ConfigError: says which settings are others.
    """
    wrong = [
        f"{name} is {given[name]!r}, not {right!r}"
        for name, right in SETTINGS.items()
        if _comparable(name, given[name]) != _comparable(name, right)
    ]
    width = given["width_multipliers"]
    if not isinstance(width, float) or not 0 < width < math.inf:
        wrong.append(f"width_multipliers is {width!r}, not a single float such as 1.0")
    elif any(round(c * width + 4) // 8 != int(c * width + 4) // 8 for c in SETTINGS["base_widths"]):
        wrong.append(f"width_multipliers is {width!r}, for which NNI rounds the channels of a layer differently")
    if wrong:
        raise ConfigError(
            "of NNI's MobileNetV3Space the strategies know the network of Once-for-All. In this model space "
            f"{'; '.join(wrong)}: {MEND}"
        )


def _comparable(name: str, value: Any) -> Any:
    """A setting, equal for all ways to write it."""
    if name == "depth_range" and not isinstance(value[0], int):
        return value[0] if len(set(map(tuple, value))) == 1 else value
    if isinstance(value, (list, tuple)):
        return tuple(sorted(value)) if name == "expand_ratios" else tuple(value)
    return value


class MobileNetV3Bridge:
    """NNI's ``MobileNetV3Space`` and ours.

    NNI's samples have values for all layers; those of layers beyond the depth of their stage mean nothing.

    Args:
        prefix: of all labels.
        choices: what each label, without the prefix, can be; those of `FIXED` may be absent.

    Raises:
        ConfigError: these are not the choices of Once-for-All's network.

    >>> bridge = MobileNetV3Bridge.default()
    >>> network = bridge.space.parse("+".join(["k5e4-k3e6"] * 5))
    >>> sample = bridge.sample(network)
    >>> [sample[label] for label in ("s1_depth", "s1_i0_ks", "s1_i0_exp", "s1_i3_ks", "stem_ks")]
    [2, 5, 4, 3, 3]
    >>> bridge.architecture({**sample, "s1_i3_ks": 7}) == network
    True
    """

    def __init__(self, prefix: str, choices: Mapping[str, Sequence[Any]]) -> None:
        self.space = MobileNetV3Space()
        self._prefix = prefix
        for what, labels in (("lacks", _OPTIONS.keys() - choices.keys()), ("also has", choices.keys() - LABELS)):
            if labels:
                raise ConfigError(
                    f"this model space {what} the label {prefix + min(labels)!r}, unlike Once-for-All's network: {MEND}"
                )
        self._values = {label: self._spelled(label, list(values)) for label, values in choices.items()}

    @classmethod
    def default(cls, prefix: str = "") -> MobileNetV3Bridge:
        """Of the model space that ``ofa_space`` makes."""
        return cls(prefix, {**_OPTIONS, **{label: (kernel,) for label, kernel in FIXED.items()}})

    def _spelled(self, label: str, values: list[Any]) -> dict[int, Any]:
        """What the model space calls each option of a label: 3 can be 3.0 there."""
        right = _OPTIONS.get(label) or (FIXED[label],)
        more = label in _OPTIONS and len(values) > len(right)
        if more or any(option not in values for option in right):
            raise ConfigError(
                f"{self._prefix + label!r} has the choices {', '.join(map(repr, values))}, it must offer "
                f"{', '.join(map(str, right))} (parts of this space cannot be searched): {MEND}"
            )
        return {option: values[values.index(option)] for option in right}

    def sample(self, architecture: Architecture) -> dict[str, Any]:
        config = self.space.to_config(architecture)
        named = FIXED | {f"s{stage}_depth": depth for stage, depth in enumerate(config["d"], 1)}
        for (stage, layer), kernel, expand in zip(_LAYERS, config["ks"], config["e"], strict=True):
            named |= {f"s{stage}_i{layer}_ks": kernel, f"s{stage}_i{layer}_exp": expand}
        return {self._prefix + label: values[named[label]] for label, values in self._values.items()}

    def architecture(self, sample: Mapping[str, Any]) -> Architecture:
        named = {str(label).removeprefix(self._prefix): value for label, value in sample.items()}
        if unknown := {str(label) for label in named.keys() - LABELS}:
            raise ArchitectureError(f"Once-for-All's network has no choice {min(unknown)!r}")
        for label, kernel in FIXED.items():
            if named.get(label, kernel) != kernel:
                raise ArchitectureError(
                    f"{label!r} must be {kernel} in Once-for-All's network, got {named[label]!r}; a model space of "
                    "ofa_space() offers nothing else"
                )
        depths = [_value(named, f"s{stage}_depth", DEPTHS) for stage in range(1, STAGES + 1)]

        def values(what: str, options: tuple[int, ...]) -> list[int]:
            return [
                _value(named, f"s{stage}_i{layer}_{what}", options) if layer < depths[stage - 1] else options[0]
                for stage, layer in _LAYERS
            ]

        return self.space.from_config({"d": depths, "ks": values("ks", KERNELS), "e": values("exp", EXPANDS)})[0]


def _value(named: Mapping[str, Any], label: str, options: tuple[int, ...]) -> int:
    if label not in named:
        raise ArchitectureError(f"the sample has no {label!r}")
    if named[label] not in options:
        raise ArchitectureError(f"{label!r} must be {' or '.join(map(str, options))}, got {named[label]!r}")
    return int(named[label])
