"""Networks that do not start from nothing: weights that have seen images, of which each takes its part."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.nn.probe import fit_ridge
from metad2a_plugin.nn.submodules import put
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.interfaces import IMAGENET, Transferable, transferable
from metad2a_plugin.spaces.restricted import RestrictedSpace
from metad2a_plugin.training.classifier import ImageClassifier
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import TrainingData
from metad2a_plugin.utils.files import PRETRAINED
from metad2a_plugin.utils.kept import unreadable
from metad2a_plugin.utils.schema import integer, list_of, mapping_of, number, one_of, read_json, record

SHIPPED = "shipped"
"""In place of a file: the weights that this package brings for the space."""
LR = 0.05
"""Highest learning rate, where nothing else is asked for; `benchmarks/transfer.py` compares some."""
_IMAGES, _BATCH = 2048, 128


def new_classifier(
    space: SearchSpace, architecture: Architecture, data: TrainingData, config: TrainConfig, *, trained: bool = False
) -> ImageClassifier:
    """The network of an architecture before its training.

    With `TrainConfig.weights` it begins with these: then the statistics of its batch norm are those of the training
    images, and its last layer is the best linear classifier of what it sees in them.

    Args:
        space: the architecture's search space.
        architecture: what to build.
        data: of `prepare`, with the same config.
        config: how it will be trained.
        trained: whether trained weights will be loaded into it, so that it need not begin with any.

    Raises:
        ConfigError: an option does not fit the space, or the weights do not fit the network.
        CheckpointError: the weights cannot be read.
    """
    mean, std = (data.mean, data.std) if config.weights is None else IMAGENET
    classifier = ImageClassifier(
        space,
        architecture,
        len(data.class_names),
        class_names=data.class_names,
        input_size=config.input_size,
        mean=mean,
        std=std,
        seed=config.seed,
        options=config.options,
    )
    if config.weights is not None and not trained:
        found, network = transferable(space), classifier.network
        weights = found.cut(_supernet(found, weights_file(space, config.weights)), architecture, **config.options)
        left = {name for name, _ in network.named_parameters()} - weights.keys()
        if any(not name.startswith(f"{found.head}.") for name in left):
            raise ConfigError(f"{config.weights!r} has no weights for {min(left)!r} of a network of {found.name!r}")
        network.load_state_dict({name: value.detach() for name, value in weights.items()}, strict=False)
        _adapt(classifier, found.head, data)
    return classifier


def check_weights(space: SearchSpace, weights: str, options: Mapping[str, Any]) -> None:
    """Refuse starting weights that are not there, or that do not fit networks of these options.

    Raises:
        ConfigError: the space has none, or they are of other networks.
        CheckpointError: they cannot be read.
    """
    found = transferable(space)
    supernet = _supernet(found, weights_file(space, weights))
    found.cut(supernet, found.sample(random.Random(0)), **options)


def weights_file(space: SearchSpace, weights: str) -> Path:
    """The file of starting weights, which `SHIPPED` stands for too.

    Raises:
        ConfigError: the space has none.
        CheckpointError: no such file.
    """
    found = transferable(space)
    path = _shipped(found) / "model.safetensors" if weights == SHIPPED else Path(weights).expanduser()
    if weights == SHIPPED and not path.is_file():
        raise ConfigError(f"no starting weights are shipped for {found.name!r}; give the file of a supernet")
    if not path.is_file():
        raise CheckpointError(f"there is no file {weights!r} with starting weights; give one, or {SHIPPED!r}")
    return path


def weights_digest(space: SearchSpace, weights: str) -> str:
    """SHA-256 of the file of starting weights, by which trainings are told apart."""
    return hashlib.sha256(weights_file(space, weights).read_bytes()).hexdigest()


def shipped_sizes(space: SearchSpace) -> tuple[Mapping[str, Any], ...]:
    """Options of the networks that shipped weights are of, the largest first; none where nothing is shipped.

    Raises:
        CheckpointError: the description of the weights is damaged.
    """
    whole = space.whole if isinstance(space, RestrictedSpace) else space
    if not isinstance(whole, Transferable) or not (path := _shipped(whole) / "config.json").is_file():
        return ()
    try:
        return tuple(_SIZES(read_json(path), "")["sizes"])
    except (OSError, ValueError) as error:
        raise unreadable(path, error, "reinstall metad2a-plugin") from error


def _shipped(space: Transferable) -> Path:
    return PRETRAINED / f"{space.name}-weights"


_SIZES = record({"sizes": list_of(mapping_of(one_of(integer(1, 10_000), number(0, 1e4))))})
_KNOWN: dict[tuple[str, str, int], nn.Module] = {}


def _supernet(space: Transferable, path: Path) -> nn.Module:
    """Read once for many networks, as long as the file is the same."""
    key = (space.name, str(path.resolve()), path.stat().st_mtime_ns)
    if key not in _KNOWN:
        _KNOWN.clear()
        _KNOWN[key] = space.read_supernet(path)
    return _KNOWN[key]


@torch.no_grad()
def _adapt(classifier: ImageClassifier, head: str, data: TrainingData) -> None:
    """Statistics of batch norm and the last layer, by at most `_IMAGES` training images."""
    order = torch.randperm(len(data.labels), generator=torch.Generator().manual_seed(0))[:_IMAGES]
    parts = order.tensor_split(max(1, len(order) // _BATCH))
    update_bn((data.images[part] for part in parts), classifier.train())
    classifier.eval()
    linear = put(classifier.network, head, nn.Identity())
    assert isinstance(linear, nn.Linear)
    seen = torch.cat([classifier(data.images[part]) for part in parts])
    put(classifier.network, head, linear)
    found = fit_ridge(seen, data.labels[torch.cat(parts)], len(data.class_names))
    linear.weight.copy_(found.sharpness * found.weight.T)
    linear.bias.copy_(found.sharpness * found.bias)
