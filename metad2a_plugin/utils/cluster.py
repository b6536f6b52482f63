"""Ray: a cluster to work on, and the pool of workers that all who use it share."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from metad2a_plugin.errors import ConfigError, MetaD2AError

Job = TypeVar("Job")
_POLL = 1.0  # seconds
_TRIES = 4
"""Workers lost over one job at which it is given up: a machine may be taken away, but the job may also be at fault."""
_START = -1
"""In place of a job's number, of a worker that starts."""


@contextmanager
def cluster(address: str) -> Iterator[Any]:
    """The module ``ray``, connected; the connection ends with the block, unless it was there before.

    Args:
        address: of the cluster; ``"local"`` starts one on this machine alone.

    Raises:
        ConfigError: there is none, or it failed.
    """
    import ray

    started = not ray.is_initialized()
    try:
        if started:
            ray.init(address=address, log_to_driver=False)
        yield ray
    except (ConnectionError, ray.exceptions.RayError) as error:
        raise ConfigError(f"Ray at {address!r}: {str(error).strip().splitlines()[-1]}") from error
    finally:
        if started:
            ray.shutdown()


class Pool:
    """Workers of one class; made by `pool`.

    Attributes:
        count: how many there are, as long as none is lost.
    """

    def __init__(self, ray: Any, make: Callable[[], Any], count: int) -> None:
        self._ray, self._make, self.count = ray, make, count
        self._starting: dict[Any, Any] = {}
        self._free: list[Any] = []
        for _ in range(count):
            self._start()

    def _start(self) -> None:
        worker = self._make()
        self._starting[worker.__ray_ready__.remote()] = worker

    def run(
        self,
        jobs: Iterable[Job],
        send: Callable[[Any, Job], Any],
        waiting: Callable[[int], None] = lambda done: None,
    ) -> Iterator[tuple[Job, Any]]:
        """Each job with its result, as they end.

        Where a worker is lost, with its process or its whole machine, another one does the job; a new worker takes its
        place as soon as the cluster has room for it.

        Args:
            jobs: taken from there when a worker is free.
            send: calls a method of a worker, such as ``lambda worker, job: worker.train.remote(job)``.
            waiting: called every second with the number of jobs that ended.

        Raises:
            ConfigError: workers were lost again and again, over one job or before they could begin.
        """
        ahead, again, over = enumerate(jobs), deque[tuple[int, Job]](), False
        running: dict[Any, tuple[int, Job, Any]] = {}
        lost, done = Counter[int](), 0
        while not over or running or again:
            while self._free and not (over and not again):
                chosen = again.popleft() if again else next(ahead, None)
                if chosen is None:
                    over = True
                else:
                    worker = self._free.pop()
                    running[send(worker, chosen[1])] = (*chosen, worker)
            if not (running or again) and over:
                return
            for ended in self._ray.wait([*running, *self._starting], timeout=_POLL)[0]:
                given = running.pop(ended, None)
                worker = given[2] if given else self._starting.pop(ended)
                number = given[0] if given else _START
                try:
                    result = self._result(ended)
                except _LostError as error:
                    lost[number] += 1
                    if lost[number] == _TRIES:
                        when = "over one piece of work" if given else "at their start"
                        raise ConfigError(
                            f"{_TRIES} workers were lost {when}, killed or out of memory ({error}); run the same "
                            "command again, perhaps on machines with more memory"
                        ) from error
                    if given:
                        again.append(given[:2])
                    self._start()
                    continue
                self._free.append(worker)
                if given:
                    done += 1
                    yield given[1], result
                else:
                    lost.pop(_START, None)
            waiting(done)

    def _result(self, ended: Any) -> Any:
        """What a worker has answered, or raised."""
        exceptions = self._ray.exceptions
        try:
            return self._ray.get(ended)
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, MetaD2AError):
                raise error.cause from None
            raise
        except exceptions.RayError as error:
            raise _LostError(str(error).strip().splitlines()[-1]) from error


class _LostError(Exception):
    """A worker, with what it did."""


@contextmanager
def pool(
    address: str, kind: type, given: Sequence[Any], *, most: int | None = None, gpus: bool = True
) -> Iterator[Pool]:
    """Workers on a cluster: one on each GPU that is free, or on each CPU where there are no GPUs.

    Args:
        address: see `cluster`.
        kind: of the workers, a class.
        given: arguments that each is made with; sent once to each machine.
        most: workers, at most.
        gpus: whether they use GPUs.

    Raises:
        ConfigError: there is no such cluster, or it failed.
    """
    with cluster(address) as ray:
        free = ray.available_resources()
        on_gpus = gpus and free.get("GPU", 0) >= 1
        needs = {"num_gpus": 1, "num_cpus": 0} if on_gpus else {"num_cpus": 1}
        count = max(1, int(free.get("GPU" if on_gpus else "CPU", 1)))
        worker, shared = ray.remote(**needs)(kind), [ray.put(one) for one in given]
        yield Pool(ray, lambda: worker.remote(*shared), count if most is None else max(1, min(count, most)))
