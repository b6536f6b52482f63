"""Files of many forms: tables beside images, tars, parquet, datasets of the hub, npz with splits."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_toys import write_folder
from PIL import Image

from metad2a_plugin.data import DatasetWarning, load_dataset
from metad2a_plugin.data.json_rows import json_rows
from metad2a_plugin.data.tables import labelled, parse_table
from metad2a_plugin.errors import DatasetError, MissingExtraError

RNG = np.random.default_rng(0)


def png(i: int = 0) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((6, 5, 3), (i, 255 - i, 7), np.uint8)).save(file, "PNG")
    return file.getvalue()


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def images(pattern: str = "images/{}.png", count: int = 6) -> dict[str, str | bytes]:
    return {pattern.format(i): png(i) for i in range(count)}


def rows(line: Callable[[int], str], count: int = 6) -> str:
    return "".join(line(i) + "\n" for i in range(count))


AB = "ab"
# -- tables ----------------------------------------------------------------------------------------
TABLES: dict[str, dict[str, str | bytes]] = {
    "ids without suffix": {"labels.csv": "id,label\n" + rows(lambda i: f"{i},{AB[i % 2]}")},
    "semicolons and paths of another machine": {
        "labels.csv": "\ufefffilename;class\n" + rows(lambda i: f"C:\\mine\\images\\{i}.png;{AB[i % 2]}")
    },
    "tabs and another order": {
        "a.tsv": "category\tother\timage_path\n" + rows(lambda i: f"{AB[i % 2]}\t7\timages/{i}.png")
    },
    "two columns of any names": {"train.csv": "id_code,diagnosis\n" + rows(lambda i: f"{i},{AB[i % 2]}")},
    "columns that are classes": {"gt.csv": "image,a,b\n" + rows(lambda i: f"{i},{1 - i % 2}.0,{i % 2}.0")},
    "a number beside the name": {
        "x.csv": "class_id,filename,class\n" + rows(lambda i: f"{i % 2},{i}.png,{AB[i % 2]}")
    },
    "quoted cells": {"x.csv": "id,label\n" + rows(lambda i: f'"{i}.png","{AB[i % 2]}"')},
    "commas in cells": {"x.csv": "id;label;note\n" + rows(lambda i: f"{i}.png;{AB[i % 2]};far, dark")},
    "boxes beside the class": {
        "x.csv": "x1,y1,x2,y2,class,image\n" + rows(lambda i: f"1,1,2,{i},{AB[i % 2]},{i}.png")
    },
    "a list without a header": {"train.txt": rows(lambda i: f"images/{i}.png {AB[i % 2]}")},
    "JSON lines": {
        "metadata.jsonl": rows(lambda i: json.dumps({"file_name": f"images/{i}.png", "label": AB[i % 2]}))
    },
    "several tables": {
        "one.csv": "id,label\n" + rows(lambda i: f"{i},{AB[i % 2]}", 3),
        "two.csv": "id,label\n" + "".join(f"{i},{AB[i % 2]}\n" for i in range(3, 6)),
    },
    "splits in a column, first for AutoML": {
        "x.csv": rows(lambda i: f"TRAIN,gs://bucket/images/{i}.png,{AB[i % 2]}")
    },
    "a table in a folder of its own": {
        "annotations/labels.csv": "id,label\n" + rows(lambda i: f"{i},{AB[i % 2]}")
    },
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("packed", [None, "zip", "tar"])
def test_flat_images_with_a_table(kind: str, packed: str | None, tmp_path: Path) -> None:
    files = {**images(), **TABLES[kind]}
    source = write(tmp_path / "data", files)
    if packed == "zip":
        source = tmp_path / "data.zip"
        with zipfile.ZipFile(source, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    elif packed == "tar":
        source = write_tar(tmp_path / "data.tar", files)
    dataset = load_dataset(source)
    assert dataset.class_names == ("a", "b") and dataset.name == "data" and len(dataset) == 6
    found = {dataset.image(i)[0, 0, 0]: int(label) for i, label in enumerate(dataset.labels)}
    assert found == {i: i % 2 for i in range(6)}


def test_the_table_itself_may_be_given(tmp_path: Path) -> None:
    folder = write(tmp_path, {**images(), **TABLES["ids without suffix"]})
    assert load_dataset(folder / "labels.csv").labels.tolist() == [0, 1] * 3
    elsewhere = "path,label\n" + rows(lambda i: f"{tmp_path}/images/{i}.png,{AB[i % 2]}")
    other = write(tmp_path / "other", {"list.csv": elsewhere})
    assert load_dataset(other / "list.csv").labels.tolist() == [0, 1] * 3


def test_numbers_are_classes_in_their_order(tmp_path: Path) -> None:
    folder = write(tmp_path, {**images(), "labels.csv": "id,label\n" + rows(lambda i: f"{i},{9 + i % 2}")})
    assert load_dataset(folder).class_names == ("9", "10")


def test_splits_of_tables_and_what_has_no_label_are_said(tmp_path: Path) -> None:
    files = {
        **images("train/a{}.jpg"),
        **images("test/b{}.jpg"),
        "train.csv": "id,breed\n" + rows(lambda i: f"a{i},{AB[i % 2]}"),
    }
    files["sample_submission.csv"] = "id,breed\n" + rows(lambda i: f"b{i},a")
    with pytest.warns(DatasetWarning) as caught:
        dataset = load_dataset(write(tmp_path, files))
    said = " ".join(str(w.message) for w in caught)
    assert len(dataset) == 6 and "Used: 'train.csv'; left out: 'sample_submission.csv'" in said
    assert "6 images that it does not name are left out" in said


@pytest.mark.parametrize(
    ("column", "train", "other", "left"),
    [
        ("data set", "train", "valid", r"'valid' \(2\)"),
        ("is_valid", "False", "True", "2 by its column 'is_valid'"),
        ("is_train", "1", "0", "2 by its column 'is_train'"),
    ],
)
def test_a_column_of_splits_gives_the_training_rows(
    column: str, train: str, other: str, left: str, tmp_path: Path
) -> None:
    table = f"filepaths,labels,{column}\n" + rows(
        lambda i: f"images/{i}.png,{AB[i % 2]},{train if i < 4 else other}"
    )
    with pytest.warns(DatasetWarning, match=f"the 4 training rows are used; left out: {left}"):
        assert len(load_dataset(write(tmp_path, {**images(), "birds.csv": table}))) == 4


def test_a_column_of_marks_that_is_the_only_one_is_the_class(tmp_path: Path) -> None:
    table = "id,is_valid\n" + rows(lambda i: f"{i},{i % 2}")
    assert load_dataset(write(tmp_path, {**images(), "x.csv": table})).labels.tolist() == [0, 1] * 3


def test_a_table_that_says_other_than_the_folders_is_said(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 4, "b": 4})
    table = "path,label\n" + "".join(f"{top}/{i}.png,{'xy'[i % 2]}\n" for top in "ab" for i in range(4))
    with pytest.warns(DatasetWarning, match="classes are those of 'labels.csv', which are others than its folders"):
        assert load_dataset(write(tmp_path, {"labels.csv": table})).class_names == ("x", "y")


@pytest.mark.parametrize(
    "tables",
    [
        {
            "x.csv": "path,n,split\n"
            + "".join(f"{top}/{i}.png,{top},{'train' if i else 'test'}\n" for top in "ab" for i in range(4))
        },
        {
            "train.txt": "".join(f"{top}/{i}.png {n}\n" for n, top in enumerate("ab") for i in range(1, 4)),
            "test.txt": "a/0.png 0\nb/0.png 1\n",
        },
    ],
    ids=["a column", "files"],
)  # fmt: skip
def test_of_class_folders_a_table_may_say_the_training_part(tables: dict[str, str | bytes], tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 4, "b": 4})
    with pytest.warns(DatasetWarning, match="left out: 'test"):
        dataset = load_dataset(write(tmp_path, tables))
    assert dataset.labels.tolist() == [0] * 3 + [1] * 3 and dataset.class_names == ("a", "b")


@pytest.mark.filterwarnings("ignore::metad2a_plugin.data.DatasetWarning")
def test_a_table_of_the_parts_that_folders_are_leaves_the_validation_part(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        write_folder(tmp_path / part, {"a": 3, "b": 3})
    table = "path,label,data set\n" + "".join(
        f"{part}/{top}/{i}.png,{top},{part}\n" for part in ("train", "valid") for top in "ab" for i in range(3)
    )
    dataset = load_dataset(write(tmp_path, {"birds.csv": table}))
    assert len(dataset) == 6 and dataset.validation is not None and len(dataset.validation) == 6


def test_notes_to_single_images_are_no_tables(tmp_path: Path) -> None:
    boxes: dict[str, str | bytes] = {f"images/{i}.txt": "0 0.5 0.5 0.1 0.1\n" for i in range(6)}
    with pytest.raises(DatasetError, match=r"6 images in images/ .*no class folders"):
        load_dataset(write(tmp_path, {**images(), **boxes}))


def test_labels_in_a_sheet_say_how(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no class folders.*'labels.xlsx' is not read: save it as CSV"):
        load_dataset(write(tmp_path, {**images(), "labels.xlsx": b"PK"}))


def test_archives_inside_of_one_are_to_be_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.writestr("pets.zip", b"PK")
    with pytest.raises(DatasetError, match=r"1 .zip; unpack the archives"):
        load_dataset(tmp_path / "outer.zip")


FOLDERS_SAY: dict[str, dict[str, str | bytes]] = {
    "a table that says the same": {
        "a/GT.csv": "Filename;ClassId\n0.png;0\n",
        "all.csv": "name;n\na/0.png;0\nb/0.png;1\n",
    },
    "a table of sizes": {
        "sizes.csv": "file,width,height\na/0.png,5,6\na/1.png,5,6\nb/0.png,5,6\nb/1.png,7,6\n"
    },
    "a list that counts the images": {"images.txt": "1 a/0.png\n2 a/1.png\n3 b/0.png\n4 b/1.png\n"},
    "notes": {"README.txt": "these are\nimages of\ntwo classes\n"},
}


@pytest.mark.filterwarnings("ignore::metad2a_plugin.data.DatasetWarning")
@pytest.mark.parametrize("kind", FOLDERS_SAY)
def test_class_folders_are_not_overruled(kind: str, tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 2, "b": 2})
    assert load_dataset(write(tmp_path, FOLDERS_SAY[kind])).labels.tolist() == [0, 0, 1, 1]


UNCLEAR: dict[str, tuple[str, str]] = {
    "no plain column": (
        "image_id,dx,age\n" + rows(lambda i: f"{i},{AB[i % 2]},{i % 3}"),
        "'dx', 'age' is the class is not plain; rename",
    ),
    "no names of images": ("a,b\nx,y\nz,y\n", "none of its columns 'a', 'b' names the images .*column 'id'"),
    "two labels an image": ("id,label\n0,a\n0,b\n1,a\n2,b\n3,a\n", "with several labels .*multi-label"),
    "several classes an image": ("id,rust,scab\n" + rows(lambda i: f"{i},1,{i % 2}"), "multi-label"),
    "boxes beside the class": ("id,label\n" + rows(lambda i: f"{i},{AB[i % 2]} 1 2 3 4"), "a box"),
    "measured values": ("id,target\n" + rows(lambda i: f"{i},{i}.5"), "regression"),
    "labels of several classes": (
        "id,label\n" + rows(lambda i: f"{i},{['a', 'b', 'a|b'][i % 3]}"),
        "multi-label",
    ),
}


@pytest.mark.parametrize("kind", UNCLEAR)
def test_tables_that_are_not_plain_say_how(kind: str, tmp_path: Path) -> None:
    table, message = UNCLEAR[kind]
    with pytest.raises(DatasetError, match=message):
        load_dataset(write(tmp_path, {**images(), "labels.csv": table}))


def test_a_table_of_pixels(tmp_path: Path) -> None:
    header = "label," + ",".join(f"pixel{i}" for i in range(16))
    body = rows(lambda i: f"{i % 2}," + ",".join(str(200 + i) for _ in range(16)))
    dataset = load_dataset(write(tmp_path, {"train.csv": f"{header}\n{body}"}) / "train.csv")
    assert (
        dataset.labels.tolist() == [0, 1] * 3
        and dataset.image(3).tolist() == np.full((4, 4, 3), 203).tolist()
    )


@given(
    st.binary(max_size=60) | st.text(alphabet='ab01,;\t\n"|. {}:[]', max_size=60).map(str.encode),
    st.sampled_from([".csv", ".txt", ".jsonl"]),
)
def test_any_table_is_read_or_is_a_dataset_error(data: bytes, suffix: str) -> None:
    try:
        table = parse_table(data, f"t{suffix}")
        if table is not None:
            assert all(len(row) == table.width for row in table.rows)
            labelled(["a.png", "b.png", "0.png", "1.png"], [table], "folder")
    except DatasetError:
        pass


def test_the_flat_case(data_root: Path) -> None:
    dataset = load_dataset(data_root.parent / "cases" / "flat_csv")
    assert dataset.class_names == ("airplane", "automobile", "bird") and len(dataset) == 36


# -- tars ------------------------------------------------------------------------------------------
def write_tar(path: Path, files: dict[str, str | bytes]) -> Path:
    packed = {".gz": "gz", ".xz": "xz", ".bz2": "bz2", ".tgz": "gz"}.get(path.suffix, "")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, f"w:{packed}") as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tgz", "tar.xz", "tar.bz2"])
def test_a_tar_of_class_folders_is_the_same_dataset(suffix: str, folder: Path, tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        f"flowers/{p.relative_to(folder).as_posix()}": p.read_bytes() for p in sorted(folder.rglob("*.png"))
    }
    dataset, same = load_dataset(write_tar(tmp_path / f"flowers.{suffix}", files)), load_dataset(folder)
    assert dataset.content_hash == same.content_hash and dataset.name == "flowers"
    assert [dataset.image(i).tolist() for i in (11, 0, 5)] == [same.image(i).tolist() for i in (11, 0, 5)]
    again = pickle.loads(pickle.dumps(dataset))
    assert again.image(3).tolist() == same.image(3).tolist()
    assert dataset.images(range(12), 8).shape == (12, 3, 8, 8)


def samples(
    count: int = 6, label: Callable[[int], dict[str, str]] = lambda i: {"cls": str(i % 2)}
) -> dict[str, str | bytes]:
    files: dict[str, str | bytes] = {}
    for i in range(count):
        files[f"{i:04}.png"] = png(i)
        files |= {f"{i:04}.{ending}": text for ending, text in label(i).items()}
    return files


@pytest.mark.parametrize(
    "label",
    [
        lambda i: {"cls": str(i % 2)},
        lambda i: {"json": json.dumps({"label": i % 2, "caption": "x"})},
        lambda i: {"json": str(i % 2), "txt": "a caption"},
        lambda i: {"target.cls": str(i % 2)},
    ],
)
def test_samples_of_webdataset(label: Callable[[int], dict[str, str]], tmp_path: Path) -> None:
    dataset = load_dataset(write_tar(tmp_path / "train-000000.tar", samples(label=label)))
    assert dataset.labels.tolist() == [0, 1] * 3 and dataset.image(4)[0, 0, 0] == 4


def test_shards_are_one_dataset_and_other_splits_are_left_out(tmp_path: Path) -> None:
    for name in ("train-000000", "train-000001", "val-000000"):
        write_tar(tmp_path / "shards" / f"{name}.tar", samples())
    with pytest.warns(
        DatasetWarning, match=r"Used: 'train-000000.tar', 'train-000001.tar'; left out: 'val-000000.tar'"
    ):
        dataset = load_dataset(tmp_path / "shards")
    assert len(dataset) == 12 and dataset.name == "shards"


def test_samples_without_a_label_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"1 of 7 samples .* have no label"):
        load_dataset(write_tar(tmp_path / "a.tar", {**samples(), "9999.png": png()}))
    with pytest.raises(DatasetError, match=r"6 of 6 samples .* have no label"):
        load_dataset(write_tar(tmp_path / "b.tar", samples(label=lambda i: {"txt": "a caption"})))


def test_of_splits_in_one_tar_of_samples_the_training_part_is_used(tmp_path: Path) -> None:
    files = {f"{part}/{name}": data for part in ("train", "val") for name, data in samples().items()}
    with pytest.warns(DatasetWarning, match="Used: 'train'; left out: 'val'"):
        assert len(load_dataset(write_tar(tmp_path / "a.tar", files))) == 6


def test_nothing_of_a_tar_leaves_it(tmp_path: Path, folder: Path) -> None:
    good = {f"{c}/{i}.png": png(i) for c in "ab" for i in range(2)}
    path = write_tar(
        tmp_path / "in" / "evil.tar", {**good, "../c/1.png": png(), "/d/2.png": png(), "e/../../f.png": png()}
    )
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("a/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    before = sorted(tmp_path.rglob("*"))
    dataset = load_dataset(path)
    dataset.images(range(4), 8)
    assert len(dataset) == 4 and sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.xz"])
@given(data=st.data())
def test_damaged_tars_never_escape_as_other_errors(suffix: str, data: st.DataObject) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as root:
        path = write_tar(Path(root) / f"a.{suffix}", {f"{c}/{i}.png": png(i) for c in "ab" for i in range(2)})
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
        try:
            dataset = load_dataset(path)
            dataset.decode(range(len(dataset)), 4)
        except DatasetError:
            pass


# -- other files that are known by their layout ----------------------------------------------------
def idx(values: np.ndarray) -> bytes:
    lengths = b"".join(n.to_bytes(4, "big") for n in values.shape)
    return bytes((0, 0, 8, values.ndim)) + lengths + values.tobytes()


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_of_mnist(packed: bool, tmp_path: Path) -> None:
    digits = RNG.integers(0, 256, (6, 7, 5), dtype=np.uint8)
    files: dict[str, str | bytes] = {}
    for split in ("train", "t10k"):
        for name, values in (("images-idx3", digits), ("labels-idx1", np.array([0, 1] * 3, np.uint8))):
            data = idx(values)
            files[f"raw/{split}-{name}-ubyte" + ".gz" * packed] = gzip.compress(data) if packed else data
    with pytest.warns(DatasetWarning, match="left out: 'raw/t10k-images"):
        dataset = load_dataset(write(tmp_path, files))
    assert dataset.labels.tolist() == [0, 1] * 3 and np.array_equal(dataset.image(4)[..., 0], digits[4])
    image = next(iter(files))
    write(tmp_path, {image: files[image][:-5]})
    with pytest.raises(DatasetError, match="cannot be read"), pytest.warns(DatasetWarning):
        load_dataset(tmp_path)


JSON = {
    "names to labels": {f"images/{i}.png": AB[i % 2] for i in range(6)},
    "StyleGAN": {"labels": [[f"images/{i}.png", AB[i % 2]] for i in range(6)]},
    "objects": [{"file": f"{i}.png", "label": AB[i % 2], "tags": ["x"]} for i in range(6)],
    "COCO's classification": {
        "images": [{"id": 10 + i, "file_name": f"images/{i}.png"} for i in range(6)],
        "annotations": [{"id": i, "image_id": 10 + i, "category_id": i % 2} for i in range(6)],
        "categories": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}],
    },
}


@pytest.mark.parametrize("kind", JSON)
def test_labels_in_json(kind: str, tmp_path: Path) -> None:
    dataset = load_dataset(write(tmp_path, {**images(), "dataset.json": json.dumps(JSON[kind])}))
    assert dataset.class_names == ("a", "b") and dataset.labels.tolist() == [0, 1] * 3


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3),
    lambda part: st.lists(part, max_size=3)
    | st.dictionaries(st.sampled_from(["images", "annotations", "categories", "labels", "id", "file_name"]), part),
    max_leaves=8,
)


@given(_JSON)
def test_any_json_is_rows_or_none(value: Any) -> None:
    found = json_rows(json.dumps(value))
    assert found is None or all(isinstance(cell, str) for row in found[1] for cell in row)


def test_pixels_in_one_cell_and_its_training_rows(tmp_path: Path) -> None:
    table = "emotion,pixels,Usage\n" + rows(
        lambda i: f"{i % 2},{' '.join(['120'] * 16)},{'Training' if i < 4 else 'PublicTest'}"
    )
    with pytest.warns(DatasetWarning, match=r"the 4 training rows are used; left out: 'PublicTest' \(2\)"):
        dataset = load_dataset(write(tmp_path, {"fer.csv": table}) / "fer.csv")
    assert dataset.labels.tolist() == [0, 1, 0, 1] and dataset.image(0).shape == (4, 4, 3)


def test_folders_that_are_parts_of_one_are_no_classes(tmp_path: Path) -> None:
    files = {**images("images_part_1/{}.png", 3), **{f"images_part_2/{i}.png": png(i) for i in range(3, 6)}}
    files["meta.csv"] = "image_id,dx,age\n" + rows(lambda i: f"{i},{AB[i % 2]},{i}")
    with pytest.raises(DatasetError, match="which of 'dx', 'age' is the class is not plain"):
        load_dataset(write(tmp_path, files))
    write(tmp_path, {"meta.csv": str(files["meta.csv"]).replace("dx", "label")})
    assert load_dataset(tmp_path).class_names == ("a", "b")


def test_pickles_of_cifar_say_what_to_pass(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="pickles, which can hold code and are not opened; pass"):
        load_dataset(write(tmp_path, {"cifar-10-batches-py/data_batch_1": b"\x80"}))


# -- the hub ---------------------------------------------------------------------------------------
class ClassLabel:
    names = ("cat", "dog")


class HubLike:
    """What `datasets.Dataset` shows of itself, where the library is not installed."""

    def __init__(self, features: dict[str, Any], rows: list[dict[str, Any]]) -> None:
        self.features, self.column_names, self.rows = features, list(features), rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> Any:
        return [row[key] for row in self.rows] if isinstance(key, str) else self.rows[key]


def hub_rows(label: str = "label") -> list[dict[str, Any]]:
    return [{"img": {"bytes": png(i), "path": None}, label: i % 2, "id": i} for i in range(6)]


def test_columns_of_a_hub_dataset_are_found_by_kind_or_by_name() -> None:
    typed = load_dataset(HubLike({"id": None, "img": None, "species": ClassLabel()}, hub_rows("species")))
    assert typed.class_names == ("cat", "dog") and typed.image(5)[0, 0, 0] == 5
    named = load_dataset(HubLike({"id": None, "img": None, "fine_label": None}, hub_rows("fine_label")))
    assert named.class_names == ("0", "1")


def test_columns_of_a_hub_dataset_that_cannot_be_told() -> None:
    with pytest.raises(DatasetError, match=r"the label cannot be told from 'img', 'kind'; .*rename_column"):
        load_dataset(HubLike({"img": None, "kind": None}, hub_rows("kind")))
    both = HubLike(
        {"img": None, "coarse_label": ClassLabel(), "fine_label": ClassLabel()},
        [{**row, "coarse_label": 0} for row in hub_rows("fine_label")],
    )
    with pytest.warns(
        DatasetWarning, match="has the label columns 'coarse_label', 'fine_label': 'fine_label' is used"
    ):
        assert load_dataset(both).class_names == ("cat", "dog")


@pytest.fixture
def hub() -> Any:
    library = pytest.importorskip("datasets")
    library.disable_progress_bars()
    features = library.Features({"img": library.Image(), "label": library.ClassLabel(names=["cat", "dog"])})
    return library.Dataset.from_list(
        [{k: row[k] for k in ("img", "label")} for row in hub_rows()], features=features
    )


def test_hub_datasets_in_memory_and_saved(hub: Any, tmp_path: Path) -> None:
    import datasets

    both = datasets.DatasetDict(train=hub, test=hub.select(range(2)))
    hub.save_to_disk(str(tmp_path / "one"))
    both.save_to_disk(str(tmp_path / "both"))
    for source in (hub, hub.with_format("torch"), tmp_path / "one"):
        dataset = load_dataset(source)
        assert dataset.class_names == ("cat", "dog") and dataset.image(5)[0, 0].tolist() == [5, 250, 7]
    for source in (both, tmp_path / "both"):
        with pytest.warns(DatasetWarning, match="Used: 'train'; left out: 'test'"):
            assert len(load_dataset(source)) == 6
    with pytest.raises(DatasetError, match="is streamed and has no length"):
        load_dataset(hub.to_iterable_dataset())


def test_saved_hub_datasets_name_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name, extra in (("a/dataset_dict.json", "parquet"), ("b/train.parquet", "parquet")):
        with pytest.raises(MissingExtraError, match=rf"metad2a-plugin\[{extra}\]"):
            load_dataset(write(tmp_path, {name: "{}"}) / name.split("/")[0])


@pytest.fixture
def parquet() -> Any:
    return pytest.importorskip("pyarrow.parquet")


def write_parquet(parquet: Any, path: Path, start: int = 0, told: bool = True) -> Path:
    pa = sys.modules["pyarrow"]
    rows = [{"image": {"bytes": png(start + i), "path": f"{i}.png"}, "label": i % 2} for i in range(6)]
    table = pa.Table.from_pylist(rows)
    if told:
        features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=4)
    return path


def test_parquet_of_the_hub(parquet: Any, tmp_path: Path) -> None:
    dataset = load_dataset(write_parquet(parquet, tmp_path / "cats.parquet"))
    assert dataset.class_names == ("cat", "dog") and dataset.key(5) == "cats.parquet, row 5"
    assert [dataset.image(i)[0, 0, 0] for i in (5, 0, 4)] == [5, 0, 4]
    assert pickle.loads(pickle.dumps(dataset)).images(range(6), 4).shape == (6, 3, 4, 4)
    assert load_dataset(write_parquet(parquet, tmp_path / "plain.parquet", told=False)).class_names == (
        "0",
        "1",
    )


def test_a_folder_of_parquet_gives_its_training_part(parquet: Any, tmp_path: Path) -> None:
    for i, name in enumerate(("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001")):
        write_parquet(parquet, tmp_path / "pets" / "data" / f"{name}.parquet", 6 * i)
    with pytest.warns(DatasetWarning, match="left out: 'data/test-00000-of-00001.parquet'"):
        dataset = load_dataset(tmp_path / "pets")
    assert len(dataset) == 12 and dataset.image(9)[0, 0, 0] == 9


def test_damaged_parquet(parquet: Any, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is no readable parquet"):
        load_dataset(write(tmp_path, {"a.parquet": "PAR1"}) / "a.parquet")


# -- npz with splits -------------------------------------------------------------------------------
PIXELS = RNG.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "names",
    [
        ("train_images", "train_labels", "val_images", "val_labels"),
        ("x_train", "y_train", "x_test", "y_test"),
    ],
)
def test_npz_with_splits(names: tuple[str, ...], tmp_path: Path) -> None:
    arrays: Any = dict(
        zip(names, (PIXELS, np.array([[0], [1]] * 3), PIXELS[:2], np.array([[0], [1]])), strict=True)
    )
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.warns(
        DatasetWarning, match=f"{names[0]!r}, {names[1]!r} are used, and {names[2]!r}, {names[3]!r} left out"
    ):
        assert load_dataset(tmp_path / "a.npz").labels.tolist() == [0, 1] * 3


def test_npz_without_labels_names_its_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", features=PIXELS, train_images=PIXELS)
    with pytest.raises(DatasetError, match="holds the arrays 'features', 'train_images'; expected"):
        load_dataset(tmp_path / "a.npz")


def test_npz_whose_last_axis_counts_the_images_says_how(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=np.zeros((8, 8, 3, 6), np.uint8), y=[0, 1] * 3)
    with pytest.raises(DatasetError, match=r"8 images but 6 labels.*numpy.moveaxis\(images, -1, 0\)"):
        load_dataset(tmp_path / "a.npz")


def test_weights_in_a_zip_are_no_images(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:  # as torch.save writes
        archive.writestr("archive/data.pkl", b"x")
    with pytest.raises(DatasetError, match="can hold code"):
        load_dataset(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("a.h5", "h5py"),
        ("a.mat", "loadmat"),
        ("a.pkl", "can hold code and is not opened"),
        ("a.pt", "can hold code"),
        ("a.xlsx", "as CSV"),
    ],
)
def test_files_that_are_not_opened_say_what_to_do(name: str, advice: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=advice):
        load_dataset(write(tmp_path, {name: b"\x80\x04x"}) / name)
