"""NNI's ``MobileNetV3Space`` as Once-for-All's network, and the weights of one of its architectures."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from nni.nas.hub.pytorch import MobileNetV3Space
from nni.nas.space import ExecutableModelSpace
from torch import nn

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.spaces.given import check_size

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
    check_size("num_classes", num_classes)
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


# -- what a model space was made of --------------------------------------------------------------
def traced(model_space: ExecutableModelSpace) -> Any:
    """The user's model space, of the simplified and of the raw format."""
    return getattr(model_space, "model", getattr(model_space, "model_space", None))


def kind_of(model_space: ExecutableModelSpace) -> type:
    """The class of the user's model space."""
    made = traced(model_space)
    found: type = getattr(made, "trace_symbol", None) or type(made)
    return found


def arguments_of(model_space: ExecutableModelSpace) -> dict[str, Any]:
    """All arguments that a model space of NNI's hub was made with, defaults included."""
    made, kind = traced(model_space), kind_of(model_space)
    signature = inspect.signature(kind._init_wrapped)  # type: ignore[attr-defined]
    given = signature.bind(None, *made.trace_args, **made.trace_kwargs)
    given.apply_defaults()
    return dict(given.arguments)


def check_model_space(model_space: ExecutableModelSpace) -> None:
    """Refuse NNI's ``MobileNetV3Space`` where it is another network than Once-for-All's: its labels do not tell."""
    if kind_of(model_space) is MobileNetV3Space:
        check_settings(arguments_of(model_space))
