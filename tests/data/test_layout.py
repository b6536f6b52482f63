"""Folders as people bring them: what is a class, what a part of a split, and what neither."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_toys import write_zip
from layout_toys import classes, write_image, write_tree

from metad2a_plugin.data import DatasetWarning, ImageDataset, load_dataset, words
from metad2a_plugin.data.layout import find_layout
from metad2a_plugin.errors import DatasetError

PETS = ("cat", "dog", "fish")
BOXES = "left/a right/a"


def grid(tops: str, inner: str, count: int = 2) -> dict[str, int]:
    return {f"{top}/{name}": count for top in tops.split() for name in inner.split()}


# name: files; class names that must come out; images; what a warning says; images of the validation part
SPLITS: dict[str, tuple[dict[str, int], tuple[str, ...], int, str, int]] = {
    "train, val, test": (
        classes("train") | classes("val", 2) | classes("test", 1),
        PETS, 9, "split into 'test', 'train', 'val': only 'train' is used.*'val' is the validation.*To use 'test', ", 6,
    ),
    "each wraps a folder of its name": (
        classes("seg_train/seg_train") | classes("seg_test/seg_test") | {"seg_pred/seg_pred": 4},
        PETS, 9, "only 'seg_train' is used. To use 'seg_pred', 'seg_test'", 0,
    ),
    "words in names": (
        classes("Training") | classes("Test") | {"test-multiple_fruits": 3, "papers": 2},
        PETS, 9, "only 'Training' is used", 0,
    ),
    "dev": (classes("train") | classes("dev", 1), PETS, 9, "'dev' is the validation part, for metad2a train", 3),
    "sets": (classes("training_set") | classes("test_set"), PETS, 9, "only 'training_set'", 0),
    "camelCase": (classes("trainSet") | classes("testSet") | classes("validSet", 1), PETS, 9, "only 'trainSet'", 3),
    "numbered": (classes("train.X1") | classes("val.X", 1), PETS, 9, "only 'train.X1'", 3),
    "several training parts of other classes": (
        classes("train.X1", 3, "cat dog") | classes("train.X2", 3, "fish") | classes("val.X", 1),
        PETS, 9, "only 'train.X1', 'train.X2' are used", 3,
    ),
    "named": (classes("pets_train") | classes("pets_test"), PETS, 9, "only 'pets_train'", 0),
    "unlabelled": (classes("train") | {"test": 5}, PETS, 9, "only 'train'", 0),
    "unlabelled in a folder": (classes("train") | {"test/unknown": 5}, PETS, 9, "only 'train'", 0),
    "a letter of another case": (classes("TRAIN") | classes("Holdout"), PETS, 9, "only 'TRAIN'", 0),
    "digits": (grid("train test extra", "0 1 2 3 4 5"), tuple("012345"), 12, "only 'train'", 0),
    "one without words": (classes("train") | classes("more"), PETS, 9, "only 'train' is used", 0),
    "a picture beside": (classes("train") | classes("test") | {"preview.png": 1}, PETS, 9, "1 images outside", 0),
    "wrapped": (
        classes("pets/data/train") | classes("pets/data/test") | {"pets/cover.png": 1}, PETS, 9, "only 'train'", 0,
    ),
    "classes below images": (classes("train/images") | classes("val/images", 1), PETS, 9, "only 'train'", 3),
    "inside classes": (
        grid("cat dog fish", "train", 3) | grid("cat dog fish", "test val"),
        PETS, 9, "parts inside its classes .*: only the training parts are used, not 'test', 'val'", 6,
    ),
    "inside classes, beside the images": (
        grid("cat dog fish", ".", 3) | grid("cat dog fish", "val test"),
        PETS, 9, "parts inside its classes .*: only the images beside them are used, not 'test', 'val'", 6,
    ),
    "inside classes, wrapped": (
        grid("pets/cat pets/dog pets/fish", "Training Testing", 3), PETS, 9, "not 'Testing'", 0,
    ),
    "validation of other classes": (
        classes("train") | classes("val", 1, "cat dog"), PETS, 9, "'val' is not used: its class folders are others", 0,
    ),
    "validation without classes": (classes("train") | {"val": 4}, PETS, 9, "'val' is not used: it has no class", 0),
    "one called after the other": (classes("pets") | classes("pets-test-set"), PETS, 9, "only 'pets' is used", 0),
    "a dataset and pictures of a text": (
        classes("data/train") | classes("data/test") | {"docs/figures": 2, "README.png": 1}, PETS, 9,
        "only 'data' is used, which holds the parts of a dataset, not 'docs'", 0,
    ),
    "a dataset and more": (
        classes("pets/pets/train") | classes("pets/pets/valid", 1) | {"test/test": 4}, PETS, 9,
        "only 'pets' is used, which holds the parts of a dataset, not 'test'", 3,
    ),
    "a folder in each class": (
        {f"train/{name}/images": 3 for name in PETS} | {"val/images": 3, "test/images": 2}, PETS, 9, "only 'train'", 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", SPLITS)
@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_the_training_part_is_taken_and_the_rest_is_said(kind: str, zipped: bool, tmp_path: Path) -> None:
    files, names, count, message, validation = SPLITS[kind]
    source = write_tree(tmp_path / "pets", files)
    if zipped:
        source = write_zip(source, tmp_path / "pets.zip")
    with pytest.warns(DatasetWarning) as caught:
        dataset = load_dataset(source)
    assert dataset.class_names == names and len(dataset) == count
    assert re.search(message, " | ".join(str(warning.message) for warning in caught))
    assert (0 if dataset.validation is None else len(dataset.validation)) == validation
    if dataset.validation is not None:
        assert dataset.validation.class_names == names and f"{validation} validation images" in dataset.summary()
        assert dataset.validation.image(0).shape == (4, 4, 3)
    dataset.verified()


CLASSES: dict[str, tuple[dict[str, int], tuple[str, ...]]] = {
    "train the vehicle": (classes("", 2, "bus car train"), ("bus", "car", "train")),
    "train, and a word of tests": (classes("", 2, "beaker test_tube train"), ("beaker", "test_tube", "train")),
    "a pair of words": (classes("", 2, "train_station test_tube"), ("test_tube", "train_station")),
    "words that only begin so": (classes("", 2, "contrast valley trainers"), ("contrast", "trainers", "valley")),
    "valid and invalid": (classes("", 2, "valid invalid"), ("invalid", "valid")),
    "a dessert": (classes("", 2, "banana_split sundae"), ("banana_split", "sundae")),
    "numbered classes": (classes("", 2, "class_1 class_2"), ("class_1", "class_2")),
    "years inside": (grid("bus car train test_tube", "2019 2020"), ("bus", "car", "test_tube", "train")),
    "sessions inside": (grid("bus train", "1 2"), ("bus", "train")),
    "sides inside": (grid("bus train", "front side"), ("bus", "train")),
    "images inside": (grid("cat dog", "images"), ("cat", "dog")),
    "a mask as class": (grid("with_mask without_mask", "."), ("with_mask", "without_mask")),
    "mask and no mask": (classes("", 3, "mask no_mask bare"), ("bare", "mask", "no_mask")),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", CLASSES)
def test_classes_stay_classes(kind: str, tmp_path: Path) -> None:
    files, names = CLASSES[kind]
    dataset = load_dataset(write_tree(tmp_path / "things", files))
    assert dataset.class_names == names and len(dataset) == sum(files.values())


REFUSED: dict[str, tuple[dict[str, int], str]] = {
    "folds": (grid("fold0 fold1 fold2", "cat dog fish"), "'fold0', 'fold1', 'fold2', none.* training part"),
    "folds in words": (classes("Fold 1") | classes("Fold 2"), "none of which is a training part. To use one.*Fold 1'"),
    "no training part": (classes("val") | classes("test"), "none of which is a training part"),
    "several training parts": (
        classes("train_small") | classes("train_large") | classes("test"),
        "several training parts: 'train_large', 'train_small'",
    ),
    "training parts of one name": (grid("Train train_1 train test", "cat dog"), "several training parts"),
    "domains": (grid("clipart real sketch", "cat dog fish"), "of the same names .*pass it, such as .*clipart'"),
    "versions": (grid("v1/images v2/images", "0 1 2 3 4 5"), "of the same names"),
    "patients": (grid("8863 8864 9036", "0 1") | {"9041/0": 2}, "of the same names"),
    "datasets beside each other": (
        grid("plain/train plain/test augmented/train augmented/test", "2019 2020"), "of the same names",
    ),
    "letters": (grid("first second", "A B C D E"), "of the same names"),
    "pieces": ({"ham_images_part_1": 2, "ham_images_part_2": 2}, "pieces of one set of images, without class folders"),
    "numbered pieces": (grid("images_001 images_002", "images"), "pieces of one set of images"),
    "test tubes that are clean": (grid("beaker test_tube", "clean dirty"), "of the same names"),
    "flat parts": ({"train": 3, "test": 2}, "3 images in train/ .*no class folders"),
    "flat parts of one name": ({"x_train": 3, "x_test": 2}, "3 images in x_train/ .*no class folders"),
    "flat parts of two kinds": ({"trainA": 2, "trainB": 2, "testA": 1, "testB": 1}, "no class folders"),
    "flat parts of one name and more": (
        {"box_train": 3, "box_test": 2, "query": 2}, "3 images in box_train/ .*no class folders",
    ),
    "a flat training part": ({"train": 3}, "3 images in train/ .*no class folders"),
    "flat parts and more": ({"train": 3, "test": 2, "samples": 1}, "no class folders"),
    "names are the classes": (
        {f"train/{name}.{i}.png": i for name in ("cat", "dog") for i in range(4)} | {"test1": 2},
        "no class folders.*names begin with 'cat', 'dog'",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", REFUSED)
def test_what_may_be_meant_in_two_ways_is_refused(kind: str, tmp_path: Path) -> None:
    files, message = REFUSED[kind]
    with pytest.raises(DatasetError, match=message):
        load_dataset(write_tree(tmp_path / "things", files))
    with pytest.raises(DatasetError, match="of the unpacked zip" if "such as" in message else "things"):
        load_dataset(write_zip(tmp_path / "things", tmp_path / "things.zip"))


LEFT_OUT: dict[str, tuple[dict[str, int], int, str, str]] = {
    "mask folders": (grid("cat dog", "images masks", 3), 6, "6 masks are left out.*'masks'", "left out: 6 masks"),
    "masks of the whole": (
        grid("images/cat images/dog masks/cat masks/dog", ".", 3), 6, "6 masks are left out", "6 masks",
    ),
    "masks beside each": (
        {f"{c}/a ({i}){end}.png": i for c in ("cat", "dog") for i in range(3) for end in ("", "_mask", "_mask_1")},
        6, "12 masks are left out", "12 masks",
    ),
    "segmentations": (
        {f"{c}/x_{i}{end}.png": i for c in ("cat", "dog") for i in range(3) for end in ("", "_segmentation")},
        6, "6 masks", "6 masks",
    ),
    "packed twice": (
        classes("", 3, "cat dog") | classes("pets", 3, "cat dog"), 6, "'pets' .6 images. is left out", "'pets'",
    ),
    "nested classes": (
        {"cat/siamese": 2, "cat/persian": 1, "dog/boxer": 2, "dog/poodle": 1}, 6,
        "images of 2 classes .*such as 'cat/persian', 'cat/siamese', and are taken together", "6 images",
    ),
    "copies or masks": (
        {f"{c}/{i}.{end}": i for c in ("cat", "dog") for i in range(3) for end in ("png", "jpg")},
        12, "6 images have the name of another but for the suffix", "12 images",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_what_is_no_image_of_a_class_is_left_out_or_pointed_out(kind: str, tmp_path: Path) -> None:
    files, count, message, summary = LEFT_OUT[kind]
    with pytest.warns(DatasetWarning, match=message):
        dataset = load_dataset(write_tree(tmp_path / "scans", files))
    assert (len(dataset), dataset.class_names) == (count, ("cat", "dog")) and summary in dataset.summary()


# -- files -----------------------------------------------------------------------------------------
JUNK = (
    "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__MACOSX", ".ipynb_checkpoints", "#recycle",
    "__pycache__", ".git", ".Trash-1000", "@Recycle", "RECYCLER", "found.000", "#snapshot", "LOST.DIR",
)  # fmt: skip


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_what_systems_leave_behind_is_left_out_at_every_level(zipped: bool, tmp_path: Path) -> None:
    root = write_tree(tmp_path / "pets", classes("train") | classes("train/cat", 2, "kittens"))
    for name in JUNK:
        write_tree(root, {name: 1, f"train/{name}": 1, f"train/cat/{name}": 1, f"train/dog/{name}/deep": 1})
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._1.png"):
        (root / "train" / "dog" / name).write_bytes(b"x")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(?s).*taken together")
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "(?s).*taken together")
        dataset = load_dataset(write_zip(root, tmp_path / "pets.zip") if zipped else root)
    assert dataset.class_names == PETS and len(dataset) == 11


def test_unknown_kinds_of_file_are_counted_by_suffix(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "pets", classes("", 2))
    for i in range(3):
        (root / "cat" / f"{i}.DNG").write_bytes(b"raw")
    (root / "dog" / "scan.dcm").write_bytes(b"x")
    (root / "dog" / "labels.txt").write_bytes(b"x")
    with pytest.warns(DatasetWarning, match="files that are not read are left out: 3 .dng, 1 .dcm") as caught:
        dataset = load_dataset(root)
    assert len(caught) == 1 and "left out: 3 .dng, 1 .dcm, 1 .txt" in dataset.summary()


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_files_without_a_suffix_are_told_by_their_content(zipped: bool, tmp_path: Path) -> None:
    root = write_tree(tmp_path / "pets", classes("", 2))
    for i, name in enumerate(("0", "1")):
        (root / "cat" / f"{i}.png").rename(root / "cat" / name)
    (root / "dog" / "0.png").rename(root / "dog" / "frame.0001")
    (root / "dog" / "README").write_bytes(b"no image")
    dataset = load_dataset(write_zip(root, tmp_path / "pets.zip") if zipped else root)
    assert len(dataset) == 6 and len(dataset.verified()) == 6 and "1 without a suffix" in dataset.summary()


def test_heic_is_read_by_an_extra(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    root = write_tree(tmp_path / "pets", classes("", 2))
    image = heif.from_bytes("RGB", (64, 64), bytes([200, 30, 30]) * 64 * 64)
    for name in ("IMG_1.HEIC", "2.heif", "phone.jpg"):
        image.save(str(root / "cat" / "saved.heic"))
        (root / "cat" / "saved.heic").rename(root / "cat" / name)
    dataset = load_dataset(root)
    assert len(dataset) == 9
    heic = next(i for i in range(9) if dataset.key(i) == "cat/IMG_1.HEIC")
    assert abs(dataset.image(heic).astype(int) - [200, 30, 30]).max() < 12


def test_heic_without_the_extra_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_tree(tmp_path / "pets", classes("", 3))
    head = b"\0\0\0\x18ftypheic" + b"\0" * 40
    for name in ("a.HEIC", "b.heic", "c"):
        (root / "cat" / name).write_bytes(head)
    (root / "dog" / "phone.jpg").write_bytes(head)
    for module in ("kinds", "decoding"):
        monkeypatch.setattr(f"metad2a_plugin.data.{module}.reads_heic", lambda: False)
    with pytest.warns(DatasetWarning, match=r"left out: 3 .heic \(HEIC .*pip install 'metad2a-plugin\[heic\]'"):
        dataset = load_dataset(root)
    with pytest.warns(DatasetWarning, match=r"phone.jpg.* a HEIC image; install .*metad2a-plugin\[heic\]"):
        assert len(dataset.verified()) == 9


# -- links and paths -------------------------------------------------------------------------------
@pytest.mark.parametrize("where", ["inside", "outside"])
def test_two_class_folders_that_are_the_same_are_refused(where: str, tmp_path: Path) -> None:
    root = write_tree(tmp_path / "pets", classes("", 2))
    if where == "outside":
        write_tree(tmp_path / "elsewhere", {"bird": 2})
        (root / "bird").symlink_to(tmp_path / "elsewhere" / "bird")
    (root / "again").symlink_to(tmp_path / "elsewhere" / "bird" if where == "outside" else root / "dog")
    with pytest.raises(DatasetError, match=r"'again' and '(bird|dog)' in .* are the same folder"):
        load_dataset(root)


def test_parts_may_be_links_to_the_same_images(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "pets", classes("all", 3))
    (root / "train").mkdir()
    (root / "test").mkdir()
    for name in PETS:
        (root / "train" / name).symlink_to(root / "all" / name)
        (root / "test" / name).symlink_to(root / "all" / name)
    with pytest.warns(DatasetWarning, match="only 'train' is used"):
        assert len(load_dataset(root)) == 9


def test_loops_of_links_end(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "pets", classes("", 2))
    (root / "cat" / "up").symlink_to(root)
    (root / "cat" / "other").symlink_to(root / "dog")
    (root / "dog" / "other").symlink_to(root / "cat")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert load_dataset(root).class_names == PETS


def test_a_misspelt_path_gets_a_near_one(tmp_path: Path) -> None:
    write_tree(tmp_path / "Flowers", classes("", 2))
    for wrong in ("flower", "Flowres", "flowers/"):
        if os.path.exists(tmp_path / wrong):
            continue  # a disk that does not tell cases apart
        with pytest.raises(DatasetError, match=r"did you mean '.*/Flowers'"):
            load_dataset(str(tmp_path / wrong))
    with pytest.raises(DatasetError, match=r"did you mean '.*/Flowers'"):
        load_dataset(tmp_path / "Flowrs" / "train")
    with pytest.raises(DatasetError) as found:
        load_dataset(tmp_path / "quite another")
    assert "did you mean" not in str(found.value)


# -- any tree --------------------------------------------------------------------------------------
NAMES = st.sampled_from(
    sorted(words.to_set("train test val dev fold0 fold1 cat dog images masks 2019 0 1 train_x test_x data pred"))
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.lists(NAMES, max_size=4), st.sampled_from(["a", "b", "c_mask"])), min_size=1, max_size=25))
def test_any_tree_ends_in_classes_or_a_sentence(files: list[tuple[list[str], str]]) -> None:
    paths = sorted({(*folders, f"{name}.png") for folders, name in files})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            layout = find_layout(list(paths), [path[:-1] for path in paths], "folder 'x'", repr)
        except DatasetError:
            return
    assert set(layout.members) <= set(paths) and set(layout.validation) <= set(paths)
    assert not set(layout.members) & set(layout.validation)
    for path, name in layout.members.items():
        assert name in path[:-1] and path[: len(layout.root)] == layout.root
    if layout.validation:
        assert set(layout.validation.values()) == set(layout.members.values())


@given(st.text(max_size=30))
def test_any_name_has_words(name: str) -> None:
    part, rest = words.role(name)
    assert part in (None, words.TRAIN, words.VALIDATION, words.TEST, words.FOLD) and isinstance(rest, tuple)
    words.is_masks(name), words.is_system(name), words.stem(name)


PARTS = {
    words.TRAIN: "train Training training_set train.X1 trainSet name-train TRAIN train2017 train_val",
    words.VALIDATION: "val valid ValidationSet dev eval_2",
    words.TEST: "test1 imgsTest hold-out holdout seg_pred",
    words.FOLD: "fold0 Fold-1 split_2",
    None: "contrast valley trainer banana-split protest train_test développement",
}


@pytest.mark.parametrize(("part", "name"), [(part, name) for part, names in PARTS.items() for name in names.split()])
def test_the_part_that_a_name_says(part: str | None, name: str) -> None:
    assert words.role(name)[0] == part


# -- inputs that were handed in ----------------------------------------------------------------------
CASES: dict[str, tuple[int, int, str, int]] = {
    "intel_seg": (36, 3, "only 'seg_train' is used", 0),
    "clothing_split_loose": (36, 3, "only 'train' is used", 0),
    "traindev": (36, 3, "only 'train' is used", 18),
    "class_then_split": (36, 3, "only the training parts are used", 0),
    "junk": (36, 3, "", 0),
    "covid_masks": (36, 3, "36 masks are left out", 0),
}


@pytest.fixture
def cases(data_root: Path) -> Path:
    root = data_root.parent / "cases"
    if not root.is_dir():
        pytest.skip(f"no cases at {root}, beside the folder that METAD2A_DATA names")
    return root


@pytest.mark.parametrize("name", CASES)
def test_cases(name: str, cases: Path) -> None:
    images, count, message, validation = CASES[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        dataset: ImageDataset = load_dataset(cases / name)
    said: Any = " ".join(str(warning.message) for warning in caught)
    assert (len(dataset), dataset.num_classes) == (images, count) and message in said
    assert len(dataset.validation or ()) == validation


def test_case_with_heic_without_the_extra(cases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metad2a_plugin.data.kinds.reads_heic", lambda: False)
    with pytest.warns(DatasetWarning, match=r"24 .heic .*metad2a-plugin\[heic\]"):
        assert len(load_dataset(cases / "heic_mixed")) == 6


def test_a_single_picture_is_enough_for_a_message(tmp_path: Path) -> None:
    write_image(tmp_path / "one" / "1.png")
    with pytest.raises(DatasetError, match=r"1 images .*no class folders"):
        load_dataset(tmp_path / "one")


def test_files_without_a_suffix_that_cannot_be_read_are_no_images(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "pets", classes("", 2))
    (root / "cat" / "gone").symlink_to(tmp_path / "nowhere")
    dataset = load_dataset(root)
    assert len(dataset) == 6 and "1 without a suffix" in dataset.summary()
