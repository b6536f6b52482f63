"""Analyse a network: train it beside references, and look at its wiring and surroundings."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from metad2a_plugin.analysis.landscape import Landscape, LandscapeConfig, landscape
from metad2a_plugin.analysis.study import COUNTERPART, MOST, SUBJECT, Analysis, Run, Studied
from metad2a_plugin.analysis.topology import Topology, counterpart, describe, has_cells
from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.errors import ArchitectureError, ConfigError, said
from metad2a_plugin.spaces.base import Architecture, Notation, SearchSpace
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import TrainingData, prepare
from metad2a_plugin.training.result import TrainResult
from metad2a_plugin.training.run import train_many
from metad2a_plugin.utils.checks import integer
from metad2a_plugin.utils.kept import digest, kept
from metad2a_plugin.utils.progress import Progress, stages
from metad2a_plugin.utils.schema import anything, mapping_of, read_json


def analyze(
    space: SearchSpace,
    architectures: Notation | Sequence[Notation],
    dataset: ImageDataset,
    config: TrainConfig | None = None,
    *,
    references: int | Sequence[Notation] | None = None,
    seeds: int = 1,
    surface: LandscapeConfig | None = None,
    run_dir: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Analysis:
    """Train architectures and references under the same settings, and look at their wiring and surroundings.

    Where references are counted, the first has the operations of the first architecture wired otherwise, if the space
    has cells and there is one; the others are random live architectures, drawn with the seed of `config`.

    Args:
        space: any search space; one without cells leaves out the topology.
        architectures: what to analyse, as `SearchSpace.parse` reads it: one, or a list of several.
        dataset: what to train on; a part is held out.
        config: None takes the defaults.
        references: what to compare with: how many, or a list of chosen ones. None takes two for a single architecture,
            and none for several, which are compared with each other.
        seeds: how many times each network is trained, with the seed of `config` and those after it.
        surface: None takes the defaults, with the seed and the device of `config`; each seed has directions of its own.
        run_dir: trainings and surfaces are kept there; the same call goes on from there.
        progress: show progress on stderr.

    Raises:
        ArchitectureError: one is none of the space, or given twice.
        ConfigError: an option is out of range, there are more than `MOST` networks, or a loss is not finite.
        DatasetError: see `prepare`.
        CheckpointError: a file in `run_dir` is damaged.
    """
    config = config or TrainConfig()
    surface = surface or LandscapeConfig(seed=config.seed, device=config.device)
    integer("seeds", seeds, 1)
    asked = _listed(space, architectures)
    if not asked:
        raise ConfigError("analyze needs an architecture, got an empty list")
    if references is None:
        references = 2 if len(asked) == 1 else 0
    chosen = _networks(space, asked, references, config.seed)
    data = prepare(dataset, config)
    runs: dict[str, list[Run]] = {name: [] for name in chosen}
    for seed in range(seeds):
        own = replace(config, seed=config.seed + seed)
        around, when = replace(surface, seed=surface.seed + seed), f", seed {own.seed}" if seeds > 1 else ""
        trained = train_many(space, list(chosen.values()), data, own, run_dir, progress=progress)
        with stages(progress) as report:
            for name, result in zip(chosen, trained, strict=True):
                found = _landscape(result, data, around, _told(report, f"surface of {name}{when}"))
                runs[name].append(Run(result, found))
    networks = [
        Studied(name, first.trained, _place(space, chosen[name]), first.landscape, tuple(others))
        for name, [first, *others] in runs.items()
    ]
    return Analysis(space.name, dataset.name, config, surface, tuple(networks), len(asked))


def _place(space: SearchSpace, architecture: Architecture) -> Topology | None:
    return describe(space, architecture) if has_cells(space) else None


def _listed(space: SearchSpace, given: Notation | Sequence[Notation]) -> list[Notation]:
    """Several architectures; some notations of a single one are lists too."""
    if isinstance(given, (list, tuple)):
        try:
            space.parse(given)
        except ArchitectureError:
            return list(given)
    return [given]


def _networks(
    space: SearchSpace, asked: Sequence[Notation], references: int | Sequence[Notation], seed: int
) -> dict[str, Architecture]:
    """What was asked for and what it is compared with, by name; no two compute the same."""
    count = 0
    if isinstance(references, int):
        integer("references", references, 0)
        count, references = references, ()
    elif isinstance(references, (list, tuple)):
        references = _listed(space, references)
    else:
        raise ConfigError(f"references is a number or a list of architectures, got {said(references)}")
    if (number := len(asked) + len(references) + count) > MOST:
        raise ConfigError(
            f"references and what is compared with them must be {MOST} networks or fewer, so that figures stay "
            f"readable, got {number}"
        )
    names = [SUBJECT] if len(asked) == 1 else [f"network {i}" for i in range(1, len(asked) + 1)]
    names += [f"reference {i}" for i in range(1, len(references) + 1)]
    found = {name: space.parse(given) for name, given in zip(names, [*asked, *references], strict=True)}
    known: dict[str, str] = {}
    for name, architecture in found.items():
        other = known.setdefault(space.canonical(architecture), name)
        if other != name:
            raise ArchitectureError(f"{name} computes the same as {other}; give each network once")
    wired = counterpart(space, found[names[0]]) if count and has_cells(space) else None
    if wired is not None and known.setdefault(space.canonical(wired), COUNTERPART) == COUNTERPART:
        found[COUNTERPART] = wired
    rng = random.Random(seed)
    while len(found) < number:
        drawn = space.sample(rng)
        if not space.is_dead(drawn) and space.canonical(drawn) not in known:
            found[f"random {sum(name.startswith('random') for name in found) + 1}"] = drawn
            known[space.canonical(drawn)] = "random"
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
        lambda path: Landscape.from_dict(mapping_of(anything)(read_json(path), "")),
        compute,
        lambda found: json.dumps(found.to_dict(), indent=1).encode(),
        advice="remove it to compute it again",
    )


def _told(report: Progress, stage: str) -> Callable[[int, int], None]:
    return lambda done, total: report(stage, done, total, "")
