"""`analyze`: an architecture's wiring, convergence and loss surface beside those of other architectures."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from metad2a_plugin.analysis.landscape import Landscape, LandscapeConfig, epochs_to_common_loss
from metad2a_plugin.analysis.topology import Topology
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.result import TrainResult

SUBJECT, COUNTERPART = "this network", "same operations"
MOST = 6
"""Networks of an analysis."""


class Run(NamedTuple):
    """A network as one seed trained it.

    Attributes:
        trained: its training.
        landscape: of the trained network, on training images.
    """

    trained: TrainResult
    landscape: Landscape

    @property
    def early_accuracy(self) -> float:
        """Validation accuracy in percent after a quarter of the epochs."""
        history = self.trained.history
        return history[-(-len(history) // 4) - 1].accuracy


@dataclass(frozen=True)
class Studied:
    """One network of an analysis.

    Attributes:
        name: `SUBJECT`, or ``network 1`` and so on of several; ``reference 1`` and so on; `COUNTERPART` (the same
            operations, wired otherwise); ``random 1`` and so on.
        trained: its training by the first seed.
        topology: of its cell; None where the space has no cells.
        landscape: of that training.
        repeats: the same by further seeds.
    """

    name: str
    trained: TrainResult
    topology: Topology | None
    landscape: Landscape
    repeats: tuple[Run, ...] = ()

    @property
    def runs(self) -> tuple[Run, ...]:
        """By every seed."""
        return (Run(self.trained, self.landscape), *self.repeats)

    @property
    def accuracy(self) -> float:
        """Validation accuracy in percent after the last epoch, mean over seeds."""
        return self.mean(lambda run: run.trained.accuracy)

    @property
    def early_accuracy(self) -> float:
        """Validation accuracy in percent after a quarter of the epochs, mean over seeds."""
        return self.mean(lambda run: run.early_accuracy)

    def mean(self, value: Callable[[Run], float]) -> float:
        """Of a number of each run."""
        return statistics.fmean(map(value, self.runs))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "early_accuracy": self.early_accuracy,
            "accuracy": self.accuracy,
            "topology": None if self.topology is None else self.topology.to_dict(),
            "training": self.trained.to_dict(),
            "landscape": self.landscape.to_dict(),
            "repeats": [
                {"training": run.trained.to_dict(), "landscape": run.landscape.to_dict()} for run in self.repeats
            ],
        }


@dataclass(frozen=True)
class Analysis:
    """What `analyze` found.

    Attributes:
        space: the search space's name.
        dataset: the dataset's name.
        config: how all networks were trained, with the first seed.
        surface: how their surroundings were computed, for the first seed.
        networks: the architectures asked for, then the references.
        asked: how many were asked for.
    """

    space: str
    dataset: str
    config: TrainConfig
    surface: LandscapeConfig
    networks: tuple[Studied, ...]
    asked: int = 1

    @property
    def subject(self) -> Studied:
        """The first one asked for."""
        return self.networks[0]

    @property
    def subjects(self) -> tuple[Studied, ...]:
        """All that were asked for."""
        return self.networks[: self.asked]

    @property
    def seeds(self) -> int:
        """How many trained each network."""
        return len(self.subject.runs)

    @property
    def convergence(self) -> tuple[float, list[int]]:
        """A training loss that all networks reach with the first seed, and the epoch in which each first does."""
        return self._convergence(0)

    @property
    def epochs(self) -> list[list[int]]:
        """Of each network, the epoch in which it first reaches the loss that all reach with the seed, for each seed."""
        by_seed = [self._convergence(seed)[1] for seed in range(self.seeds)]
        return [list(epochs) for epochs in zip(*by_seed, strict=True)]

    def _convergence(self, seed: int) -> tuple[float, list[int]]:
        return epochs_to_common_loss([[e.loss for e in n.runs[seed].trained.history] for n in self.networks])

    @property
    def warnings(self) -> tuple[str, ...]:
        """In plain language: why a ranking by early accuracy may be wrong about the networks asked for."""
        return tuple(text for number in range(self.asked) for text in self._warnings(number))

    def _warnings(self, number: int) -> list[str]:
        found, subject = [], self.networks[number]
        place, name = subject.topology, f"{subject.name}: " if self.asked > 1 else ""
        if place is not None and place.depth == 0:
            found.append(f"{name}No path leads from the cell's input to its output, so the cell passes nothing on.")
        if place is not None and place.wide_and_shallow:
            found.append(
                f"{name}A ranking by early accuracy may place this cell too high: it is wide and shallow. Among "
                "NAS-Bench-201 cells of the same operations, wide and shallow ones tend to rank higher after 12 epochs "
                "of training than after 200 (measured in docs/topology.md). Compare it with other cells after a full "
                "training."
            )
        epochs, best = [statistics.fmean(e) for e in self.epochs], max(self.networks, key=lambda n: n.accuracy)
        if epochs[number] == min(epochs) < max(epochs) and best.accuracy > subject.accuracy:
            found.append(
                f"{name}Fast is not best here: no network compared reached the common training loss sooner, but "
                f"'{best.name}' has the higher validation accuracy after the last epoch{_though(subject, best)}."
            )
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        level, epochs = self.convergence
        return {
            "space": self.space,
            "dataset": self.dataset,
            "config": self.config.to_dict(),
            "surface": asdict(self.surface),
            "seeds": self.seeds,
            "asked": self.asked,
            "common_loss": level,
            "epochs_to_common_loss": epochs,
            "epochs_by_seed": self.epochs,
            "warnings": list(self.warnings),
            "networks": [network.to_dict() for network in self.networks],
        }


def _though(subject: Studied, best: Studied) -> str:
    """What speaks against a difference: overlapping intervals of a single seed, or seeds that disagree."""
    pairs = list(zip(subject.runs, best.runs, strict=True))
    if len(pairs) == 1:
        overlap = best.trained.interval[0] <= subject.trained.interval[1]
        return ", though their 95% intervals overlap" if overlap else ""
    higher = sum(other.trained.accuracy > own.trained.accuracy for own, other in pairs)
    return "" if higher == len(pairs) else f" on average, though with {higher} of {len(pairs)} seeds only"
