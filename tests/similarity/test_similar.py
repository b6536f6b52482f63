from __future__ import annotations

import functools
import json

import pytest
from similarity_toys import stripes

from metad2a_plugin.cli.main import main
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.similarity.library import load_library
from metad2a_plugin.similarity.similar import similar_tasks


@pytest.mark.parametrize("distance", ["frechet", "log-determinant"])
def test_a_known_task_is_found_again(distance, library_folder):
    found = similar_tasks(stripes(), library_folder, distance=distance)
    assert found.nearest() == ("stripes",) and found.distances["stripes"] == 0 < found.distances["noise"]
    assert list(found.distances.values()) == sorted(found.distances.values())


def test_the_same_seed_gives_the_same_distances(library_folder):
    library = load_library(library_folder)
    first, again, other = (similar_tasks(stripes(7), library, seed=seed).distances for seed in (1, 1, 2))
    assert first == again != other


def test_wrong_input(library_folder):
    with pytest.raises(ConfigError, match="unknown distance 'euclid'; known are frechet, log-determinant"):
        similar_tasks(stripes(), library_folder, distance="euclid")
    found = similar_tasks(stripes(), library_folder)
    for count, message in ((0, "nearest must be"), (3, "nearest is 3, but the library has 2 tasks")):
        with pytest.raises(ConfigError, match=message):
            found.nearest(count)


# -- commands --------------------------------------------------------------------------------------
@pytest.fixture
def work(tmp_path, monkeypatch):
    import numpy as np

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("METAD2A_DATA", raising=False)
    (tmp_path / "sets").mkdir()
    data = stripes(3)
    images = data.images(range(len(data)), 8).permute(0, 2, 3, 1).numpy()
    for path in ("images.npz", "sets/bars.npz"):
        np.savez(path, images=images, labels=np.array(data.class_names)[data.labels])
    return tmp_path


def test_similar_shows_tasks_and_good_cells_and_writes_files(work, library_folder, capsys):
    pytest.importorskip("matplotlib")
    files = ["--json", "out.json", "--draw", "heat.svg"]
    assert main(["similar", "images.npz", "--library", str(library_folder), *files]) == 0
    shown = capsys.readouterr().out
    written = json.loads((work / "out.json").read_text())
    assert written["dataset"] == "images" and {task["task"] for task in written["tasks"]} == {"stripes", "noise"}
    nearest = written["tasks"][0]
    assert f"Good cells of {nearest['task']}, the best 2 of 4" in shown
    assert all(cell["architecture"] in shown for cell in nearest["good_cells"])
    assert (work / "heat.svg").read_text().startswith("<?xml")


def test_a_library_of_ones_own(work, capsys, monkeypatch):
    import numpy as np

    from metad2a_plugin.similarity import build, measure

    monkeypatch.setattr(measure.TaskConfig, "__init__", _quick(measure.TaskConfig.__init__, steps=2, input_size=8))
    monkeypatch.setattr(build.CellConfig, "__init__", _quick(build.CellConfig.__init__, channels=2, input_size=8))
    (work / "themes.json").write_text('{"thin": {"width 1": "one", "width 2": "two"}}')
    command = ["build-tasks", "mine", "--images", "images.npz", "--themes", "themes.json", "--folder", "sets"]
    assert main([*command, "--dataset", "again=images.npz", "--count", "2", "--good", "2", "--epochs", "1"]) == 0
    assert "library: mine, 3 tasks" in capsys.readouterr().out
    assert [task.name for task in load_library("mine").tasks] == ["thin", "bars", "again"]
    assert np.array(load_library("mine").distances["frechet"]).shape == (3, 3)


def _quick(init, **settings):
    return functools.wraps(init)(lambda self, **given: init(self, **(given | settings)))


MISTAKES = {
    "no dataset": (["similar", "gone"], "no file or folder 'gone'"),
    "unknown distance": (["similar", "images.npz", "--distance", "l2"], "unknown distance 'l2'"),
    "no library": (["similar", "images.npz", "--library", "gone"], "no library of tasks in 'gone'"),
    "another suffix": (["similar", "images.npz", "--draw", "heat.pdf"], "must end in .svg or .png"),
    "too many": (["similar", "images.npz", "--top", "9", "--library", "LIBRARY"], "but the library has 2 tasks"),
    "nothing to build of": (["build-tasks", "mine"], "a library needs at least one dataset"),
    "half a dataset": (["build-tasks", "mine", "--dataset", "images.npz"], "must be NAME=DATASET"),
    "images alone": (["build-tasks", "mine", "--images", "images.npz"], "--images are what --themes choose from"),
    "no themes": (["build-tasks", "mine", "--themes", "gone.json"], "cannot read themes from 'gone.json'"),
    "no folder": (["build-tasks", "mine", "--folder", "gone"], "--folder 'gone' is no folder"),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_mistake_ends_in_one_sentence(kind, work, library_folder, capsys):
    arguments, message = MISTAKES[kind]
    before = sorted(work.rglob("*"))
    assert main([str(library_folder) if a == "LIBRARY" else a for a in arguments]) == 2
    shown = capsys.readouterr().err
    assert message in shown and shown.startswith("error: ") and shown.count("\n") == 1
    assert sorted(work.rglob("*")) == before
