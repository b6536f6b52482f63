"""Image encoders: from pixels to the feature vectors a set encoder reads, found by name.

A whole plug-in, registered under the entry-point group ``metad2a_plugin.encoders``::

    class MeanColour(ImageEncoder):
        name, dim, size, fingerprint = "mean-colour", 3, 32, "1"

        def __init__(self, device="cpu"):
            pass

        def __call__(self, images):
            return images.float().mean(dim=(2, 3)) / 255
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from metad2a_plugin.data.distilled import DistilledEncoder
from metad2a_plugin.data.network_encoder import NetworkEncoder
from metad2a_plugin.data.zoo import TimmEncoder, TorchvisionEncoder
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.plugins.encoder import ImageEncoder, TrainableEncoder
from metad2a_plugin.plugins.registry import available, entry, get_encoder_class
from metad2a_plugin.utils.checks import did_you_mean
from metad2a_plugin.utils.files import PRETRAINED, read_model
from metad2a_plugin.utils.torch_device import usable

SHIPPED = PRETRAINED / "encoder"
_ZOOS: dict[str, type[TorchvisionEncoder | TimmEncoder]] = {"torchvision": TorchvisionEncoder, "timm": TimmEncoder}


class DefaultEncoder(NetworkEncoder):
    """The shipped encoder, or one of its kind trained by ``benchmarks/train_encoder.py``.

    Args:
        directory: holds ``model.safetensors`` and ``config.json`` (``model``: arguments of `DistilledEncoder`;
            ``size``: side of its input images); the shipped one if None.
        device: where the network runs.

    Raises:
        CheckpointError: a file is missing, damaged, or of another network.
    """

    def __init__(self, directory: Path | None = None, device: str = "cpu") -> None:
        directory = SHIPPED if directory is None else directory
        shipped = directory == SHIPPED
        fix = "reinstall metad2a-plugin" if shipped else "export the encoder again"
        config_bytes, weight_bytes = read_model(directory, "image encoder", fix)
        try:
            config = json.loads(config_bytes)
            network = DistilledEncoder(**config["model"])
            self.size = int(config["size"])
            network.load_state_dict(load_safetensors(weight_bytes))
        except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise CheckpointError(
                f"the image encoder in {str(directory)!r} is damaged or of another kind "
                f"({type(error).__name__}: {str(error).splitlines()[0]}): {fix}"
            ) from error
        self.name = "default" if shipped else str(directory)
        self.dim = network.head.out_features
        self.fingerprint = hashlib.sha256(config_bytes + weight_bytes).hexdigest()
        # Channels last: a fifth faster on CPUs.
        self._set(network.float().to(memory_format=torch.channels_last), device)  # type: ignore[call-overload]


def get_encoder(name: str = "default", device: str = "cpu") -> ImageEncoder:
    """Build an image encoder.

    Args:
        name: ``default``, ``efficientnet-lite0`` and others with the extra ``pretrained``, ``torchvision:MODEL`` or
            ``timm:MODEL`` where these are installed, an entry point of ``metad2a_plugin.encoders`` (called with
            ``device=``), or a folder with ``config.json`` and ``model.safetensors``.
        device: a torch device.

    Raises:
        ConfigError: no such encoder or device.
        CheckpointError: its weights are missing or damaged.
        MissingExtraError: it needs a package that is not installed.
    """
    usable(device)
    known = available("encoders")
    if name in known:
        return get_encoder_class(name)(device=device)
    zoo, _, model = name.partition(":")
    if zoo in _ZOOS:
        return _ZOOS[zoo](model, device)
    if Path(name).is_dir():
        return DefaultEncoder(Path(name), device)
    raise ConfigError(
        f"unknown image encoder {name!r}{did_you_mean(name, known)}; known are {', '.join(known)}, torchvision:MODEL "
        "(such as torchvision:resnet18), timm:MODEL, or a folder with config.json and model.safetensors"
    )


def get_untrained_encoder(name: str) -> ImageEncoder:
    """An encoder whose network will be given other weights: where that can be, its own are neither read nor fetched.

    Args:
        name: as for `get_encoder`, but no folder.

    Raises:
        ConfigError: no such encoder.
        MissingExtraError: it needs a package that is not installed.
    """
    zoo, _, model = name.partition(":")
    if zoo in _ZOOS:
        return _ZOOS[zoo](model, pretrained=False)
    found = entry("encoders", name).load()
    return found.untrained() if issubclass(found, TrainableEncoder) else get_encoder(name)
