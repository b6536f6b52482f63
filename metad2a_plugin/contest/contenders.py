"""What may become the network: each a way to train one, from which weights, on images of which size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from metad2a_plugin.contest.images import Images
from metad2a_plugin.search.designs import Design
from metad2a_plugin.spaces.base import Cost, SearchSpace
from metad2a_plugin.training.classifier import Classifier
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.encoder_network import EncoderClassifier
from metad2a_plugin.training.images import TrainingData
from metad2a_plugin.training.soft import SoftLabels
from metad2a_plugin.training.starting import new_classifier


class Contender(ABC):
    """A way to a network.

    Attributes:
        name: tells it from the others of a run; also the name of its folder.
        title: what people read.
        config: how it is trained, but for the number of epochs.
        max_norm: that gradients are shortened to; None leaves them.
    """

    name: str
    title: str
    config: TrainConfig
    max_norm: ClassVar[float | None] = None

    @abstractmethod
    def classifier(self, images: Images) -> Classifier:
        """The network before any training here."""

    @abstractmethod
    def cost(self, images: Images) -> Cost:
        """Of that network."""

    def data(self, images: Images) -> TrainingData:
        """What it is trained on."""
        return images.at(self.config.input_size)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that tell what it is."""
        return {"name": self.name, "title": self.title, "training": self.config.to_dict()}


@dataclass(frozen=True)
class CellContender(Contender):
    """An architecture of a space, from random weights or from those that its config names.

    Attributes:
        space: its space.
        design: architecture, size and budget.
        number: of the design, from 1.
        soft: whether it also learns what the encoder's linear classifier says of the images.
        config: how it is trained.
    """

    space: SearchSpace
    design: Design
    number: int
    soft: bool
    config: TrainConfig

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"design-{self.number}{'-weights' * self._begins}{'-soft' * self.soft}"

    @property
    def title(self) -> str:  # type: ignore[override]
        return f"design {self.number}{', starting weights' * self._begins}{', soft labels' * self.soft}"

    @property
    def _begins(self) -> bool:
        return self.config.weights is not None

    def classifier(self, images: Images) -> Classifier:
        return new_classifier(self.space, self.design.architecture, self.data(images), self.config)

    def cost(self, images: Images) -> Cost:
        size = {"input_size": self.config.input_size, **self.config.options}
        return self.space.cost(self.design.architecture, num_classes=images.dataset.num_classes, **size)

    def data(self, images: Images) -> TrainingData:
        data = super().data(images)
        return replace(data, soft=SoftLabels(images.soft)) if self.soft else data

    def to_dict(self) -> dict[str, Any]:
        return super().to_dict() | {"architecture": self.design.architecture_str, "soft_labels": self.soft}


@dataclass(frozen=True)
class EncoderContender(Contender):
    """An encoder with its linear classifier, trained further.

    Attributes:
        encoder: its name.
        config: how it is trained.
    """

    encoder: str
    config: TrainConfig
    # On images unlike those that it has seen, the classifier's weights and so the gradients are large at first.
    max_norm = 1.0

    @property
    def name(self) -> str:  # type: ignore[override]
        return f"encoder-{self.encoder}-{self.config.input_size}"

    @property
    def title(self) -> str:  # type: ignore[override]
        return f"encoder {self.encoder}, fine-tuned at {self.config.input_size} px"

    def classifier(self, images: Images) -> Classifier:
        names, head = images.dataset.class_names, images.head(self.encoder)
        return EncoderClassifier(self.encoder, names, input_size=self.config.input_size, head=head)

    def cost(self, images: Images) -> Cost:
        return self.classifier(images).cost

