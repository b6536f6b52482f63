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
import os
from pathlib import Path

import torch

from metad2a_plugin.data.distilled import DistilledEncoder
from metad2a_plugin.data.network_encoder import NetworkEncoder
from metad2a_plugin.data.zoo import TimmEncoder, TorchvisionEncoder
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.plugins.encoder import ImageEncoder, TrainableEncoder
from metad2a_plugin.plugins.registry import available, entry, get_encoder_class
from metad2a_plugin.utils.checks import did_you_mean
from metad2a_plugin.utils.files import PRETRAINED, check_model
from metad2a_plugin.utils.schema import integer, list_of, parse_json, read_bytes, record, why
from metad2a_plugin.utils.tensors import FLOATS, INTEGERS, TensorFile, same_shapes, shapes_of
from metad2a_plugin.utils.torch_device import usable

SHIPPED = PRETRAINED / "encoder"
_ZOOS: dict[str, type[TorchvisionEncoder | TimmEncoder]] = {"torchvision": TorchvisionEncoder, "timm": TimmEncoder}

_WIDTH = integer(1, 4096)
_STAGES = {"widths": list_of(_WIDTH, 1, 16), "depths": list_of(integer(1, 64), 1, 16)}
_CONFIG = record(
    {
        "model": record({}, {"stem": list_of(_WIDTH, 2, 2), **_STAGES, "dim": _WIDTH}, others=False),
        "size": integer(8, 1024),
    }
)


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
        check_model(directory, "image encoder", fix)
        try:
            config_bytes = read_bytes(directory / "config.json")
            config = _CONFIG(parse_json(config_bytes), "")
            file = TensorFile(directory / "model.safetensors")
            file.require((*FLOATS, *INTEGERS))
            same_shapes(file.shapes, shapes_of(lambda: DistilledEncoder(**config["model"])))
            network = DistilledEncoder(**config["model"])
            network.load_state_dict(file.read())
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"the image encoder in {str(directory)!r} is damaged or of another kind ({why(error)}): {fix}"
            ) from error
        self.size = config["size"]
        self.name = "default" if shipped else str(directory)
        self.dim = network.head.out_features
        self.fingerprint = hashlib.sha256(config_bytes + file.path.read_bytes()).hexdigest()
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
    if os.path.isdir(name):  # unlike Path.is_dir, never raises
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
