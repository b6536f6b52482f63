"""Datasets of items: torch Datasets and what is like one, lists, loaders; how often they are read."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_toys import MeanColour, write_folder
from PIL import Image
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from metad2a_plugin.data import DatasetWarning, extract_task, load_dataset
from metad2a_plugin.errors import DatasetError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8)
LABELS = [0, 1, 2] * 4


class Counted(Dataset):
    """Distinct small images, by default without stated labels; counts its reads."""

    def __init__(self, count: int, classes: int = 3, broken: tuple[int, ...] = (), **stated: Any) -> None:
        self.count, self.number, self.broken, self.reads = count, classes, broken, 0
        self.__dict__ |= stated

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        self.reads += 1
        if i in self.broken:
            raise OSError("disk")
        return np.full((4, 4, 3), (i % 251, i // 251, 0), np.uint8), i % self.number


def _labels(count: int, classes: int = 3) -> list[int]:
    return [i % classes for i in range(count)]


# -- forms -----------------------------------------------------------------------------------------
class Duck:
    """No torch Dataset, but with the same two methods."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
        return PIXELS[i], LABELS[i]


class Dicts(Duck):
    def __getitem__(self, i: int) -> Any:
        return {"image": PIXELS[i], "label": LABELS[i], "id": i}


TENSORS = TensorDataset(torch.from_numpy(PIXELS).permute(0, 3, 1, 2), torch.tensor(LABELS))
PICTURES = [Image.fromarray(image) for image in PIXELS]
FORMS: dict[str, Callable[[], Any]] = {
    "an object with a length and items": Duck,
    "items that are dicts": Dicts,
    "a list of pairs": lambda: list(zip(PIXELS, LABELS, strict=True)),
    "a list of dicts": lambda: [{"img": image, "target": label} for image, label in zip(PIXELS, LABELS, strict=True)],
    "one-hot labels of items": lambda: list(zip(PIXELS, np.eye(3)[LABELS], strict=True)),
    "a list of Pillow images, and labels": lambda: (PICTURES, LABELS),
    "images in an array of objects": lambda: (np.array([*PICTURES, None], dtype=object)[:-1], LABELS),
    "tensors": lambda: TENSORS,
    "parts put together": lambda: ConcatDataset([Subset(TENSORS, range(6)), Subset(TENSORS, range(6, 12))]),
    "Keras's nested pairs": lambda: ((PIXELS, np.array(LABELS)[:, None]), (PIXELS[:3], np.array(LABELS[:3])[:, None])),
    "train and test arrays": lambda: (PIXELS, PIXELS[:5], np.array(LABELS), np.array(LABELS[:5])),
    "a dict of arrays": lambda: {"x_train": PIXELS, "y_train": LABELS, "x_test": PIXELS[:2], "y_test": [0, 1]},
    "CIFAR's rows": lambda: {b"data": PIXELS.transpose(0, 3, 1, 2).reshape(12, -1), b"labels": LABELS, b"names": []},
    "a dict of splits": lambda: {"train": TENSORS, "test": Duck()},
    "a loader": lambda: DataLoader(TENSORS, batch_size=5, shuffle=True),
}


@pytest.mark.filterwarnings("ignore::metad2a_plugin.data.DatasetWarning")
@pytest.mark.parametrize("form", FORMS)
def test_forms_give_the_same_images(form: str) -> None:
    dataset = load_dataset(FORMS[form]())
    assert dataset.labels.tolist() == LABELS
    assert [dataset.image(i).tolist() for i in (0, 5, 11)] == [PIXELS[i].tolist() for i in (0, 5, 11)]


SAID = {
    "Keras's nested pairs": "of 2 pairs .* the first is used as the training part",
    "train and test arrays": "the test part left out",
    "a dict of arrays": "'x_train', 'y_train' are used, and 'x_test', 'y_test' left out",
    "CIFAR's rows": "planes of red, green and blue",
    "a dict of splits": "Used: 'train'; left out: 'test'",
    "a loader": "only its dataset TensorDataset is used, .*not its shuffling",
}


@pytest.mark.parametrize("form", SAID)
def test_what_is_left_out_is_said(form: str) -> None:
    with pytest.warns(DatasetWarning, match=SAID[form]):
        load_dataset(FORMS[form]())


def test_paths_are_images(tmp_path: Path) -> None:
    files = sorted(write_folder(tmp_path, {"a": 2, "b": 2}).rglob("*.png"))
    labels = [file.parent.name for file in files]
    for source in ((files, labels), list(zip(map(str, files), labels, strict=True))):
        dataset = load_dataset(source)
        assert dataset.class_names == ("a", "b") and dataset.image(3).shape == (10, 12, 3)


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter([])


class Swapped(Duck):
    def __getitem__(self, i: int) -> Any:
        return LABELS[i], PIXELS[i]


REFUSED: dict[str, tuple[Any, str]] = {
    "a stream": (Stream(), "has no length.*itertools.islice"),
    "a generator": ((pair for pair in [(PIXELS[0], 0)]), "without a length; collect its items"),
    "labels first": (Swapped(), r"is \(label, image\), expected \(image, label\)"),
    "labels first in arrays": ((np.array(LABELS), PIXELS), r"swap them: \(images, labels\)"),
    "splits without a training part": ({"test": Duck(), "val": Duck()}, "none is for training"),
    "unlike lengths": ((PICTURES, LABELS[:5]), "12 images but 5 labels"),
    "an empty dict": ({}, "an empty dict"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_forms_that_cannot_be_used(kind: str) -> None:
    source, message = REFUSED[kind]
    with pytest.raises(DatasetError, match=message):
        load_dataset(source)


# -- stated labels ---------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["targets", "labels", "_labels", "samples", "imgs"])
def test_stated_labels_spare_reads(name: str) -> None:
    stated: Any = _labels(5000)
    if name in ("samples", "imgs"):
        stated = [(f"{i}.png", label) for i, label in enumerate(stated)]
    dataset = Counted(5000, **{name: stated})
    assert load_dataset(dataset).labels.tolist() == _labels(5000) and dataset.reads <= 3


def test_labels_stated_behind_a_wrapper_spare_reads() -> None:
    class Wrapper(Counted):
        def __init__(self, dataset: Dataset) -> None:
            super().__init__(5000)
            self.dataset = dataset

    dataset = Wrapper(Counted(5000, targets=_labels(5000)))
    assert load_dataset(dataset).labels.tolist() == _labels(5000) and dataset.reads <= 3


# -- labels that only the items know ---------------------------------------------------------------
def test_many_items_without_stated_labels_are_read_at_most_twice_as_often(tmp_path: Path) -> None:
    stated, silent = Counted(30_000, targets=_labels(30_000)), Counted(30_000)
    options: dict[str, Any] = {"max_images_per_class": 100, "cache_dir": tmp_path}
    one = extract_task(load_dataset(stated), MeanColour(), **options)
    with pytest.warns(DatasetWarning, match="does not state its labels: [34].. of its 30000 items, drawn at random"):
        two = extract_task(load_dataset(silent), MeanColour(), **options)
    assert len(one.labels) == len(two.labels) == 300 and one.images == two.images == 30_000
    assert stated.reads < 310 and silent.reads <= 2 * stated.reads


def test_items_are_read_once_where_all_labels_are_wanted() -> None:
    dataset = load_dataset(silent := Counted(3000))
    assert len(dataset) == 3000 and silent.reads == 2 and "whose labels are read when" in dataset.summary()
    assert dataset.labels.tolist() == _labels(3000)
    dataset.decode(range(3000), 4)
    assert silent.reads <= 3003


def test_rare_classes_do_not_make_all_items_be_read() -> None:
    class Rare(Counted):
        def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
            image, _ = super().__getitem__(i)
            return image, int(i % 100 == 0)

    silent = Rare(50_000)
    with pytest.warns(DatasetWarning, match="one rarer than 1 in"):
        dataset = load_dataset(silent, max_images_per_class=50)
    assert dataset.num_classes == 2 and silent.reads <= 300


def test_an_item_that_raises_is_left_out_and_reported() -> None:
    with pytest.warns(DatasetWarning, match=r"2 of 12 images .*'item 4', 'item 7'; the first: OSError: disk"):
        dataset = load_dataset(Counted(12, broken=(4, 7)))
    assert len(dataset) == 10 and dataset.key(4) == "item 5"
    assert dataset.image(4)[0, 0].tolist() == [5, 0, 0]


def test_a_first_item_that_raises_is_left_out_too() -> None:
    with pytest.warns(DatasetWarning, match="1 of 12 images"):
        assert len(load_dataset(Counted(12, broken=(0,)))) == 11


def test_items_that_raise_where_labels_are_stated_are_met_when_decoded() -> None:
    dataset = load_dataset(Counted(12, broken=(4,), targets=_labels(12)))
    with pytest.warns(DatasetWarning, match="1 of 12 images"):
        assert len(dataset.verified()) == 11


def test_random_augmentation_is_said() -> None:
    class Augmented(Duck):
        def __getitem__(self, i: int) -> tuple[np.ndarray, int]:
            return RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8), LABELS[i]

    with pytest.warns(DatasetWarning, match="differs from one reading to the next, as with random augmentation"):
        load_dataset(Augmented())


def test_unread_items_survive_pickling_and_naming() -> None:
    dataset = load_dataset(Counted(3000), name="mine")
    again = pickle.loads(pickle.dumps(dataset))
    assert again.name == "mine" and again.labels.tolist() == _labels(3000)
    assert load_dataset(again, name="yours").name == "yours"


class Twice(Duck):
    def __getitem__(self, i: int) -> Any:
        return (PICTURES[i], 7), (LABELS[i], 7)


NO_ITEMS: dict[str, tuple[Callable[[], Any], str]] = {
    "two images an item": (Twice, "has 2 values where one image was"),
    "parts in a tuple": (lambda: (TENSORS, TENSORS), "a tuple of 2 datasets .*by their names"),
    "loaders in a list": (lambda: [DataLoader(TENSORS)] * 3, "a list of 3 datasets"),
    "images alone": (lambda: PICTURES, r"12 images without labels was given; pass \(images, labels\)"),
    "paths alone": (lambda: ["a.jpg", "b.jpg"], "2 images without labels"),
    "classes in a dict": (lambda: {"cat": PICTURES[:6], "dog": PICTURES[6:]}, "a dict of 2 lists .*for image in im"),
    "arrays of classes in a dict": (lambda: {"cat": PIXELS[:6], "dog": PIXELS[6:]}, "a dict of 2 lists"),
}


@pytest.mark.parametrize("kind", NO_ITEMS)
def test_what_is_no_list_of_items_says_how(kind: str) -> None:
    source, message = NO_ITEMS[kind]
    with pytest.raises(DatasetError, match=message):
        load_dataset(source())


def test_an_index_beyond_the_items_of_a_subset_is_left_out() -> None:
    part = Subset(Counted(12, broken=(40,), targets=_labels(12)), [0, 1, 2, 3, 40])
    with pytest.warns(DatasetWarning, match="1 of 5 images of 'Subset' cannot be read"):
        assert len(load_dataset(part)) == 4
