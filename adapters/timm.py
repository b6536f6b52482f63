"""Networks of this package for timm: importing this registers ``metad2a_network`` with ``timm.create_model``.

>>> import timm, metad2a_plugin.adapters.timm
>>> network = timm.create_model("metad2a_network", pretrained=True, file="hf:user/repo")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any

from torch import nn

from metad2a_plugin.errors import ConfigError, MissingExtraError, said
from metad2a_plugin.nn.submodules import put
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.spaces.given import check_size
from metad2a_plugin.training.classifier import ImageClassifier
from metad2a_plugin.training.files import load_network
from metad2a_plugin.utils.beside_torch import import_torchvision, install_beside_torch

import_torchvision()  # which timm imports
try:
    from timm.models import register_model
except ImportError as error:
    _line = install_beside_torch("timm", "torchvision")
    raise MissingExtraError("timm", "", "the registration with timm", line=_line) from error

__all__ = ["metad2a_network"]
_UNTRAINED = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
_PIXELS = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}
"""By which a network gets values 0 to 255."""


def metad2a_network(
    pretrained: bool = False,
    *,
    file: str | None = None,
    architecture: Any = None,
    space: str = "nasbench201",
    num_classes: int | None = None,
    in_chans: int = 3,
    features_only: bool = False,
    pretrained_cfg: Any = None,
    pretrained_cfg_overlay: Any = None,
    cache_dir: Any = None,
    **options: Any,
) -> nn.Module:
    """A trained network of a file, or an untrained one of an architecture; ``timm.create_model`` calls it.

    As timm's own, it takes images ``[batch, 3, height, width]`` that are normalised by the mean and deviation of its
    ``pretrained_cfg``, from which ``timm.data.resolve_model_data_config`` makes the transforms.

    Args:
        pretrained: whether it is a trained one.
        file: of a trained one, see `training.files.load_network`: a file, a folder or ``hf:user/repo``.
        architecture: of an untrained one, as `SearchSpace.parse` reads it.
        space: search space of the architecture.
        num_classes: outputs; None takes those of the file, or 1,000. Another number than the file's gives a new,
            untrained last layer.
        in_chans, features_only, pretrained_cfg, pretrained_cfg_overlay, cache_dir: of timm; others than the default are
            refused.
        **options: of the space's networks, such as ``channels=16``.

    Raises:
        ConfigError: an argument is wrong, or is not supported.
        CheckpointError: the file cannot be read.
    """
    fixed = {
        "in_chans": (in_chans, 3, "networks take three channels; repeat a single one"),
        "features_only": (features_only, False, "networks give logits; put a hook on the layer whose output you need"),
        "pretrained_cfg": (pretrained_cfg, None, "the file has its normalisation"),
        "pretrained_cfg_overlay": (pretrained_cfg_overlay, None, "the file has its normalisation"),
        "cache_dir": (cache_dir, None, "the cache is that of huggingface_hub; set HF_HUB_CACHE"),
    }
    for name, (value, default, fix) in fixed.items():
        if value != default:
            raise ConfigError(f"metad2a_network does not support {name}={said(value)}: {fix}")
    if (file is None) == (architecture is None) or bool(pretrained) == (file is None):
        raise ConfigError(
            "give pretrained=True and file=, a trained network or 'hf:user/repo', or architecture= for an untrained one"
        )
    if num_classes is not None:
        check_size("num_classes", num_classes)
    if file is None:
        searched, outputs = get_space(space), num_classes or 1000
        searched.check_options(options)
        network = searched.build(searched.parse(architecture), outputs, **options)
        return _described(network, outputs, searched.input_size, _UNTRAINED)
    if options:
        raise ConfigError(f"the file says what its network is; leave {min(options)!r} out")
    classifier = load_network(file)
    network, outputs = classifier.network, len(classifier.class_names)
    if num_classes is not None and num_classes != outputs:
        _replace_head(network, outputs, num_classes)
        outputs = num_classes
    look = _PIXELS
    if isinstance(classifier, ImageClassifier):
        look = {name: tuple(getattr(classifier, name).flatten().tolist()) for name in ("mean", "std")}
    return _described(network, outputs, classifier.input_size, look)


def _replace_head(network: nn.Module, before: int, outputs: int) -> None:
    linear = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linear or linear[-1][1].out_features != before:
        raise ConfigError(f"the network has no linear layer of {before} outputs at its end; leave num_classes out")
    put(network, linear[-1][0], nn.Linear(linear[-1][1].in_features, outputs))


def _described(network: nn.Module, outputs: int, side: int, look: dict[str, Any]) -> nn.Module:
    """With what timm's own networks say of themselves."""
    config = {"architecture": "metad2a_network", "input_size": (3, side, side), "num_classes": outputs, **look}
    config |= {"crop_pct": 1.0, "interpolation": "bilinear", "pool_size": None}
    for name, value in {"pretrained_cfg": config, "default_cfg": config, "num_classes": outputs}.items():
        setattr(network, name, value)
    return network


register_model(metad2a_network)
