"""What is in the way of starting an experiment of NNI: one of the same id, and what a killed process left running."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial, wraps
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from metad2a_plugin.errors import ConfigError, HostError
from metad2a_plugin.utils.files import UNREADABLE

_log = logging.getLogger(__name__)
STATE_FILE = "metad2a.json"
"""In the folder of an experiment's checkpoint: the state of its search, newer than NNI's own."""
_PATIENCE = 30
"""Seconds in which a killed process must be gone, and a manager must answer."""


def guard_experiments() -> None:
    """Have experiments look at what is there before they start, once for the whole process.

    A `NasExperiment` whose strategy is one of this package's (`guarded` is true), or has one in a chain, then refuses
    to overwrite another one of the same id, and stops what a killed process has left of it. A manager gets longer than
    NNI's three seconds to answer, which are too few on a busy machine.
    """
    from nni.experiment import launcher
    from nni.nas.experiment import NasExperiment

    start = NasExperiment.start
    if getattr(start, "guarded", False):
        return

    @wraps(start)
    def guarded_start(experiment: Any, *arguments: Any, **options: Any) -> Any:
        if experiment._action != "view" and _is_guarded(experiment.strategy):
            if experiment._action == "create":
                _refuse_existing(experiment)
            if experiment._nni_manager_required():
                folder = Path(experiment.config.canonical_copy().experiment_working_directory)
                stop_orphans(experiment.id, folder)
        return start(experiment, *arguments, **options)

    guarded_start.guarded = True  # type: ignore[attr-defined]
    NasExperiment.start = guarded_start
    launcher._check_rest_server = partial(launcher._check_rest_server, retry=_PATIENCE)


def _is_guarded(strategy: Any) -> bool:
    return bool(getattr(strategy, "guarded", False) or getattr(getattr(strategy, "_strategy", None), "guarded", False))


# -- experiments of the same id ------------------------------------------------------------------
def _refuse_existing(experiment: Any) -> None:
    folder: Path = experiment._checkpoint_directory
    if _has_trials(folder):
        raise ConfigError(
            f"there are trials of an experiment {experiment.id!r} in {str(folder.parent)!r}, which run() would lose: "
            "resume() goes on with it; give another id for a new one, or remove that folder"
        )


def _has_trials(folder: Path) -> bool:
    """Whether an experiment that keeps its checkpoint in the folder has submitted anything."""
    for file in (folder / STATE_FILE, folder / "state.ckpt.torch"):
        if not file.exists():
            continue
        try:
            state = json.loads(file.read_bytes()) if file.suffix == ".json" else torch.load(file, weights_only=True)
        except UNREADABLE:
            return True  # what cannot be read may be worth as much as what can
        if any(_trials(state)):
            return True
    return False


def _trials(state: Any) -> Iterator[Any]:
    """All trials of all searches in a state; middleware keeps those of the strategies in its own."""
    if isinstance(state, Mapping):
        yield from state.get("trials", ()) if isinstance(state.get("trials"), list) else ()
    inner = state.values() if isinstance(state, Mapping) else state if isinstance(state, (list, tuple)) else ()
    for value in inner:
        yield from _trials(value)


# -- processes -----------------------------------------------------------------------------------
def stop_orphans(experiment_id: str, folder: Path) -> None:
    """Stop the manager of an experiment, and its trials, that a killed process has left running.

    A manager is the experiment's if it is NNI's, of this user, and was given its id and folder; it is left over if what
    started it is gone. Its metrics are in its database; its open trials run again.

    Args:
        experiment_id: of the experiment.
        folder: of all experiments, in which it has one by its id.

    Raises:
        HostError: the experiment is running, or its manager cannot be stopped.
    """
    managers = list(_managers(experiment_id, folder))
    for manager, starter in managers:
        if starter is not None:
            raise HostError(
                f"the experiment {experiment_id!r} is running: its manager is process {manager.pid}, started by "
                f"process {starter}; stop that, or give another id"
            )
    found = [manager for manager, _ in managers]
    if found:
        _log.warning("the manager of %r was left over (process %d): stopped", experiment_id, found[0].pid)
    _kill(found)
    trials = _left_trials(folder / experiment_id)
    _kill(trials)
    found += trials
    end = time.monotonic() + _PATIENCE
    while (alive := [process for process in found if is_alive(process)]) and time.monotonic() < end:
        time.sleep(0.05)
    if alive:
        numbers = ", ".join(str(process.pid) for process in alive)
        raise HostError(f"processes of the experiment {experiment_id!r} cannot be stopped: {numbers}; kill them")


def _kill(processes: Iterable[Any]) -> None:
    import psutil

    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def is_alive(process: Any) -> bool:
    """Whether a process of `psutil` does anything; an ended one stays listed until its parent asks, if it ever does."""
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _managers(experiment_id: str, folder: Path) -> Iterator[tuple[Any, int | None]]:
    """NNI's managers of an experiment, each with the process that started it where that lives."""
    import psutil

    for process in psutil.process_iter():
        try:
            command = process.cmdline()
            options = dict(pairwise(command))
            if (
                any(Path(argument).parts[-2:] == ("nni_node", "main.js") for argument in command)
                and options.get("--experiment-id") == experiment_id
                and _same(options.get("--experiments-directory"), folder)
                and process.uids().real == os.getuid()
            ):
                yield process, _starter(process, options.get("--python-interpreter"))
        except psutil.Error:
            continue  # of another user, or gone


def _starter(manager: Any, interpreter: str | None) -> int | None:
    """The process that started a manager, if it lives: else another kind of process has become the parent."""
    import psutil

    try:
        parent = manager.parent()
        return parent.pid if parent is not None and _same(parent.exe(), Path(interpreter or "")) else None
    except psutil.Error:
        return None  # of another user


def _left_trials(folder: Path) -> list[Any]:
    """Processes of an experiment's trials, by the folder that NNI has told them."""
    import psutil

    found = []
    for process in psutil.process_iter():
        try:
            told = process.environ().get("NNI_SYS_DIR")
        except psutil.Error:
            continue
        if told and process.pid != os.getpid() and folder.resolve() in Path(told).resolve().parents:
            found.append(process)
    return found


def _same(path: str | None, other: Path) -> bool:
    return bool(path) and os.path.realpath(str(path)) == os.path.realpath(other)
