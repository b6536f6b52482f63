"""The command ``export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metad2a_plugin.cli import options as opt
from metad2a_plugin.cli.app import app
from metad2a_plugin.cli.report import Report
from metad2a_plugin.errors import require
from metad2a_plugin.utils.hugging_face import on_hub


@app.command()
def export(
    network: Annotated[
        str, typer.Argument(help=f"A network.safetensors of metad2a train, hf:user/repo, or a network {opt.NOTATION}.")
    ],
    out: Annotated[Path, typer.Argument(help="A file that ends in .safetensors or .onnx.")],
    space: opt.Space = None,
    num_classes: Annotated[int, typer.Option(help="Outputs of a network that is no file of weights.")] = 10,
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
    from metad2a_plugin.training.files import export_network, export_onnx, is_weights, load_network

    if network.endswith(".safetensors") or is_weights(network) or on_hub(network):
        classifier = load_network(network)
    else:
        searched, [architecture] = opt.given_networks(space, [network])
        given = opt.network_options(options, width=width)
        classifier = ImageClassifier(
            searched, architecture, num_classes, input_size=input_size, seed=seed, options=given
        )
    write = export_onnx if out.suffix == ".onnx" else export_network
    write(out, classifier)
    cost = classifier.cost
    Report().note(f"{out}: {cost.params:.3f} M parameters, {cost.flops:.1f} M multiply-accumulates")
