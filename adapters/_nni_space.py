"""NNI's ``MobileNetV3Space`` as Once-for-All's network, and the weights of one of its architectures."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from nni.nas.hub.pytorch import MobileNetV3Space
from nni.nas.space import ExecutableModelSpace
from torch import nn

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.utils.checks import integer

from ._nni_mobilenetv3 import FIXED, SETTINGS, check_settings


def ofa_space(
    width: float = 1.0, num_classes: int = 1000, *, dropout_rate: float = 0.2, bn_momentum: float = 0.1
) -> MobileNetV3Space:
    """NNI's ``MobileNetV3Space`` as the network of Once-for-All, whose architectures are those of ``mobilenetv3``.

    NNI's class also lets the kernels of two layers vary that are fixed in that network; here they have one choice, so
    that NNI's own strategies search the same space.

    Args:
        width: multiplier of all channels; OFA's supernets have 1.0 and 1.2.
        num_classes: outputs of the classifier.
        dropout_rate: before the classifier.
        bn_momentum: of batch norm.

    Raises:
        ConfigError: `width` is no positive number, or one of the few for which NNI rounds channels differently.
    """
    integer("num_classes", num_classes, 1)
    settings = {**SETTINGS, "width_multipliers": float(width) if isinstance(width, int) else width}
    check_settings(settings)
    space = MobileNetV3Space(num_classes, dropout_rate=dropout_rate, bn_momentum=bn_momentum, **settings)
    for label, mutable in space.simplify().items():
        if label in FIXED:
            mutable.values, mutable.weights = [FIXED[label]], [1.0]
    return space


def load_ofa_weights(model: nn.Module, network: nn.Module) -> None:
    """Give NNI's network of an architecture the weights of this package's, such as ``adapters.ofa.extract`` cuts.

    In evaluation mode both then give the same outputs.

    Args:
        model: of `ofa_space`: what an experiment exports with ``formatter="instance"``.
        network: of `MobileNetV3Space.build`, with the same architecture, width and number of classes.

    Raises:
        ConfigError: they are two architectures, or `model` is something else.
    """
    # NNI's layers have other names, but the same order; one has a bias, which OFA's lacks.
    extra = "blocks.8.0.bias"
    if extra not in model.state_dict():
        raise ConfigError(f"expected a network of ofa_space, got {type(model).__name__}")
    theirs = {name: tensor for name, tensor in model.state_dict().items() if name != extra}
    ours = network.state_dict().values()
    if [tensor.shape for tensor in theirs.values()] != [tensor.shape for tensor in ours]:
        raise ConfigError("the weights do not fit: build() the architecture, width and number of classes of the model")
    weights = dict(zip(theirs, ours, strict=True))
    model.load_state_dict({**weights, extra: torch.zeros_like(model.state_dict()[extra])})


def check_model_space(model_space: ExecutableModelSpace) -> None:
    """Refuse NNI's ``MobileNetV3Space`` where it is another network than Once-for-All's: its labels do not tell."""
    # Of the simplified and of the raw format.
    made: Any = getattr(model_space, "model", getattr(model_space, "model_space", None))
    kind: Any = getattr(made, "trace_symbol", None)
    if kind is MobileNetV3Space:
        signature = inspect.signature(kind._init_wrapped)
        given = signature.bind(None, *made.trace_args, **made.trace_kwargs)
        given.apply_defaults()
        check_settings(given.arguments)
