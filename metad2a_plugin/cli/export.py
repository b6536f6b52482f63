"""The command ``export``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from metad2a_plugin.cli import options as opt
from metad2a_plugin.cli.app import app
from metad2a_plugin.cli.report import Report
from metad2a_plugin.errors import require
from metad2a_plugin.plugins.registry import DEFAULT_SPACE, get_space


@app.command()
def export(
    network: Annotated[str, typer.Argument(help="A network.safetensors of metad2a train, or an architecture string.")],
    out: Annotated[Path, typer.Argument(help="A file that ends in .safetensors or .onnx.")],
    space: opt.Space = None,
    num_classes: Annotated[int, typer.Option(help="Outputs of a network built from a string.")] = 10,
    input_size: opt.InputSize = None,
    width: opt.Width = None,
    options: opt.Network = None,
    seed: opt.Seed = 0,
) -> None:
    """Write a network as a safetensors or ONNX file.

    It needs no code of its own to be read.
    """
    opt.check_outputs(out, suffixes=(".safetensors", ".onnx"))
    if out.suffix == ".onnx":
        require("onnx", "ONNX export", "onnx", "onnxscript")
    from metad2a_plugin.training.classifier import ImageClassifier
    from metad2a_plugin.training.files import export_network, export_onnx, load_network

    if network.endswith(".safetensors") or os.path.exists(network):
        classifier = load_network(network)
    else:
        searched, given = get_space(space or DEFAULT_SPACE), opt.network_options(options, width=width)
        classifier = ImageClassifier(
            searched, searched.parse(network), num_classes, input_size=input_size, seed=seed, options=given
        )
    write = export_onnx if out.suffix == ".onnx" else export_network
    write(out, classifier)
    cost = classifier.cost
    Report().note(f"{out}: {cost.params:.3f} M parameters, {cost.flops:.1f} M multiply-accumulates")
