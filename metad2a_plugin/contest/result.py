"""What a run has found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from metad2a_plugin.contest.contenders import Contender
from metad2a_plugin.contest.journal import Trained
from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.data.streamed import Pixels
from metad2a_plugin.spaces.base import Cost
from metad2a_plugin.training.classifier import Classifier
from metad2a_plugin.training.result import wilson_interval

_PIXELS = 2**18
"""Of a batch; four times as many would take most of the memory of a run."""


@dataclass(frozen=True, eq=False)
class Answers:
    """A network's answers for images of known classes.

    Attributes:
        labels: int64 ``[n]``.
        logits: float32 ``[n, classes]``.
    """

    labels: torch.Tensor
    logits: torch.Tensor

    @property
    def accuracy(self) -> float:
        """Percent."""
        return 100 * (self.logits.argmax(1) == self.labels).double().mean().item()

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95% interval of the accuracy, percent."""
        low, high = wilson_interval(int((self.logits.argmax(1) == self.labels).sum()), len(self.labels))
        return 100 * low, 100 * high


@torch.inference_mode()
def measured(network: Classifier, pixels: Pixels, labels: torch.Tensor) -> Answers:
    """Answers for pixels, uint8 ``[n, 3, size, size]``, on the network's device."""
    network.eval()
    device = next(network.parameters()).device
    batches = pixels.split(max(1, _PIXELS // pixels.shape[-1] ** 2))
    return Answers(labels, torch.cat([network(batch.to(device)).cpu() for batch in batches]))


@dataclass(frozen=True, eq=False)
class Reference:
    """What any network must beat.

    Attributes:
        name: what it is.
        validation, test: accuracies in percent.
        network: where it is one.
    """

    name: str
    validation: float
    test: float
    network: Classifier | None = field(repr=False)


@dataclass(frozen=True, eq=False)
class AutoResult:
    """What a run has found.

    Attributes:
        images, tested: all images, and the test part.
        network: the best by validation accuracy; also in ``network.safetensors`` of `folder`.
        source: the reference or the training that it comes from.
        validation: its accuracy in percent on the part that it was chosen by.
        validation_images: how many these are.
        test: its answers on the part that nothing was chosen by.
        references: what any network must beat.
        contenders: what was trained, by name.
        costs: of each.
        trained: trainings, in their order.
        flip: whether trainings mirrored images.
        mirrored: how much worse validation images are told when mirrored, in points, and the standard error of that.
        seconds: of work.
        folder: of the run.
        refitted: whether `network` was trained once more, on all images; `test` is what it reached before that.
        interrupted: whether trainings were left out; the same call goes on.
        warnings: what to know of the images.
    """

    images: ImageDataset = field(repr=False)
    tested: ImageDataset = field(repr=False)
    network: Classifier = field(repr=False)
    source: str
    validation: float
    validation_images: int
    test: Answers = field(repr=False)
    references: tuple[Reference, ...]
    contenders: Mapping[str, Contender]
    costs: Mapping[str, Cost]
    trained: tuple[Trained, ...]
    flip: bool
    mirrored: tuple[float, float]
    seconds: float
    folder: Path
    refitted: bool = False
    interrupted: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def dataset(self) -> str:
        """Its name."""
        return self.images.name

    def title(self, trained: Trained) -> str:
        """What people read of a training."""
        return self.contenders[trained.contender].title

    @property
    def source_title(self) -> str:
        """What people read of `source`."""
        found = {t.folder: f"{self.title(t)} of round {t.round}" for t in self.trained}
        return found.get(self.source, self.source)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "source": self.source,
            "validation": self.validation,
            "test": self.test.accuracy,
            "refitted": self.refitted,
            "test_interval": list(self.test.interval),
            "references": [{"name": r.name, "validation": r.validation, "test": r.test} for r in self.references],
            "contenders": [contender.to_dict() for contender in self.contenders.values()],
            "flip": self.flip,
            "mirrored": list(self.mirrored),
            "trained": _plain(self.trained),
            "network": self.network.metadata(),
            "seconds": self.seconds,
        }


def _plain(trained: Sequence[Trained]) -> list[dict[str, Any]]:
    return [vars(one) | {"curve": list(one.curve)} for one in trained]
