"""Once-for-All (the package ``ofa``): subnets of its MobileNetV3 supernets as architectures and networks, and back.

::

    from metad2a_plugin.adapters import ofa

    supernet = ofa.load_supernet("ofa_mbv3_d234_e346_k357_w1.0", download=True)  # or a file
    ofa.activate(supernet, architecture)  # what set_active_subnet does, checked
    ofa.active(supernet)  # the architecture again
    network = ofa.extract(supernet, architecture)  # this package's network with the supernet's weights

The architectures are those of the space ``mobilenetv3``, whose `to_config` is what ``set_active_subnet(**config)``
takes. Without the package ``ofa`` functions raise `MissingExtraError`, with another version `HostError`; torchvision,
which it imports, need not be there. Cai et al., *Once-for-All*, ICLR 2020, arXiv 1908.09791.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import nn

from metad2a_plugin.errors import ArchitectureError, CheckpointError, ConfigError, HostError, require
from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.spaces.mobilenetv3.layout import DEPTHS, EXPANDS, KERNELS
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
from metad2a_plugin.spaces.mobilenetv3.supernet import WIDTHS, plain_name, read_weights, width_of
from metad2a_plugin.utils.beside_torch import import_torchvision
from metad2a_plugin.utils.files import UNREADABLE
from metad2a_plugin.utils.schema import why

from ._placeholders import placeholders

__all__ = ["WIDTHS", "ZOO", "activate", "active", "extract", "load_supernet", "make_supernet", "zoo_file"]
ZOO = ("ofa_mbv3_d234_e346_k357_w1.0", "ofa_mbv3_d234_e346_k357_w1.2")
"""Names of the supernets of this space in OFA's model zoo."""
_URL = "https://raw.githubusercontent.com/han-cai/files/master/ofa/ofa_nets/"
_SPACE = MobileNetV3Space()


def make_supernet(width: float = 1.0, num_classes: int = 1000) -> Any:
    """A new ``OFAMobileNetV3`` over the whole space, with random weights, in evaluation mode.

    Args:
        width: multiplier of all channels.
        num_classes: outputs of the classifier.
    """
    supernet, _ = _classes()
    options = {"ks_list": list(KERNELS), "expand_ratio_list": list(EXPANDS), "depth_list": list(DEPTHS)}
    return supernet(n_classes=num_classes, dropout_rate=0, width_mult=width, **options).eval()


def load_supernet(source: str | os.PathLike[str], *, download: bool = False) -> Any:
    """A supernet with the weights of OFA's model zoo, or of a file, in evaluation mode.

    Args:
        source: a name of `ZOO`, or a file of that layout: a state dict, or a dict that has one as ``state_dict``, in
            any of the namings that ``ofa`` has written. Nothing in the file is executed.
        download: fetch the weights of a name that are not on this machine yet, into ``$METAD2A_CACHE`` or
            ``~/.cache/metad2a``. Those that ``ofa`` itself has left in ``.torch/ofa_nets`` are found too.

    Raises:
        CheckpointError: the weights are not there, cannot be downloaded, or are of another network.
    """
    _classes()  # before any download
    path = zoo_file(source, download=download) if isinstance(source, str) and source in ZOO else Path(source)
    try:
        weights = read_weights(path)
        classes, features = weights["classifier.linear.weight"].shape
        supernet = make_supernet(width_of(features), classes)
        names = {plain_name(name): name for name in supernet.state_dict()}
        # Not OFA's own method, which accepts that weights are missing.
        nn.Module.load_state_dict(supernet, {names.get(name, name): tensor for name, tensor in weights.items()})
    except (AttributeError, *UNREADABLE) as error:
        raise CheckpointError(
            f"{os.fspath(path)!r} holds no weights of an OFA MobileNetV3 supernet ({why(error)}); "
            f"give a file that does, or one of {', '.join(ZOO)}"
        ) from error
    return supernet


def activate(supernet: Any, architecture: Architecture) -> None:
    """Make the architecture the active subnet of an ``OFAMobileNetV3``.

    Layers beyond the depth of their stage keep their settings.

    Raises:
        ArchitectureError: the architecture is of another space, or the supernet was made without one of its options.
        ConfigError: `supernet` is something else.
    """
    if not isinstance(supernet, _classes()[0]):
        raise ConfigError(f"expected an OFAMobileNetV3, got {type(supernet).__name__}; make_supernet() gives one")
    stages = _SPACE.layers(architecture)
    layers = [layer for stage in stages for layer in stage]
    for what, needed, offered in (
        ("kernels", {kernel for kernel, _ in layers}, supernet.ks_list),
        ("expand ratios", {expand for _, expand in layers}, supernet.expand_ratio_list),
        ("depths", set(map(len, stages)), supernet.depth_list),
    ):
        if lacking := sorted(needed - set(offered)):
            raise ArchitectureError(f"the supernet has the {what} {sorted(offered)}, not {lacking[0]}")
    most = max(supernet.depth_list)
    padded = [layer for stage in stages for layer in (*stage, *[(None, None)] * (most - len(stage)))]
    kernels, expands = map(list, zip(*padded, strict=True))
    supernet.set_active_subnet(ks=kernels, e=expands, d=[len(stage) for stage in stages])


def active(network: Any) -> Architecture:
    """The active subnet of an ``OFAMobileNetV3``, or the architecture of a ``MobileNetV3`` that was cut from one.

    Raises:
        ArchitectureError: it is not of the space: other kernels, expand ratios or depths.
        ConfigError: `network` is something else.
    """
    supernet, subnet = _classes()
    if not isinstance(network, subnet):  # supernets are subclasses
        raise ConfigError(f"expected a MobileNetV3 of the package ofa, got {type(network).__name__}")
    kernel, expand = "kernel_size", "expand_ratio"
    stages = network.grouped_block_index
    if isinstance(network, supernet):
        kernel, expand = f"active_{kernel}", f"active_{expand}"
        stages = [stage[:depth] for stage, depth in zip(stages, network.runtime_depth, strict=True)]
    blocks = [[network.blocks[i].conv for i in stage] for stage in stages]
    return _SPACE.parse("+".join("-".join(f"k{getattr(b, kernel)}e{getattr(b, expand)}" for b in s) for s in blocks))


def extract(network: Any, architecture: Architecture | None = None) -> nn.Module:
    """This package's network with the weights of a supernet, or of a network of ``ofa``; the same outputs.

    Running statistics of a supernet are those of no single subnet: recompute them on some images, as with
    `torch.optim.swa_utils.update_bn`, before accuracies are measured.

    Args:
        network: an ``OFAMobileNetV3``, which is left as it was, or a ``MobileNetV3``.
        architecture: which subnet; None takes `active`.

    Returns:
        What `MobileNetV3Space.build` gives, on the device of `network` and in evaluation mode; no weight is shared.

    Raises:
        ArchitectureError: the architecture is of another space, or none of the supernet's; or `network` is no supernet
            and has another architecture.
        ConfigError: `network` is something else, has another width than `WIDTHS`, or normalises otherwise.
    """
    before = active(network)
    architecture = before if architecture is None else _SPACE.validate(architecture)
    settings = network.get_bn_param()
    if "gn_channel_per_group" in settings or settings["ws_eps"] is not None:
        raise ConfigError(f"only networks with batch norm and plain convolutions can be taken over, got {settings}")
    if isinstance(network, _classes()[0]):
        width = network.width_mult
        blocks, depths = network.blocks[1:], list(network.runtime_depth)
        kernels, expands = ([getattr(b.conv, f"active_{s}") for b in blocks] for s in ("kernel_size", "expand_ratio"))
        activate(network, architecture)
        try:
            cut = network.get_active_subnet()
        finally:
            network.set_active_subnet(ks=kernels, e=expands, d=depths)
    elif architecture == before:
        width, cut = width_of(network.classifier.in_features), network
    else:
        raise ArchitectureError(
            f"the network is {_SPACE.format(before)}, not {_SPACE.format(architecture)}; only supernets have several"
        )
    built = _SPACE.build(architecture, cut.classifier.out_features, width=width)
    built.load_state_dict(cut.state_dict())
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps, module.momentum = settings["eps"], settings["momentum"]
    return built.to(next(network.parameters()).device).eval()


def zoo_file(name: str, *, download: bool = False) -> Path:
    """The file of weights of a name of `ZOO`; arguments and errors as of `load_supernet`."""
    kept = Path(os.environ.get("METAD2A_CACHE") or Path.home() / ".cache" / "metad2a") / "ofa" / name
    for path in (kept, Path(".torch", "ofa_nets", name)):
        if path.is_file():
            return path
    if not download:
        raise CheckpointError(
            f"the weights of {name!r} are not on this machine; give download=True to fetch them, or a file of them"
        )
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(_URL + name, str(kept), progress=sys.stderr.isatty())
    except (OSError, HTTPException) as error:
        raise CheckpointError(
            f"cannot fetch {_URL + name} into {str(kept.parent)!r} ({error}); fetch it elsewhere and give the file"
        ) from error
    return kept


# -- private ---------------------------------------------------------------------------------------
@cache
def _classes() -> tuple[Any, Any]:
    """``OFAMobileNetV3`` and ``MobileNetV3``."""
    require("ofa", "the Once-for-All adapter", "ofa")
    import_torchvision()
    try:
        with placeholders({"torchvision"}):  # only its readers of ImageNet use it
            from ofa.imagenet_classification.elastic_nn.networks import OFAMobileNetV3
            from ofa.imagenet_classification.networks import MobileNetV3
    except ImportError as error:
        raise HostError(
            f"the package ofa cannot be imported ({error}); this adapter is for pip install 'metad2a-plugin[ofa]'"
        ) from error
    return OFAMobileNetV3, MobileNetV3
