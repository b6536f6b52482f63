"""Contenders of a round at once, each on a device of its own, by Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metad2a_plugin.contest.config import AutoConfig
from metad2a_plugin.contest.contenders import Contender
from metad2a_plugin.contest.images import Images
from metad2a_plugin.contest.training import train_contender
from metad2a_plugin.data.dataset import ImageDataset
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.training.fit import Epoch
from metad2a_plugin.utils.cluster import cluster
from metad2a_plugin.utils.torch_device import one_thread, usable

_POLL = 1.0  # seconds


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


class Trainers:
    """Trainings at once; made by `trainers`.

    Attributes:
        count: how many.
    """

    def __init__(self, ray: Any, actors: Sequence[Any]) -> None:
        self._ray, self._actors, self.count = ray, actors, len(actors)

    def train(
        self, jobs: Sequence[Job], most: int, waiting: Callable[[int], None]
    ) -> Iterator[tuple[Job, list[Epoch] | str]]:
        """Each with its history, or why there is none, as they end.

        Args:
            jobs: the trainings.
            most: epochs of one, at the most.
            waiting: called every second with the number of those that ended.
        """
        left, free, done = list(reversed(jobs)), list(self._actors), 0
        running: dict[Any, tuple[Job, Any]] = {}
        while left or running:
            while left and free:
                job, actor = left.pop(), free.pop()
                running[actor.train.remote(job, most)] = job, actor
            for ended in self._ray.wait(list(running), timeout=_POLL)[0]:
                job, actor = running.pop(ended)
                free.append(actor)
                done += 1
                yield job, self._ray.get(ended)
            waiting(done)


@contextmanager
def trainers(address: str, images: Images, most: int) -> Iterator[Trainers]:
    """One on each GPU of a Ray cluster that is free, or on each CPU where it has no GPUs; at most so many.

    Raises:
        ConfigError: there is no such cluster, or it failed.
    """
    with cluster(address) as ray:
        free = ray.available_resources()
        needs: dict[str, Any] = {"num_gpus": 1, "num_cpus": 0} if free.get("GPU", 0) >= 1 else {"num_cpus": 1}
        count = int(free.get("GPU", 0)) or int(free.get("CPU", 1))
        actor = ray.remote(**needs)(_Trainer)
        assert images.folder is not None  # features are read from there
        given = images.dataset, images.config, images.folder.resolve(), images.sides
        yield Trainers(ray, [actor.remote(*given) for _ in range(max(1, min(count, most)))])
