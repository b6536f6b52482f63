"""How large the networks of an NNI model space are, so that limits hold for them and not for the benchmark's."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from nni.nas.hub.pytorch import NasBench201
from nni.nas.space import ExecutableModelSpace
from torch import nn

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.nn.counting import count_cost
from metad2a_plugin.plugins.budget import Budget
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.mobilenetv3.layout import layout
from metad2a_plugin.spaces.nasbench201.cell import OPS

from ._nni_bridge import Bridge, CellBridge
from ._nni_operations import CANNOT_RUN, KERNELS
from ._nni_space import arguments_of, kind_of

_LIMITS = ("max_params", "max_flops", "max_latency", "latency_tables", "devices")
_SIDE = 32
"""Of the images that networks are counted on, in pixels."""


def limited(given: Mapping[str, Any]) -> bool:
    """Whether a strategy with these options counts what networks cost."""
    return any(given.get(name) for name in _LIMITS)


def counted_options(model_space: ExecutableModelSpace, bridge: Bridge, given: Mapping[str, Any]) -> dict[str, Any]:
    """What to put in place of a strategy's options so that its limits hold for the networks of a model space.

    Args:
        model_space: of known operations.
        bridge: of it.
        given: options of the strategy.

    Raises:
        ConfigError: there are limits and the size of the networks cannot be read; or the options say another size.
    """
    if not limited(given):
        return {}
    budget = Budget.of(given.get("budget"))
    size = _size(model_space, bridge)
    for where, options in (("the options", given), ("the budget", {} if budget is None else budget.options)):
        for name, value in size.items():
            if options.get(name, value) != value:
                raise ConfigError(
                    f"{name} is {options[name]!r} in {where} and {value!r} in the model space, for which limits are "
                    "counted; leave it out, or make them the same"
                )
    if given.get("max_params") and not isinstance(bridge, CellBridge):
        # NNI's layer before the classifier has a bias, which Once-for-All's has not.
        size["max_params"] = given["max_params"] - layout(size["width"]).features / 1e6
    return size


def taken(kind: type, space: SearchSpace, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `counted_options` that a strategy takes.

    Raises:
        ConfigError: it does not take one that differs from what the space has unless told.
    """
    parameters = inspect.signature(kind).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return dict(options)
    names = {parameter.name for parameter in parameters}
    usual = _usual(space)
    for name, value in options.items():
        if name not in names and usual.get(name) != value:
            raise ConfigError(
                f"the model space has {name} {value!r}, and {kind.__name__} counts its limits without being told that; "
                f"leave the limits out, or make the model space with {name} {usual.get(name)!r}"
            )
    return {name: value for name, value in options.items() if name in names}


def unusual(space: SearchSpace, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `counted_options` that differ from what the space has unless told."""
    usual = _usual(space)
    return {name: value for name, value in options.items() if usual.get(name) != value}


def _usual(space: SearchSpace) -> dict[str, Any]:
    network = list(inspect.signature(space.build).parameters.values())[2:]
    return {"num_classes": space.num_classes} | {option.name: option.default for option in network}


# -- sizes ---------------------------------------------------------------------------------------
def _size(model_space: ExecutableModelSpace, bridge: Bridge) -> dict[str, Any]:
    """Options of the space's `cost`, by name, the number of classes included."""
    kind = kind_of(model_space)
    if not isinstance(bridge, CellBridge):
        given = arguments_of(model_space)
        return {"width": given["width_multipliers"], "num_classes": given["num_labels"]}
    if kind is NasBench201:
        given = arguments_of(model_space)
        names = {"channels": "stem_out_channels", "cells": "num_modules_per_stack", "num_classes": "num_labels"}
        return {name: given[theirs] for name, theirs in names.items()}
    most, least = (_extreme(bridge, largest) for largest in (True, False))
    size = _read(_network(model_space, bridge, most), most, kind)
    for architecture in (most, least):
        _compare(model_space, bridge, architecture, size)
    return size


def _extreme(bridge: CellBridge, largest: bool) -> Architecture:
    """The cell with the most convolutions, of 3x3 first; or with the fewest."""
    order = sorted(range(len(OPS)), key=lambda op: KERNELS.get(OPS[op], 0), reverse=largest)
    choices = (next(op for op in order if op in names) for names in bridge.names.values())
    return Architecture(bridge.space.name, tuple(choices))


def _network(model_space: ExecutableModelSpace, bridge: Bridge, architecture: Architecture) -> nn.Module:
    """NNI's network of an architecture, on the ``meta`` device."""
    try:
        with torch.random.fork_rng(devices=[]):
            network: nn.Module = model_space.freeze(bridge.sample(architecture)).executable_model()
        return deepcopy(network).to("meta")
    except CANNOT_RUN as error:
        raise _unreadable(kind_of(model_space), f"no network can be made: {_said(error)}") from error


def _read(network: nn.Module, architecture: Architecture, kind: type) -> dict[str, Any]:
    """Channels, cells and classes, by the layers of a network; `_compare` tells whether they are all."""
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    linear = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
    read = {"channels (of a convolution)": convolutions, "num_classes (of a linear layer)": linear}
    if lacking := [name for name, layers in read.items() if not layers]:
        raise _unreadable(kind, f"{' and '.join(lacking)} cannot be read: it has none")
    channels = convolutions[0].out_channels
    kernels = [KERNELS.get(OPS[op], 0) for op in architecture.choices]
    shape = (channels, channels, *[max(kernels)] * 2)
    cells = sum(layer.weight.shape == shape for layer in convolutions[1:]) // kernels.count(max(kernels))
    # Cells without convolutions cost nothing, however many there are.
    return {"channels": channels, "cells": max(1, cells), "num_classes": linear[-1].out_features}


def _compare(
    model_space: ExecutableModelSpace, bridge: Bridge, architecture: Architecture, size: Mapping[str, Any]
) -> None:
    """Refuse a model space whose networks cost anything else than those of that size."""
    kind, space = kind_of(model_space), bridge.space
    ours = space.cost(architecture, input_size=_SIDE, **size)
    try:
        params, flops = count_cost(lambda: _network(model_space, bridge, architecture), _SIDE)
    except CANNOT_RUN as error:
        raise _unreadable(kind, f"its networks do not run on images of {_SIDE} pixels: {_said(error)}") from error
    # The benchmark counts the classifier's biases among the multiply-accumulates too.
    if params != round(1e6 * ours.params) or flops + size["num_classes"] != round(1e6 * ours.flops):
        named = ", ".join(f"{name} {value}" for name, value in size.items())
        raise _unreadable(
            kind,
            f"channels, cells and num_classes are not all that its networks are made of: {space.format(architecture)} "
            f"has {params / 1e6:g} M parameters and {flops / 1e6:g} M multiply-accumulates there, with {named} of "
            f"{space.name!r} it has {ours.params:g} M and {ours.flops:g} M",
        )


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def _unreadable(kind: type, why: str) -> ConfigError:
    return ConfigError(
        f"limits cannot be counted for the model space {kind.__name__}: {why}. Leave the limits out, or search "
        "NasBench201 or ofa_space()"
    )
