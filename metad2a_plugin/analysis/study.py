"""`analyze`: an architecture's wiring, convergence and loss surface beside those of other architectures."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from metad2a_plugin._checks import integer
from metad2a_plugin._files import UNREADABLE, write_atomically
from metad2a_plugin._progress import Progress
from metad2a_plugin.analysis.landscape import Landscape, LandscapeConfig, epochs_to_common_loss, landscape
from metad2a_plugin.analysis.topology import Topology, counterpart, describe, has_cells
from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.training import TrainConfig, TrainingData, TrainResult, prepare, train_many

SUBJECT = "this network"
COUNTERPART = "same operations"
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
            "config": asdict(self.config),
            "surface": asdict(self.surface),
            "common_loss": level,
            "epochs_to_common_loss": epochs,
            "warnings": list(self.warnings),
            "networks": [network.to_dict() for network in self.networks],
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one self-contained HTML page, without scripts or other files.

        Raises:
            ConfigError: the file cannot be written.
            MissingExtraError: matplotlib is not installed (extra ``draw``).
        """
        from metad2a_plugin.analysis.page import page

        write_atomically(path, page(self).encode())


def analyze(
    space: SearchSpace,
    architecture: Architecture,
    dataset: ImageDataset,
    config: TrainConfig | None = None,
    *,
    references: int = 2,
    surface: LandscapeConfig | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Analysis:
    """Train an architecture and references under the same settings, and look at their wiring and surroundings.

    The first reference has the same operations wired otherwise, where the space has cells and there is one; the others
    are random live architectures, drawn with the seed of `config`.

    Args:
        space: any search space; one without cells leaves out the topology.
        architecture: what to analyse.
        dataset: what to train on; a part is held out.
        config: None takes the defaults.
        references: how many networks to compare with, up to `MOST_REFERENCES`.
        surface: None takes the defaults, with the seed and the device of `config`.
        run_dir: trainings and surfaces are kept there; the same call goes on from there.
        progress: show progress on stderr.

    Raises:
        ArchitectureError: the architecture is not of `space`.
        ConfigError: an option is out of range, or a loss is not finite.
        DatasetError: see `prepare`.
        CheckpointError: a file in `run_dir` is damaged.
    """
    config = config or TrainConfig()
    surface = surface or LandscapeConfig(seed=config.seed, device=config.device)
    integer("references", references, 0)
    if references > MOST_REFERENCES:
        raise ConfigError(
            f"references must be {MOST_REFERENCES} or fewer, so that figures stay readable, got {references}"
        )
    chosen = _with_references(space, space.validate(architecture), references, config.seed)
    data = prepare(dataset, config)
    trained = train_many(space, list(chosen.values()), data, config, run_dir, progress=progress)
    networks = []
    with _stages(progress) as report:
        for name, result in zip(chosen, trained, strict=True):
            place = describe(space, result.architecture) if has_cells(space) else None
            found = _landscape(result, data, surface, _told(report, f"surface of {name}"))
            networks.append(Studied(name, result, place, found))
    return Analysis(space.name, dataset.name, config, surface, tuple(networks))


def _with_references(space: SearchSpace, architecture: Architecture, count: int, seed: int) -> dict[str, Architecture]:
    """The architecture and what it is compared with, by name; no two compute the same."""
    found = {SUBJECT: architecture}
    if count and has_cells(space) and (other := counterpart(space, architecture)) is not None:
        found[COUNTERPART] = other
    known, rng = {space.canonical(a) for a in found.values()}, random.Random(seed)
    while len(found) <= count:
        drawn = space.sample(rng)
        if not space.is_dead(drawn) and space.canonical(drawn) not in known:
            known.add(space.canonical(drawn))
            found[f"random {sum(name.startswith('random') for name in found) + 1}"] = drawn
    return found


def _landscape(
    result: TrainResult, data: TrainingData, config: LandscapeConfig, progress: Callable[[int, int], None]
) -> Landscape:
    """Computed, or read from the run's folder."""

    def compute() -> Landscape:
        return landscape(result.network, data.images, data.labels, config, progress)

    if result.run_dir is None:
        return compute()
    settings = json.dumps(asdict(replace(config, device="cpu")))  # any device gives the same, but for rounding
    path = Path(result.run_dir) / f"landscape-{hashlib.sha256(settings.encode()).hexdigest()[:16]}.json"
    if not path.exists():
        found = compute()
        write_atomically(path, json.dumps(found.to_dict(), indent=1).encode())
        return found
    try:
        return Landscape.from_dict(json.loads(path.read_bytes()))
    except UNREADABLE as error:
        raise CheckpointError(
            f"{str(path)!r} cannot be read ({type(error).__name__}: {error}); remove it to compute it again"
        ) from error


def _stages(wanted: bool) -> AbstractContextManager[Progress]:
    if not wanted:
        return nullcontext(lambda stage, done, total, note: None)
    from metad2a_plugin.report import stages

    return stages()


def _told(report: Progress, stage: str) -> Callable[[int, int], None]:
    return lambda done, total: report(stage, done, total, "")
