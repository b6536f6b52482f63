from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from similarity_toys import CELLS, CONFIG, build, noise, stripes

from metad2a_plugin.data import load_dataset
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.similarity import build as building
from metad2a_plugin.similarity.build import build_library, live_cells
from metad2a_plugin.similarity.config import CellConfig, TaskConfig
from metad2a_plugin.similarity.fisher import DISTANCES
from metad2a_plugin.similarity.library import SHIPPED, load_library
from metad2a_plugin.similarity.measure import fisher_on, task_data, train_task_network
from metad2a_plugin.similarity.themes import theme_datasets

SPACE = get_space("nasbench201")


# -- networks of tasks -----------------------------------------------------------------------------
@pytest.mark.parametrize("distance", DISTANCES.values())
@pytest.mark.parametrize("backbone", ["plain", "residual"])
def test_a_task_is_at_distance_zero_from_itself_only_and_distances_are_asymmetric(backbone, distance):
    config = replace(CONFIG, backbone=backbone)
    parts = [task_data(dataset, config) for dataset in (stripes(), noise())]
    networks = [train_task_network(data, config) for data in parts]
    table = [
        [distance(fisher_on(source, data, config), fisher_on(target, data, config)) for source in networks]
        for target, data in zip(networks, parts, strict=True)
    ]
    assert table[0][0] == table[1][1] == 0
    assert min(table[0][1], table[1][0]) > 0 and table[0][1] != table[1][0]


def test_measuring_depends_on_the_seed_only_and_changes_no_network():
    data = task_data(stripes(), CONFIG)
    torch.manual_seed(1)
    first = train_task_network(data, CONFIG)
    torch.manual_seed(2)
    again = train_task_network(data, CONFIG)
    state = {name: value.clone() for name, value in first.state_dict().items()}
    assert all(value.equal(state[name]) for name, value in again.state_dict().items())
    before = torch.get_rng_state()
    found = fisher_on(first, data, CONFIG)
    assert torch.get_rng_state().equal(before)
    assert all(value.equal(state[name]) for name, value in first.state_dict().items())
    assert all(name.startswith("backbone.") for name in found)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"steps": 0}, "steps must be"), ({"lr": 0}, "lr must be"), ({"backbone": "vgg"}, "unknown backbone 'vgg'")],
)
def test_wrong_settings(wrong, message):
    with pytest.raises(ConfigError, match=message):
        TaskConfig(**wrong)


# -- building --------------------------------------------------------------------------------------
def test_a_library_is_read_as_it_was_built(library_folder):
    library = load_library(library_folder)
    assert [task.name for task in library.tasks] == ["stripes", "noise"]
    assert library.config == CONFIG and library.space == "nasbench201"
    assert library.tasks[0].class_names == ("width 1", "width 2", "width 3")
    matrix = library.distances["frechet"]
    assert matrix[0][0] == matrix[1][1] == 0 < matrix[0][1] <= 1
    card = (library_folder / "README.md").read_text()
    assert "| stripes | 24 images, 3 classes, 8 a class" in card and "`toys`" in card


def test_the_same_cells_are_trained_on_all_tasks_and_the_best_are_good(library_folder):
    library = load_library(library_folder)
    one, two = ({cell.architecture for cell in task.cells} for task in library.tasks)
    assert one == two == {SPACE.format(a) for a in live_cells(SPACE, CELLS.count, CELLS.seed)}
    good, accuracies = library.good_cells("noise"), [cell.accuracy for cell in library.tasks[1].cells]
    assert [cell.accuracy for cell in good] == sorted(accuracies, reverse=True)[: CELLS.good]
    assert all(low <= value <= high for _, value, (low, high) in library.tasks[1].cells)


def test_live_cells_have_different_networks():
    cells = live_cells(SPACE, 50, 1)
    assert len({SPACE.canonical(a) for a in cells}) == 50 and not any(map(SPACE.is_dead, cells))
    assert live_cells(SPACE, 10, 1) == cells[:10]


def test_a_build_goes_on_where_it_was_interrupted(tmp_path, library_folder, monkeypatch):
    class StopHereError(Exception):
        pass

    def stop(stage: str, done: int, total: int, note: str) -> None:
        if stage == "cells of noise" and done == 2:
            raise StopHereError

    with pytest.raises(StopHereError):
        build(tmp_path, progress=stop)
    assert not (tmp_path / "library").exists()

    def train_again(*_):
        raise AssertionError("a finished network was trained again")

    monkeypatch.setattr(building, "train_task_network", train_again)
    build(tmp_path)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "library" / name).read_bytes() == (library_folder / name).read_bytes()


def test_themes_choose_and_name_classes():
    images = stripes(classes=4)
    found = theme_datasets(images, {"wide": {"width 4": "widest", "width 3": "wide"}})["wide"]
    assert found.class_names == ("wide", "widest") and len(found) == 16 and found.name == "wide"
    with pytest.raises(ConfigError, match="theme 'wide' names the class 'width 9', which 'stripes' has not"):
        theme_datasets(images, {"wide": {"width 9": "?", "width 1": "thin"}})
    with pytest.raises(ConfigError, match="must map classes of the images to names"):
        theme_datasets(images, {"wide": ["width 1"]})


def test_wrong_builds(tmp_path):
    with pytest.raises(ConfigError, match="at least one dataset"):
        build_library({}, tmp_path, run_dir=tmp_path)
    with pytest.raises(ConfigError, match="without slashes, got 'a/b'"):
        build_library({"a/b": stripes()}, tmp_path, run_dir=tmp_path)
    with pytest.raises(ConfigError, match=r"good \(5\) must not exceed count \(4\)"):
        CellConfig(count=4, good=5)


# -- files -----------------------------------------------------------------------------------------
def _without_tasks(folder: Path) -> None:
    found = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(found | {"tasks": []}))


DAMAGES = {
    "no file": (lambda folder: (folder / "config.json").unlink(), "no library of tasks in .* metad2a build-tasks"),
    "no JSON": (lambda folder: (folder / "config.json").write_text("{"), "cannot be read"),
    "another kind": (lambda folder: (folder / "config.json").write_text('{"format": "x"}'), "format 'x'"),
    "other weights": (lambda folder: (folder / "model.safetensors").write_bytes(b"x"), "not the file that config.json"),
    "no tasks": (_without_tasks, "it has no tasks"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_library(damage, library_folder, tmp_path):
    shutil.copytree(library_folder, tmp_path / "copy")
    spoil, message = DAMAGES[damage]
    spoil(tmp_path / "copy")
    with pytest.raises(CheckpointError, match=message):
        load_library(tmp_path / "copy")


def test_good_cells_of_what_is_not_there(library_folder):
    library = load_library(library_folder)
    with pytest.raises(ConfigError, match="no task 'cats' in the library; it has stripes, noise"):
        library.good_cells("cats")
    with pytest.raises(ConfigError, match="of the space 'nasbench201', not 'mobilenetv3'"):
        library.good_architectures(["noise"], get_space("mobilenetv3"))


def test_the_shipped_library_is_small_and_knows_its_tasks():
    library = load_library()
    assert 8 <= len(library.tasks) <= 12 and "digits" in {task.name for task in library.tasks}
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) < 800_000
    for task in library.tasks:
        assert len(task.cells) == len(library.tasks[0].cells) and task.description and len(task.class_names) > 1
    digits = load_dataset("sklearn:digits")
    [known] = [task for task in library.tasks if task.name == "digits"]
    assert known.fingerprint == task_data(digits, library.config).fingerprint
