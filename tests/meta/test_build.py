"""Databases built of a supernet: the same rows however they are measured, none lost and none twice."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from metad2a_plugin.data import DatasetWarning, load_dataset
from metad2a_plugin.errors import CheckpointError, ConfigError, DatasetError, MetaD2AError, MissingExtraError
from metad2a_plugin.meta import build
from metad2a_plugin.meta.build import build_database
from metad2a_plugin.meta.config import PlanConfig, SupernetConfig
from metad2a_plugin.meta.database import load_database
from metad2a_plugin.meta.plan import Plan
from metad2a_plugin.meta.subnets import COLUMNS
from metad2a_plugin.meta.supernet import LabelledImages, accuracy, train_supernet
from metad2a_plugin.meta.workers import unheard_interrupts
from metad2a_plugin.spaces.mobilenetv3.space import MobileNetV3Space
from metad2a_plugin.spaces.mobilenetv3.supernet import MobileNetV3Supernet, load_supernet, save_supernet
from metad2a_plugin.utils.locks import alone

pytestmark = pytest.mark.filterwarnings("ignore::metad2a_plugin.data.DatasetWarning")
SPACE = MobileNetV3Space()
SMALL = PlanConfig(
    tasks=4, valid_tasks=2, rows_per_task=2, classes=3, held_out=0.4, test_images=3, calibration_images=4
)
SUPERNET = SupernetConfig(width=0.15, input_size=32, epochs=2, batch_size=16, teacher=None)
CLASSES = 8


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classes of a colour each."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for label, colour in enumerate(rng.integers(40, 216, (CLASSES, 1, 1, 3))):
        (root / f"n{label}").mkdir()
        for i in range(9):
            pixels = colour + rng.integers(-40, 40, (32, 32, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(root / f"n{label}" / f"{i}.png")
    (root / "n9").mkdir()  # a class of too few images
    Image.fromarray(pixels.astype(np.uint8)).save(root / "n9" / "0.png")
    return root


@pytest.fixture(scope="module")
def built(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "database"
    build_database(images, out, SMALL, SUPERNET)
    return out


def rows(path: Path) -> list[tuple[str, ...]]:
    with path.open(newline="") as file:
        header, *lines = csv.reader(file)
    assert header == list(COLUMNS)
    return sorted(map(tuple, lines), key=lambda line: int(line[0]))


def finished(out: Path, built: Path) -> Path:
    """A folder with the supernet of another, and no rows."""
    out.mkdir()
    for name in ("build.json", "supernet.safetensors", "tasks.csv", "map_clsloc.txt"):
        (out / name).write_bytes((built / name).read_bytes())
    return out


# -- what is built ---------------------------------------------------------------------------------
def test_a_database_is_read_by_meta_training(built: Path) -> None:
    database = load_database(built, SPACE)
    assert len(database.accuracy) == 12 and int(database.valid.sum()) == 4
    assert database.task_classes.shape == (6, 3)
    assert ((database.accuracy >= 0) & (database.accuracy <= 100)).all()
    used = [set(database.task_classes[database.task[s]].flatten().tolist()) for s in (database.valid, ~database.valid)]
    assert not used[0] & used[1]
    assert 9 not in {int(folder[1:]) for c in used for i in c for folder in [database.class_folders[i]]}


def test_a_row_is_the_accuracy_of_its_network(built: Path, images: Path) -> None:
    """Measured again from the files alone."""
    supernet, dataset = load_supernet(built / "supernet.safetensors"), load_dataset(images)
    plan = Plan(dataset, SMALL)
    number, task, text, percent, split = rows(built / "rows.csv")[7]
    assert (number, task, split) == ("7", "3", "train")
    classes = plan.task_classes[3]
    network = supernet.extract(SPACE.parse(text), torch.from_numpy(np.searchsorted(plan.usable, classes)))
    parts = [plan.parts[label] for label in classes]
    assert all(not set(train) & set(test) and len(test) == 3 for train, test in parts)
    calibration = dataset.images(np.concatenate([train[:4] for train, _ in parts]), 32)
    tested = LabelledImages(
        dataset.images(np.concatenate([test for _, test in parts]), 32), torch.arange(3).repeat_interleave(3)
    )
    assert percent == f"{accuracy(network, calibration, tested):.4f}"


@pytest.mark.slow
def test_the_supernet_learns(images: Path) -> None:
    """Colours are told apart after a few epochs."""
    plan = Plan(load_dataset(images), SMALL)
    train, test = (np.concatenate(part) for part in zip(*plan.parts.values(), strict=True))
    parts = [build._labelled(plan, indices, 32) for indices in (train, test)]
    log: list[Any] = []
    train_supernet(*parts, CLASSES, SupernetConfig(**{**vars(SUPERNET), "epochs": 12}), on_epoch=log.append)
    assert log[-1].loss < log[0].loss - 0.3
    assert log[-1].largest > 40 and log[-1].smallest > 40  # 12.5 by chance


def test_an_encoder_can_be_the_teacher(images: Path, tmp_path: Path) -> None:
    plan = Plan(load_dataset(images), SMALL)
    indices = np.concatenate([train for train, _ in plan.parts.values()])
    part = build._labelled(plan, indices, 32)
    features = torch.nn.functional.one_hot(part.labels).float()
    config = SupernetConfig(**{**vars(SUPERNET), "epochs": 1, "distillation": 5.0})
    taught = train_supernet(part, part, CLASSES, config, features=features)
    alone = train_supernet(part, part, CLASSES, config)
    assert any(not torch.equal(a, b) for a, b in zip(taught.parameters(), alone.parameters(), strict=True))


@pytest.mark.parametrize("related", [0.0, 1.0])
def test_related_tasks_are_of_neighbours(images: Path, related: float) -> None:
    config = PlanConfig(**{**vars(SMALL), "tasks": 40, "classes": 2, "held_out": 0.25, "related": related})
    plan = Plan(load_dataset(images), config)
    group = sorted({int(c) for task in plan.task_classes[:40] for c in task})
    places = np.searchsorted(group, plan.task_classes[:40])
    assert (np.ptp(places, axis=1).max() <= 3) == bool(related)


# -- the same rows -----------------------------------------------------------------------------------
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_more_processes_measure_the_same_rows(workers: int, built: Path, images: Path, tmp_path: Path) -> None:
    out = finished(tmp_path / "again", built)
    assert rows(build_database(images, out, SMALL, SUPERNET, workers=workers)) == rows(built / "rows.csv")


def test_shards_are_the_whole(built: Path, images: Path, tmp_path: Path) -> None:
    out = finished(tmp_path / "sharded", built)
    written = [build_database(images, out, SMALL, SUPERNET, shard=(i, 3)) for i in (2, 1, 3)]
    assert [path.name for path in written] == ["rows.2-of-3.csv", "rows.1-of-3.csv", "rows.3-of-3.csv"]
    assert sorted(row for path in written for row in rows(path)) == sorted(rows(built / "rows.csv"))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra ray)")
def test_a_ray_cluster_measures_the_same_rows(built: Path, images: Path, tmp_path: Path) -> None:
    out = finished(tmp_path / "ray", built)
    assert rows(build_database(images, out, SMALL, SUPERNET, ray="local")) == rows(built / "rows.csv")


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_the_extra_is_named(images: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"metad2a-plugin\[ray\]"):
        build_database(images, tmp_path, SMALL, SUPERNET, ray="local")


# -- interruptions -----------------------------------------------------------------------------------
@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_killed_at_any_moment_no_row_is_lost_or_there_twice(
    workers: str, built: Path, images: Path, tmp_path: Path
) -> None:
    out = finished(tmp_path / "killed", built)
    script = (
        "import sys; from test_build import SMALL, SUPERNET, build_database\n"
        "if __name__ == '__main__': build_database(sys.argv[1], sys.argv[2], SMALL, SUPERNET, workers=int(sys.argv[3]))"
    )
    file, seen = tmp_path / "run.py", []
    file.write_text(script)
    path = out / "rows.csv"
    for wait in (0, 3):
        with subprocess.Popen([sys.executable, file, images, out, workers], env=environment()) as process:
            while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < len(seen) + wait):
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        if path.exists():
            whole = path.read_bytes()
            before, seen = seen, whole[: whole.rfind(b"\n") + 1].splitlines()
            assert seen[: len(before)] == before
    with path.open("ab") as file_:
        file_.write(b"11,5,k3e3-k")  # what a write that was cut short may leave
    build_database(images, out, SMALL, SUPERNET)
    assert path.read_bytes().splitlines()[: len(seen)] == seen
    assert rows(path) == rows(built / "rows.csv")


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signal can wait here")
def test_an_interrupt_while_processes_start_is_heard_afterwards() -> None:
    started = []

    def start() -> None:
        with unheard_interrupts():
            signal.raise_signal(signal.SIGINT)
            started.append(True)

    with pytest.raises(KeyboardInterrupt):
        start()
    assert started


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="process groups")
def test_an_interrupt_ends_all_processes_soon_and_in_one_sentence(built: Path, images: Path, tmp_path: Path) -> None:
    out = finished(tmp_path / "interrupted", built)
    settings = ["--classes", "2", "--rows-per-task", "2", "--test-images", "3", "--calibration-images", "4"]
    settings += ["--width", "0.15", "--input-size", "32", "--epochs", "1", "--teacher", "none", "--tasks", "400"]
    for name in ("build.json", "tasks.csv", "map_clsloc.txt"):
        (out / name).unlink()
    command = [sys.executable, "-m", "metad2a_plugin.cli", "build-database", out, "--images", images, *settings]
    command += ["--valid-tasks", "2", "--workers", "2"]
    path = out / "rows.csv"
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, start_new_session=True) as process:
        while process.poll() is None and (not path.exists() or path.read_bytes().count(b"\n") < 4):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        begin = time.monotonic()
        error = process.communicate(timeout=120)[1].decode()  # ends when no worker holds the pipe any more
    assert time.monotonic() - begin < 120 and "Traceback" not in error and "interrupted" in error
    assert path.read_bytes().count(b"\n") < 800


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": os.pathsep.join([os.fspath(Path(__file__).parent), *sys.path])}


def test_an_interrupted_training_ends_like_an_uninterrupted_one(images: Path, built: Path, tmp_path: Path) -> None:
    class Stopped(Exception):  # noqa: N818 - as a user's Ctrl-C
        pass

    def stop(stage: str, done: int, total: int, note: str) -> None:
        if stage == "supernet" and done == 1:
            raise Stopped

    with pytest.raises(Stopped):
        build_database(images, tmp_path / "stopped", SMALL, SUPERNET, progress=stop)
    build_database(images, tmp_path / "stopped", SMALL, SUPERNET)
    for name in ("supernet.safetensors", "rows.csv"):
        assert (tmp_path / "stopped" / name).read_bytes() == (built / name).read_bytes()


def test_two_at_once_are_refused(images: Path, built: Path) -> None:
    with alone(built / "rows.csv.lock"), pytest.raises(ConfigError, match="another process is writing"):
        build_database(images, built, SMALL, SUPERNET)


# -- a supernet that is brought along ----------------------------------------------------------------
def test_files_of_ofas_layout(images: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    supernet = MobileNetV3Supernet(CLASSES + 1, 1.0)
    torch.save({"state_dict": supernet.state_dict()}, tmp_path / "ofa")
    config = PlanConfig(**{**vars(SMALL), "tasks": 1, "valid_tasks": 1, "rows_per_task": 1})
    path = build_database(images, tmp_path / "database", config, tmp_path / "ofa", input_size=32)
    assert len(rows(path)) == 2
    assert not (tmp_path / "database" / "supernet.safetensors").exists()


def test_another_number_of_outputs_is_refused(images: Path, tmp_path: Path) -> None:
    save_supernet(tmp_path / "s.safetensors", MobileNetV3Supernet(5, 0.15))
    with pytest.raises(CheckpointError, match=r"tells 5 classes apart, and .* has 9; give the images of all"):
        build_database(images, tmp_path / "database", SMALL, tmp_path / "s.safetensors", input_size=32)


# -- wrong input -------------------------------------------------------------------------------------
def test_a_folder_of_other_settings_is_refused(images: Path, built: Path) -> None:
    with pytest.raises(ConfigError, match="with other tasks: seed is 0 there and 1 here"):
        build_database(images, built, PlanConfig(**{**vars(SMALL), "seed": 1}), SUPERNET)
    with pytest.raises(ConfigError, match="with other supernet: epochs is 2 there and 3 here"):
        build_database(images, built, SMALL, SupernetConfig(**{**vars(SUPERNET), "epochs": 3}))
    with pytest.raises(ConfigError, match=r"holds rows\.csv, of another division into shards"):
        build_database(images, built, SMALL, SUPERNET, shard=(1, 2))


@pytest.mark.parametrize("name", ["tasks.csv", "map_clsloc.txt", "rows.csv", "rows.csv.gz"])
def test_a_folder_of_another_database_is_left_alone(name: str, images: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_text("row,task\n0,1")
    with pytest.raises(ConfigError, match=f"holds {name} of another database"):
        build_database(images, tmp_path, SMALL, SUPERNET)
    assert (tmp_path / name).read_text() == "row,task\n0,1" and not (tmp_path / "build.json").exists()


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_damaged_settings_are_said(content: str, images: Path, tmp_path: Path) -> None:
    (tmp_path / "build.json").write_text(content)
    with pytest.raises(ConfigError, match="cannot be read"):
        build_database(images, tmp_path, SMALL, SUPERNET)


def test_wrong_input_leaves_nothing_that_a_right_call_stumbles_over(images: Path, tmp_path: Path) -> None:
    wrong: list[tuple[Any, dict[str, Any]]] = [
        (tmp_path / "gone", {}),
        (SupernetConfig(**{**vars(SUPERNET), "teacher": "nobody"}), {}),
        (SupernetConfig(**{**vars(SUPERNET), "device": "tpu"}), {}),
        (SUPERNET, {"device": "tpu"}),
    ]
    for supernet, options in wrong:
        with pytest.raises(MetaD2AError):
            build_database(images, tmp_path / "out", SMALL, supernet, **options)
    assert not (tmp_path / "out" / "build.json").exists()


def test_broken_images_are_left_out(images: Path, tmp_path: Path) -> None:
    shutil.copytree(images, tmp_path / "images")
    (tmp_path / "images" / "n0" / "0.png").write_bytes(b"no image")
    with pytest.warns(DatasetWarning, match=r"1 of .* cannot be read"):
        path = build_database(tmp_path / "images", tmp_path / "out", SMALL, SUPERNET)
    assert len(rows(path)) == 12


def test_a_file_of_something_else_is_not_written_to(images: Path, built: Path, tmp_path: Path) -> None:
    out = finished(tmp_path / "else", built)
    for content in ("a,b\n1,2\n", "a,b\n1,2\n3", ",".join(COLUMNS) + "\n0,0,x,1,train\n0,0,x,1,train\n"):
        (out / "rows.csv").write_text(content)
        with pytest.raises(DatasetError, match="holds something else than rows of this database"):
            build_database(images, out, SMALL, SUPERNET)
        assert (out / "rows.csv").read_text() == content


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"classes": 5}, DatasetError, "8 of the 9 classes of .* have 7 images or more; 3 for validation and 5"),
        ({"test_images": 50}, DatasetError, "0 of the 9 classes"),
        ({"tasks": 0}, ConfigError, "tasks must be an integer of 1 or more"),
        ({"held_out": 1.0}, ConfigError, "held_out must be a share"),
        ({"related": -1}, ConfigError, "related must be a share"),
    ],
)
def test_wrong_settings(
    changes: dict[str, Any], error: type[Exception], message: str, images: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        build_database(images, tmp_path, PlanConfig(**{**vars(SMALL), **changes}), SUPERNET)


@pytest.mark.parametrize("options", [{"workers": 0}, {"shard": (0, 2)}, {"shard": (3, 2)}])
def test_wrong_arguments(options: dict[str, Any], images: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        build_database(images, tmp_path, SMALL, SUPERNET, **options)


def test_a_damaged_state_is_said(images: Path, tmp_path: Path) -> None:
    (tmp_path / "supernet").mkdir()
    (tmp_path / "supernet" / "supernet.pt").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"remove .* to train from the start"):
        build_database(images, tmp_path, SMALL, SUPERNET)


def test_the_settings_are_written_down(built: Path) -> None:
    found = json.loads((built / "build.json").read_bytes())
    assert found["space"] == "mobilenetv3" and found["tasks"]["classes"] == 3 and found["supernet"]["width"] == 0.15
