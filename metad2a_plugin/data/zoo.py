"""Image encoders of model zoos, by the name of a model: those of torchvision and of timm."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from metad2a_plugin.data.network_encoder import NetworkEncoder
from metad2a_plugin.errors import CheckpointError, ConfigError, MissingExtraError, said
from metad2a_plugin.nn.normalized import NormalizedNetwork
from metad2a_plugin.nn.submodules import put
from metad2a_plugin.utils.beside_torch import import_torchvision, install_beside_torch
from metad2a_plugin.utils.checks import did_you_mean


class ZooEncoder(NetworkEncoder):
    """A classifier's penultimate features.

    Args:
        name: of the encoder.
        network: normalised images to features.
        dim: width of the features.
        size: side of the images, in pixels.
        mean, std: of each colour channel, for pixels scaled to 0..1.
        device: where the network runs.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        dim: int,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        device: str,
    ) -> None:
        self.name, self.dim, self.size = name, dim, size
        digest = hashlib.sha256()
        for key, value in sorted(network.state_dict().items()):
            digest.update(key.encode() + value.cpu().contiguous().numpy().tobytes())
        self.fingerprint = digest.hexdigest()
        self._set(NormalizedNetwork(nn.Sequential(network, nn.Flatten()), mean, std), device)


class TorchvisionEncoder(ZooEncoder):
    """A torchvision classifier's penultimate features: what its last linear layer reads.

    Args:
        model: name of a torchvision classification model, such as ``resnet18``.
        device: where the network runs.
        pretrained: leave the weights out where others will be loaded; then nothing is fetched.

    Raises:
        MissingExtraError: torchvision is not installed.
        ConfigError: no such model, or one without a final linear layer.
        CheckpointError: the weights are not on this machine and cannot be downloaded.
    """

    def __init__(self, model: str, device: str = "cpu", pretrained: bool = True) -> None:
        purpose = f"the encoder {said(f'torchvision:{model}')}"
        import_torchvision()
        try:
            from torchvision import models
        except ImportError as error:
            raise _missing("torchvision", purpose, "torchvision") from error
        except RuntimeError as error:  # what torchvision raises beside a release of torch it was not built for
            raise ConfigError(
                f"torchvision and torch {torch.__version__} do not fit together ({error}); "
                f"install the one that does: {install_beside_torch('torchvision')}"
            ) from error
        known = models.list_models(module=models)
        if model not in known:
            raise ConfigError(f"torchvision has no classifier {model!r}{did_you_mean(model, known)}")
        weights = models.get_model_weights(model).DEFAULT
        network: nn.Module = _fetched(
            f"torchvision:{model}", lambda: models.get_model(model, weights=weights if pretrained else None)
        )
        linear = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
        if not linear:
            raise ConfigError(
                f"torchvision's {model!r} has no final linear layer to take features from; "
                "choose another, such as 'torchvision:resnet18'"
            )
        put(network, linear[-1][0], nn.Identity())
        look = weights.transforms()
        dim, size = linear[-1][1].in_features, int(look.crop_size[0])
        super().__init__(f"torchvision:{model}", network, dim, size, look.mean, look.std, device)


class TimmEncoder(ZooEncoder):
    """The pooled features of a model of timm.

    Args:
        model: its name there, such as ``efficientnet_lite0``.
        device: where the network runs.
        pretrained: leave the weights out where others will be loaded; then nothing is fetched.

    Raises:
        MissingExtraError: timm is not installed.
        ConfigError: it has no such model.
        CheckpointError: the weights are not on this machine and cannot be downloaded.
    """

    def __init__(self, model: str, device: str = "cpu", pretrained: bool = True) -> None:
        import_torchvision()  # which timm imports
        try:
            import timm
        except ImportError as error:
            raise _missing("timm", f"the encoder {said(f'timm:{model}')}", "timm", "torchvision") from error
        known = timm.list_models(pretrained=True)
        if model not in {name.partition(".")[0] for name in known} | set(known):
            raise ConfigError(f"timm has no weights of a model {model!r}{did_you_mean(model, known)}")
        network: Any = _fetched(f"timm:{model}", lambda: timm.create_model(model, pretrained=pretrained, num_classes=0))
        look = timm.data.resolve_model_data_config(network)
        size = int(look["input_size"][-1])
        super().__init__(f"timm:{model}", network, network.num_features, size, look["mean"], look["std"], device)


def _missing(package: str, purpose: str, *packages: str) -> MissingExtraError:
    return MissingExtraError(package, "", purpose, line=install_beside_torch(*packages))


def _fetched(name: str, fetch: Any) -> Any:
    """A network, whose weights may have to be downloaded."""
    try:
        return fetch()
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"the weights of {name!r} are not on this machine and cannot be downloaded ({error}). "
            "Connect to the internet once, or use the encoder 'default', which needs no download"
        ) from error
