"""The training of an architecture as a trainable of Ray Tune."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from pyarrow.fs import FileSelector, FileType
from ray import tune

from metad2a_plugin.data import load_dataset
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.fit import Epoch, Training
from metad2a_plugin.training.images import TrainingData, check_split, prepare
from metad2a_plugin.training.run import train_architecture
from metad2a_plugin.training.starting import check_weights
from metad2a_plugin.utils.checks import instance, one_of

from ._ray_parameters import ARCHITECTURE

_log = logging.getLogger(__name__)
_FINISHED = "result.json"
_OF_SPLIT = ("input_size", "validation", "split_seed")
"""Settings that trials share, because their images are decoded and split once."""


def trainable(dataset: Any, config: TrainConfig | None = None, *, space: str | SearchSpace = "nasbench201") -> Any:
    """What trains the architecture of a trial, for ``tune.Tuner``.

    A trial's config has an ``"architecture"``, in any notation that `SearchSpace.parse` reads, and any settings of
    `TrainConfig`, which go before those of `config`; only the size of the images and the split are the same for all.
    After each epoch it reports ``accuracy`` and ``balanced_accuracy`` (percent of the validation images), ``loss``,
    ``lr``, ``epoch``, ``epochs``, ``seconds``, and ``params_m`` and ``flops_m`` in millions, with a checkpoint from
    which Tune goes on after a failure. The last checkpoint of a whole training has a folder with
    ``network.safetensors`` and ``result.json``, as of `train_architecture`.

    Args:
        dataset: anything that `load_dataset` reads, or `TrainingData` of `prepare`; decoded here, once, and sent to the
            workers.
        config: how networks are trained; None takes the defaults.
        space: the search space of the architectures, or its name.

    Returns:
        A function for ``tune.Tuner`` and ``tune.with_resources``.

    Raises:
        ConfigError: a setting does not fit the space.
        DatasetError: see `prepare`.
    """
    config = config or TrainConfig()
    instance("config", config, TrainConfig, "a TrainConfig, such as TrainConfig(epochs=10)")
    found = get_space(space) if isinstance(space, str) else space
    found.check_options(config.options)
    if config.weights is not None:
        check_weights(found, config.weights, config.options)
    data = dataset if isinstance(dataset, TrainingData) else prepare(load_dataset(dataset), config, stream=True)
    check_split(data, config)
    return tune.with_parameters(train, space=found, data=data, settings=config)


def train(config: dict[str, Any], space: SearchSpace, data: TrainingData, settings: TrainConfig) -> None:
    """Train the network of a trial's config in the process of the trial; see `trainable`."""
    given, chosen = _read(config, settings)
    architecture = space.parse(given)
    cost = space.cost(architecture, num_classes=len(data.class_names), input_size=chosen.input_size, **chosen.options)
    known = {"epochs": chosen.epochs, "params_m": cost.params, "flops_m": cost.flops}

    with tempfile.TemporaryDirectory(prefix="metad2a-") as name:
        folder = Path(name)
        last = tune.get_checkpoint()
        checkpoint = None if last is None else _there(last)
        if checkpoint is not None:
            checkpoint.to_directory(name)
        before = {path.name for path in folder.iterdir()}
        if checkpoint is last and any((folder / one / _FINISHED).exists() for one in before):
            return  # the node was lost after the last epoch; Tune has its numbers

        class Reporter:
            def on_epoch_end(self, epoch: Epoch, training: Training) -> None:
                if before and {path.name for path in folder.iterdir()} != before:
                    raise ConfigError(
                        "the checkpoint is of another architecture or of other settings: a training cannot change them "
                        "on the way, so schedulers that do, such as PopulationBasedTraining, do not fit"
                    )
                if epoch.epoch < chosen.epochs:  # the last one is reported with the network
                    _report(epoch, known, name)

        result = train_architecture(
            space, architecture, data, chosen, run_dir=folder, progress=False, callbacks=[Reporter()]
        )
        _report(result.history[-1], known, name)


def _there(known: Any) -> Any:
    """The checkpoint that Tune knows, or, where it is gone, the newest of its trial; None where there is none.

    Tune deletes a checkpoint once it has the next, and only then notes it: if the process of the search is killed in
    between, the next one is whole, and Tune does not know of it.
    """
    [found] = known.filesystem.get_file_info([known.path])
    if found.type == FileType.Directory:
        return known
    folder, start = PurePosixPath(known.path).parent, PurePosixPath(known.path).name.partition("_")[0]
    others = known.filesystem.get_file_info(FileSelector(str(folder), allow_not_found=True))
    names = [one.base_name for one in others if one.type == FileType.Directory and one.base_name.startswith(start)]
    _log.warning("Tune has deleted %s; the training goes on from %s", known.path, max(names, default="its beginning"))
    return tune.Checkpoint(str(folder / max(names)), known.filesystem) if names else None


def _report(epoch: Epoch, known: Mapping[str, Any], folder: str) -> None:
    tune.report({**epoch._asdict(), **known}, checkpoint=tune.Checkpoint.from_directory(folder))


def _read(config: Mapping[str, Any], settings: TrainConfig) -> tuple[Any, TrainConfig]:
    """The architecture and the settings of a trial."""
    if ARCHITECTURE not in config:
        raise ConfigError(
            f"the trial's config has no {ARCHITECTURE!r}: search with StrategySearch, or put one into param_space"
        )
    others = {name: value for name, value in config.items() if name != ARCHITECTURE}
    for name in others:
        one_of("setting of a trial:", name, [one for one in TrainConfig.names() if one not in _OF_SPLIT])
    # Tune draws NumPy's numbers, which are not written as JSON.
    plain = {name: value.item() if hasattr(value, "item") else value for name, value in others.items()}
    return config[ARCHITECTURE], replace(settings, **plain)
