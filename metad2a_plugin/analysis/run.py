"""Analyse a network: train it beside references, and look at its wiring and surroundings."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from metad2a_plugin.analysis.landscape import Landscape, LandscapeConfig, landscape
from metad2a_plugin.analysis.study import COUNTERPART, MOST_REFERENCES, SUBJECT, Analysis, Studied
from metad2a_plugin.analysis.topology import counterpart, describe, has_cells
from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.spaces.base import Architecture, Notation, SearchSpace
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import TrainingData, prepare
from metad2a_plugin.training.result import TrainResult
from metad2a_plugin.training.run import train_many
from metad2a_plugin.utils.checks import integer
from metad2a_plugin.utils.kept import digest, kept
from metad2a_plugin.utils.progress import Progress, stages


def analyze(
    space: SearchSpace,
    architecture: Notation,
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
        architecture: what to analyse, as `SearchSpace.parse` reads it.
        dataset: what to train on; a part is held out.
        config: None takes the defaults.
        references: how many networks to compare with, up to `MOST_REFERENCES`.
        surface: None takes the defaults, with the seed and the device of `config`.
        run_dir: trainings and surfaces are kept there; the same call goes on from there.
        progress: show progress on stderr.

    Raises:
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
    chosen = _with_references(space, space.parse(architecture), references, config.seed)
    data = prepare(dataset, config)
    trained = train_many(space, list(chosen.values()), data, config, run_dir, progress=progress)
    networks = []
    with stages(progress) as report:
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
        return landscape(result.network, data.images[:], data.labels, config, progress)

    if result.run_dir is None:
        return compute()
    settings = asdict(replace(config, device="cpu"))  # any device gives the same, but for rounding
    return kept(
        Path(result.run_dir) / f"landscape-{digest(settings)}.json",
        lambda path: Landscape.from_dict(json.loads(path.read_bytes())),
        compute,
        lambda found: json.dumps(found.to_dict(), indent=1).encode(),
        advice="remove it to compute it again",
    )


def _told(report: Progress, stage: str) -> Callable[[int, int], None]:
    return lambda done, total: report(stage, done, total, "")
