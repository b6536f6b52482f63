"""Databases of real trainings: planned the same however many rows there are, trained the same however it is shared."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from metad2a_plugin.errors import ArchitectureError, ConfigError, DatasetError
from metad2a_plugin.meta.trainings.build import build_trainings
from metad2a_plugin.meta.trainings.config import TrainingsConfig
from metad2a_plugin.meta.trainings.database import load_trainings
from metad2a_plugin.meta.trainings.plan import Plan
from metad2a_plugin.meta.trainings.tasks import TaskPlan, read_sets

SMALL = TrainingsConfig(
    trainings=4, tasks_per_set=2, train_images=40, held_out_images=12, shortest=0.01, longest=0.03, wide=4
)


def image_set(path: Path, classes: int, images: int, seed: int) -> Path:
    """Classes of a colour each, as an ``.npz``."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(40, 216, (classes, 1, 1, 1, 3))
    pixels = (colours + rng.integers(-40, 40, (classes, images, 16, 16, 3))).clip(0, 255).astype(np.uint8)
    np.savez(path, images=pixels.reshape(-1, 16, 16, 3), labels=np.repeat(np.arange(classes), images))
    return path


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("sets")
    return [image_set(folder / f"{name}.npz", 3 + seed, 16, seed) for seed, name in enumerate(("reds", "blues"))]


@pytest.fixture(scope="module")
def built(sets: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "trainings"
    build_trainings(sets, out, SMALL)
    return out


def lines(path: Path) -> list[list[str]]:
    """Rows by number, without the seconds they took."""
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    return sorted((row[:-2] + row[-1:] for row in rows), key=lambda row: int(row[0]))


# -- plans ---------------------------------------------------------------------------------------
def plan(sets: list[Path], **changes: int) -> Plan:
    config = TrainingsConfig(**{"trainings": 200, **changes})
    return Plan(TaskPlan(read_sets([str(path) for path in sets]), config), config)


def test_more_rows_do_not_change_those_before(sets: list[Path]) -> None:
    few, many, other = plan(sets, trainings=30), plan(sets, trainings=200), plan(sets, seed=1)
    assert [few.row(i) for i in range(30)] == [many.row(i) for i in range(30)]
    assert [few.row(i) for i in range(30)] != [other.row(i) for i in range(30)]


def test_a_third_of_the_rows_repeat_a_context_and_some_only_change_the_seed(sets: list[Path]) -> None:
    many = plan(sets)
    rows = [many.row(i) for i in range(200)]
    contexts = [(row.task, str({**vars(row.config), "seed": 0})) for row in rows]
    of_context = Counter(contexts)
    assert sum(count - 1 for count in of_context.values()) > 200 / 3
    assert max(of_context.values()) == many.config.wide * 5 // 4
    designs = Counter(zip(contexts, (row.architecture for row in rows), strict=True))
    repeated = [design for design, count in designs.items() if count == 2]
    assert len(repeated) > 20 and max(designs.values()) == 2
    seeds = {row.config.seed for row in rows if (contexts[row.number], row.architecture) == repeated[0]}
    assert len(seeds) == 2


def test_sizes_budgets_and_image_sets_are_spread(sets: list[Path]) -> None:
    many = plan(sets)
    rows = [many.row(i) for i in range(200)]
    for setting, least in {"input_size": 4, "epochs": 20, "lr": 20, "flip": 2}.items():
        assert len({getattr(row.config, setting) for row in rows}) >= least, setting
    assert {row.config.options["channels"] for row in rows} == {8, 16, 24, 32}
    owners = Counter(int(many.tasks.owner[row.task]) for row in rows)
    assert min(owners.values()) > 60


def test_no_image_is_both_learned_from_and_measured_on_in_any_task_of_a_set(sets: list[Path]) -> None:
    tasks = plan(sets).tasks
    for owner in (0, 1):
        found = [tasks.task(i) for i in np.flatnonzero(tasks.owner == owner).tolist()]
        train, held_out = (set(np.concatenate(part).tolist()) for part in zip(*[t[2:] for t in found], strict=True))
        assert train and held_out and not train & held_out
        assert len(found[0].classes) == found[0].images.num_classes, "the first task is all of it"
    assert {len(tasks.task(i).classes) for i in range(len(tasks))} > {2}


def test_image_sets_are_told_apart_by_their_names(sets: list[Path]) -> None:
    with pytest.raises(DatasetError, match="two image sets are called 'reds'"):
        plan([sets[0], sets[0]])
    with pytest.raises(DatasetError, match="got none"):
        plan([])


def test_a_set_of_too_few_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="'few' has 0 classes of 8 images or more"):
        plan([image_set(tmp_path / "few.npz", 3, 4, 0)]).row(0)


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"trainings": 0}, "trainings must be an integer of 1"), ({"longest": 0.5}, "longest must be 1.0 seconds"),
     ({"space": "darts"}, "no 'darts' among the spaces")],
)  # fmt: skip
def test_wrong_settings(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainingsConfig(**setting)  # type: ignore[arg-type]


# -- building ------------------------------------------------------------------------------------
def test_rows_say_what_was_trained_and_how_well(built: Path, sets: list[Path]) -> None:
    found = load_trainings(built)
    planned = plan(sets, **{k: v for k, v in vars(SMALL).items() if k not in ("trainings", "space")})
    assert len(found) == 4
    for i in range(4):
        row = planned.row(i)
        assert found.space.decode(found.vertices[i : i + 1]) == [row.architecture]
        assert found.settings["epochs"][i] == row.config.epochs == found.curve[i].isfinite().sum()
        assert found.settings["channels"][i] == row.config.options["channels"]
        assert found.image_set[i] == planned.tasks.task(row.task).images.name
        assert found.settings["train_images"][i] == len(planned.tasks.task(row.task).train)
    assert found.accuracy.max() > 60, "colours are easy to learn"
    assert torch.equal(found.rows(torch.tensor([2, 0])).accuracy, found.accuracy[[2, 0]])


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_however_rows_are_shared_they_are_the_same(
    workers: int, built: Path, sets: list[Path], tmp_path: Path
) -> None:
    for i in (1, 2):
        build_trainings(sets, tmp_path / "parts", SMALL, shard=(i, 2), workers=workers)
    parts = [row for i in (1, 2) for row in lines(tmp_path / "parts" / f"rows.{i}-of-2.csv")]
    assert sorted(parts, key=lambda row: int(row[0])) == lines(built / "rows.csv")
    assert len(load_trainings(tmp_path / "parts")) == 4


def test_an_interrupted_building_goes_on(built: Path, sets: list[Path], tmp_path: Path) -> None:
    def stop(stage: str, done: int, total: int, note: str) -> None:
        if stage == "rows" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_trainings(sets, tmp_path, SMALL, progress=stop)
    rows = tmp_path / "rows.csv"
    assert len(lines(rows)) == 2 and len(load_trainings(tmp_path)) == 2
    rows.write_bytes(rows.read_bytes() + b"2,0,|nor")  # killed while it was written
    build_trainings(sets, tmp_path, SMALL)
    assert lines(rows) == lines(built / "rows.csv")


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"wide": 5}, "other trainings: wide is 4 there and 5 here"), ({"seed": 1}, "seed is 0 there and 1 here")],
)
def test_a_folder_of_other_settings_is_refused(
    changes: dict[str, int], message: str, built: Path, sets: list[Path]
) -> None:
    before = (built / "rows.csv").read_bytes()
    with pytest.raises(ConfigError, match=message):
        build_trainings(sets, built, TrainingsConfig(**{**vars(SMALL), **changes}))
    with pytest.raises(ConfigError, match="other images: reds"):
        build_trainings([image_set(built.parent / "reds.npz", 3, 16, 7), sets[1]], built, SMALL)
    assert (built / "rows.csv").read_bytes() == before


# -- reading -------------------------------------------------------------------------------------
def edited(column: str, value: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        header, first, *others = text.splitlines()
        names, values = header.split(","), first.split(",")
        values[names.index(column)] = value
        return "\n".join([header, ",".join(values), *others]) + "\n"

    return edit


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        (edited("curve", "nan 3"), DatasetError, "line 2: curve must be a positive number, got 'nan'"),
        (edited("curve", "50"), DatasetError, r"line 2: the curve must have an accuracy .* each of \d+ epochs, got 1"),
        (edited("task", "99"), DatasetError, "line 2: task must be an integer from 0 to 3, got '99'"),
        (edited("channels", "-8"), DatasetError, "line 2: channels must be a positive number"),
        (edited("epochs", "0"), DatasetError, "line 2: epochs must be a positive number"),
        (edited("arch_str", "|none~0|"), ArchitectureError, "line 2: "),
        (lambda text: text.replace("curve", "bend"), DatasetError, r"lacks the columns \['curve'\]"),
        (lambda text: text.splitlines()[0] + "\n", DatasetError, "holds no training yet"),
    ],
)
def test_a_damaged_row_is_said_with_its_place(
    edit: Callable[[str], str], error: type[Exception], message: str, built: Path, tmp_path: Path
) -> None:
    for name in ("build.json", "tasks.csv"):
        (tmp_path / name).write_bytes((built / name).read_bytes())
    (tmp_path / "rows.csv").write_text(edit((built / "rows.csv").read_text()))
    with pytest.raises(error, match=message):
        load_trainings(tmp_path)


def test_another_kind_of_database_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is not of a database of trainings"):
        load_trainings(tmp_path)
    (tmp_path / "build.json").write_text(json.dumps({"space": "mobilenetv3"}))
    with pytest.raises(DatasetError, match="is not of a database of trainings"):
        load_trainings(tmp_path)

