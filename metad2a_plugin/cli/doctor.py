"""What of this package and of its hosts works on this machine, each tried and not guessed, and how to mend the rest.

Every try runs in a process of its own, since a broken host can hang, crash or print while it is imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from metad2a_plugin.errors import HostError, MetaD2AError
from metad2a_plugin.utils.files import data_folder

WORKS, ABSENT, PROBLEM = "works", "absent", "problem"

_ANSWER = "metad2a doctor: "
_HOME = "METAD2A_DOCTOR_HOME"
"""Environment variable: a folder for what a try writes."""
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
        return [_python(), *pool.map(lambda check: check(timeout), _CHECKS)]


def _python() -> Finding:
    here = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if (3, 10) <= sys.version_info[:2] <= (3, 13):
        return Finding("Python", WORKS, here)
    return Finding("Python", PROBLEM, here, ("this package is made for Python 3.10 to 3.13",))


# -- a try in a process of its own ---------------------------------------------------------------
def attempt(question: str, timeout: float) -> tuple[str | None, list[str]]:
    """Let a fresh process answer one of `_QUESTIONS`.

    Returns:
        What it found and its notes; or None and the reason.
    """
    # The same packages as here, whatever folder this runs in.
    code = f"import sys; sys.path[:] = {sys.path!r}; from metad2a_plugin.cli import doctor; doctor.answer({question!r})"
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
            env=os.environ | dict.fromkeys((_HOME, "HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP"), home),
        )
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None, [f"no answer within {timeout:g} seconds"]
        finally:
            _end(process)
        output.seek(0)
        errors.seek(0)
        lines = output.read().decode(errors="replace").splitlines()
        said = errors.read().decode(errors="replace").split("\n")
    for line in reversed(lines):
        if line.startswith(_ANSWER):
            found, notes = json.loads(line.removeprefix(_ANSWER))
            return found, notes
    ended = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
    last = next((line.strip() for line in reversed(said) if line.strip()), "without a word")
    return None, [f"the process ended with {ended}: {last}"]


def _end(process: subprocess.Popen[bytes]) -> None:
    """And all that it has started."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):  # all have ended
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def answer(question: str) -> None:
    """Print the answer to a question as one line; runs in the process of `attempt`."""
    output = os.dup(1)  # whatever a host does to the streams
    found: str | None
    try:
        found, notes = _QUESTIONS[question]()
    except BaseException as error:  # noqa: BLE001 - a host's import can raise anything
        text = str(error).strip().splitlines()
        reason = text[0] if text else "without a word"
        found, notes = None, [reason if isinstance(error, MetaD2AError) else f"{type(error).__name__}: {reason}"]
    os.write(output, f"\n{_ANSWER}{json.dumps([found, list(notes)])}\n".encode())
    os._exit(0)  # whatever threads and hooks it has left


def _checked(name: str, question: str, timeout: float, installed: str) -> Finding:
    found, notes = attempt(question, timeout)
    if found is None:
        return Finding(name, PROBLEM, installed, tuple(notes))
    return Finding(name, WORKS, found, tuple(notes))


# -- this package --------------------------------------------------------------------------------
def _torch(timeout: float) -> Finding:
    return _checked("torch", "torch", timeout, f"{_version('torch')}, numpy {_version('numpy')}")


def _ask_torch() -> tuple[str, list[str]]:
    import torch

    torch.from_numpy(torch.ones(2, 2).numpy()) @ torch.ones(2, 2)
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return f"{torch.__version__}, numpy {_version('numpy')}, {', '.join(gpus) or 'no GPU, none is needed'}", []


def _models(timeout: float) -> Finding:
    return _checked("metad2a-plugin", "models", timeout, _version("metad2a-plugin"))


def _ask_models() -> tuple[str, list[str]]:
    from metad2a_plugin.data.encoders import get_encoder
    from metad2a_plugin.devices.mobilenetv3 import MobileNetV3LatencyModel
    from metad2a_plugin.devices.nasbench201 import LatencyModel
    from metad2a_plugin.models.checkpoint import shipped
    from metad2a_plugin.predictors.imagenet import ImageNetModel
    from metad2a_plugin.search.metad2a import MetaD2A

    for name in shipped():
        MetaD2A.from_pretrained(name)
    get_encoder("default")
    for kind in (LatencyModel, MobileNetV3LatencyModel, ImageNetModel):
        kind.load()
    parts = f"the models {', '.join(shipped())}, image encoder, latencies and ImageNet accuracies"
    return f"{_version('metad2a-plugin')} with {parts}", []


def _data(timeout: float) -> Finding:
    folder, chosen = data_folder(), "METAD2A_DATA" in os.environ
    if folder.is_dir():
        return _checked("data", "data", timeout, str(folder.resolve()))
    note = "only meta-training and the benchmarks need it; METAD2A_DATA names its folder"
    return Finding("data", PROBLEM if chosen else ABSENT, f"no folder {str(folder)!r}", (note,))


def _ask_data() -> tuple[str, list[str]]:
    from metad2a_plugin.adapters._convert import compact_in
    from metad2a_plugin.adapters.nas_bench_201 import open_benchmark

    folder = data_folder()
    there = [name for name in ("metad2a", "images", "nas_bench_201", "ofa") if (folder / name).is_dir()]
    if not there:
        return f"{folder.resolve()} has nothing that this package reads", []
    opened = []
    if (file := compact_in(folder)) is not None:
        open_benchmark(file)
        opened = [f"{file.relative_to(folder)} opens"]
    return "; ".join([f"{folder.resolve()} has the folders {', '.join(there)}", *opened, "no other file was read"]), []


# -- hosts, and a package that two of them stumble over ------------------------------------------
def _torchvision(timeout: float) -> Finding:
    if not _installed("torchvision"):
        return Finding("torchvision", ABSENT, "not installed", ("only the torchvision encoder and NASLib need it",))
    return _checked("torchvision", "torchvision", timeout, _version("torchvision"))


def _ask_torchvision() -> tuple[str, list[str]]:
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        raise HostError(
            f"it is built for another torch ({error}); NNI does not import beside it, NASLib is worked around: "
            "reinstall both from one index of PyTorch, or pip uninstall torchvision"
        ) from error
    return _version("torchvision"), []


def _nni(timeout: float) -> Finding:
    if not _installed("nni"):
        note = "pip install 'metad2a-plugin[nni]' in an environment of its own: its pins hold other packages back"
        return Finding("NNI", ABSENT, "not installed", (note,))
    return _checked("NNI", "nni", timeout, _version("nni"))


def _ask_nni() -> tuple[str, list[str]]:
    _nni_trial()
    node = _nni_node()
    notes = [
        f"{package} {_version(package)} is not what NNI was written for: pip install '{requirement}'"
        for package, requirement in _violated("nni")
    ]
    for module, purpose, package in (
        ("pkg_resources", "nnictl and remote machines", "setuptools<82"),
        ("nni.nas.benchmark", "NNI's own benchmarks, which the adapter does not use,", "peewee<4"),
    ):
        if module == "nni.nas.benchmark" and not _installed("peewee"):
            continue
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - a host's import can raise anything
            notes.append(f"{purpose} will not work ({type(error).__name__}: {error}): pip install '{package}'")
    found = f"{_version('nni')}, pytorch-lightning {_version('pytorch-lightning')}"
    return f"{found}: a trial on the sequential engine runs, and node {node} of the training service starts", notes


def _nni_trial() -> None:
    """Run one on the sequential engine.

    Raises:
        HostError: it did not give its number; NNI and its adapter raise what they like.
    """
    adapter = importlib.import_module("metad2a_plugin.adapters.nni")  # raises where it cannot work
    experiments = importlib.import_module("nni.nas.experiment")
    evaluators = importlib.import_module("nni.nas.evaluator")
    hub = importlib.import_module("nni.nas.hub.pytorch")
    config = experiments.NasExperimentConfig("sequential", "simplified", "local")
    config.max_trial_number = 1
    config.experiment_working_directory = os.environ[_HOME]
    strategy = adapter.SearchStrategy("random")
    evaluator = evaluators.FunctionalEvaluator(_report_one)
    experiment = experiments.NasExperiment(hub.NasBench201(num_modules_per_stack=1), evaluator, strategy, config)
    try:
        experiment.run()
    finally:
        experiment.stop()
    if [value for _, value in strategy.measured] != [1.0]:
        raise HostError("a trial on NNI's sequential engine ended without the number that it reported")


def _report_one(model: Any) -> None:
    importlib.import_module("nni").report_final_result(1.0)


def _nni_node() -> str:
    """Version of the node that NNI's training service runs on.

    Raises:
        HostError: it does not start.
    """
    folder = Path(importlib.import_module("nni_node").__path__[0])
    node = folder / ("node.exe" if os.name == "nt" else "node")
    try:
        return subprocess.run([node, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise HostError(
            f"NNI's training service cannot start its node ({error}); its sequential engine works; reinstall: "
            "pip install --force-reinstall nni==3.0"
        ) from error


def _violated(extra: str) -> Iterator[tuple[str, str]]:
    """Packages whose installed version an extra excludes, and the requirement."""
    for line in requires("metad2a-plugin") or ():
        requirement, _, marker = line.partition(";")
        package = re.split(r"[^\w.-]", requirement.strip())[0]
        have = _release(_version(package))
        if have and re.search(rf"extra == .{extra}\b", marker):
            bounds = [(sign, _release(bound)) for sign, bound in re.findall(r"(==|>=|<)\s*([\d.]+)", requirement)]
            if not all({"==": have[: len(b)] == b, ">=": have >= b, "<": have < b}[sign] for sign, b in bounds):
                yield package, requirement.strip()


def _naslib(timeout: float) -> Finding:
    if not _installed("naslib"):
        from metad2a_plugin.adapters._naslib_compat import INSTALL

        return Finding("NASLib", ABSENT, "not on the path", (INSTALL,))
    return _checked("NASLib", "naslib", timeout, _folder("naslib"))


def _ask_naslib() -> tuple[str, list[str]]:
    from metad2a_plugin.adapters import naslib

    return _folder("naslib"), [f"worked around: {step}" for step in naslib.prepare()]


def _ofa(timeout: float) -> Finding:
    if not _installed("ofa"):
        return Finding("Once-for-All", ABSENT, "not installed", ("pip install 'metad2a-plugin[ofa]'",))
    return _checked("Once-for-All", "ofa", timeout, _version("ofa"))


def _ask_ofa() -> tuple[str, list[str]]:
    from metad2a_plugin.adapters import ofa
    from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space

    space = MobileNetV3Space()
    ofa.extract(ofa.make_supernet(num_classes=2), space.parse("+".join(["k3e3-k5e4"] * 5)))
    return _version("ofa"), []


def _nas_bench_201(timeout: float) -> Finding:
    return _records("nas-bench-201", "nas_201_api", timeout)


def _nats_bench(timeout: float) -> Finding:
    return _records("nats_bench", "nats_bench", timeout)


def _records(package: str, module: str, timeout: float) -> Finding:
    if not _installed(module):
        note = "its files are read without it; metad2a convert-benchmark makes them quick to open"
        return Finding(package, ABSENT, "not installed", (note,))
    return _checked(package, module, timeout, _version(package))


def _ask_nas_201_api() -> tuple[str, list[str]]:
    import nas_201_api

    from metad2a_plugin.adapters.nas_bench_201 import open_benchmark

    open_benchmark(nas_201_api.NASBench201API(_no_records(), verbose=False))
    notes = []
    if _release(_version("torch")) >= (2, 6):
        notes.append("cannot read its own .pth with torch 2.6 or later; metad2a convert-benchmark can")
    return _version("nas-bench-201"), notes


def _ask_nats_bench() -> tuple[str, list[str]]:
    import nats_bench

    from metad2a_plugin.adapters.nas_bench_201 import open_benchmark

    open_benchmark(nats_bench.create(_no_records(), "tss", verbose=False))
    return _version("nats_bench"), []


def _no_records() -> dict[str, Any]:
    """The published layout without its records."""
    from metad2a_plugin.spaces.nasbench201.space import NASBench201

    space = NASBench201()
    return {"meta_archs": [space.format(c) for c in space.enumerate()], "arch2infos": {}, "evaluated_indexes": []}


# -- small things --------------------------------------------------------------------------------
def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _folder(module: str) -> str:
    spec = importlib.util.find_spec(module)
    return ", ".join(spec.submodule_search_locations or [str(spec.origin)]) if spec else ""


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"


def _release(text: str) -> tuple[int, ...]:
    """``(2, 13, 0)`` of ``2.13.0+cpu``."""
    return tuple(int(part) for part in re.findall(r"\d+", text.partition("+")[0])[:3])


_CHECKS: Sequence[Callable[[float], Finding]] = (
    *(_torch, _models, _data, _torchvision),
    *(_nni, _naslib, _ofa, _nas_bench_201, _nats_bench),
)
_QUESTIONS: dict[str, Callable[[], tuple[str, list[str]]]] = {
    "torch": _ask_torch,
    "models": _ask_models,
    "data": _ask_data,
    "torchvision": _ask_torchvision,
    "nni": _ask_nni,
    "naslib": _ask_naslib,
    "ofa": _ask_ofa,
    "nas_201_api": _ask_nas_201_api,
    "nats_bench": _ask_nats_bench,
}
