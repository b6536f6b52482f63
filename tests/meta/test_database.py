from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from meta_toys import SPACE, Toy, toy, write_folder

from metad2a_plugin.errors import ArchitectureError, ConfigError, DatasetError
from metad2a_plugin.meta.database import ClassFeatures, MetaDatabase, load_database

CELL = "|none~0|+|none~0|none~1|+|none~0|none~1|skip_connect~2|"
TENSORS = ("vertices", "task", "valid", "protocol", "task_classes")


@pytest.fixture(scope="module")
def made() -> Toy:
    return toy(rows=40)


@pytest.fixture
def folder(made: Toy, tmp_path: Path) -> Path:
    return write_folder(tmp_path / "database", made)


# -- reading -------------------------------------------------------------------------------------
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_written_is_read(made: Toy, folder: Path, packed: bool) -> None:
    if packed:
        for name in ("rows.csv", "tasks.csv"):
            (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
            (folder / name).unlink()
    read = load_database(str(folder), SPACE)
    for name in TENSORS:
        assert torch.equal(getattr(read, name), getattr(made.database, name)), name
    assert torch.allclose(read.accuracy, made.database.accuracy, atol=6e-4)
    assert read.class_folders == made.database.class_folders


def test_tasks_may_have_any_numbers(made: Toy, folder: Path) -> None:
    for name in ("tasks.csv", "rows.csv"):
        header, *lines = (folder / name).read_text().splitlines()
        moved = [f"{int(line.split(',')[0]) * 7 + 1000},{line.split(',', 1)[1]}" for line in lines]
        (folder / name).write_text("\n".join([header, *moved]))
    assert torch.equal(load_database(folder, SPACE).task, made.database.task)


def test_rows_of_another_grid_are_of_the_second_protocol(made: Toy, tmp_path: Path) -> None:
    folder = write_folder(tmp_path, made, protocol=False)
    header, *lines = (folder / "rows.csv").read_text().splitlines()
    values = [0.2 * (300 + i) if i % 3 else 60.1 + i / 7 for i in range(len(lines))]
    changed = [
        ",".join([*line.split(",")[:2], f"{v:.4f}", line.split(",")[3]])
        for line, v in zip(lines, values, strict=True)
    ]
    (folder / "rows.csv").write_text("\n".join([header, *changed]))
    read = load_database(folder, SPACE, protocol_step=0.2)
    assert read.protocol.tolist() == [int(i % 3 == 0) for i in range(len(lines))]
    assert not load_database(folder, SPACE).protocol.any(), "without a step there is one protocol"


def test_a_protocol_column_counts_more_than_the_grid(made: Toy, folder: Path) -> None:
    assert torch.equal(load_database(folder, SPACE, protocol_step=0.2).protocol, made.database.protocol)


def numbered(folder: Path) -> tuple[str, list[str]]:
    """Header and lines of the rows, with a column of row numbers in front."""
    header, *lines = (folder / "rows.csv").read_text().splitlines()
    return f"row,{header},params", [f"{3 * i},{line},4.2" for i, line in enumerate(lines)]


def same(a: MetaDatabase, b: MetaDatabase) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in (*TENSORS, "accuracy"))


def test_numbered_rows_may_be_written_in_any_order(folder: Path) -> None:
    before = load_database(folder, SPACE)
    header, lines = numbered(folder)
    (folder / "rows.csv").write_text("\n".join([header, *sorted(lines)[::-1]]) + "\n")
    assert same(load_database(folder, SPACE), before)


@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
@pytest.mark.parametrize("shards", [1, 2, 12])
def test_rows_may_come_in_several_files(folder: Path, shards: int, suffix: str) -> None:
    before = load_database(folder, SPACE)
    header, lines = numbered(folder)
    (folder / "rows.csv").unlink()
    for i in range(shards):
        text = "\n".join([header, *lines[i::shards][::-1]]) + "\n"
        data = gzip.compress(text.encode()) if suffix.endswith("gz") else text.encode()
        (folder / f"rows.{i + 1}-of-{shards}.{suffix}").write_bytes(data)
    (folder / f"rows.1-of-{shards}.csv.lock").touch()
    assert same(load_database(folder, SPACE), before)


def test_shards_without_row_numbers_are_read_in_their_order(folder: Path) -> None:
    before = load_database(folder, SPACE)
    header, *lines = (folder / "rows.csv").read_text().splitlines()
    (folder / "rows.csv").unlink()
    for i in range(11):
        part = lines[4 * i : 4 * i + 4] if i < 10 else lines[40:]
        (folder / f"rows.{i + 1}-of-11.csv").write_text("\n".join([header, *part]) + "\n")
    assert same(load_database(folder, SPACE), before)


def shards(*names: str, keep: bool = False) -> Callable[[Path], None]:
    """Every row in the first of these files, and none in the others."""

    def change(folder: Path) -> None:
        header, lines = numbered(folder)
        for name in names:
            (folder / name).write_text("\n".join([header, *(lines if name == names[0] else [])]) + "\n")
        if not keep:
            (folder / "rows.csv").unlink()

    return change


SHARDS: dict[str, tuple[Callable[[Path], None], str]] = {
    "one missing": (shards("rows.1-of-3.csv", "rows.3-of-3.csv"), r"lacks rows.2-of-3.csv; it has rows.1-of-3.csv, "),
    "most missing": (shards("rows.2-of-4.csv"), r"lacks rows.1-of-4.csv, rows.3-of-4.csv, rows.4-of-4.csv"),
    "two sets": (shards("rows.1-of-1.csv", "rows.1-of-2.csv", "rows.2-of-2.csv"), "more than once: rows.1-of-1"),
    "and the whole": (shards("rows.1-of-1.csv", keep=True), "more than once: rows.csv, rows.1-of-1.csv; keep one set"),
    "twice": (shards("rows.1-of-1.csv", "rows.1-of-1.csv.gz"), "more than once"),
    "beyond the last": (shards("rows.1-of-1.csv", "rows.2-of-1.csv"), "numbered otherwise than 1 to 1"),
}


@pytest.mark.parametrize("kind", SHARDS)
def test_shards_that_do_not_fit_are_refused(kind: str, folder: Path) -> None:
    change, message = SHARDS[kind]
    change(folder)
    with pytest.raises(DatasetError, match=message):
        load_database(folder, SPACE)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("3", r"rows.csv, line 4: row 3 is there already \(rows.csv, line 3\)"),
        ("x", "line 4: row must be an integer, got 'x'"),
    ],
)
def test_row_numbers_are_integers_and_each_there_once(folder: Path, number: str, message: str) -> None:
    header, lines = numbered(folder)
    lines[2] = f"{number},{lines[2].split(',', 1)[1]}"
    (folder / "rows.csv").write_text("\n".join([header, *lines]) + "\n")
    with pytest.raises(DatasetError, match=message):
        load_database(folder, SPACE)


def test_row_numbers_in_some_files_only_are_refused(folder: Path) -> None:
    header, *lines = (folder / "rows.csv").read_text().splitlines()
    (folder / "rows.2-of-2.csv").write_text("\n".join([header, *lines]) + "\n")
    shards("rows.1-of-2.csv")(folder)
    with pytest.raises(DatasetError, match=r"rows.2-of-2.csv, line 2: row must be an integer, got None"):
        load_database(folder, SPACE)


def test_the_released_database(data_root: Path) -> None:
    read = load_database(data_root / "metad2a", SPACE, protocol_step=0.2)
    assert read.vertices.shape == (4630, 8) and read.task_classes.shape == (5000, 20)
    assert int(read.valid.sum()) == 400
    first, second = (read.accuracy[read.protocol == p] for p in (0, 1))
    assert len(second) < 0.15 * len(read.accuracy) and first.mean() - second.mean() > 10


# -- faults --------------------------------------------------------------------------------------
def line(number: int, text: str, name: str = "rows.csv") -> Callable[[Path], Any]:
    """Put `text` in a line of a file, from 1."""

    def change(folder: Path) -> None:
        lines = (folder / name).read_text().splitlines()
        lines[number - 1] = text
        (folder / name).write_text("\n".join(lines) + "\n")

    return change


def content(name: str, data: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(data)


def gone(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).unlink()


def one_split(folder: Path) -> None:
    (folder / "rows.csv").write_text((folder / "rows.csv").read_text().replace(",valid,", ",train,"))


def half_packed(folder: Path) -> None:
    packed = gzip.compress((folder / "rows.csv").read_bytes())
    (folder / "rows.csv.gz").write_bytes(packed[: len(packed) // 2])


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no rows file": (gone("rows.csv"), r"no rows.csv or rows.csv.gz in .*database"),
    "no tasks file": (gone("tasks.csv"), r"no tasks.csv or tasks.csv.gz in .*database"),
    "no class map": (gone("map_clsloc.txt"), r"no map_clsloc.txt in .*database"),
    "rows without a column": (line(1, "task,arch_str,value,split,protocol"), r"rows.csv lacks .*'accuracy'.*'value'"),
    "tasks without a column": (line(1, "task,a,b,c,d,e", "tasks.csv"), r"tasks.csv lacks .*'class_0'"),
    "empty rows file": (content("rows.csv", b""), r"rows.csv lacks the columns"),
    "no rows": (content("rows.csv", b"task,arch_str,accuracy,split\n"), r"rows of both splits, got 0"),
    "no tasks": (content("tasks.csv", b"task,class_0\n"), r"tasks.csv holds no task"),
    "one split": (one_split, r"rows of both splits, got 40 rows, 0 of them valid"),
    "unknown task": (line(5, f"999,{CELL},50,train,0"), r"rows.csv, line 5: .*unknown task \(999\)"),
    "task is text": (line(5, f"x,{CELL},50,train,0"), r"rows.csv, line 5: bad number"),
    "accuracy is text": (line(6, f"0,{CELL},high,train,0"), r"rows.csv, line 6: bad number.*'high'"),
    "accuracy of 101": (line(7, f"0,{CELL},101,train,0"), r"rows.csv, line 7: accuracy must be 0 to 100.*'101'"),
    "negative accuracy": (line(7, f"0,{CELL},-0.1,train,0"), r"rows.csv, line 7: accuracy must be 0 to 100"),
    "accuracy is nan": (line(8, f"0,{CELL},nan,train,0"), r"rows.csv, line 8: accuracy must be 0 to 100"),
    "test split": (line(9, f"0,{CELL},50,test,0"), r"rows.csv, line 9: .*train or valid.*'test'"),
    "protocol 2": (line(9, f"0,{CELL},50,train,2"), r"rows.csv, line 9: protocol must be 0 or 1, got '2'"),
    "short row": (line(10, "0"), r"rows.csv, line 10: expected 5 values"),
    "long row": (line(10, f"0,{CELL},50,train,0,9"), r"rows.csv, line 10: expected 5 values"),
    "bad cell": (line(11, "0,|none~0|,50,train,0"), r"rows.csv, line 11: expected 3 nodes"),
    "task is text in tasks": (line(4, "a,1,2,3,4,5", "tasks.csv"), r"tasks.csv, line 4: .*integers"),
    "class is text": (line(4, "2,1,2,3,4,n5", "tasks.csv"), r"tasks.csv, line 4: .*integers.*'n5'"),
    "unknown class": (line(4, "2,1,2,3,4,77", "tasks.csv"), r"map_clsloc.txt lacks: \[77\]"),
    "ragged tasks": (line(4, "2,1,2,3,4,", "tasks.csv"), r"tasks.csv: every task must have the same number"),
    "task twice": (line(4, "1,1,2,3,4,5", "tasks.csv"), r"tasks.csv, line 4: task 1 is there twice"),
    "class map without ids": (line(3, "n002", "map_clsloc.txt"), r"map_clsloc.txt, line 3: .*got 'n002'"),
    "class map with text ids": (line(3, "n002 two x", "map_clsloc.txt"), r"map_clsloc.txt, line 3"),
    "binary rows": (content("rows.csv", b"\xff\xfe\0"), r"rows.csv cannot be read"),
    "binary class map": (content("map_clsloc.txt", b"\xff\xfe\0"), r"map_clsloc.txt cannot be read"),
    "no gzip": (content("tasks.csv.gz", b"hello"), r"tasks.csv.gz cannot be read"),
    "half a gzip": (half_packed, r"rows.csv.gz cannot be read .*damaged"),
}


@pytest.mark.parametrize("kind", BAD)
def test_every_fault_names_its_place(kind: str, folder: Path) -> None:
    damage, message = BAD[kind]
    damage(folder)
    with pytest.raises((DatasetError, ArchitectureError), match=message):
        load_database(folder, SPACE)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no tasks.csv .*gone"):
        load_database(tmp_path / "gone", SPACE)


@pytest.mark.parametrize("step", [0, -0.2, float("nan")])
def test_a_step_must_be_positive(folder: Path, step: float) -> None:
    with pytest.raises(ConfigError, match="protocol_step must be a positive number"):
        load_database(folder, SPACE, protocol_step=step)


# -- images by class -----------------------------------------------------------------------------
def grouped(made: Toy, seed: int) -> tuple[ClassFeatures, torch.Tensor, np.ndarray]:
    """Features that begin with their class's number, shuffled, with a few of a class that no task uses."""
    database, rng = made.database, np.random.default_rng(seed)
    ids = rng.permutation(np.concatenate([np.arange(60), rng.integers(0, 60, 90)]))
    features = torch.from_numpy(np.stack([ids, np.arange(len(ids)), rng.random(len(ids))], 1)).float()
    names = np.array([database.class_folders[i] for i in ids])
    features = torch.cat([features, torch.full((4, 3), -1.0)])
    names = np.concatenate([names, np.full(4, "not-in-the-map")])
    order = rng.permutation(len(names))
    features, names = features[order], names[order]
    return ClassFeatures.group(features, names, database, "toy"), features, names


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_images_are_grouped_by_class(made: Toy, seed: int) -> None:
    classes, features, names = grouped(made, seed)
    used = made.database.task_classes.unique().tolist()
    prototypes = classes.prototypes()
    for c in used:
        mine = features[torch.from_numpy(names == made.database.class_folders[c])]
        found = classes.features[classes.start[c] : classes.start[c] + classes.count[c]]
        assert torch.equal(found[found[:, 1].argsort()], mine[mine[:, 1].argsort()])
        assert torch.allclose(prototypes[c], mine.mean(0), atol=1e-5)
    assert int(classes.count.sum()) == sum(int(classes.count[c]) for c in used)


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_images_are_drawn_from_their_class(made: Toy, seed: int) -> None:
    classes, _, _ = grouped(made, 0)
    wanted = made.database.task_classes[:6]
    drawn = classes.draw(wanted, 7, torch.Generator().manual_seed(seed))
    assert drawn.shape == (6, 5, 7, 3)
    assert (drawn[..., 0] == wanted[..., None]).all()
    assert torch.equal(drawn, classes.draw(wanted, 7, torch.Generator().manual_seed(seed)))


def test_a_class_without_an_image_is_named(made: Toy) -> None:
    database: MetaDatabase = made.database
    used = database.task_classes.unique().tolist()
    names = np.array([database.class_folders[c] for c in used[1:]])
    with pytest.raises(DatasetError, match=f"1 classes .* have no images.*'{database.class_folders[used[0]]}'"):
        ClassFeatures.group(torch.zeros(len(names), 3), names, database, "toy")
