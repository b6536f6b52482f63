"""Small fitted models in files: weights, configuration, and the script that fits them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch

from metad2a_plugin.errors import CheckpointError
from metad2a_plugin.utils.files import UNREADABLE, check_model
from metad2a_plugin.utils.schema import anything, mapping_of, read_json, why
from metad2a_plugin.utils.tensors import FLOATS, TensorFile

Loaded = TypeVar("Loaded", bound="FittedModel")


class FittedModel(ABC):
    """A small model in ``model.safetensors`` and ``config.json``, with the script that fits it.

    Args:
        config: the parsed ``config.json``.
    """

    folder: ClassVar[Path]
    script: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    @classmethod
    def load(cls: type[Loaded], directory: Path | None = None) -> Loaded:
        """Read ``model.safetensors`` and ``config.json`` of a directory; the shipped one by default.

        Raises:
            CheckpointError: a file is missing, damaged, or of another kind.
        """
        directory = cls.folder if directory is None else Path(directory)
        fix = "reinstall metad2a-plugin" if directory == cls.folder else f"run {cls.script} again"
        check_model(directory, cls.title, fix)
        try:
            config = mapping_of(anything)(read_json(directory / "config.json"), "config.json")
            file = TensorFile(directory / "model.safetensors")
            file.require(FLOATS)
            model = cls._restore(file.read(), config)
            model._check()
        except UNREADABLE as error:
            raise CheckpointError(
                f"the {cls.title} in {str(directory)!r} is damaged or of another kind ({why(error)}): {fix}"
            ) from error
        return model

    @classmethod
    @abstractmethod
    def _restore(cls: type[Loaded], tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> Loaded:
        """From the parts that `load` has read."""

    @abstractmethod
    def _check(self) -> None:
        """Raise ValueError, KeyError or TypeError unless the parts fit together."""


def check_finite(name: str, tensor: torch.Tensor, shape: tuple[int | None, ...]) -> None:
    """Raise ValueError unless `tensor` is finite and has this shape, where None is any size."""
    fits = tensor.ndim == len(shape) and all(b is None or a == b for a, b in zip(tensor.shape, shape, strict=True))
    if not fits or not tensor.isfinite().all():
        expected = ", ".join("n" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} of shape {list(tensor.shape)}, expected finite [{expected}]")
