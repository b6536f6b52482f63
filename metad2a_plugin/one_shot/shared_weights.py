"""Accuracies of architectures whose weights all come from one supernet.

Two ways to train it: one path drawn at random for each batch (Guo et al., *Single Path One-Shot NAS*, ECCV 2020,
section 3.3), or one epoch along the path of each architecture that a search asks for (MDENAS, section 3.4).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors
from torch import nn

from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.errors import CheckpointError, ConfigError, said
from metad2a_plugin.nn.normalized import NormalizedNetwork
from metad2a_plugin.plugins.registry import DEFAULT_SPACE, get_space
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.spaces.interfaces import WeightSharing, weight_sharing
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.fit import Epoch, Fit
from metad2a_plugin.training.images import TrainingData, prepare
from metad2a_plugin.utils.files import UNREADABLE, write_atomically
from metad2a_plugin.utils.kept import digest
from metad2a_plugin.utils.locks import alone_in
from metad2a_plugin.utils.schema import (
    SchemaError,
    anything,
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
from metad2a_plugin.utils.tensors import FLOATS, INTEGERS, TensorFile, same_shapes, shapes_of
from metad2a_plugin.utils.torch_device import usable

FORMAT = "metad2a-supernet-1"
_BATCH = 512  # images of an evaluation, whose statistics batch norm uses


class _Path(nn.Module):
    """A supernet along one path; without `choices` another live one for each batch."""

    def __init__(self, space: WeightSharing, supernet: nn.Module) -> None:
        super().__init__()
        self.space, self.supernet = space, supernet
        self.choices: tuple[int, ...] | None = None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.supernet(images, self._random_choices() if self.choices is None else self.choices)

    def _random_choices(self) -> tuple[int, ...]:
        """Of a live architecture, drawn from the global generator, which an epoch of training has seeded."""
        while True:
            choices = tuple(int(torch.randint(count, ())) for count in self.space.options)
            if not self.space.is_dead(Architecture(self.space.name, choices)):
                return choices


class SharedWeights(Fit):
    """A supernet in training on the training part of a dataset; accuracies are those of its validation part.

    Args:
        data: of `prepare`, with the same config.
        config: how it is trained, and the options of the supernet's networks; `epochs` is the length of the learning
            rate's schedule, after which `evaluate` trains no more.
        space: whose architectures share the weights, `WeightSharing`; None takes the default one.

    Raises:
        ConfigError: the space has no supernet or other options, weights are given, or the device cannot be used.
    """

    network: NormalizedNetwork
    FILES = ("state.pt", "epochs.csv")

    def __init__(self, data: TrainingData, config: TrainConfig, space: SearchSpace | None = None) -> None:
        if config.weights is not None:
            raise ConfigError("a supernet is trained from nothing; leave the weights out")
        self.space = weight_sharing(get_space(DEFAULT_SPACE) if space is None else space)
        config, options = config.resolved(len(data.labels)), self.space.check_options(config.options)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.path = _Path(self.space, self.space.supernet(len(data.class_names), **options))
        network = NormalizedNetwork(self.path, data.mean, data.std)
        super().__init__(network, data, config, usable(config.device), "the supernet")
        self._trained = False
        # Images come sorted by class, and batch norm needs mixed batches.
        order = torch.randperm(len(data.validation_labels), generator=torch.Generator().manual_seed(0))
        self._validation = order.tensor_split(-(-len(order) // _BATCH))

    @property
    def supernet(self) -> nn.Module:
        return self.path.supernet

    @property
    def finished(self) -> bool:
        """Whether the schedule has come to its end."""
        return self._trained or super().finished

    @property
    def key(self) -> str:
        """Of all that a training depends on, but the device: a name for its files."""
        about = self._about()
        about["config"].pop("device")
        return digest((FORMAT, self.data.fingerprint, *about.values()))

    def train(
        self, report: Callable[[Epoch], None] = lambda epoch: None, run_dir: str | os.PathLike[str] | None = None
    ) -> None:
        """Train what is left of the schedule along random paths.

        Args:
            report: called after each epoch; its accuracy is that of the space's `reference`.
            run_dir: after each epoch the state is saved in it, and an interrupted training goes on from there.

        Raises:
            ConfigError: the loss is not finite, or another process trains the same in `run_dir`.
            CheckpointError: the state in `run_dir` is damaged.
        """
        self.path.choices = None
        folder = None if run_dir is None else Path(run_dir) / f"supernet-{self.key}"
        with alone_in(folder):
            self.complete(report, folder)

    def evaluate(self, architecture: Architecture) -> float:
        """Train one epoch along the path of an architecture, as long as the schedule lasts; then its accuracy.

        Raises:
            ConfigError: the loss is not finite.
        """
        self.path.choices = self.space.validate(architecture).choices
        return self.accuracy(architecture) if self.finished else self.step().accuracy

    def accuracy(self, architecture: Architecture) -> float:
        """Of the validation images, in percent, with the present weights."""
        self.path.choices = self.space.validate(architecture).choices
        return self._validate()[0]

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        self.network.eval()
        trained = self.path.choices
        self.path.choices = trained or self.space.reference
        labels, images = self.data.validation_labels, self.data.validation_images
        answers = torch.empty_like(labels)
        for rows in self._validation:
            answers[rows] = self.network(images[rows].to(self.device)).argmax(1).cpu()
        self.path.choices = trained
        return self._accuracies(answers)

    # -- files -----------------------------------------------------------------------------------
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the weights and what they belong to as one safetensors file.

        Raises:
            ConfigError: the file cannot be written.
        """
        tensors = {name: tensor.cpu().contiguous() for name, tensor in self.supernet.state_dict().items()}
        about = {"class_names": self.data.class_names, "data": self.data.fingerprint, **self._about()}
        write_atomically(path, to_safetensors(tensors, metadata={"format": FORMAT, "supernet": json.dumps(about)}))

    def _about(self) -> dict[str, Any]:
        """The settings, and the space unless it is the default one, as files have always been written."""
        space = {} if self.space.name == DEFAULT_SPACE else {"space": self.space.name}
        return {"config": self.config.to_dict()} | space

    @classmethod
    def load(cls, path: str | os.PathLike[str], dataset: ImageDataset, device: str = "cpu") -> SharedWeights:
        """A trained supernet, to be asked for accuracies on the validation part of the dataset it was trained on.

        Args:
            path: a file of `save`.
            dataset: that dataset; it is split as it was for the training.
            device: where it runs.

        Raises:
            CheckpointError: no such file, of another kind, or the dataset is another: its validation part may hold
                images that the supernet was trained on.
            DatasetError: the dataset cannot be used.
        """
        tensors, about = _read(Path(path))
        names = tuple(about["class_names"])
        if dataset.class_names != names:
            raise CheckpointError(
                f"the supernet {str(path)!r} was trained on the classes {', '.join(names[:5])}, ... ({len(names)}), "
                f"the dataset {dataset.name!r} has {', '.join(dataset.class_names[:5])}, ... "
                f"({len(dataset.class_names)}); give the dataset it was trained on"
            )
        config = TrainConfig.from_dict(about["config"] | {"device": device})
        data = prepare(dataset.alone(), config)
        if data.fingerprint != about["data"]:
            raise CheckpointError(
                f"the supernet {str(path)!r} was trained on other images than those of {dataset.name!r}, some of which "
                "it may have seen: give the dataset it was trained on, all of it"
            )
        shared = cls(data, config, get_space(about["space"]))
        shared.supernet.load_state_dict(tensors)
        shared._trained = True
        return shared


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    try:
        file = TensorFile(path)
        if file.metadata.get("format") != FORMAT:
            raise SchemaError(f"its format is {said(file.metadata.get('format'))}")
        about = _ABOUT({"space": DEFAULT_SPACE, **_OBJECT(parse_json(file.metadata.get("supernet", "")), "")}, "")
        space, options = weight_sharing(get_space(about["space"])), TrainConfig.from_dict(about["config"]).options
        file.require((*FLOATS, *INTEGERS))
        same_shapes(file.shapes, shapes_of(lambda: space.supernet(len(about["class_names"]), **options)))
        return file.read(), about
    except UNREADABLE as error:
        raise CheckpointError(
            f"{str(path)!r} is no supernet ({why(error)}); write one with metad2a train-supernet"
        ) from error


_OBJECT = mapping_of(anything)
_SETTING = optional(one_of(flag, integer(-(2**31), 2**31), number(-1e9, 1e9), text(most=10_000)))
_ABOUT = record(
    {
        "class_names": list_of(text(most=10_000), 1, 100_000),
        "data": text(1, 1000),
        "config": mapping_of(_SETTING),
        "space": text(1, 200),
    }
)
