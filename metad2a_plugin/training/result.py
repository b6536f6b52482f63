"""What a training has found: `TrainResult`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metad2a_plugin.spaces.base import Architecture
from metad2a_plugin.training.classifier import ImageClassifier
from metad2a_plugin.training.fit import Epoch
from metad2a_plugin.utils.rows import data_frame, html_table
from metad2a_plugin.utils.schema import integer, list_of, number, record, text
from metad2a_plugin.utils.sharing import Card, Shareable

if TYPE_CHECKING:
    import pandas


_PERCENT, _TIME = number(0, 100), number(0, 1e12)
_EPOCH = record(
    {
        "epoch": integer(1),
        "lr": number(),
        "loss": number(),
        "accuracy": _PERCENT,
        "balanced_accuracy": _PERCENT,
        "seconds": _TIME,
    },
    others=False,
)
FINISHED = record(
    {
        "space": text(1, 200),
        "architecture": text(1),
        "accuracy": _PERCENT,
        "interval": list_of(_PERCENT, 2, 2),
        "params_m": number(0),
        "flops_m": number(0),
        "validation_images": integer(1),
        "device": text(1, 100),
        "seconds": _TIME,
        "history": list_of(_EPOCH, 1),
    }
)
"""What ``result.json`` of a finished training holds; see `TrainResult.to_dict`."""


@dataclass(frozen=True)
class TrainResult(Shareable):
    """A trained architecture; accuracies in percent.

    Attributes:
        architecture: what was trained.
        architecture_str: the same in the field's string.
        history: one `Epoch` each.
        interval: Wilson's 95% interval of `accuracy`, from the number of validation images alone: the spread
            over seeds comes on top.
        majority_accuracy: of always answering the most frequent training class.
        chance_accuracy: of answering at random, ``100 / classes``.
        train_images, validation_images: size of the two parts.
        params, flops: in millions, at the size trained.
        seed, split_seed: of the run.
        device: where it ran.
        network: the trained network, in evaluation mode on the CPU, for `export_network` or `export_onnx`.
        stopped: whether epochs were left out, see `train_architecture`.
        run_dir: its files (``epochs.csv``, ``network.safetensors``, ``result.json``); None without one.
    """

    architecture: Architecture
    architecture_str: str
    history: tuple[Epoch, ...]
    interval: tuple[float, float]
    majority_accuracy: float
    chance_accuracy: float
    train_images: int
    validation_images: int
    params: float
    flops: float
    seed: int
    split_seed: int
    device: str
    network: ImageClassifier = field(repr=False, compare=False)
    run_dir: Path | None = None
    stopped: bool = False

    @property
    def accuracy(self) -> float:
        """Validation accuracy after the last epoch: the number to report."""
        return self.history[-1].accuracy

    @property
    def balanced_accuracy(self) -> float:
        """Mean accuracy over classes after the last epoch; read this one where classes differ in size."""
        return self.history[-1].balanced_accuracy

    @property
    def best_epoch(self) -> int:
        """The first epoch of highest accuracy, from 1.

        That accuracy is chosen on the data it is measured on, and so is too high on average.
        """
        return max(self.history, key=lambda epoch: epoch.accuracy).epoch

    @property
    def seconds(self) -> float:
        """Time of training and validation, over all interruptions."""
        return sum(epoch.seconds for epoch in self.history)

    def to_dataframe(self) -> pandas.DataFrame:
        """A row for each epoch, with the columns of `Epoch`.

        Raises:
            MissingExtraError: pandas is not installed (extra ``pandas``).
        """
        return data_frame([epoch._asdict() for epoch in self.history])

    def _repr_html_(self) -> str:
        low, high = self.interval
        names = ["validation accuracy", "95% interval", "balanced", "params", "MACs", "epochs", "seconds"]
        row = [
            f"{self.accuracy:.1f}%",
            f"{low:.1f} to {high:.1f}",
            f"{self.balanced_accuracy:.1f}%",
            f"{self.params:.3f} M",
            f"{self.flops:.1f} M",
            str(len(self.history)),
            f"{self.seconds:.0f}",
        ]
        note = (
            f"{self.train_images:,} training and {self.validation_images:,} validation images; always answering the "
            f"most frequent class reaches {self.majority_accuracy:.1f}%."
        )
        return html_table(self.architecture_str, names, [row], [note])

    def card(self) -> Card:
        card, (low, high) = self.network.card(), self.interval
        saw = {"training images": self.train_images, "validation images": self.validation_images}
        measured = {
            "validation accuracy": f"{self.accuracy:.1f}% (95% interval {low:.1f} to {high:.1f})",
            "mean of the classes": f"{self.balanced_accuracy:.1f}%",
            "the most frequent class": f"{self.majority_accuracy:.1f}%",
        }
        return replace(card, saw={**card.saw, **saw, "epochs": len(self.history)}, measured=measured)

    def files(self) -> dict[str, bytes]:
        return self.network.files()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the weights."""
        return {
            "space": self.architecture.space,
            "architecture": self.architecture_str,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "balanced_accuracy": self.balanced_accuracy,
            "best_epoch": self.best_epoch,
            "majority_accuracy": self.majority_accuracy,
            "chance_accuracy": self.chance_accuracy,
            "train_images": self.train_images,
            "validation_images": self.validation_images,
            "params_m": self.params,
            "flops_m": self.flops,
            "seed": self.seed,
            "split_seed": self.split_seed,
            "device": self.device,
            "seconds": self.seconds,
            "history": [epoch._asdict() for epoch in self.history],
        }


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson, 1927), as fractions.

    >>> [round(bound, 4) for bound in wilson_interval(90, 100)]
    [0.8256, 0.9448]
    """
    share, weight = successes / trials, z**2 / trials
    middle = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / trials + weight / (4 * trials)) / (1 + weight)
    return max(0.0, middle - half), min(1.0, middle + half)
