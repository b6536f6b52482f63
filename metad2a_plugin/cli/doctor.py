"""What of this package and of its hosts works on this machine, each tried and not guessed, and how to mend the rest.

Every try runs in a process of its own, since a broken host can hang, crash or print while it is imported.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

from metad2a_plugin.adapters._doctor import HOSTS, Answer, Host, read_data
from metad2a_plugin.errors import MetaD2AError
from metad2a_plugin.utils.files import data_folder
from metad2a_plugin.utils.installed import version, version_of

WORKS, ABSENT, PROBLEM = "works", "absent", "problem"
_ANSWER = "metad2a doctor: "
_THREADS = 2


@dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    Args:
        name: of the thing.
        state: ``works``; ``absent``, which is no fault of something optional; or ``problem``.
        found: its version, or where it lies.
        notes: what to know or to do about it, a sentence each.
    """

    name: str
    state: str
    found: str
    notes: tuple[str, ...] = ()


def diagnose(timeout: float = 60.0) -> list[Finding]:
    """Try everything; takes seconds for each host that is installed.

    Args:
        timeout: seconds after which a try is given up.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        checks = (_torch, _models, _data, *(partial(check_host, host) for host in HOSTS))
        return [_python(), *pool.map(lambda check: check(timeout=timeout), checks)]


def _python() -> Finding:
    here = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if (3, 10) <= sys.version_info[:2] <= (3, 13):
        return Finding("Python", WORKS, here)
    return Finding("Python", PROBLEM, here, ("this package is made for Python 3.10 to 3.13",))


# -- a try in a process of its own ---------------------------------------------------------------
def _tried(name: str, function: Callable[[], Answer], timeout: float, installed: str) -> Finding:
    """What a function of a module says in a fresh process; `installed` is known without it."""
    # The same packages as here, whatever folder this runs in.
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; from metad2a_plugin.cli import doctor; "
        f"from metad2a_plugin.utils.processes import end_with; end_with({os.getpid()}); "
        f"from {function.__module__} import {function.__name__} as function; doctor.answer(function)"
    )
    # Files and no pipes: a process that the host has left behind would keep those open.
    # A home of its own, where hosts keep lists, logs and what they compile: nothing is left behind.
    with (
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home,
    ):
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
            env=os.environ | dict.fromkeys(("HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP"), home),
        )
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            return Finding(name, PROBLEM, installed, (f"no answer within {timeout:g} seconds",))
        finally:
            _end(process)
        output.seek(0)
        errors.seek(0)
        lines = output.read().decode(errors="replace").splitlines()
        said = errors.read().decode(errors="replace").split("\n")
    for line in reversed(lines):
        if line.startswith(_ANSWER):
            found, notes = json.loads(line.removeprefix(_ANSWER))
            return Finding(name, PROBLEM if found is None else WORKS, found or installed, tuple(notes))
    ended = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
    last = next((line.strip() for line in reversed(said) if line.strip()), "without a word")
    return Finding(name, PROBLEM, installed, (f"the process ended with {ended}: {last}",))


def _end(process: subprocess.Popen[bytes]) -> None:
    """And all that it has started."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):  # all have ended
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def answer(function: Callable[[], Answer]) -> None:
    """Print what a function found as one line; runs in the process of `_tried`."""
    output = os.dup(1)  # whatever a host does to the streams
    found: str | None
    try:
        found, notes = function()
    except BaseException as error:  # noqa: BLE001 - a host's import can raise anything
        text = str(error).strip().splitlines()
        reason = text[0] if text else "without a word"
        found, notes = None, [reason if isinstance(error, MetaD2AError) else f"{type(error).__name__}: {reason}"]
    os.write(output, f"\n{_ANSWER}{json.dumps([found, list(notes)])}\n".encode())
    os._exit(0)  # whatever threads and hooks it has left


# -- this package --------------------------------------------------------------------------------
def _torch(timeout: float) -> Finding:
    return _tried("torch", _try_torch, timeout, f"{version_of('torch')}, numpy {version_of('numpy')}")


def _try_torch() -> Answer:
    import torch

    torch.from_numpy(torch.ones(2, 2).numpy()) @ torch.ones(2, 2)
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return f"{torch.__version__}, numpy {version_of('numpy')}, {', '.join(gpus) or 'no GPU, none is needed'}", []


def _models(timeout: float) -> Finding:
    return _tried("metad2a-plugin", _try_models, timeout, version())


def _try_models() -> Answer:
    from metad2a_plugin.data.encoders import get_encoder
    from metad2a_plugin.models.checkpoint import shipped
    from metad2a_plugin.plugins.registry import available, get_device_models
    from metad2a_plugin.predictors.imagenet import ImageNetModel
    from metad2a_plugin.search.metad2a import MetaD2A

    for name in shipped():
        MetaD2A.from_pretrained(name)
    get_encoder("default")
    for kind in (*map(get_device_models, available("devices")), ImageNetModel):
        kind.load()
    parts = f"the models {', '.join(shipped())}, image encoder, latencies and ImageNet accuracies"
    return f"{version()} with {parts}", []


def _data(timeout: float) -> Finding:
    folder, chosen = data_folder(), "METAD2A_DATA" in os.environ
    if folder.is_dir():
        return _tried("data", read_data, timeout, str(folder.resolve()))
    note = "only meta-training and the benchmarks need it; METAD2A_DATA names its folder"
    return Finding("data", PROBLEM if chosen else ABSENT, f"no folder {str(folder)!r}" if chosen else "none", (note,))


# -- hosts ---------------------------------------------------------------------------------------
def check_host(host: Host, timeout: float) -> Finding:
    """Try a host, where it is installed."""
    if find_spec(host.module) is None:
        place = "not on the path" if host.distribution is None else "not installed"
        return Finding(host.name, ABSENT, place, (host.remedy,))
    return _tried(host.name, host.attempt, timeout, host.found)
