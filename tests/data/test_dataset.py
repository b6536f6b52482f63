from __future__ import annotations

import io
import multiprocessing
import pickle
import subprocess
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_toys import write_folder, write_zip
from PIL import Image
from torch.utils.data import Dataset, Subset, TensorDataset

from metad2a_plugin.data import DatasetWarning, ImageDataset, load_dataset
from metad2a_plugin.errors import ConfigError, DatasetError, MissingExtraError

RED = (200, 10, 30)


# -- folders and zips ----------------------------------------------------------------------------
def test_folder(folder: Path) -> None:
    dataset = load_dataset(folder)
    assert (dataset.name, len(dataset), dataset.num_classes) == ("flowers", 12, 3)
    assert dataset.class_names == ("lily", "rose", "tulip")
    assert dataset.labels.dtype == np.int64 and np.bincount(dataset.labels).tolist() == [3, 5, 4]
    assert dataset.image(0).shape == (10, 12, 3) and dataset.image(0).dtype == np.uint8
    pixels = dataset.images([0, 11, 0], 7)
    assert pixels.shape == (3, 3, 7, 7) and pixels.dtype == torch.uint8
    assert torch.equal(pixels[0], pixels[2]) and not torch.equal(pixels[0], pixels[1])


def test_zip_of_a_folder_is_the_same_dataset(folder: Path, tmp_path: Path) -> None:
    plain = load_dataset(folder)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        zipped = load_dataset(write_zip(folder, tmp_path / f"{method}.zip", "wrapped/", method))
        assert zipped.content_hash == plain.content_hash
        assert torch.equal(zipped.images(range(12), 8), plain.images(range(12), 8))


def test_images_at_any_depth_and_hidden_files(folder: Path) -> None:
    write_folder(folder / "rose" / "2020", {"may": 2, ".thumbs": 2})
    (folder / "rose" / ".DS_Store").write_bytes(b"x")
    (folder / "rose" / "._0.png").write_bytes(b"x")
    (folder / "rose" / "notes.txt").write_bytes(b"x")
    write_folder(folder, {"__MACOSX": 3, ".git": 2})
    assert np.bincount(load_dataset(folder).labels).tolist() == [3, 7, 4]


def test_linked_class_folders_are_followed_and_loops_end(folder: Path, tmp_path: Path) -> None:
    write_folder(tmp_path / "elsewhere", {"iris": 2})
    (folder / "iris").symlink_to(tmp_path / "elsewhere" / "iris")
    (folder / "rose" / "loop").symlink_to(folder)
    assert np.bincount(load_dataset(folder).labels).tolist() == [2, 3, 5, 4]


def test_train_part_of_a_split_layout_is_used_and_said(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets" / "train", {"cat": 3, "dog": 2})
    write_folder(tmp_path / "pets" / "val", {"cat": 7, "dog": 7})
    with pytest.warns(DatasetWarning, match=r"split into 'train', 'val': only 'train' is used.*'val'"):
        dataset = load_dataset(tmp_path / "pets")
    assert len(dataset) == 5 and dataset.class_names == ("cat", "dog")
    with pytest.warns(DatasetWarning, match="only 'train'"):
        zipped = load_dataset(write_zip(tmp_path / "pets", tmp_path / "pets.zip", "pets/"))
    assert zipped.content_hash == dataset.content_hash


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    dataset = load_dataset(write_folder(tmp_path / "vehicles", {"bus": 2, "train": 2}))
    assert dataset.class_names == ("bus", "train")


def test_empty_class_folders_are_left_out_with_a_warning(folder: Path) -> None:
    (folder / "violet").mkdir()
    (folder / "orchid" / "deep").mkdir(parents=True)
    with pytest.warns(DatasetWarning, match="2 class folders without images .*'orchid', 'violet'"):
        assert load_dataset(folder).num_classes == 3


def test_images_beside_class_folders_are_ignored_with_a_warning(folder: Path) -> None:
    Image.new("RGB", (4, 4)).save(folder / "cover.jpg")
    with pytest.warns(DatasetWarning, match="1 images outside the class folders.*'cover.jpg'"):
        assert len(load_dataset(folder)) == 12


def test_one_image_classes_are_allowed_with_one_warning(folder: Path) -> None:
    write_folder(folder, {"a": 1, "b": 1})
    with pytest.warns(DatasetWarning, match="2 of 5 classes .* single image .'a', 'b'.") as caught:
        dataset = load_dataset(folder)
    assert len(caught) == 1 and dataset.num_classes == 5


def test_thousands_of_classes() -> None:
    labels = np.repeat(np.arange(5000), 2)
    dataset = load_dataset((np.zeros((10000, 2, 2), np.uint8), labels))
    train, valid = dataset.split()
    assert dataset.num_classes == 5000 and len(train) == len(valid) == 5000


def test_traversal_entries_are_ignored_beside_good_ones(folder: Path, tmp_path: Path) -> None:
    path = write_zip(folder, tmp_path / "z.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../../rose/evil.png", b"x")
        archive.writestr("rose\\windows.png", (folder / "rose/0.png").read_bytes())
    assert np.bincount(load_dataset(path).labels).tolist() == [3, 6, 4]


def _hash_of(dataset: ImageDataset, queue: multiprocessing.Queue[bytes]) -> None:
    queue.put(b"".join(dataset.image(i).tobytes() for i in range(len(dataset))))


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_zip_is_safe_with_threads_forks_and_pickles(folder: Path, tmp_path: Path) -> None:
    dataset = load_dataset(write_zip(folder, tmp_path / "z.zip"))
    expected = [dataset.image(i).tobytes() for i in range(len(dataset))]
    order = list(range(len(dataset))) * 20
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda i: dataset.image(i).tobytes(), order)) == expected * 20
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_hash_of, args=(dataset, queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    assert all(queue.get(timeout=20) == b"".join(expected) for _ in workers)
    for worker in workers:
        worker.join()
    assert pickle.loads(pickle.dumps(dataset)).image(3).tobytes() == expected[3]


# -- pixels --------------------------------------------------------------------------------------
def _one_image(tmp_path: Path, save: Callable[[Path], None], suffix: str) -> np.ndarray:
    write_folder(tmp_path / "data", {"b": 2})
    (tmp_path / "data" / "a").mkdir()
    save(tmp_path / "data" / "a" / f"0.{suffix}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DatasetWarning)
        return load_dataset(tmp_path / "data").image(0)


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("L", 77, "png", (77, 77, 77)),
        ("1", 1, "png", (255, 255, 255)),
        ("RGB", RED, "png", RED),
        ("RGB", RED, "bmp", RED),
        ("RGBA", (*RED, 255), "png", RED),
        ("RGBA", (0, 0, 0, 0), "png", (255, 255, 255)),
        ("LA", (77, 255), "png", (77, 77, 77)),
        ("LA", (77, 0), "png", (255, 255, 255)),
        ("CMYK", (0, 0, 0, 0), "tiff", (255, 255, 255)),
        ("I;16", 257 * 77, "png", (77, 77, 77)),
        ("I", 257 * 77, "tiff", (77, 77, 77)),
        ("F", 0.2, "tiff", (51, 51, 51)),
        ("F", 77.0, "tiff", (77, 77, 77)),
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (3, 2)])
def test_modes(
    mode: str, colour: object, suffix: str, expected: tuple[int, ...], size: tuple[int, int], tmp_path: Path
) -> None:
    image = Image.new(mode, size, colour)  # type: ignore[arg-type]
    pixels = _one_image(tmp_path, image.save, suffix)
    assert pixels.shape == (size[1], size[0], 3)
    assert (pixels == expected).all()


def test_palette_with_transparency(tmp_path: Path) -> None:
    image = Image.new("RGB", (2, 1), RED)
    image.putpixel((1, 0), (0, 0, 0))
    palette = image.convert("P", palette=Image.Palette.ADAPTIVE)
    pixels = _one_image(tmp_path, lambda p: palette.save(p, transparency=palette.getpixel((1, 0))), "png")
    assert pixels.tolist() == [[list(RED), [255, 255, 255]]]


def test_first_frame_of_a_gif(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    pixels = _one_image(tmp_path, lambda p: frames[0].save(p, save_all=True, append_images=frames[1:]), "gif")
    assert (pixels == (255, 0, 0)).all()


@pytest.mark.parametrize("suffix", ["jpg", "tif"])  # Pillow turns a TIFF by itself
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int, suffix: str, tmp_path: Path) -> None:
    """A bright top-left corner of the upright image lands where the orientation puts it; reading undoes it."""
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16, :16] = 255
    undo = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}[orientation]
    turn = [None, 0, 3, 1, 5, 4, 6, 2][undo - 1]
    image = Image.fromarray(upright)
    stored = image if turn is None else image.transpose(Image.Transpose(turn))
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = _one_image(tmp_path, lambda p: stored.save(p, exif=exif, quality=95), suffix)
    assert pixels.shape == (32, 48, 3)
    assert pixels[:14, :14].min() > 230 and pixels[18:].max() < 25 and pixels[:, 18:].max() < 25


def test_center_crop_keeps_the_middle() -> None:
    wide = np.zeros((4, 10, 30, 3), np.uint8)
    wide[:, :, 10:20] = 255
    assert (
        load_dataset((wide, [0, 1, 0, 1])).images([0], 4) == 255
    ).all()  # no bleeding from beside the crop


def test_big_jpegs_look_the_same_when_decoded_small(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 1024).astype(np.uint8)
    photo = Image.fromarray(np.stack([np.tile(ramp, (800, 1))] * 3, axis=-1))
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(2):
            photo.save(tmp_path / name / f"{i}.jpg", quality=95)
    dataset = load_dataset(tmp_path)
    full = Image.fromarray(dataset.image(0)).resize(
        (32, 32), Image.Resampling.BICUBIC, box=(112, 0, 912, 800)
    )
    small = dataset.images([0], 32)[0].permute(1, 2, 0).numpy()
    assert np.abs(small.astype(int) - np.asarray(full).astype(int)).max() <= 3


@pytest.mark.parametrize(
    "kind",
    [np.uint8, np.uint16, np.int64, np.float16, np.float32, np.bool_, torch.uint8, torch.float32],
)
@pytest.mark.parametrize("layout", ["nhw", "nhwc", "nchw", "nhw1", "nhw4"])
def test_array_kinds_and_layouts(kind: type, layout: str) -> None:
    bright = np.zeros((4, 5, 6), np.uint8)
    bright[1:, :, :3] = 255
    shaped = {
        "nhw": bright,
        "nhwc": np.repeat(bright[..., None], 3, axis=-1),
        "nchw": np.repeat(bright[:, None], 3, axis=1),
        "nhw1": bright[..., None],
        "nhw4": np.stack([bright, bright, bright, np.full_like(bright, 255)], axis=-1),
    }[layout]
    images: Any = torch.from_numpy(shaped).to(kind) if isinstance(kind, torch.dtype) else shaped.astype(kind)
    dataset = load_dataset((images, np.array([0, 0, 1, 1])))
    assert dataset.image(2).tolist() == np.repeat(bright[2, ..., None], 3, axis=-1).tolist()


def test_float_scales() -> None:
    unit = np.linspace(0, 1, 4 * 25).reshape(4, 5, 5)
    one, other = (load_dataset((images, [0, 1, 0, 1])) for images in (unit, unit * 255))
    assert torch.equal(one.images(range(4), 5), other.images(range(4), 5))


# -- labels, npz, torch, digits ------------------------------------------------------------------
def test_labels_may_be_strings_gaps_columns_or_tensors() -> None:
    images = np.zeros((4, 3, 3), np.uint8)
    assert load_dataset((images, ["b", "a", "b", "a"])).class_names == ("a", "b")
    assert load_dataset((images, np.array(["b", "a", "b", "a"], dtype=object))).labels.tolist() == [
        1,
        0,
        1,
        0,
    ]
    sparse = load_dataset((images, torch.tensor([7, 3, 7, 3])))
    assert sparse.class_names == ("3", "7") and sparse.labels.tolist() == [1, 0, 1, 0]
    assert load_dataset((images, np.array([[0], [1], [0], [1]]))).labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("keys", [("images", "labels"), ("x", "y"), ("x_train", "y_train")])
def test_npz(keys: tuple[str, str], tmp_path: Path) -> None:
    arrays: Any = dict(zip(keys, (np.zeros((4, 8, 8), np.uint8), [0, 1, 0, 1]), strict=True))
    np.savez_compressed(tmp_path / "toy.npz", **arrays)
    dataset = load_dataset(str(tmp_path / "toy.npz"))
    assert (dataset.name, len(dataset), dataset.num_classes) == ("toy", 4, 2)


class Pets(Dataset):
    """Pillow images with the attributes of torchvision's datasets; counts how often items are made."""

    classes = ("cat", "dog", "fish")

    def __init__(self, targets: list[int]) -> None:
        self.targets = targets
        self.made = 0

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, i: int) -> tuple[Image.Image, int]:
        self.made += 1
        return Image.new("RGB", (9, 6), (i, self.targets[i], 0)), self.targets[i]


def test_torch_dataset_with_targets_decodes_only_on_demand() -> None:
    pets = Pets([0, 1, 2] * 10)
    dataset = load_dataset(pets)
    assert dataset.class_names == ("cat", "dog", "fish") and dataset.name == "Pets"
    assert pets.made <= 3
    assert dataset.image(4)[0, 0].tolist() == [4, 1, 0]


def test_torch_targets_that_disagree_with_the_items_are_not_believed() -> None:
    class Shifted(Pets):
        def __getitem__(self, i: int) -> tuple[Image.Image, int]:
            image, target = super().__getitem__(i)
            return image, target + 1

    assert load_dataset(Shifted([0, 1] * 4)).class_names == ("dog", "fish")


def test_torch_tensors_and_subsets() -> None:
    tensors = TensorDataset(torch.rand(6, 3, 5, 4), torch.tensor([0, 1, 2, 0, 1, 2]))
    assert load_dataset(tensors).image(0).shape == (5, 4, 3)
    assert load_dataset(Subset(tensors, [0, 1, 3, 4])).labels.tolist() == [0, 1, 0, 1]


def test_torch_subset_keeps_class_names_and_decodes_only_on_demand() -> None:
    pets = Pets([0, 1, 2] * 10)
    dataset = load_dataset(Subset(Subset(pets, range(20)), [4, 0, 3, 7]))
    assert dataset.class_names == ("cat", "dog") and dataset.labels.tolist() == [1, 0, 0, 1]
    assert pets.made <= 3
    assert dataset.image(0)[0, 0].tolist() == [4, 1, 0]


def test_almost_black_arrays_are_a_warning() -> None:
    images = np.ones((4, 3, 3), np.uint8)
    with pytest.warns(DatasetWarning, match="largest pixel of 'arrays' is 1, .*pass images / 1"):
        load_dataset((images, [0, 1, 0, 1]))
    assert load_dataset((images / 1, [0, 1, 0, 1])).image(0).min() == 255


def test_digits() -> None:
    pytest.importorskip("sklearn")
    digits = load_dataset("sklearn:digits")
    assert (len(digits), digits.num_classes) == (1797, 10)
    assert digits.image(0).max() > 230 and digits.images([5], 64).shape == (1, 3, 64, 64)


def test_digits_without_sklearn_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingExtraError, match=r"metad2a-plugin\[digits\]"):
        load_dataset("sklearn:digits")


# -- parts ---------------------------------------------------------------------------------------
def test_summary(folder: Path) -> None:
    dataset = load_dataset(folder)
    assert dataset.summary() == (
        "flowers: 12 images, 3 classes, 3 to 5 (median 4) a class ('lily' 3, 'rose' 5, 'tulip' 4)"
    )
    assert ", 2 a class" in dataset.sample(2).summary()


def test_pass_through_name_and_limit(folder: Path) -> None:
    dataset = load_dataset(folder)
    assert load_dataset(dataset).content_hash == dataset.content_hash
    named = load_dataset(dataset, name="mine", max_images_per_class=2)
    assert named.name == "mine" and np.bincount(named.labels).tolist() == [2, 2, 2]
    again = load_dataset(folder, max_images_per_class=2)
    assert again.content_hash == named.content_hash
    assert load_dataset(folder, max_images_per_class=2, seed=1).content_hash != named.content_hash


@given(
    counts=st.lists(st.integers(1, 12), min_size=2, max_size=6),
    validation=st.floats(0.05, 0.95),
    seed=st.integers(0, 5),
)
def test_split_is_a_stratified_partition(counts: list[int], validation: float, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DatasetWarning)
        dataset = load_dataset((np.zeros((len(labels), 1, 1), np.uint8), labels))
    train, valid = dataset.split(validation, seed)
    keys = [part.key(i) for part in (train, valid) for i in range(len(part))]
    assert sorted(keys) == sorted(dataset.key(i) for i in range(len(dataset)))
    assert train.class_names == valid.class_names == dataset.class_names
    in_train, in_valid = (np.bincount(p.labels, minlength=len(counts)) for p in (train, valid))
    assert (in_train >= 1).all()
    assert ((in_valid >= 1) == (np.array(counts) > 1)).all()
    assert (np.abs(in_valid - np.array(counts) * validation) <= 1).all()
    assert dataset.split(validation, seed)[1].content_hash == valid.content_hash


def test_wrong_arguments(folder: Path) -> None:
    dataset = load_dataset(folder)
    for share in (0, 1, 1.5, -0.1):
        with pytest.raises(ConfigError, match="share between 0 and 1"):
            dataset.split(share)
    for limit in (0, -1, 2.5):
        with pytest.raises(ConfigError, match="max_images_per_class must be a positive integer"):
            load_dataset(folder, max_images_per_class=limit)  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match="indices run from 3 to 12, expected 0 to 11"):
        dataset.subset([3, 12])


def test_content_hash_follows_content(folder: Path) -> None:
    first = load_dataset(folder).content_hash
    assert load_dataset(folder).content_hash == first
    (folder / "rose/0.png").rename(folder / "tulip/9.png")
    moved = load_dataset(folder).content_hash
    Image.new("RGB", (3, 3)).save(folder / "rose/1.png")
    assert len({first, moved, load_dataset(folder).content_hash}) == 3


# -- broken images -------------------------------------------------------------------------------
def _break(folder: Path) -> None:
    (folder / "rose/1.png").write_bytes((folder / "rose/1.png").read_bytes()[:80])
    (folder / "tulip/0.png").write_bytes(b"")
    (folder / "lily/2.png").write_text("<html>not found</html>")


def test_broken_images_are_reported_where_they_are_met(folder: Path) -> None:
    _break(folder)
    dataset = load_dataset(folder)
    pixels, broken = dataset.decode(range(12), 8)
    assert len(pixels) == 9 and [dataset.key(i) for i in broken] == [
        "lily/2.png",
        "rose/1.png",
        "tulip/0.png",
    ]
    with pytest.raises(DatasetError, match=r"cannot read lily/2.png of 'flowers': not an image.*verified"):
        dataset.images(range(12), 8)
    with pytest.raises(DatasetError, match=r"cannot read tulip/0.png.*the file is empty"):
        dataset.image(8)


def test_verified_leaves_broken_images_and_emptied_classes_out(folder: Path) -> None:
    _break(folder)
    for i in (0, 1):
        (folder / f"lily/{i}.png").unlink()
    with pytest.warns(DatasetWarning) as caught:
        dataset = load_dataset(folder).verified()
    messages = [str(w.message) for w in caught]
    assert any("3 of 10 images of 'flowers' cannot be read ('lily/2.png'" in m for m in messages)
    assert any("1 classes of 'flowers' have no usable image and are left out ('lily')" in m for m in messages)
    assert dataset.class_names == ("rose", "tulip") and np.bincount(dataset.labels).tolist() == [4, 3]
    assert len(dataset.images(range(len(dataset)), 8)) == 7
    train, valid = dataset.split(0.3)
    assert len(train) + len(valid) == 7


def test_sound_dataset_is_verified_unchanged(folder: Path) -> None:
    dataset = load_dataset(folder)
    assert dataset.verified() is dataset


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def test_postscript_named_as_an_image_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*args: object, **options: object) -> None:
        raise AssertionError("an outside program was started")

    monkeypatch.setattr(subprocess, "Popen", run)
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\nshowpage\n"
    with pytest.raises(DatasetError, match="not an image"):
        _one_image(tmp_path, lambda path: _write(path, program), "png")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_does_not_break_an_image(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "jpeg", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    pixels = _one_image(tmp_path, lambda path: _write(path, buffer.getvalue()), "jpg")
    assert pixels.shape == (8, 8, 3)


@settings(max_examples=60, deadline=None)
@given(suffix=st.sampled_from(["png", "jpeg", "gif", "tiff", "bmp"]), data=st.data())
def test_damaged_bytes_never_escape_as_other_errors(suffix: str, data: st.DataObject) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, suffix)
    content = bytearray(buffer.getvalue())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[place] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))]
    with tempfile.TemporaryDirectory() as root, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_folder(Path(root), {"a": 2, "b": 2})
        (Path(root) / "a" / f"x.{suffix}").write_bytes(content)
        pixels, broken = load_dataset(root).decode(range(5), 8)
    assert len(pixels) + len(broken) == 5 and len(broken) <= 1


def test_loading_a_folder_needs_no_torch(folder: Path) -> None:
    code = f"import sys, metad2a_plugin.data as d; d.load_dataset({str(folder)!r}); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# -- real data -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "classes", "images"),
    [
        ("cifar10_test", 10, 2000),
        ("caltech101", 102, 9144),
        ("mnist_test", 10, 1000),
        ("signdigits", 10, 2062),
    ],
)
def test_real_zips(name: str, classes: int, images: int, data_root: Path) -> None:
    dataset = load_dataset(data_root / "images" / f"{name}.zip")
    assert (dataset.name, dataset.num_classes, len(dataset)) == (name, classes, images)
    pixels = dataset.images(range(0, images, images // 50), 64)
    assert 20 < pixels.float().mean() < 235 and pixels.float().std() > 20


def test_real_zip_with_many_one_image_classes(data_root: Path) -> None:
    with pytest.warns(DatasetWarning, match="330 of 1000 classes"):
        dataset = load_dataset(data_root / "images" / "imagenet64.zip")
    assert len(dataset) == 20931
