"""The pool of workers, on a stand-in for Ray that loses workers when it is told to."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.utils.cluster import Pool


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Ray:
    """References are numbers; what they stand for is done when it is asked for."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self) -> None:
        self.work: dict[int, Callable[[], Any]] = {}
        self.alive = 0

    def submit(self, work: Callable[[], Any]) -> int:
        self.work[len(self.work)] = work
        return len(self.work) - 1

    def wait(self, references: list[int], timeout: float) -> tuple[list[int], list[int]]:
        return references[:1], references[1:]

    def get(self, reference: int) -> Any:
        return self.work[reference]()


class Worker:
    made = 0

    def __init__(self, ray: Ray, does: Callable[[int, int], int], starts: bool = True) -> None:
        Worker.made += 1
        self.number, self.ray, self.does = Worker.made, ray, does
        self.lost = not starts
        self.__ray_ready__ = SimpleNamespace(remote=lambda: ray.submit(self._ready))

    def _ready(self) -> None:
        if self.lost:
            raise RayError("no room")

    def do(self, job: int) -> int:
        def work() -> int:
            assert not self.lost, "a lost worker was given work"
            try:
                return self.does(self.number, job)
            except RayError as error:
                self.lost = not isinstance(error, RayTaskError)
                raise

        return self.ray.submit(work)


def ran(does: Callable[[int, int], int], jobs: Any, count: int = 2, starts: bool = True) -> list[tuple[int, int]]:
    ray, Worker.made = Ray(), 0
    workers = Pool(ray, lambda: Worker(ray, does, starts), count)
    return list(workers.run(jobs, lambda worker, job: worker.do(job)))


def test_each_job_has_its_result() -> None:
    assert sorted(ran(lambda worker, job: 10 * job, range(5))) == [(job, 10 * job) for job in range(5)]
    assert ran(lambda worker, job: job, []) == []


def test_jobs_are_taken_when_a_worker_is_free() -> None:
    taken: list[int] = []

    def jobs() -> Any:
        for job in range(6):
            taken.append(job)
            yield job

    ray, Worker.made = Ray(), 0
    workers = Pool(ray, lambda: Worker(ray, lambda worker, job: job), 2)
    next(workers.run(jobs(), lambda worker, job: worker.do(job)))
    assert len(taken) <= 3


def test_what_a_lost_worker_did_is_done_by_another() -> None:
    def does(worker: int, job: int) -> int:
        if worker == 1 and job > 0:
            raise RayError("the node died")
        return job

    assert sorted(ran(does, range(6))) == [(job, job) for job in range(6)]
    assert Worker.made == 3


def test_a_job_that_loses_every_worker_is_given_up() -> None:
    def does(worker: int, job: int) -> int:
        if job == 1:
            raise RayError("out of memory")
        return job

    with pytest.raises(ConfigError, match=r"4 workers were lost over one piece of work.*out of memory"):
        ran(does, range(4))


def test_workers_that_never_start_are_given_up() -> None:
    with pytest.raises(ConfigError, match=r"4 workers were lost at their start.*no room"):
        ran(lambda worker, job: job, range(3), starts=False)


def test_an_error_of_a_job_is_raised_as_it_was() -> None:
    def does(worker: int, job: int) -> int:
        raise RayTaskError(ConfigError("the loss became nan"))

    with pytest.raises(ConfigError, match=r"^the loss became nan$"):
        ran(does, range(3))
