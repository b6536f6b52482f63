"""Networks to files: `ImageClassifier`, written as safetensors or ONNX and read back without running code."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from metad2a_plugin.errors import CheckpointError, ConfigError, require
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.training.classifier import Classifier, ImageClassifier
from metad2a_plugin.training.encoder_network import EncoderClassifier
from metad2a_plugin.training.stored import FILE, FORMAT, weights_digest
from metad2a_plugin.utils.checks import instance, path_like
from metad2a_plugin.utils.files import UNREADABLE, write_atomically
from metad2a_plugin.utils.hugging_face import download, on_hub
from metad2a_plugin.utils.schema import (
    SchemaError,
    flag,
    integer,
    list_of,
    mapping_of,
    number,
    one_of,
    optional,
    parse_json,
    record,
    text,
    why,
)
from metad2a_plugin.utils.tensors import FLOATS, INTEGERS, TensorFile, same_shapes

_LARGEST = 2**30
"""Bytes of a network of the hub."""
_OPTION = one_of(flag, integer(-10_000, 10_000), number(-1e4, 1e4), text(most=1000))
_ANY = {"class_names": list_of(text(most=10_000), 1, 100_000), "input_size": integer(1, 4096)}
_OF_SPACE = record(
    {
        **_ANY,
        "space": text(1, 200),
        "architecture": text(1),
        "options": mapping_of(optional(one_of(_OPTION, list_of(_OPTION, most=1000)))),
        "mean": list_of(number(-1e3, 1e3), 3, 3),
        "std": list_of(number(1e-6, 1e3), 3, 3),
    }
)
_OF_ENCODER = record({**_ANY, "encoder": text(1, 200)})


def _network(value: Any, where: str) -> dict[str, Any]:
    """What is said of a network: one of a search space, or an encoder's."""
    return (_OF_ENCODER if isinstance(value, dict) and "encoder" in value else _OF_SPACE)(value, where)


def export_network(path: str | os.PathLike[str], classifier: Classifier) -> None:
    """Write weights and `ImageClassifier.metadata` as one safetensors file; `load_network` reads it.

    Raises:
        ConfigError: the file cannot be written; whatever was at `path` stays as it was.
    """
    path_like("path", path)
    instance("classifier", classifier, Classifier, "a network of train_architecture or load_network")
    write_atomically(path, classifier.files()[FILE])


def load_network(
    path: str | os.PathLike[str], space: SearchSpace | None = None, *, local_files_only: bool = False
) -> Classifier:
    """Read a file of `export_network`, in evaluation mode on the CPU; nothing in it is executed.

    Args:
        path: the file; a folder that has it as ``network.safetensors``, as `train_architecture` and `auto` write it; or
            ``hf:user/repo`` on the Hugging Face hub, with ``@revision`` behind it where that is not its main branch.
        space: the search space; None finds the one named in the file among the installed ones.
        local_files_only: read one of the hub from the cache.

    Raises:
        CheckpointError: the file is missing, damaged, of another kind, or of another search space; or the hub does
            not give it.
        MissingExtraError: it is one of the hub, and huggingface_hub is not installed (extra ``hub``).
    """
    if not isinstance(path, (str, os.PathLike)):
        raise CheckpointError(f"expected a file of export_network, got {type(path).__name__}")
    if on_hub(path):
        source = download(path, {FILE: _LARGEST}, local_files_only=local_files_only) / FILE
    else:
        inside = Path(path) / FILE
        source = inside if os.path.isfile(inside) else Path(path)  # unlike Path.is_file, never raises
    try:
        file = TensorFile(source)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read a network from {os.fspath(path)!r}: {why(error)}") from error
    if file.metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{os.fspath(path)!r} is no network of this package: its format is {file.metadata.get('format')!r}, "
            f"expected {FORMAT!r}. Write it with export_network()"
        )
    try:
        described = _network(parse_json(file.metadata.get("network", "")), "network")
        file.require((*FLOATS, *INTEGERS))
        weights = file.read()
    except (OSError, ValueError) as error:
        raise _unusable(path, error) from error
    if file.metadata.get("sha256") != weights_digest(weights):
        raise CheckpointError(f"the weights in {os.fspath(path)!r} are damaged; copy or export the file again")
    try:
        return _rebuild(described, weights, space).eval()
    except UNREADABLE as error:
        raise _unusable(path, error) from error


def _unusable(path: str | os.PathLike[str], error: Exception) -> CheckpointError:
    return CheckpointError(f"{os.fspath(path)!r} describes no usable network ({why(error)})")


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
    path_like("path", path)
    instance("classifier", classifier, Classifier, "a network of train_architecture or load_network")
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
        _fill(made.network, weights)
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
    _fill(classifier.network, weights)
    return classifier


def _fill(network: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Give a network weights of its own names, shapes and kinds."""
    own = network.state_dict()
    same_shapes(*({name: tuple(tensor.shape) for name, tensor in part.items()} for part in (weights, own)))
    for name, tensor in weights.items():
        if tensor.is_floating_point() != own[name].is_floating_point():
            raise SchemaError(f"{name!r} is of the type {tensor.dtype}, expected {own[name].dtype}")
    network.load_state_dict(weights)
