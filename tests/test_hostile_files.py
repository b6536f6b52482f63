"""Whatever a file holds ends in the package's own errors, soon, and with little memory."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import resource
import shutil
import struct
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from hostile_toys import Alter, altered_bytes, altered_json, altered_tensors, altered_text
from hypothesis import given, settings
from hypothesis import strategies as st
from meta_toys import SPACE, toy, write_folder
from one_shot_toys import coloured
from safetensors.torch import save_file

from metad2a_plugin.cli.train import _read_result
from metad2a_plugin.contest.journal import Journal, Trained
from metad2a_plugin.contest.reports import _settings, trainings
from metad2a_plugin.data.distilled import DistilledEncoder
from metad2a_plugin.data.encoders import get_encoder
from metad2a_plugin.devices.lookup_table import LookUpTable
from metad2a_plugin.devices.nasbench201 import LatencyModel
from metad2a_plugin.errors import CheckpointError, DatasetError, MetaD2AError
from metad2a_plugin.meta.database import load_database
from metad2a_plugin.models.checkpoint import load_checkpoint
from metad2a_plugin.models.release import load_release_generator
from metad2a_plugin.one_shot.shared_weights import SharedWeights
from metad2a_plugin.similarity.library import load_library
from metad2a_plugin.similarity.themes import read_themes
from metad2a_plugin.spaces.mobilenetv3.supernet import MobileNetV3Supernet, load_supernet, save_supernet
from metad2a_plugin.spaces.nasbench201.supernet import NASBench201Supernet, read_supernet, write_supernet
from metad2a_plugin.testing.toy import ToySpace
from metad2a_plugin.training.classifier import ImageClassifier
from metad2a_plugin.training.config import TrainConfig
from metad2a_plugin.training.encoder_network import EncoderClassifier
from metad2a_plugin.training.files import export_network, load_network
from metad2a_plugin.training.images import prepare
from metad2a_plugin.utils.files import PRETRAINED
from metad2a_plugin.utils.tensors import load_state

SMALL = {"channels": 2, "cells": 1}
CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|none~1|avg_pool_3x3~2|"
SETTINGS = {"seconds": 60.0, "seed": 0, "limits": {}, "model": "toy", "images": "0" * 16}
RESULT = {"space": "nasbench201", "candidates": [{"rank": 1, "architecture": CELL, "score": 1.0}] * 3, "notes": []}
EPOCH = {"epoch": 1, "lr": 0.1, "loss": 1.5, "accuracy": 50.0, "balanced_accuracy": 50.0, "seconds": 1.0}
FINISHED = {
    "space": "nasbench201", "architecture": CELL, "accuracy": 50.0, "interval": [40.0, 60.0], "params_m": 0.1,
    "flops_m": 3.0, "validation_images": 20, "device": "cpu", "seconds": 1.0, "history": [EPOCH, EPOCH],
}  # fmt: skip
GIVEN = {"dataset": "a.zip", "model": None}
AUTO = {"seconds": 60.0, "flip": None, "encoders": None, "validation": 0.2, "test": 0.15, "refit": False, "seed": 0}
TABLE = {"Conv-input:32x32x3-output:16x16x24": {"mean": 0.5}, "Logits-input:1x1x1536-output:1000": 4.0}
NETWORKS = ToySpace()


def at(read: Callable[[Path], Any], name: str) -> tuple[Callable[[Path], Any], str]:
    return lambda folder: read(folder / name), name


def encoder_at(folder: Path) -> Any:
    return get_encoder(str(folder / "encoder"))


class Reader(NamedTuple):
    """How a file is read, and how it is altered.

    Attributes:
        read: what reads the file in a folder.
        name: of the file there.
        alter: makes another file of its content.
    """

    read: Callable[[Path], Any]
    name: str
    alter: Alter


def _digest(folder: Path) -> None:
    """The digest of the weights, in the configuration: who alters one alters the other."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_bytes())
        config["sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        path.write_text(json.dumps(config))
    except (ValueError, TypeError, RecursionError):
        pass


def with_digest(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    def renewed(folder: Path) -> Any:
        _digest(folder / "checkpoint")
        return read(folder)

    return renewed


def altered_table(rng: random.Random, data: bytes) -> bytes:
    packed = data[:2] == b"\x1f\x8b"
    if packed and rng.random() < 0.3:
        return altered_bytes(rng, data)
    text = altered_text(rng, (gzip.decompress(data) if packed else data).decode()).encode("utf-8", "replace")
    return gzip.compress(text, 1) if packed else text


READERS: dict[str, Reader] = {
    "result": Reader(lambda f: _read_result(f / "result.json", None), "result.json", altered_json),
    "training": Reader(at(trainings, "training")[0], "training/result.json", altered_json),
    "journal": Reader(lambda f: Journal(f, SETTINGS), "auto.json", altered_json),
    "run": Reader(*at(_settings, "run.json"), altered_json),
    "themes": Reader(*at(read_themes, "themes.json"), altered_json),
    "look-up table": Reader(*at(LookUpTable.read, "table.json"), altered_json),
    "YAML table": Reader(*at(LookUpTable.read, "table.yaml"), altered_table),
    "library": Reader(at(load_library, "library")[0], "library/config.json", altered_json),
    "encoder": Reader(encoder_at, "encoder/config.json", altered_json),
    "encoder's weights": Reader(encoder_at, "encoder/model.safetensors", altered_tensors),
    "latency": Reader(at(LatencyModel.load, "latency")[0], "latency/config.json", altered_json),
    "latency's weights": Reader(at(LatencyModel.load, "latency")[0], "latency/model.safetensors", altered_tensors),
    "checkpoint": Reader(at(load_checkpoint, "checkpoint")[0], "checkpoint/config.json", altered_json),
    "network": Reader(*at(load_network, "network.safetensors"), altered_tensors),
    "encoder's network": Reader(*at(load_network, "tuned.safetensors"), altered_tensors),
    "toy's network": Reader(lambda f: load_network(f / "toy", NETWORKS), "toy", altered_tensors),
    "starting weights": Reader(*at(read_supernet, "start.safetensors"), altered_tensors),
    "supernet": Reader(*at(load_supernet, "ofa.safetensors"), altered_tensors),
    "shared": Reader(lambda f: SharedWeights.load(f / "s.safetensors", IMAGES), "s.safetensors", altered_tensors),
    "release": Reader(*at(load_release_generator, "release.safetensors"), altered_tensors),
    "release's pickle": Reader(*at(load_release_generator, "release.pt"), altered_bytes),
    "rows": Reader(lambda f: load_database(f / "database", SPACE), "database/rows.csv.gz", altered_table),
    "tasks": Reader(lambda f: load_database(f / "database", SPACE), "database/tasks.csv", altered_table),
    "classes": Reader(lambda f: load_database(f / "database", SPACE), "database/map_clsloc.txt", altered_table),
}  # fmt: skip
READERS["checkpoint's weights"] = Reader(
    with_digest(READERS["checkpoint"].read), "checkpoint/model.safetensors", altered_tensors
)
IMAGES = coloured(6, 6)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good file of every kind."""
    folder = tmp_path_factory.mktemp("samples")
    (folder / "training").mkdir()
    for name, value in {
        "result.json": RESULT,
        "training/result.json": FINISHED,
        "run.json": {"settings": AUTO | {"limits": {}}, "decided": {"given": GIVEN}},
        "themes.json": {"pets": {"n01": "cat", "n02": "dog"}},
        "table.json": TABLE,
        "table.yaml": TABLE,
    }.items():
        (folder / name).write_text(json.dumps(value, indent=1))
    journal = Journal(folder, SETTINGS)
    journal.add(Trained("a cell", 1, (10.0, 20.0), 3.0))
    journal.decide("given", lambda: GIVEN)
    for name, shipped in {"latency": "latency", "library": "tasks", "checkpoint": "nasbench201"}.items():
        shutil.copytree(PRETRAINED / shipped, folder / name)
    model = {"stem": [4, 4], "widths": [4, 8], "depths": [1, 1], "dim": 8}
    (folder / "encoder").mkdir()
    (folder / "encoder" / "config.json").write_text(json.dumps({"model": model, "size": 32}))
    save_file(DistilledEncoder(**model).state_dict(), folder / "encoder" / "model.safetensors")  # type: ignore[arg-type]
    export_network(folder / "network.safetensors", ImageClassifier(SPACE, CELL, 3, options=SMALL))
    export_network(folder / "tuned.safetensors", EncoderClassifier("default", ["a", "b"]))
    export_network(folder / "toy", ImageClassifier(NETWORKS, NETWORKS.sample(random.Random(0)), 3))
    write_supernet(folder / "start.safetensors", NASBench201Supernet(1, 2, 1, scaled=True))
    save_supernet(folder / "ofa.safetensors", MobileNetV3Supernet(2, 0.05))
    config = TrainConfig(epochs=1, batch_size=8, input_size=8, options=SMALL, device="cpu")
    SharedWeights(prepare(IMAGES, config), config).save(folder / "s.safetensors")
    state = {name: torch.randn(3, 3) for name in ("grud.weight_ih", "decoding_gate.0.weight")}
    save_file(state, folder / "release.safetensors")
    torch.save(state, folder / "release.pt")
    write_folder(folder / "database", toy(rows=40))
    rows = folder / "database" / "rows.csv"
    (folder / "database" / "rows.csv.gz").write_bytes(gzip.compress(rows.read_bytes()))
    rows.unlink()
    return folder


def only_own_errors(read: Callable[[Path], Any], folder: Path) -> str:
    """What the reader says, if it refuses; fails for another error, or one that takes long to come."""
    begin, message = time.process_time(), ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read(folder)
        except MetaD2AError as error:
            message = str(error)
    assert time.process_time() - begin < 5
    message.encode()
    assert len(message) < 2000
    return message


def file_case(samples: Path, kind: str, seed: int) -> None:
    read, name, alter = READERS[kind]
    path = samples / name
    data = path.read_bytes()
    beside = path.parent / "config.json"
    config = beside.read_bytes() if beside.is_file() else None
    try:
        path.write_bytes(alter(random.Random(seed), data))
        only_own_errors(read, samples)
    finally:
        if config is not None:
            beside.write_bytes(config)
        path.write_bytes(data)


@pytest.mark.parametrize("kind", READERS)
def test_a_good_file_is_read(samples: Path, kind: str) -> None:
    said = only_own_errors(READERS[kind].read, samples)
    assert not said or kind in ("release", "release's pickle", "look-up table", "YAML table"), said


SEEDS = st.integers(0, 2**32)


@settings(max_examples=100)
@given(kind=st.sampled_from(list(READERS)), seed=SEEDS)
def test_altered_files_end_in_own_errors(samples: Path, kind: str, seed: int) -> None:
    file_case(samples, kind, seed)


@pytest.fixture
def little_memory() -> Iterator[None]:
    """The process takes at most 500 MB more than it does."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500 * 1024


@pytest.mark.slow
@pytest.mark.usefixtures("little_memory")
@settings(max_examples=2000)
@given(kind=st.sampled_from(list(READERS)), seed=SEEDS)
def test_thousands_of_altered_files_end_in_own_errors(samples: Path, kind: str, seed: int) -> None:
    file_case(samples, kind, seed)


@pytest.mark.parametrize("what", ["pipe", "device", "folder"])
@pytest.mark.parametrize("kind", [kind for kind in READERS if kind != "checkpoint's weights"])
def test_pipes_and_devices_are_refused_and_not_waited_for(samples: Path, kind: str, what: str) -> None:
    read, name, _ = READERS[kind]
    path, kept = samples / name, samples / "kept"
    path.rename(kept)
    try:
        if what == "pipe":
            os.mkfifo(path)
        elif what == "device":
            path.symlink_to("/dev/zero")
        else:
            path.mkdir()
        # A table without names of classes, or a folder without a table, may be meant.
        assert only_own_errors(read, samples) or kind == "classes"
    finally:
        path.rmdir() if what == "folder" else path.unlink()
        kept.rename(path)


# -- kinds of their own --------------------------------------------------------------------------
def header(claimed: dict[str, Any], content: bytes = b"") -> bytes:
    text = json.dumps(claimed).encode()
    return struct.pack("<Q", len(text)) + text + content


CLAIMS = {
    "gigabytes": header({"a": {"dtype": "F32", "shape": [2**30], "data_offsets": [0, 2**32]}}),
    "gigabytes of nothing": header({"a": {"dtype": "F32", "shape": [2**40, 0], "data_offsets": [0, 0]}}),
    "shared bytes": header(
        {name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for name in ("a", "b")}, bytes(8)
    ),
    "negative": header({"a": {"dtype": "F32", "shape": [-1, -2], "data_offsets": [0, 8]}}, bytes(8)),
    "a long header": struct.pack("<Q", 50 * 2**20) + b" " * (50 * 2**20),
    "a deep header": struct.pack("<Q", 100_000) + b"[" * 100_000,
    "no header": b"",
    "its length only": struct.pack("<Q", 2**63),
}


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("kind", CLAIMS)
@pytest.mark.parametrize("reader", [k for k, reader in READERS.items() if reader.alter is altered_tensors])
def test_a_header_that_claims_what_is_not_there_is_refused(samples: Path, kind: str, reader: str) -> None:
    read, name, _ = READERS[reader]
    path = samples / name
    data = path.read_bytes()
    try:
        path.write_bytes(CLAIMS[kind])
        assert only_own_errors(read, samples)
    finally:
        path.write_bytes(data)
        _digest(path.parent) if (path.parent / "config.json").is_file() and "checkpoint" in name else None


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("line", [b"0" * 1000, b"1,2\n" * 250, b",\n" * 500, b'"' * 1000])
def test_little_that_unpacks_to_much_is_refused(tmp_path: Path, line: bytes) -> None:
    folder = write_folder(tmp_path / "database", toy(rows=8))
    with gzip.open(folder / "rows.csv.gz", "wb", 1) as file:
        file.write(b"task,arch_str,accuracy,split\n" * (line[:1] in b"1,"))
        for _ in range(400):
            file.write(line * 1000)
    with pytest.raises(DatasetError, match="rows"):
        load_database(folder, SPACE)


@pytest.mark.usefixtures("little_memory")
def test_a_state_whose_tensors_claim_more_than_they_have_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save({"a": torch.zeros(1).expand(2**32)}, path)
    with pytest.raises(CheckpointError, match="fewer values than it claims"):
        load_state(path)
    with pytest.raises(CheckpointError, match="fewer values"):
        load_release_generator(path)
    packed = tmp_path / "packed.pt"
    torch.save({"a": torch.zeros(2**20)}, path)
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as small:
        for entry in whole.namelist():
            small.writestr(entry, whole.read(entry))
    with pytest.raises(CheckpointError, match="compressed"):
        load_state(packed)
