"""Meta-trained checkpoints: a predictor, a generator, and what they were trained on, in one folder.

``config.json`` says what the tensors of ``model.safetensors`` are; neither can run code. `meta.train.meta_train`
writes such folders, and the shipped ones are found by name.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_safetensors
from safetensors.torch import save as to_safetensors

from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.models.budget import BudgetModel
from metad2a_plugin.models.ensemble import SubspaceEnsemble
from metad2a_plugin.models.generator import PaperGenerator
from metad2a_plugin.models.predictor import PaperAccuracy
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.utils.files import PRETRAINED, json_text, write_atomically

FORMAT = "metad2a-checkpoint-1"
_HALF = (
    *("generator.", "predictor.network.", "predictor.anchors", "predictor.interaction"),
    *("predictor.long.anchors", "predictor.long.interaction", "predictor.columns"),
)
AccuracyModel: TypeAlias = SubspaceEnsemble | PaperAccuracy | BudgetModel
"""What a checkpoint's predictor can be."""
PREDICTORS: dict[str, type[AccuracyModel]] = {
    "ensemble": SubspaceEnsemble,
    "paper": PaperAccuracy,
    "budget": BudgetModel,
}
"""Kinds of predictor by their name in ``config.json``."""


@dataclass(frozen=True)
class Checkpoint:
    """A meta-trained pair of models.

    Attributes:
        name: of the folder.
        space: registry name of the search space.
        encoder: registry name of the image encoder whose features the models read.
        encoder_fingerprint: of that encoder's weights.
        predictor: ranks architectures.
        generator: proposes them; None where only the predictor was trained.
        training: settings, data and metrics of the meta-training, plain JSON values.
    """

    name: str
    space: str
    encoder: str
    encoder_fingerprint: str
    predictor: AccuracyModel
    generator: PaperGenerator | None
    training: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return next(kind for kind, cls in PREDICTORS.items() if isinstance(self.predictor, cls))

    def to(self, device: str | torch.device) -> Checkpoint:
        """The same models on a torch device."""
        generator = None if self.generator is None else self.generator.to(device)
        return replace(self, predictor=self.predictor.to(device), generator=generator)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the folder; ``config.json`` comes last, so that a folder that has one is complete.

        Raises:
            ConfigError: it cannot be written.
        """
        tensors = {f"predictor.{name}": tensor for name, tensor in self.predictor.state_dict().items()}
        if self.generator is not None:
            tensors |= {f"generator.{name}": tensor for name, tensor in self.generator.state_dict().items()}
        weights = to_safetensors({name: _stored(name, tensor) for name, tensor in tensors.items()})
        config = {
            "format": FORMAT,
            "space": self.space,
            "encoder": {"name": self.encoder, "fingerprint": self.encoder_fingerprint},
            "predictor": self.kind,
            "generator": None if self.generator is None else _sizes(self.generator),
            "sha256": hashlib.sha256(weights).hexdigest(),
            "training": dict(self.training),
        }
        write_atomically(Path(directory) / "model.safetensors", weights)
        write_atomically(Path(directory) / "config.json", json_text(config).encode())


def _sizes(generator: PaperGenerator) -> dict[str, int]:
    """Its arguments."""
    return {
        "feature_dim": generator.set_encoder.feature_dim,
        "hidden": generator.decoder.cell.hidden,
        "latent": generator.mu.in_features,
        "heads": generator.set_encoder.heads,
    }


def _stored(name: str, tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.half() if name.startswith(_HALF) else tensor


def shipped() -> tuple[str, ...]:
    """Names of the checkpoints that come with the package."""
    return tuple(sorted(p.parent.name for p in PRETRAINED.glob("*/config.json") if _is_checkpoint(p)))


def _is_checkpoint(config: Path) -> bool:
    try:
        return bool(json.loads(config.read_bytes())["format"] == FORMAT)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def load_checkpoint(name: str | os.PathLike[str]) -> Checkpoint:
    """Read a shipped checkpoint by name, or a folder that `Checkpoint.save` wrote; on the CPU.

    Raises:
        CheckpointError: no such name or folder, or its files are damaged or of another kind.
        ConfigError: the plug-in of its search space is not installed, or broken.
    """
    inside = isinstance(name, str) and name in shipped()
    folder = PRETRAINED / name if inside else Path(os.path.expanduser(name))
    fix = "reinstall metad2a-plugin" if inside else "run metad2a meta-train again"
    if not os.path.isfile(folder / "config.json"):  # unlike Path.is_file, never raises
        raise CheckpointError(
            f"no checkpoint {os.fspath(name)!r}: give one of {', '.join(shipped())}, or a folder with config.json and "
            "model.safetensors that metad2a meta-train wrote"
        )
    try:
        config = json.loads((folder / "config.json").read_bytes())
        if not isinstance(config, dict) or config.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        weights = (folder / "model.safetensors").read_bytes()
        if hashlib.sha256(weights).hexdigest() != config["sha256"]:
            raise ValueError("model.safetensors is not the file that config.json was written with")
        tensors = {key: tensor.float() for key, tensor in from_safetensors(weights).items()}
        space = get_space(config["space"])
        predictor = PREDICTORS[config["predictor"]].from_state_dict(_part(tensors, "predictor."), space)
        generator = None
        if config["generator"] is not None:
            generator = PaperGenerator.of_space(space, **config["generator"])
            generator.load_state_dict(_part(tensors, "generator."))
            generator.eval()
        return Checkpoint(
            name=folder.name,
            space=space.name,
            encoder=config["encoder"]["name"],
            encoder_fingerprint=config["encoder"]["fingerprint"],
            predictor=predictor,
            generator=generator,
            training=config["training"],
        )
    except ConfigError as error:
        raise ConfigError(f"the checkpoint {os.fspath(name)!r} needs its search space: {error}") from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"the checkpoint {os.fspath(name)!r} cannot be read ({type(error).__name__}: {error}): {fix}"
        ) from error


def _part(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
