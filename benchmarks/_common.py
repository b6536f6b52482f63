"""What the benchmark scripts share: arguments, the real data, numbers in text, and result files."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import platform
import statistics
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from metad2a_plugin.adapters.nas_bench_201 import NASBench201Table

from metad2a_plugin.data import ImageDataset, Task, load_dataset
from metad2a_plugin.meta.database import ClassFeatures, MetaDatabase, load_database
from metad2a_plugin.meta.train import class_features
from metad2a_plugin.spaces.nasbench201.space import NASBench201
from metad2a_plugin.utils.files import data_folder, write_atomically, write_json
from metad2a_plugin.utils.kept import kept

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROTOCOL_STEP = 0.2
"""Tells the two protocols of the released meta-database apart; see `load_database`."""
SPACE = NASBench201()
TITLES = {"cifar10": "CIFAR-10", "imagenet16-120": "ImageNet16-120"}
"""The datasets of the benchmark table, as tables and figures call them."""


# -- arguments -----------------------------------------------------------------------------------
def parser(doc: str | None, threads: int = 1) -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--data", type=Path, default=data_folder())
    found.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder of tables and figures")
    found.add_argument("--runs", type=Path, default=Path("runs"), help="folder of finished parts, not computed again")
    found.add_argument("--threads", type=int, default=threads, help="of torch")
    return found


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments that results depend on, and the versions; nothing about the machine's files."""
    given = {name: value for name, value in vars(arguments).items() if name not in ("data", "out", "runs")}
    packages = {name: version(name) for name in ("metad2a-plugin", "torch", "numpy")}
    return given | {"python": platform.python_version(), "packages": packages}


# -- data ----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Data:
    """The folder of real data; everything is read when asked for."""

    root: Path

    @property
    def meta(self) -> Path:
        return self.root / "metad2a"

    @cached_property
    def database(self) -> MetaDatabase:
        return load_database(self.meta, SPACE, protocol_step=PROTOCOL_STEP)

    @cached_property
    def imagenet(self) -> ImageDataset:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # single-image classes are none of the database's
            return load_dataset(self.root / "images" / "imagenet64.zip")

    @cached_property
    def classes(self) -> ClassFeatures:
        """Features of the shipped encoder."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the other classes of ImageNet have no image in the part that is encoded
            return class_features(self.database, self.imagenet)[0]

    @cached_property
    def teacher(self) -> ClassFeatures:
        """Features of the shipped encoder's teacher, scaled to what the encoder was trained to give."""
        with zipfile.ZipFile(self.root / "images" / "imagenet64.zip") as archive:
            names = [name for name in archive.namelist() if not name.endswith("/")]
        features = np.load(self.root / "images" / "imagenet64_teacher_features.npz")["features"].astype(np.float32)
        if len(names) != len(features):
            raise SystemExit(f"{len(features)} teacher features for {len(names)} images")
        features -= features.mean(0)
        features /= np.sqrt(features.std(0))
        features /= features.std()
        folders = np.array([name.split("/")[-2] for name in names])
        return ClassFeatures.group(torch.from_numpy(features), folders, self.database, "teacher")

    @cached_property
    def table(self) -> NASBench201Table:
        return NASBench201Table.load(self.root)

    def images(self, name: str) -> ImageDataset:
        """A dataset of the benchmark table, or one of the other image sets."""
        if name == "imagenet16-120":
            return self._imagenet16()
        files = {"cifar10": "cifar10_train", "mnist": "mnist_train"}
        return load_dataset(self.root / "images" / f"{files.get(name, name)}.zip", name=name)

    def _imagenet16(self) -> ImageDataset:
        wanted = {self.database.class_folders[c] for c in range(1, 121) if c in self.database.class_folders}
        names = np.array(self.imagenet.class_names)[self.imagenet.labels]
        chosen = self.imagenet.subset(np.isin(names, list(wanted)))
        pixels = chosen.images(range(len(chosen)), 16)
        return load_dataset((pixels, np.array(chosen.class_names)[chosen.labels]), name="imagenet16-120")

    def validation_tasks(self, count: int) -> list[Task]:
        """Tasks that the meta-database holds validation rows of, with all images of their classes."""
        database, classes = self.database, self.classes
        chosen = database.task[database.valid].unique()[:count]
        tasks = []
        for task in chosen.tolist():
            ids = database.task_classes[task].tolist()
            parts = [classes.features[classes.start[c] : classes.start[c] + classes.count[c]] for c in ids]
            labels = torch.repeat_interleave(torch.arange(len(ids)), classes.count[ids])
            tasks.append(Task(torch.cat(parts), labels, f"validation task {task}", encoder=classes.encoder))
        return tasks


# -- finished parts ------------------------------------------------------------------------------
def remember(path: Path, key: Mapping[str, Any], compute: Callable[[], Any]) -> Any:
    """The JSON value in `path` if it was computed for `key`, else `compute()`, kept there."""

    def read(path: Path) -> Any:
        found = json.loads(path.read_bytes())
        if found["key"] != key:
            raise ValueError("computed for another key")
        return found["value"]

    return kept(path, read, compute, lambda value: json.dumps({"key": dict(key), "value": value}).encode())


def fingerprint(checkpoint: Path) -> str:
    """Of the weights in a checkpoint's folder."""
    weights = checkpoint / "model.safetensors"
    if not weights.is_file():
        raise SystemExit(
            f"no checkpoint {checkpoint.name!r} in {checkpoint.parent}; run benchmarks/meta_seeds.py first"
        )
    return hashlib.sha256(weights.read_bytes()).hexdigest()[:16]


def code_digest(pattern: str) -> str:
    """Of the adapters whose file names match, so that what was measured with others is measured anew."""
    paths = sorted((Path(__file__).parents[1] / "adapters").glob(pattern))
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()[:16]


# -- whole processes -----------------------------------------------------------------------------
# On Linux a process's record begins with what its parent held: so a small one stands between.
_WATCH = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[1]], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def watch(code: str) -> tuple[str, float]:
    """What a fresh process prints that runs the code, and the megabytes that it held at most."""
    done = subprocess.run([sys.executable, "-c", _WATCH, code], check=True, stdout=subprocess.PIPE, text=True)
    *printed, most = done.stdout.splitlines()
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return "\n".join(printed), int(most) * unit / 1e6


# -- numbers in text -----------------------------------------------------------------------------
def mean_std(values: Sequence[float], digits: int = 3) -> str:
    """``0.801 ± 0.004``, with the standard deviation of the sample; the mean alone of a single value."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"


def aim(values: Sequence[float], least: float, digits: int) -> str:
    """Whether a mean reaches what it should."""
    return f"≥ {least:.{digits}f} {'met' if statistics.fmean(values) >= least else 'missed'}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]
    return "\n".join(lines) + "\n"


# -- result files --------------------------------------------------------------------------------
def write(out: Path, name: str, results: Mapping[str, Any], texts: Mapping[str, str]) -> None:
    """``name.json``, and a markdown file of each of `texts`, which are printed too."""
    for title, text in texts.items():
        write_atomically(out / f"{title}.md", text.encode())
        print(text)
    write_json(out / f"{name}.json", results)


def write_figure(out: Path, name: str, figure: Figure) -> None:
    buffer = io.BytesIO()
    # Without the software's version, so that equal figures are equal files.
    figure.savefig(buffer, format="png", dpi=150, bbox_inches="tight", metadata={"Software": None})
    write_atomically(out / f"{name}.png", buffer.getvalue())
