"""What the manager of NNI's training service knows of a running experiment, a `NasExperiment`."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_log = logging.getLogger(__name__)
_ENDED = ("SUCCEEDED", "FAILED", "USER_CANCELED", "SYS_CANCELED", "EARLY_STOPPED")


@contextmanager
def manager_needed(strategy: object) -> Iterator[None]:
    """Say what it means when the manager cannot be reached."""
    from requests import ConnectionError as NoConnection
    from websockets import ConnectionClosed

    try:
        yield
    except (NoConnection, ConnectionClosed):
        raise RuntimeError(
            f"NNI's manager does not answer any more, so {strategy} cannot go on. The metrics it has got are kept: "
            "make the experiment again with the same id and call its resume()"
        ) from None  # the chain is three screens of sockets


def in_training(manager: Any) -> bool | None:
    """Whether jobs are in training; None where there are none now, but may be soon."""
    if manager.get_status() in ("DONE", "STOPPED", "ERROR"):
        return False
    return any(found["trialJobStatus"] not in _ENDED for found in manager.get_job_statistics()) or None


@dataclass(frozen=True)
class Job:
    """A trial job in the manager's database.

    Attributes:
        id: of the job.
        sample: what it was made for, not always what it ran.
        again: the manager of a resumed experiment trains it once more, since it had not ended.
        failed: it ended without a metric.
    """

    id: str
    sample: dict[str, Any]
    again: bool
    failed: bool


def jobs(manager: Any, metrics: Mapping[int, Any]) -> dict[int, Job]:
    """The newest job of each parameter id, given `final_metrics`."""
    reported = {metric.trialJobId for metric in metrics.values()}
    found = {}
    for job in manager.list_trial_jobs():
        if len(job.hyperParameters) == 1:
            [parameters] = job.hyperParameters
            again = job.status not in _ENDED
            # As the manager keeps it, a dictionary: loading it would make every evaluator anew.
            found[parameters.parameter_id] = Job(
                job.trialJobId, parameters.parameters["sample"], again, not again and job.trialJobId not in reported
            )
    return found


def kill(manager: Any, repeated: Collection[Job], patience: float = 60) -> None:
    """Kill jobs that a resumed experiment repeats, before they have trained."""
    from requests import HTTPError

    left, deadline = {job.id for job in repeated}, time.monotonic() + patience
    while left and time.monotonic() < deadline:
        # The manager interrupts and waits five seconds, and an interrupt can be ignored: too long for short trials.
        left -= _killed(left)
        for job in list(manager.list_trial_jobs()) if left else ():
            if job.trialJobId in left and job.status in _ENDED:
                left.remove(job.trialJobId)
            elif job.trialJobId in left and job.status == "RUNNING":
                try:
                    manager.kill_trial_job(job.trialJobId)
                    left.remove(job.trialJobId)
                except HTTPError:
                    pass  # not started yet: the training service does not know it
        time.sleep(0.1)
    if left:
        _log.warning("could not kill the trials %s, which train again what has a metric", ", ".join(sorted(left)))


def _killed(jobs: Collection[str]) -> set[str]:
    """Those of the jobs whose process was found on this machine, and killed."""
    import psutil

    found = set()
    for process in psutil.process_iter():
        try:
            job = process.environ().get("NNI_TRIAL_JOB_ID")
            if job in jobs:
                process.kill()
                found.add(job)
        except psutil.Error:
            continue  # of another user, or gone
    return found


def final_metrics(manager: Any) -> dict[int, Any]:
    """The first final metric of each parameter id, with its ``data`` and ``trialJobId``.

    Trials take the next parameter in the queue, not that of the job they were started for: in the database only the
    parameter id that a metric carries tells what it was measured on.
    """
    found: dict[int, Any] = {}
    for metrics in manager.get_job_metrics().values():
        for metric in metrics:
            if metric.type == "FINAL":
                found.setdefault(int(metric.parameterId), metric)
    return found
