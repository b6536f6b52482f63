"""The hosts of this package, and what is tried of each to find whether it works.

Each try runs in a process of its own, which `metad2a_plugin.cli.doctor` starts, in a temporary folder of its own.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.version import Version

from metad2a_plugin.errors import HostError
from metad2a_plugin.utils.beside_torch import install_beside_torch
from metad2a_plugin.utils.files import data_folder
from metad2a_plugin.utils.installed import folder_of, version_of, violated

from . import _neps_compat
from ._naslib_compat import INSTALL

Answer = tuple[str, list[str]]
"""What was found, and what to know or to do about it, a sentence each."""


@dataclass(frozen=True)
class Host:
    """A toolkit that this package plugs into, or a package that two of them stumble over.

    Attributes:
        name: of the host.
        module: that it is imported as.
        distribution: that has its version; None where it is not installed but lies on the path.
        remedy: what to know or to do where it is absent.
        attempt: imports and uses it.
    """

    name: str
    module: str
    distribution: str | None
    remedy: str
    attempt: Callable[[], Answer]

    @property
    def found(self) -> str:
        """Its version, or where it lies; nothing of it is imported."""
        return folder_of(self.module) if self.distribution is None else version_of(self.distribution)


# -- data ----------------------------------------------------------------------------------------
def read_data() -> Answer:
    """Open what `default_benchmark` opens, where it is there."""
    from ._convert import compact_in
    from .nas_bench_201 import open_benchmark

    folder = data_folder()
    there = [name for name in ("metad2a", "images", "nas_bench_201", "ofa") if (folder / name).is_dir()]
    if not there:
        return f"{folder.resolve()} has nothing that this package reads", []
    opened = []
    if (file := compact_in(folder)) is not None:
        open_benchmark(file)
        opened = [f"{file.relative_to(folder)} opens"]
    return "; ".join([f"{folder.resolve()} has the folders {', '.join(there)}", *opened, "no other file was read"]), []


# -- tries ---------------------------------------------------------------------------------------
def _try_torchvision() -> Answer:
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        raise HostError(
            f"it is built for another torch ({error}); NNI does not import beside it, others are worked around: "
            "reinstall both from one index of PyTorch, or pip uninstall torchvision"
        ) from error
    return version_of("torchvision"), []


def _try_timm() -> Answer:
    from metad2a_plugin.spaces.nasbench201.space import NASBench201

    importlib.import_module(".timm", __package__)  # registers it
    space = NASBench201()
    cell = space.format(next(iter(space.enumerate())))
    small = {"num_classes": 2, "channels": 1, "cells": 1}
    importlib.import_module("timm").create_model("metad2a_network", architecture=cell, **small)
    return version_of("timm"), []


def _try_hub() -> Answer:
    """What the adapter uses of it; nothing is fetched."""
    from huggingface_hub import CommitOperationAdd, HfApi, constants, errors, hf_hub_download, try_to_load_from_cache

    used = (CommitOperationAdd, HfApi.get_paths_info, errors.GatedRepoError, hf_hub_download, try_to_load_from_cache)
    notes = [] if all(used) and not constants.HF_HUB_OFFLINE else ["HF_HUB_OFFLINE is set: only the cache is read"]
    return version_of("huggingface_hub"), notes


def _try_nni() -> Answer:
    _nni_trial()
    node = _nni_node()
    notes = [
        f"{wanted.name} {version_of(wanted.name)} is not what NNI was written for: "
        f"pip install '{wanted.name}{wanted.specifier}'"
        for wanted in violated("nni")
    ]
    for module, purpose, package in (
        ("pkg_resources", "nnictl and remote machines", "setuptools<82"),
        ("nni.nas.benchmark", "NNI's own benchmarks, which the adapter does not use,", "peewee<4"),
    ):
        if module == "nni.nas.benchmark" and find_spec("peewee") is None:
            continue
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - a host's import can raise anything
            notes.append(f"{purpose} will not work ({type(error).__name__}: {error}): pip install '{package}'")
    found = f"{version_of('nni')}, pytorch-lightning {version_of('pytorch-lightning')}"
    return f"{found}: a trial on the sequential engine runs, and node {node} of the training service starts", notes


def _nni_trial() -> None:
    """Run one on the sequential engine; it fails in many ways, which NNI and its adapter choose."""
    from . import nni as adapter
    from ._nni_compat import check

    check()
    experiments = importlib.import_module("nni.nas.experiment")
    evaluators = importlib.import_module("nni.nas.evaluator")
    hub = importlib.import_module("nni.nas.hub.pytorch")
    config = experiments.NasExperimentConfig("sequential", "simplified", "local")
    config.max_trial_number = 1
    config.experiment_working_directory = tempfile.gettempdir()
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
    """Version of the node that NNI's training service runs on; `HostError` where it does not start."""
    folder = Path(importlib.import_module("nni_node").__path__[0])
    node = folder / ("node.exe" if os.name == "nt" else "node")
    try:
        return subprocess.run([node, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise HostError(
            f"NNI's training service cannot start its node ({error}); its sequential engine works; reinstall: "
            "pip install --force-reinstall nni==3.0"
        ) from error


def _try_naslib() -> Answer:
    from . import naslib

    return folder_of("naslib"), [f"worked around: {step}" for step in naslib.prepare()]


def _try_optuna() -> Answer:
    optuna = importlib.import_module("optuna")
    from .optuna import StrategySampler, suggest_architecture

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=StrategySampler("random", seed=0))
    study.optimize(lambda trial: float(sum(suggest_architecture(trial).choices)), n_trials=2)
    if len({suggest_architecture(trial) for trial in study.trials}) != 2:
        raise HostError("a study of two trials did not have two architectures; pip install -U optuna")
    return version_of("optuna"), []


def _try_ofa() -> Answer:
    from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space

    from . import ofa

    space = MobileNetV3Space()
    ofa.extract(ofa.make_supernet(num_classes=2), space.parse("+".join(["k3e3-k5e4"] * 5)))
    return version_of("ofa"), []


def _try_ray() -> Answer:
    from . import ray

    search = ray.StrategySearch("random")
    if not isinstance(search.suggest("trial"), dict):
        raise HostError("a search of Ray Tune was asked for a trial and proposed none")
    state = str(Path(tempfile.gettempdir()) / "search")
    search.save(state)
    search.restore(state)
    return f"{version_of('ray')}: a search of Ray Tune proposes trials; no cluster was started", []


def _try_neps() -> Answer:
    from . import neps as adapter

    host = importlib.import_module("neps")
    host.AskAndTell(adapter.strategy(adapter.pipeline_space(), "random")).ask()
    return version_of("neural-pipeline-search"), []


def _try_sklearn() -> Answer:
    from . import sklearn as adapter

    importlib.import_module("sklearn.base").clone(adapter.MetaD2AClassifier())
    cells = _no_records()["meta_archs"][::4000]
    adapter.ArchitectureRegressor().fit(cells, range(len(cells))).predict(cells)
    return version_of("scikit-learn"), []


def _try_nas_201_api() -> Answer:
    import nas_201_api

    from .nas_bench_201 import open_benchmark

    open_benchmark(nas_201_api.NASBench201API(_no_records(), verbose=False))
    notes = []
    if Version(version_of("torch")) >= Version("2.6"):
        notes.append("cannot read its own .pth with torch 2.6 or later; metad2a convert-benchmark can")
    return version_of("nas-bench-201"), notes


def _try_nats_bench() -> Answer:
    import nats_bench

    from .nas_bench_201 import open_benchmark

    open_benchmark(nats_bench.create(_no_records(), "tss", verbose=False))
    return version_of("nats_bench"), []


def _no_records() -> dict[str, Any]:
    """The published layout without its records."""
    from metad2a_plugin.spaces.nasbench201.space import NASBench201

    space = NASBench201()
    return {"meta_archs": [space.format(c) for c in space.enumerate()], "arch2infos": {}, "evaluated_indexes": []}


_RECORDS = "its files are read without it; metad2a convert-benchmark makes them quick to open"
_NNI = "pip install 'metad2a-plugin[nni]' in an environment of its own: its pins hold other packages back"
_TORCHVISION = f"only the encoders of torchvision and timm need it; {install_beside_torch('torchvision')}"
_TIMM = f"only the encoders of timm and the registration with it need it; {install_beside_torch('timm', 'torchvision')}"
HOSTS = (
    Host("torchvision", "torchvision", "torchvision", _TORCHVISION, _try_torchvision),
    Host("timm", "timm", "timm", _TIMM, _try_timm),
    Host("Hugging Face hub", "huggingface_hub", "huggingface_hub", "pip install 'metad2a-plugin[hub]'", _try_hub),
    Host("NNI", "nni", "nni", _NNI, _try_nni),
    Host("NASLib", "naslib", None, INSTALL, _try_naslib),
    Host("Optuna", "optuna", "optuna", "pip install 'metad2a-plugin[optuna]'", _try_optuna),
    Host("neps", "neps", "neural-pipeline-search", _neps_compat.INSTALL, _try_neps),
    Host("scikit-learn", "sklearn", "scikit-learn", "pip install 'metad2a-plugin[sklearn]'", _try_sklearn),
    Host("Once-for-All", "ofa", "ofa", "pip install 'metad2a-plugin[ofa]'", _try_ofa),
    Host("Ray", "ray", "ray", "pip install 'metad2a-plugin[ray]'", _try_ray),
    Host("nas-bench-201", "nas_201_api", "nas-bench-201", _RECORDS, _try_nas_201_api),
    Host("nats_bench", "nats_bench", "nats_bench", _RECORDS, _try_nats_bench),
)
