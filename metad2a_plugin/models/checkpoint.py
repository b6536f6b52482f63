"""Meta-trained checkpoints: a predictor, a generator, and what they were trained on, in one folder.

``config.json`` says what the tensors of ``model.safetensors`` are; neither can run code. `meta.train.meta_train`
writes such folders, the shipped ones are found by name, and others on the Hugging Face hub.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors.torch import save as to_safetensors

from metad2a_plugin.errors import CheckpointError, ConfigError, said
from metad2a_plugin.models.budget import BudgetModel
from metad2a_plugin.models.ensemble import SubspaceEnsemble
from metad2a_plugin.models.generator import PaperGenerator
from metad2a_plugin.models.predictor import HEADS, PaperAccuracy
from metad2a_plugin.models.states import part
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.spaces.base import SearchSpace
from metad2a_plugin.utils.checks import did_you_mean
from metad2a_plugin.utils.files import PRETRAINED, json_text, write_atomically
from metad2a_plugin.utils.hugging_face import download, on_hub
from metad2a_plugin.utils.schema import (
    LARGEST,
    SchemaError,
    anything,
    exactly,
    integer,
    mapping_of,
    optional,
    read_json,
    record,
    text,
    why,
)
from metad2a_plugin.utils.sharing import Card, Shareable
from metad2a_plugin.utils.tensors import TensorFile, file_digest, finite, same_shapes, shapes_of

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
_PARTS = ("predictor.", "generator.")
_LARGEST = 128 * 2**20
_WEIGHTS, _CONFIG_FILE = "model.safetensors", "config.json"
_WIDTH = integer(1, 4096)


def _generator(value: Any, where: str) -> dict[str, int]:
    names = ("feature_dim", "hidden", "latent", "heads")
    sizes: dict[str, int] = record(dict.fromkeys(names, _WIDTH), others=False)(value, where)
    if sizes["latent"] % sizes["heads"]:
        raise SchemaError(f"a latent width of {sizes['latent']} does not divide into {sizes['heads']} heads")
    return sizes


def _predictor(value: Any, where: str) -> str:
    return str(exactly(*PREDICTORS)(value, where))


_CONFIG = record(
    {
        "format": exactly(FORMAT),
        "space": text(1, 200),
        "encoder": record({"name": text(1, 1000), "fingerprint": text(1, 1000)}),
        "predictor": _predictor,
        "generator": optional(_generator),
        "sha256": text(64, 64),
        "training": record(
            {},
            {
                "classes": integer(1),
                "schedule": text(most=1000),
                "scale": text(most=1000),
                "quality": optional(text(most=1000)),
                "metrics": mapping_of(anything),
            },
        ),
    }
)
"""What ``config.json`` holds."""


@dataclass(frozen=True)
class Checkpoint(Shareable):
    """A meta-trained pair of models.

    Attributes:
        name: of the folder, or of the place on the hub.
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
        for name, content in self.files().items():
            write_atomically(Path(directory) / name, content)

    def files(self) -> dict[str, bytes]:
        tensors = {f"predictor.{name}": tensor for name, tensor in self.predictor.state_dict().items()}
        if self.generator is not None:
            tensors |= {f"generator.{name}": tensor for name, tensor in self.generator.state_dict().items()}
        # The tensors do not tell the heads, which must stay theirs.
        heads = {} if self.generator is None else {"heads": str(self.generator.set_encoder.heads)}
        weights = to_safetensors({name: _stored(name, tensor) for name, tensor in tensors.items()}, heads)
        config = {
            "format": FORMAT,
            "space": self.space,
            "encoder": {"name": self.encoder, "fingerprint": self.encoder_fingerprint},
            "predictor": self.kind,
            "generator": None if self.generator is None else _sizes(self.generator),
            "sha256": hashlib.sha256(weights).hexdigest(),
            "training": dict(self.training),
        }
        return {_WEIGHTS: weights, _CONFIG_FILE: json_text(config).encode()}

    def card(self) -> Card:
        shown = {name.replace("_", " "): value for name, value in self.training.items() if not isinstance(value, dict)}
        metrics = self.training.get("metrics")
        return Card(
            title=f"MetaD2A for the search space {self.space}",
            about=f"A meta-trained predictor ({self.kind}) that ranks the networks of `{self.space}` for a dataset of "
            f"images{', and a generator that proposes them' if self.generator else ''}. It reads features of the image "
            f"encoder `{self.encoder}`.",
            use="from metad2a_plugin import MetaD2A\n\n"
            'found = MetaD2A.from_pretrained("NAME").search("path/to/images")',
            saw=shown,
            measured=metrics if isinstance(metrics, Mapping) else {},
            terms="Those of the images and tables that the weights were made from: images of ImageNet are for "
            "non-commercial research.",
            tags=("neural-architecture-search", "meta-learning", "performance-prediction"),
        )


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
        return bool(read_json(config)["format"] == FORMAT)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def load_checkpoint(name: str | os.PathLike[str], *, local_files_only: bool = False) -> Checkpoint:
    """Read a shipped checkpoint by name, a folder that `Checkpoint.save` wrote, or one of the hub; on the CPU.

    Args:
        name: of a shipped one; a folder; or ``hf:user/repo``, with ``@revision`` behind it where that is not its main
            branch.
        local_files_only: read one of the hub from the cache.

    Raises:
        CheckpointError: no such name, folder or repository, or its files are damaged or of another kind.
        ConfigError: the plug-in of its search space is not installed, or broken.
        MissingExtraError: it is one of the hub, and huggingface_hub is not installed (extra ``hub``).
    """
    if not isinstance(name, (str, os.PathLike)):
        raise CheckpointError(f"expected a checkpoint's name or folder, got {type(name).__name__}")
    inside = isinstance(name, str) and name in shipped()
    fix = "reinstall metad2a-plugin" if inside else "run metad2a meta-train again"
    if on_hub(name):
        files = {_CONFIG_FILE: LARGEST, _WEIGHTS: _LARGEST}
        folder, fix = download(name, files, local_files_only=local_files_only), "tell its owner"
    else:
        folder = PRETRAINED / name if inside else Path(os.path.expanduser(name))
    if not os.path.isfile(folder / "config.json"):  # unlike Path.is_file, never raises
        raise CheckpointError(
            f"no checkpoint {os.fspath(name)!r}{did_you_mean(os.fspath(name), shipped())}: give one of "
            f"{', '.join(shipped())}, a folder with config.json and model.safetensors that metad2a meta-train wrote, "
            "or one of the Hugging Face hub as hf:user/repo"
        )
    try:
        config = read_json(folder / "config.json")
        if not isinstance(config, dict) or config.get("format") != FORMAT:
            raise SchemaError(f"its format is not {FORMAT!r}")
        config = _CONFIG(config, "")
        space = get_space(config["space"])
        predictor, generator = _models(folder / "model.safetensors", config, space)
        return Checkpoint(
            name=name if on_hub(name) else folder.name,
            space=space.name,
            encoder=config["encoder"]["name"],
            encoder_fingerprint=config["encoder"]["fingerprint"],
            predictor=predictor,
            generator=generator,
            training=config["training"],
        )
    except ConfigError as error:
        raise ConfigError(f"the checkpoint {os.fspath(name)!r} needs its search space: {error}") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"the checkpoint {os.fspath(name)!r} cannot be read ({why(error)}): {fix}"
        ) from error


def _models(
    path: Path, config: Mapping[str, Any], space: SearchSpace
) -> tuple[AccuracyModel, PaperGenerator | None]:
    """The models of a file of weights, whose header is compared with what `config` implies before anything is built."""
    if (size := path.stat().st_size) > _LARGEST:
        raise SchemaError(f"model.safetensors has {size:,} bytes, more than any checkpoint")
    if file_digest(path) != config["sha256"]:
        raise SchemaError("model.safetensors is not the file that config.json was written with")
    file, sizes = TensorFile(path), config["generator"]
    # Half of what was half, so that no value is another.
    file.require(("F16", "F32", "F64"), [name for name in file.stored if name.startswith(_HALF)])
    file.require(("F32", "F64"), [name for name in file.stored if not name.startswith(_HALF)])
    if unknown := [name for name in file.stored if not name.startswith(_PARTS)]:
        raise SchemaError(f"unknown {said(unknown[0])}")
    expected = {} if sizes is None else shapes_of(lambda: PaperGenerator.of_space(space, **sizes))
    same_shapes(part(file.shapes, "generator."), expected)
    if sizes is not None and str(sizes["heads"]) != file.metadata.get("heads", str(HEADS)):
        raise SchemaError(f"its generator has other heads than {sizes['heads']}")
    tensors = {name: tensor.float() for name, tensor in file.read(unchecked=list(file.stored)).items()}
    predictor = PREDICTORS[config["predictor"]].from_state_dict(part(tensors, "predictor."), space)
    if sizes is None:
        return predictor, None
    generator, weights = PaperGenerator.of_space(space, **sizes), part(tensors, "generator.")
    for name, tensor in weights.items():
        finite(name, tensor, least=-1e6, most=1e6)
    generator.load_state_dict(weights)
    return predictor, generator.eval()
