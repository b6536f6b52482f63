"""What ``train`` says of the networks that it has trained: a table, and the same as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from metad2a_plugin.cli.tables import columns, print_architectures
from metad2a_plugin.training.config import FEW_STEPS, LEAST_BATCH, TrainConfig

if TYPE_CHECKING:
    from rich.console import Console

    from metad2a_plugin.training.images import TrainingData
    from metad2a_plugin.training.references import Reference
    from metad2a_plugin.training.result import TrainResult

_ROLES = {"rank": "searched", "random": "random", "given": "given", "recommended": "recommended"}


@dataclass(frozen=True)
class Trained:
    """Networks of one training, beside what they must beat.

    Attributes:
        dataset: name of the images.
        data: what was trained on.
        config: how.
        results: of each network by its name: ``rank 1`` of the search, ``given 1``, ``random 1``, ``recommended``.
        references: what answers without a trained network.
        notes: what else to know, in sentences.
        seconds: of the whole command.
    """

    dataset: str
    data: TrainingData
    config: TrainConfig
    results: Mapping[str, TrainResult]
    references: Sequence[Reference]
    notes: Sequence[str]
    seconds: float

    @property
    def order(self) -> list[str]:
        """Names of the networks, the most accurate first."""
        return sorted(self.results, key=lambda name: -self.results[name].accuracy)

    @property
    def verdict(self) -> str | None:
        """A sentence where a reference is better than every network."""
        best = max(self.references, key=lambda reference: reference.accuracy)
        if best.accuracy <= self.results[self.order[0]].accuracy:
            return None
        return (
            f"The {best.name} is better than every network trained here: metad2a auto also fine-tunes encoders, and "
            "tries starting weights, within a time."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        rank = {name: place for place, name in enumerate(self.order, 1)}
        return {
            "dataset": self.dataset,
            "num_classes": len(self.data.class_names),
            "class_names": list(self.data.class_names),
            "train_images": len(self.data.labels),
            "validation_images": len(self.data.validation_labels),
            "quantity": "validation accuracy",
            "unit": "%",
            "interval_level": 0.95,
            "config": self.config.to_dict(),
            "steps": self.config.steps(len(self.data.labels)),
            "networks": [_network(name, self.results[name], rank[name]) for name in self.order],
            "references": [reference.to_dict() for reference in self.references],
            "notes": [*self.notes, *([self.verdict] if self.verdict else [])],
            "seconds": self.seconds,
        }


def _network(name: str, result: TrainResult, rank: int) -> dict[str, Any]:
    role = _ROLES[name.partition(" ")[0]]
    folder = None if result.run_dir is None else str(result.run_dir / "network.safetensors")
    return {"rank": rank, "name": name, "role": role, **result.to_dict(), "network": folder}


def few_steps(config: TrainConfig, images: int) -> str | None:
    """A sentence where a training from random weights has few steps.

    Args:
        config: of the training.
        images: to train on, without those held out.
    """
    steps, batch = config.steps(images), config.batch_of(images)
    if steps >= FEW_STEPS or config.weights is not None:
        return None
    return (
        f"{config.epochs} epoch{'s' * (config.epochs != 1)} of {images:,} images in batches of up to "
        f"{batch} are {steps} step{'s' * (steps != 1)}; networks that begin with random weights have learned little "
        f"after fewer than {FEW_STEPS}: give more --epochs{' or a smaller --batch-size' * (batch > LEAST_BATCH)}."
    )


def print_trained(console: Console, trained: Trained) -> None:
    """Validation accuracy of trained architectures beside what they must beat."""
    table = columns("", "accuracy", "95% interval", "balanced", "params", "MACs", "seconds")
    for name in trained.order:
        r = trained.results[name]
        table.add_row(
            name,
            f"{r.accuracy:.1f}%",
            "{:.1f} to {:.1f}".format(*r.interval),
            f"{r.balanced_accuracy:.1f}%",
            f"{r.params:.3f} M",
            f"{r.flops:.1f} M",
            f"{r.seconds:.0f}",
        )
    for reference in trained.references:
        interval = "{:.1f} to {:.1f}".format(*reference.interval)
        table.add_row(reference.name, f"{reference.accuracy:.1f}%", interval, "", "", "", f"{reference.seconds:.0f}")
    console.print(table)
    print_architectures(console, {name: trained.results[name].architecture_str for name in trained.order})
    data = trained.data
    encoder = next(reference.encoder for reference in trained.references if reference.encoder)
    console.print(
        f"{trained.dataset}: {len(data.labels):,} training and {len(data.validation_labels):,} validation images. "
        "The validation accuracy of a network is that after the last epoch; the interval counts validation images "
        "only, not the spread between seeds."
    )
    console.print(f"The linear classifier reads features of the encoder {encoder}.")
    for note in (*trained.notes, trained.verdict):
        if note:
            console.print(note)
    for name in trained.order:
        run_dir = trained.results[name].run_dir
        if run_dir is not None:
            console.print(f"{name}: {run_dir / 'network.safetensors'}", soft_wrap=True)
