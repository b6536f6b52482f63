"""Who measures the rows of a meta-database: this process, several, or a Ray cluster."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from itertools import islice
from multiprocessing import get_context, resource_tracker
from pathlib import Path
from typing import Protocol

from metad2a_plugin.errors import ConfigError, require
from metad2a_plugin.meta.rows import append, written
from metad2a_plugin.utils.checks import integer
from metad2a_plugin.utils.cluster import pool
from metad2a_plugin.utils.processes import end_with
from metad2a_plugin.utils.progress import Progress


class Worker(Protocol):
    """Measures rows, each from its number alone."""

    def measure(self, number: int) -> list[str]:
        """A row of the file."""


class Assignment(Protocol):
    """What a process needs to measure rows; it is sent to others."""

    def worker(self) -> Worker:
        """Ready to measure, in the process that calls it."""


def check_workers(workers: int, ray: str | None) -> None:
    """Refuse what cannot measure.

    Raises:
        ConfigError: no number of processes, or a cluster besides.
        MissingExtraError: Ray is not installed.
    """
    integer("workers", workers, 1)
    if ray is not None:
        require("ray", "measuring on a cluster", "ray")
        if workers > 1:
            raise ConfigError("a Ray cluster has its own workers; leave out workers, or ray")


def append_rows(
    assignment: Assignment,
    path: Path,
    numbers: Sequence[int],
    done: Collection[int],
    *,
    workers: int = 1,
    ray: str | None = None,
    progress: Progress = lambda stage, done, total, note: None,
) -> None:
    """Measure the rows that are not there, and append each to the file as it comes.

    Args:
        assignment: makes the workers.
        path: of the file.
        numbers: of its rows.
        done: numbers that are there.
        workers: processes that measure.
        ray: address of a Ray cluster that measures instead.
        progress: see `Progress`.

    Raises:
        ConfigError: a row cannot be written, or a worker died.
    """
    left = [number for number in numbers if number not in done]
    progress("rows", len(numbers) - len(left), len(numbers), "")
    if not left:
        return
    if ray is not None:
        measured = rows_of_ray(assignment, left, ray)
    elif workers > 1:
        measured = rows_of_processes(assignment, left, workers)
    else:
        measured = rows_here(assignment, left)
    begin = time.perf_counter()
    with closing(measured), written(path), path.open("ab", buffering=0) as file:
        for count, row in enumerate(measured, 1):
            append(file, row)
            each = (time.perf_counter() - begin) / count
            progress("rows", len(numbers) - len(left) + count, len(numbers), f"{each:.2f} s a row")


Rows = Generator[list[str], None, None]


def rows_here(assignment: Assignment, numbers: Sequence[int]) -> Rows:
    """Rows measured by this process."""
    worker = assignment.worker()
    for number in numbers:
        yield worker.measure(number)


def rows_of_processes(assignment: Assignment, numbers: Sequence[int], workers: int) -> Rows:
    """Rows measured by several processes, as they come."""
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start, (assignment, os.getpid()))
    left = iter(numbers)
    try:
        with unheard_interrupts():
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
def unheard_interrupts() -> Iterator[None]:
    """Processes started meanwhile never hear Ctrl-C: this one does, by the end of the block, and ends them in order."""
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    # It would unblock the signal where it starts.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_worker: Worker


def _start(assignment: Assignment, parent: int) -> None:
    global _worker  # noqa: PLW0603 - what the process is for
    end_with(parent)
    _worker = assignment.worker()


def _measure_here(number: int) -> list[str]:
    return _worker.measure(number)


class _Measuring:
    """A worker as Ray wants it, a class that is made where it runs."""

    def __init__(self, assignment: Assignment) -> None:
        self._worker = assignment.worker()

    def measure(self, number: int) -> list[str]:
        return self._worker.measure(number)


def rows_of_ray(assignment: Assignment, numbers: Sequence[int], address: str) -> Rows:
    """Rows measured by a worker on each CPU of a cluster that is free, as they come."""
    with pool(address, _Measuring, [assignment], gpus=False) as workers:
        for _, row in workers.run(numbers, lambda worker, number: worker.measure.remote(number)):
            yield row
