"""Networks to files: `ImageClassifier`, written as safetensors or ONNX and read back without running code."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import nn

import metad2a_plugin
from metad2a_plugin._files import write_atomically
from metad2a_plugin.errors import CheckpointError, ConfigError, require
from metad2a_plugin.registry import get_space
from metad2a_plugin.spaces.base import Architecture, SearchSpace

FORMAT = "metad2a-network-1"


class NormalizedNetwork(nn.Module):
    """A network on raw pixels.

    Args:
        network: takes normalised images, ``[batch, 3, height, width]``.
        mean, std: of each colour channel, for pixels scaled to 0..1.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """RGB ``[batch, 3, height, width]`` with values 0 to 255, uint8 or float, to logits."""
        logits: torch.Tensor = self.network((images.to(self.mean.dtype) / 255 - self.mean) / self.std)
        return logits


class ImageClassifier(NormalizedNetwork):
    """The network of an architecture together with what it takes to use it on raw pixels.

    Args:
        space: the architecture's search space.
        architecture: what to build.
        num_classes: outputs.
        class_names: one name per output; None names them ``"0"``, ``"1"``, ...
        input_size: side of the square images, in pixels; None takes the space's own.
        mean, std: of each colour channel, for pixels scaled to 0..1.
        seed: of the initial weights, which do not depend on, or change, the global generator.
        **options: further options of ``space.build``, such as NAS-Bench-201's `channels` and `cells` or the
            `width` of MobileNetV3.

    Attributes:
        network: what ``space.build`` returned.
        cost: parameters and FLOPs at `input_size`.

    Raises:
        ArchitectureError: the architecture is not of `space`.
        ConfigError: an option is out of range, or the names do not fit the number of classes.

    >>> space = get_space("nasbench201")
    >>> cell = space.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|")
    >>> classifier = ImageClassifier(space, cell, num_classes=3, channels=4, cells=1).eval()
    >>> classifier(torch.zeros(2, 3, 32, 32, dtype=torch.uint8)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        space: SearchSpace,
        architecture: Architecture,
        num_classes: int,
        *,
        class_names: Sequence[str] | None = None,
        input_size: int | None = None,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.25, 0.25, 0.25),
        seed: int = 0,
        **options: Any,
    ) -> None:
        size = space.input_size if input_size is None else input_size
        cost = space.cost(space.validate(architecture), num_classes=num_classes, input_size=size, **options)
        names = tuple(str(name) for name in (range(num_classes) if class_names is None else class_names))
        if len(names) != num_classes:
            raise ConfigError(f"{len(names)} class names were given for {num_classes} classes")
        if len(mean) != 3 or len(std) != 3 or not all(s > 0 for s in std):
            raise ConfigError(f"mean and std are three numbers each, std positive; got {mean!r} and {std!r}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = space.build(architecture, num_classes, **options)
        super().__init__(network, mean, std)
        self.space, self.architecture, self.input_size, self.options = space, architecture, size, options
        self.cost, self.class_names = cost, names

    def metadata(self) -> dict[str, Any]:
        """All but the weights, as plain JSON values."""
        return {
            "space": self.space.name,
            "architecture": self.space.format(self.architecture),
            "options": self.options,
            "class_names": list(self.class_names),
            "input_size": self.input_size,
            "mean": self.mean.flatten().tolist(),
            "std": self.std.flatten().tolist(),
            "params_m": self.cost.params,
            "flops_m": self.cost.flops,
            "version": metad2a_plugin.__version__,
        }


def export_network(path: str | os.PathLike[str], classifier: ImageClassifier) -> None:
    """Write weights and `ImageClassifier.metadata` as one safetensors file; `load_network` reads it.

    Raises:
        ConfigError: the file cannot be written; whatever was at `path` stays as it was.
    """
    weights = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in classifier.network.state_dict().items()
    }
    header = {"format": FORMAT, "network": json.dumps(classifier.metadata()), "sha256": _digest(weights)}
    write_atomically(path, to_safetensors(weights, metadata=header))


def load_network(path: str | os.PathLike[str], space: SearchSpace | None = None) -> ImageClassifier:
    """Read a file of `export_network`, in evaluation mode on the CPU; nothing in it is executed.

    Args:
        path: the file.
        space: the search space; None finds the one named in the file among the installed ones.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind, or of another search space.
    """
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot read a network from {os.fspath(path)!r}: {error}") from error
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"{os.fspath(path)!r} is no network of this package: its format is {header.get('format')!r}, "
            f"expected {FORMAT!r}. Write it with export_network()"
        )
    if header.get("sha256") != _digest(weights):
        raise CheckpointError(
            f"the weights in {os.fspath(path)!r} are damaged; copy or export the file again"
        )
    try:
        return _rebuild(json.loads(header["network"]), weights, space).eval()
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"{os.fspath(path)!r} describes no usable network ({type(error).__name__}: {error})"
        ) from error


def export_onnx(path: str | os.PathLike[str], classifier: ImageClassifier) -> None:
    """Write an ONNX file: input ``images`` uint8 ``[batch, 3, input_size, input_size]``, output ``logits``.

    The batch axis is dynamic; normalisation is part of the graph, and `ImageClassifier.metadata` is stored
    under the key ``metad2a`` of the model's properties.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed (extra ``onnx``).
        ConfigError: the file cannot be written.
    """
    require("onnx", "ONNX export", "onnx", "onnxscript")
    if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 7):
        raise ConfigError(f"ONNX export needs torch 2.7 or newer, this is {torch.__version__}; upgrade torch")
    side = classifier.input_size
    # A batch of one would be specialised to a constant.
    example = torch.zeros(2, 3, side, side, dtype=torch.uint8, device=classifier.mean.device)
    modes = [(module, module.training) for module in classifier.modules()]
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)  # the exporter reports which other packages it does without
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of torch about itself
            program = torch.onnx.export(
                classifier.eval(),
                (example,),
                dynamo=True,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
                verbose=False,
            )
    finally:
        logging.disable(disabled)
        for module, training in modes:
            module.training = training
    assert program is not None  # dynamo=True returns the program
    model = program.model_proto
    model.metadata_props.add(key="metad2a", value=json.dumps(classifier.metadata()))
    write_atomically(path, model.SerializeToString())


def _rebuild(
    described: Mapping[str, Any], weights: Mapping[str, torch.Tensor], space: SearchSpace | None
) -> ImageClassifier:
    space = get_space(described["space"]) if space is None else space
    if space.name != described["space"]:
        raise CheckpointError(f"its search space is {described['space']!r}, not {space.name!r}")
    architecture = space.parse(described["architecture"])
    names, options, side = described["class_names"], described["options"], described["input_size"]
    # A header must not make us allocate a network larger than the file.
    expected = space.cost(architecture, num_classes=len(names), input_size=side, **options).params
    if expected * 1e6 > sum(tensor.numel() for tensor in weights.values()):
        raise CheckpointError(f"it holds fewer weights than the {expected:.3f} million it describes")
    classifier = ImageClassifier(
        space,
        architecture,
        len(names),
        class_names=names,
        input_size=side,
        mean=described["mean"],
        std=described["std"],
        **options,
    )
    classifier.network.load_state_dict(weights)
    return classifier


def _digest(weights: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name]
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


