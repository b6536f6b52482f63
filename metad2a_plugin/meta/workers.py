"""Who measures the rows of a meta-database: this process, several, or a Ray cluster."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from multiprocessing import get_context

import numpy as np
import torch

from metad2a_plugin.data import DatasetWarning, ImageDataset, load_dataset
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.meta.config import PlanConfig
from metad2a_plugin.meta.plan import Plan
from metad2a_plugin.meta.supernet import LabelledImages, accuracy
from metad2a_plugin.spaces.mobilenetv3.supernet import load_supernet

_CACHE = 2**30  # bytes of decoded images that a process keeps


@dataclass(frozen=True)
class Assignment:
    """What a process needs to measure rows.

    Attributes:
        images: path of the images.
        supernet: path of the weights.
        config: settings.
        input_size: side of the images, in pixels.
        own: the supernet's outputs are the usable classes, and not all classes of the images.
        device: where networks run.
    """

    images: str
    supernet: str
    config: PlanConfig
    input_size: int
    own: bool
    device: str


class Worker:
    """Measures rows; one thread, so that the same row always gives the same number."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        size = assignment.input_size if assignment.own else None
        self.plan = Plan(readable(assignment.images, size), assignment.config)
        self.supernet = load_supernet(assignment.supernet).to(assignment.device)
        channels = 3 * assignment.input_size**2 * (assignment.config.test_images + assignment.config.calibration_images)
        self._class = lru_cache(maxsize=max(assignment.config.classes, _CACHE // channels))(self._decode)

    def measure(self, number: int) -> list[str]:
        """A row of the file, by its number."""
        with one_thread():
            row = self.plan.row(number)
            classes = self.plan.task_classes[row.task]
            outputs = np.searchsorted(self.plan.usable, classes) if self.assignment.own else classes
            network = self.supernet.extract(row.architecture, torch.from_numpy(outputs).to(self.assignment.device))
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            calibration, tested = zip(*(self._class(int(label)) for label in classes), strict=True)
            labels = torch.arange(len(classes)).repeat_interleave(self.assignment.config.test_images)
            percent = accuracy(
                network,
                torch.cat(calibration).to(self.assignment.device),
                LabelledImages(torch.cat(tested).to(self.assignment.device), labels.to(self.assignment.device)),
            )
        text = self.supernet.space.format(row.architecture)
        split = "valid" if self.plan.is_valid(row.task) else "train"
        return [str(number), str(row.task), text, f"{percent:.4f}", split]

    def _decode(self, label: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images of a class to calibrate on and to test on, uint8 ``[n, 3, size, size]`` each."""
        train, test = self.plan.parts[label]
        chosen = np.concatenate([train[: self.assignment.config.calibration_images], test])
        decoded = self.plan.images.images(chosen, self.assignment.input_size)
        first, second = decoded.split([self.assignment.config.calibration_images, len(test)])
        return first, second


def readable(path: str, size: int | None) -> ImageDataset:
    """With `size`, the images that can be decoded."""
    with without_warnings():
        images = load_dataset(path)
    return images if size is None else images.verified(size)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Classes of few images are left out on purpose."""
    with warnings.catch_warnings():
        for message in (".* have a single image", ".* has a single image", ".* have no usable image"):
            warnings.filterwarnings("ignore", message, DatasetWarning)
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread, so that the same row always gives the same number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


Rows = Generator[list[str], None, None]


def rows_here(assignment: Assignment, numbers: Sequence[int]) -> Rows:
    """Rows measured by this process."""
    worker = Worker(assignment)
    for number in numbers:
        yield worker.measure(number)


def rows_of_processes(assignment: Assignment, numbers: Sequence[int], workers: int) -> Rows:
    """Rows measured by several processes, as they come."""
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start, (assignment, os.getpid()))
    left = iter(numbers)
    try:
        with _unheard_interrupts():
            pending: set[Future[list[str]]] = {pool.submit(_measure_here, n) for n in islice(left, 2 * workers)}
        while pending:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            pending |= {pool.submit(_measure_here, n) for n in islice(left, len(finished))}
            for future in finished:
                yield future.result()
    except BrokenProcessPool as error:
        raise ConfigError(
            "a worker process died, killed or out of memory; run the same command again, perhaps with fewer workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _unheard_interrupts() -> Iterator[None]:
    """Processes started meanwhile do not hear Ctrl-C: this one does, and ends them in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


_worker: Worker


def _start(assignment: Assignment, parent: int) -> None:
    global _worker  # noqa: PLW0603 - what the process is for
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    _worker = Worker(assignment)


def _die_with(parent: int) -> None:
    """Workers of a process that was killed would wait for ever."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _measure_here(number: int) -> list[str]:
    return _worker.measure(number)


def rows_of_ray(assignment: Assignment, numbers: Sequence[int], address: str) -> Rows:
    """One actor for each CPU of the cluster that is free."""
    import ray
    from ray.util import ActorPool

    started = not ray.is_initialized()
    try:
        if started:
            ray.init(address=address, log_to_driver=False)
        actor = ray.remote(num_cpus=1)(Worker)
        actors = [actor.remote(assignment) for _ in range(max(1, int(ray.available_resources().get("CPU", 1))))]
        yield from ActorPool(actors).map_unordered(lambda a, number: a.measure.remote(number), numbers)
    except (ConnectionError, ray.exceptions.RayError) as error:
        raise ConfigError(f"Ray at {address!r}: {str(error).strip().splitlines()[-1]}") from error
    finally:
        if started:
            ray.shutdown()
