"""The command ``train-supernet``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from metad2a_plugin.cli import options as opt
from metad2a_plugin.cli.app import app
from metad2a_plugin.cli.report import Report
from metad2a_plugin.training.config import TrainConfig


@app.command("train-supernet")
def train_supernet(
    dataset: opt.Dataset,
    out: Annotated[Path, typer.Argument(help="The file, which ends in .safetensors.")],
    epochs: opt.Epochs = 50,
    batch_size: opt.BatchSize = TrainConfig.batch_size,
    lr: opt.LearningRate = TrainConfig.lr,
    input_size: opt.InputSize = None,
    channels: opt.Channels = None,
    cells: opt.Cells = None,
    network: opt.Network = None,
    flip: opt.Flip = TrainConfig.flip,
    validation: opt.Validation = TrainConfig.validation,
    run_dir: Annotated[Path, typer.Option(help="Unfinished work; the same command goes on from there.")] = Path(
        "runs/train-supernet"
    ),
    seed: opt.Seed = TrainConfig.seed,
    device: opt.TrainingDevice = TrainConfig.device,
) -> None:
    """Train one network of all cells of nasbench201.

    Its shared weights then score any of them. Use the file as --predictor supernet --option weights=FILE, and in NNI's
    PredictorEvaluator.
    """
    settings = locals()
    opt.check_outputs(out, folders=(run_dir,), suffixes=(".safetensors",), one_format=True)
    config = opt.configured(TrainConfig, settings, options=opt.network_options(network, channels=channels, cells=cells))
    from metad2a_plugin.data import load_dataset
    from metad2a_plugin.one_shot.shared_weights import SharedWeights
    from metad2a_plugin.training.fit import Epoch
    from metad2a_plugin.training.images import prepare
    from metad2a_plugin.utils.progress import stages

    shared = SharedWeights(prepare(load_dataset(dataset).alone(), config), config)
    with stages() as progress:

        def report(epoch: Epoch) -> None:
            note = f"loss {epoch.loss:.3f}, 3x3 convolutions {epoch.accuracy:.1f}%"
            progress("epoch", epoch.epoch, epochs, note)

        shared.train(report, run_dir)
    shared.save(out)
    Report().note(f"supernet: {out}")
