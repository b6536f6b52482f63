"""The command ``export``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from metad2a_plugin.cli.app import app
from metad2a_plugin.cli.options import InputSize, Seed, Space, Width, writable
from metad2a_plugin.errors import ConfigError, require
from metad2a_plugin.plugins.registry import DEFAULT_SPACE


@app.command()
def export(
    network: Annotated[
        str, typer.Argument(help="A network.safetensors of metad2a train, or an architecture string.")
    ],
    out: Annotated[Path, typer.Argument(help="A file that ends in .safetensors or .onnx.")],
    space: Space = None,
    num_classes: Annotated[int, typer.Option(help="Outputs of a network built from a string.")] = 10,
    input_size: InputSize = None,
    width: Width = None,
    seed: Seed = 0,
) -> None:
    """Write a network as a safetensors or ONNX file that needs no code of its own to be read."""
    if out.suffix not in (".safetensors", ".onnx"):
        raise ConfigError(f"{str(out)!r} must end in .safetensors or .onnx")
    if out.suffix == ".onnx":
        require("onnx", "ONNX export", "onnx", "onnxscript")
    from metad2a_plugin.plugins.registry import get_space
    from metad2a_plugin.training.classifier import ImageClassifier
    from metad2a_plugin.training.files import export_network, export_onnx, load_network

    writable(out.parent)
    if network.endswith(".safetensors") or os.path.exists(network):
        classifier = load_network(network)
    else:
        of = get_space(space or DEFAULT_SPACE)
        options: dict[str, Any] = {} if width is None else {"width": width}
        classifier = ImageClassifier(
            of, of.parse(network), num_classes, input_size=input_size, seed=seed, **options
        )
    write = export_onnx if out.suffix == ".onnx" else export_network
    write(out, classifier)
    cost = classifier.cost
    typer.echo(f"{out}: {cost.params:.3f} M parameters, {cost.flops:.1f} M multiply-accumulates")
