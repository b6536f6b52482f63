"""Contenders of a round at once, each on a device of its own, by Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from metad2a_plugin.contest.config import AutoConfig
from metad2a_plugin.contest.contenders import Contender
from metad2a_plugin.contest.images import Images
from metad2a_plugin.contest.training import train_contender
from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.training.fit import Epoch
from metad2a_plugin.utils.cluster import Pool, pool
from metad2a_plugin.utils.torch_device import one_thread, usable


@dataclass(frozen=True)
class Job:
    """A training.

    Attributes:
        contender: what trains.
        epochs: how long.
        folder: where; all machines of the cluster see it.
        begin: the file of the network that it goes on from, if any.
        seconds: that are left, where the training is made longer or shorter by them.
    """

    contender: Contender
    epochs: int
    folder: Path
    begin: Path | None
    seconds: float | None


class _Trainer:
    """What Ray makes on each device."""

    def __init__(self, dataset: ImageDataset, config: AutoConfig, folder: Path, sides: Mapping[str, int]) -> None:
        self.images = Images(dataset, config, folder)
        self.images.sides = dict(sides)

    def train(self, job: Job, most: int) -> list[Epoch] | str:
        """The history, or why there is none."""
        began, seconds = time.monotonic(), job.seconds
        left = None if seconds is None else lambda: seconds - (time.monotonic() - began)
        device = usable(self.images.config.device)
        try:
            with one_thread():
                return train_contender(
                    job.contender, self.images, job.epochs, device, job.folder, job.begin, left, most
                )
        except ConfigError as error:
            return str(error)


@contextmanager
def trainers(address: str, images: Images, most: int) -> Iterator[Pool]:
    """A `pool` whose workers train jobs, see `train_jobs`.

    Raises:
        ConfigError: there is no such cluster, or it failed.
    """
    assert images.folder is not None  # features are read from there
    given = images.dataset, images.config, images.folder.resolve(), images.sides
    with pool(address, _Trainer, given, most=most) as workers:
        yield workers


def train_jobs(
    workers: Pool, jobs: Sequence[Job], most: int, waiting: Callable[[int], None]
) -> Iterator[tuple[Job, list[Epoch] | str]]:
    """Each with its history, or why there is none, as they end.

    Args:
        workers: of `trainers`.
        jobs: the trainings.
        most: epochs of one, at the most.
        waiting: called every second with the number of those that ended.
    """
    return workers.run(jobs, lambda worker, job: worker.train.remote(job, most), waiting)
