"""`analyze`: an architecture's wiring, convergence and loss surface beside those of other architectures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from metad2a_plugin.analysis.landscape import Landscape, LandscapeConfig, epochs_to_common_loss
from metad2a_plugin.analysis.topology import Topology
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.result import TrainResult

SUBJECT, COUNTERPART = "this network", "same operations"
MOST_REFERENCES = 5


@dataclass(frozen=True)
class Studied:
    """One network of an analysis.

    Attributes:
        name: `SUBJECT`, `COUNTERPART` (the same operations, wired otherwise), or ``random 1`` and so on.
        trained: its training.
        topology: of its cell; None where the space has no cells.
        landscape: of the trained network, on training images.
    """

    name: str
    trained: TrainResult
    topology: Topology | None
    landscape: Landscape

    @property
    def early_accuracy(self) -> float:
        """Validation accuracy in percent after a quarter of the epochs."""
        history = self.trained.history
        return history[-(-len(history) // 4) - 1].accuracy

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "early_accuracy": self.early_accuracy,
            "topology": None if self.topology is None else self.topology.to_dict(),
            "training": self.trained.to_dict(),
            "landscape": self.landscape.to_dict(),
        }


@dataclass(frozen=True)
class Analysis:
    """What `analyze` found.

    Attributes:
        space: the search space's name.
        dataset: the dataset's name.
        config: how all networks were trained.
        surface: how their surroundings were computed.
        networks: the architecture asked for, then the references.
    """

    space: str
    dataset: str
    config: TrainConfig
    surface: LandscapeConfig
    networks: tuple[Studied, ...]

    @property
    def subject(self) -> Studied:
        return self.networks[0]

    @property
    def convergence(self) -> tuple[float, list[int]]:
        """A training loss that all networks reach, and the epoch in which each first does."""
        return epochs_to_common_loss([[epoch.loss for epoch in n.trained.history] for n in self.networks])

    @property
    def warnings(self) -> tuple[str, ...]:
        """In plain language: why a ranking by early accuracy may be wrong about this network."""
        found, place = [], self.subject.topology
        if place is not None and place.depth == 0:
            found.append("No path leads from the cell's input to its output, so the cell passes nothing on.")
        if place is not None and place.wide_and_shallow:
            found.append(
                "A ranking by early accuracy may place this cell too high: it is wide and shallow. Among NAS-Bench-201 "
                "cells of the same operations, wide and shallow ones tend to rank higher after 12 epochs of training "
                "than after 200 (measured in docs/topology.md). Compare it with other cells after a full training."
            )
        epochs, best = self.convergence[1], max(self.networks, key=lambda n: n.trained.accuracy)
        if epochs[0] == min(epochs) < max(epochs) and best.trained.accuracy > self.subject.trained.accuracy:
            overlap = best.trained.interval[0] <= self.subject.trained.interval[1]
            found.append(
                f"Fast is not best here: no network compared reached the common training loss sooner, but "
                f"'{best.name}' has the higher validation accuracy after the last epoch"
                f"{', though their 95% intervals overlap' if overlap else ''}."
            )
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        level, epochs = self.convergence
        return {
            "space": self.space,
            "dataset": self.dataset,
            "config": self.config.to_dict(),
            "surface": asdict(self.surface),
            "common_loss": level,
            "epochs_to_common_loss": epochs,
            "warnings": list(self.warnings),
            "networks": [network.to_dict() for network in self.networks],
        }
