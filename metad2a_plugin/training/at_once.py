"""Several trainings at once, each on a device of its own, by Ray."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.spaces.base import Architecture, SearchSpace
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.images import TrainingData
from metad2a_plugin.training.result import TrainResult
from metad2a_plugin.training.run import train_architecture
from metad2a_plugin.utils.cluster import Pool, pool
from metad2a_plugin.utils.progress import Progress
from metad2a_plugin.utils.torch_device import one_thread


class _Trainer:
    """What Ray makes on each device."""

    def __init__(self, space: SearchSpace, data: TrainingData, config: TrainConfig, folder: Path | None) -> None:
        self.space, self.data, self.config, self.folder = space, data, config, folder

    def train(self, architecture: Architecture) -> TrainResult:
        with one_thread():
            return train_architecture(
                self.space, architecture, self.data, self.config, run_dir=self.folder, progress=False
            )


def train_each(
    workers: Pool, architectures: Sequence[Architecture], waiting: Callable[[int], None] = lambda done: None
) -> list[TrainResult]:
    """Results in the order given.

    Args:
        workers: of `trainers`.
        architectures: different ones.
        waiting: called every second with the number of those that ended.

    Raises:
        ConfigError: a loss is not finite, the folder cannot be seen from here, or the cluster failed.
    """
    found: dict[Architecture, TrainResult] = {}
    for one, result in workers.run(architectures, lambda worker, job: worker.train.remote(job), waiting):
        if result.run_dir is not None and not (result.run_dir / "result.json").exists():
            raise ConfigError(
                f"another machine of the cluster has trained into {str(result.run_dir)!r}, and it is not here: all "
                "must see the same folder, such as one of a network file system"
            )
        found[one] = result
    return [found[one] for one in architectures]


@contextmanager
def trainers(
    address: str,
    space: SearchSpace,
    data: TrainingData,
    config: TrainConfig,
    run_dir: str | os.PathLike[str] | None,
    most: int,
) -> Iterator[Pool]:
    """A `pool` for `train_each`; each of its workers trains as `train_architecture` does, on one thread of a CPU.

    Args:
        address: of the cluster.
        space: of what is trained.
        data: of `prepare`, with the same config; sent once to each machine.
        config: how each is trained.
        run_dir: see `train_architecture`; all machines see it.
        most: how many, at most.

    Raises:
        ConfigError: there is no such cluster, or it failed.
    """
    folder = None if run_dir is None else Path(run_dir).resolve()
    with pool(address, _Trainer, (space, data, config, folder), most=most) as workers:
        yield workers


def train_at_once(
    address: str,
    space: SearchSpace,
    architectures: Sequence[Architecture],
    data: TrainingData,
    config: TrainConfig,
    run_dir: str | os.PathLike[str] | None = None,
    *,
    progress: Progress = lambda stage, done, total, note: None,
) -> list[TrainResult]:
    """As `train_many`, on a Ray cluster; arguments and errors as in `trainers`."""
    different = list(dict.fromkeys(architectures))
    with trainers(address, space, data, config, run_dir, len(different)) as at_once:
        title = f"networks, {at_once.count} at once"
        found = train_each(at_once, different, lambda done: progress(title, done, len(different), ""))
    return [found[different.index(one)] for one in architectures]
