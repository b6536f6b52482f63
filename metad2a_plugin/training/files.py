"""Networks to files: `ImageClassifier`, written as safetensors or ONNX and read back without running code."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Mapping
from textwrap import shorten
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors

from metad2a_plugin.errors import CheckpointError, ConfigError, require
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.training.classifier import Classifier, ImageClassifier
from metad2a_plugin.training.encoder_network import EncoderClassifier
from metad2a_plugin.utils.files import write_atomically

FORMAT = "metad2a-network-1"


def export_network(path: str | os.PathLike[str], classifier: Classifier) -> None:
    """Write weights and `ImageClassifier.metadata` as one safetensors file; `load_network` reads it.

    Raises:
        ConfigError: the file cannot be written; whatever was at `path` stays as it was.
    """
    weights = {
        name: tensor.detach().cpu().contiguous().clone() for name, tensor in classifier.network.state_dict().items()
    }
    header = {"format": FORMAT, "network": json.dumps(classifier.metadata()), "sha256": _digest(weights)}
    write_atomically(path, to_safetensors(weights, metadata=header))


def load_network(path: str | os.PathLike[str], space: SearchSpace | None = None) -> Classifier:
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
        raise CheckpointError(f"the weights in {os.fspath(path)!r} are damaged; copy or export the file again")
    try:
        return _rebuild(json.loads(header["network"]), weights, space).eval()
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        # Torch lists every weight that is missing, lines of thousands of letters.
        why = shorten(str(error), 200, placeholder=" ...")
        raise CheckpointError(
            f"{os.fspath(path)!r} describes no usable network ({type(error).__name__}: {why})"
        ) from error


def is_weights(path: str | os.PathLike[str]) -> bool:
    """Whether there is a file that begins as safetensors do, whatever its name: with the length of a JSON header."""
    try:
        if not os.path.isfile(path):
            return False
        with open(path, "rb") as file:
            start = file.read(9)
        length = int.from_bytes(start[:8], "little")
        return start[8:] == b"{" and length + 8 <= os.path.getsize(path)
    except (OSError, ValueError):
        return False


def export_onnx(path: str | os.PathLike[str], classifier: Classifier) -> None:
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
    example = torch.zeros(2, 3, side, side, dtype=torch.uint8, device=next(classifier.parameters()).device)
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
) -> Classifier:
    if "encoder" in described:
        if space is not None:
            raise CheckpointError(f"it is the encoder {described['encoder']!r}, no network of {space.name!r}")
        # A name that a file gives must not make us read a folder or fetch weights.
        names, side = described["class_names"], described["input_size"]
        made = EncoderClassifier(described["encoder"], names, input_size=side, pretrained=False)
        made.network.load_state_dict(weights)
        return made
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
        options=options,
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
