"""The images of a run, split once: what is learned from, what is chosen by, and what is measured on at the end."""

from __future__ import annotations

import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as to_safetensors

from metad2a_plugin.contest.config import AutoConfig
from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.data.encoders import get_encoder
from metad2a_plugin.data.streamed import Pixels, StreamedPixels, encoded
from metad2a_plugin.errors import DatasetError
from metad2a_plugin.nn.probe import RidgeClassifier, fit_ridge
from metad2a_plugin.plugins.encoder import ImageEncoder
from metad2a_plugin.training.config import EDGE, TrainConfig
from metad2a_plugin.training.images import IN_MEMORY, TrainingData, check_classes, prepare
from metad2a_plugin.utils.kept import digest, kept
from metad2a_plugin.utils.tensors import TensorFile, bound_shapes
from metad2a_plugin.utils.torch_device import usable

_KEPT = 1 << 28  # bytes of decoded images, where there is more than one size
_FEW = 8


class Images:
    """Parts of a dataset, in any size.

    Args:
        dataset: all images. Its own validation part, if it has one, is what is chosen by; otherwise a share of it is.
        config: settings.
        folder: of the run, where features are kept; None keeps them in memory alone.

    Raises:
        DatasetError: too many images are broken, there are too few for three parts, or those of the validation part are
            of other classes.

    Attributes:
        known, tested: what is learned from and chosen by, and the rest.
        train, validation: the parts of `known`, or `known` and the dataset's own validation part.
        sides: encoders of the run by name, and the side of the images that they see.
        flip: whether trainings mirror images; decided by `references.mirrored` where the settings leave it open.
    """

    def __init__(self, dataset: ImageDataset, config: AutoConfig, folder: Path | None = None) -> None:
        self.config, self.folder = config, folder
        self.dataset = dataset = dataset.verified()
        tested = dataset.held_out(config.test, config.seed)
        self.known, self.tested = dataset.subset(~tested), dataset.subset(tested)
        own = dataset.validation
        if own is None:
            held_out = self.known.held_out(config.validation, config.seed)
            self.train, self.validation = self.known.subset(~held_out), self.known.subset(held_out)
        else:
            check_classes(own, dataset)
            self.train, self.validation = self.known.alone(), own.of_classes(dataset.class_names).verified()
            self.known.validation = self.validation
        for name, part in (("test", self.tested), ("validation", self.validation)):
            if not len(part):
                raise DatasetError(
                    f"no class of {dataset.name!r} has three images, so that none is left for the {name} part; "
                    "add images"
                )
        self.sides: dict[str, int] = {}
        self.flip = bool(config.flip)
        self._prepared: OrderedDict[int, TrainingData] = OrderedDict()
        self._encoders: dict[str, ImageEncoder] = {}
        self._features: dict[str, dict[str, torch.Tensor]] = {}
        self._heads: dict[str, RidgeClassifier] = {}

    def training(self, **settings: Any) -> TrainConfig:
        """How something is trained on them, with the settings of the run."""
        config = self.config
        ours: dict[str, Any] = {
            "flip": self.flip,
            "padding": EDGE,
            "validation": config.validation,
            "split_seed": config.seed,
            "seed": config.seed,
            "device": config.device,
        }
        return TrainConfig(**ours | settings)

    def at(self, size: int) -> TrainingData:
        """All but the test part, in this size, split into training and validation part."""
        if size not in self._prepared:
            while self._prepared and sum(map(self._bytes, (*self._prepared, size))) > _KEPT:
                self._prepared.popitem(last=False)
            self._prepared[size] = prepare(self.known, self.training(input_size=size), stream=True, verified=True)
        self._prepared.move_to_end(size)
        return self._prepared[size]

    def test(self, size: int) -> tuple[Pixels, torch.Tensor]:
        """Pixels and labels of the test part: uint8 ``[n, 3, size, size]``, int64 ``[n]``."""
        return StreamedPixels(self.tested, size), torch.from_numpy(self.tested.labels)

    def _bytes(self, size: int) -> int:
        """Of the pixels in memory; those that are streamed take none."""
        found = 3 * size**2 * (len(self.train) + len(self.validation))
        return found if found <= IN_MEMORY else 0

    # -- encoders --------------------------------------------------------------------------------
    def encoder(self, name: str) -> ImageEncoder:
        if name not in self._encoders:
            self._encoders[name] = get_encoder(name, str(usable(self.config.device)))
        return self._encoders[name]

    def seconds(self, name: str, side: int) -> float:
        """That an encoder takes for all images of this size, by a few."""
        few = range(min(len(self.known), _FEW))
        self.encoder(name)(self.known.images(few, side))  # warms up
        begin = time.perf_counter()
        self.encoder(name)(self.known.images(few, side))
        return (time.perf_counter() - begin) / len(few) * len(self.dataset)

    def features(self, name: str) -> dict[str, torch.Tensor]:
        """An encoder's features of each part, ``[n, dim]``, by ``train``, ``validation`` and ``test``."""
        if name not in self._features:
            side = self.sides[name]
            parts = {"train": self.train, "validation": self.validation, "test": self.tested}

            def compute() -> dict[str, torch.Tensor]:
                encoder = self.encoder(name)
                return {part: encoded(encoder, StreamedPixels(images, side)) for part, images in parts.items()}

            if self.folder is None:
                self._features[name] = compute()
            else:
                key = digest((self.encoder(name).fingerprint, side))

                def read(path: Path) -> dict[str, torch.Tensor]:
                    file = TensorFile(path)
                    file.require(("F32",))
                    bound_shapes(
                        file.shapes,
                        {part: f"{part} dim" for part in parts},
                        {part: len(images) for part, images in parts.items()} | {"dim": self.encoder(name).dim},
                    )
                    return file.read()

                path = self.folder / f"features-{key}.safetensors"
                self._features[name] = kept(path, read, compute, to_safetensors)
        return self._features[name]

    def head(self, name: str) -> RidgeClassifier:
        """The linear classifier of an encoder's features of the training part."""
        if name not in self._heads:
            labels = torch.from_numpy(self.train.labels)
            self._heads[name] = fit_ridge(self.features(name)["train"], labels, self.dataset.num_classes)
        return self._heads[name]

    @property
    def learned(self) -> float:
        """The training part, as a share of what a network can be trained on once all is decided (`refit`)."""
        more = len(self.tested) + (len(self.validation) if self.dataset.validation is None else 0)
        return len(self.train) / (len(self.train) + more)

    @property
    def teacher(self) -> str:
        """The encoder whose linear classifier is best on images that it has not seen."""
        return max(self.sides, key=lambda name: self.head(name).accuracy)

    @property
    def soft(self) -> torch.Tensor:
        """Logits of training images by the teacher's linear classifiers that have not seen them, ``[n, classes]``."""
        head = self.head(self.teacher)
        return (head.sharpness * head.left_out).float()
