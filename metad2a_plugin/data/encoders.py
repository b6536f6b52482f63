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

import copy
import difflib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import nn

from metad2a_plugin.data.distilled import DistilledEncoder
from metad2a_plugin.errors import CheckpointError, ConfigError, MissingExtraError
from metad2a_plugin.plugins.encoder import ImageEncoder, TrainableEncoder
from metad2a_plugin.plugins.registry import available, get_encoder_class
from metad2a_plugin.utils.files import PRETRAINED, read_model
from metad2a_plugin.utils.torch_device import usable

SHIPPED = PRETRAINED / "encoder"


class DefaultEncoder(TrainableEncoder):
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
        self._network = network.float().eval().to(device)
        self._network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device = device

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return self._network(images.to(self._device)).float().cpu()

    def network(self) -> nn.Module:
        return copy.deepcopy(self._network).cpu()


class TorchvisionEncoder(ImageEncoder):
    """A torchvision classifier's penultimate features: what its last linear layer reads.

    Args:
        model: name of a torchvision classification model, such as ``resnet18``.
        device: where the network runs.

    Raises:
        MissingExtraError: torchvision is not installed.
        ConfigError: no such model, or one without a final linear layer.
        CheckpointError: the weights are not on this machine and cannot be downloaded.
    """

    def __init__(self, model: str, device: str = "cpu") -> None:
        try:
            from torchvision import models
        except ImportError as error:
            raise MissingExtraError("torchvision", "torchvision", f"encoder 'torchvision:{model}'") from error
        except RuntimeError as error:  # what torchvision raises beside a torch it was not built for
            raise ConfigError(
                f"torchvision and torch {torch.__version__} do not fit together ({error}); "
                "install them again in one step: pip install --upgrade torch torchvision"
            ) from error
        known = models.list_models(module=models)
        if model not in known:
            raise ConfigError(f"torchvision has no classifier {model!r}{_closest(model, known)}")
        weights = models.get_model_weights(model).DEFAULT
        try:
            network = models.get_model(model, weights=weights)
        except (OSError, RuntimeError) as error:
            raise CheckpointError(
                f"the weights of 'torchvision:{model}' are not on this machine and cannot be downloaded ({error}). "
                "Connect to the internet once, or use the encoder 'default', which needs no download"
            ) from error
        linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
        if not linear:
            raise ConfigError(
                f"torchvision's {model!r} has no final linear layer to take features from; "
                "choose another, such as 'torchvision:resnet18'"
            )
        transform = weights.transforms()
        self.name = f"torchvision:{model}"
        self.dim = linear[-1].in_features
        self.size = int(transform.crop_size[0])
        digest = hashlib.sha256()
        for key, value in sorted(network.state_dict().items()):
            digest.update(key.encode() + value.cpu().contiguous().numpy().tobytes())
        self.fingerprint = digest.hexdigest()
        self._mean = torch.tensor(transform.mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(transform.std, device=device).view(1, 3, 1, 1)
        self._network = network.eval().to(device)
        self._device = device
        self._features: list[torch.Tensor] = []
        linear[-1].register_forward_pre_hook(lambda _, inputs: self._features.append(inputs[0]))

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self._features.clear()
        self._network((images.to(self._device).float() / 255 - self._mean) / self._std)
        return self._features.pop().flatten(1).float().cpu()


def _closest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def get_encoder(name: str = "default", device: str = "cpu") -> ImageEncoder:
    """Build an image encoder.

    Args:
        name: ``default``, ``torchvision:MODEL``, an entry point of ``metad2a_plugin.encoders`` (called with
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
        return get_encoder_class(name)(device=device)  # type: ignore[call-arg]  # the contract of a registered one
    if name.startswith("torchvision:"):
        return TorchvisionEncoder(name.removeprefix("torchvision:"), device)
    if Path(name).is_dir():
        return DefaultEncoder(Path(name), device)
    raise ConfigError(
        f"unknown image encoder {name!r}{_closest(name, known)}; known are {', '.join(known)}, torchvision:MODEL "
        "(such as torchvision:resnet18), or a folder with config.json and model.safetensors"
    )
