"""One pixel scale for all images of a dataset, chosen from its range."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from image_toys import write_folder, write_zip
from PIL import Image
from torch.utils.data import Dataset, TensorDataset

from metad2a_plugin.data import DatasetWarning, load_dataset
from metad2a_plugin.data.scale import PLAIN, Scale, find_scale
from metad2a_plugin.data.sources import FileSource
from metad2a_plugin.errors import DatasetError

SIDE = 8


def ramp(low: float, high: float, kind: Any = np.uint16) -> np.ndarray:
    return np.linspace(low, high, SIDE * SIDE).reshape(SIDE, SIDE).astype(kind)


def write_scans(root: Path, images: list[np.ndarray], suffix: str = ".tif") -> Path:
    """Images by turns in two classes."""
    for i, pixels in enumerate(images):
        folder = root / "ab"[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{i:03}{suffix}")
    return root


def brightest(source: Any) -> dict[str, int]:
    dataset = load_dataset(source)
    return {dataset.key(i): int(dataset.image(i).max()) for i in range(len(dataset))}


@pytest.mark.parametrize(
    ("high", "kind", "white"),
    [
        (1000, np.uint16, 1023),
        (4000, np.uint16, 4095),
        (16000, np.uint16, 16383),
        (60000, np.uint16, 65535),
        (20000, np.uint16, 65535),
        (5000, np.uint16, 5000),
        (200, np.uint16, 255),
        (70000, np.int32, 70000),
        (0.9, np.float32, 1),
        (200.0, np.float32, 255),
        (4095.0, np.float32, 4095),
        (1.1, np.float32, 1.1),
        (0.05, np.float32, 0.05),
    ],
)
def test_white_follows_from_the_range(high: float, kind: Any, white: float, tmp_path: Path) -> None:
    pixels = ramp(0, high, kind)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        files = load_dataset(write_scans(tmp_path / "scans", [pixels] * 6))
        arrays = load_dataset((np.stack([pixels] * 6), [0, 1] * 3))
    expected = round(255 * float(pixels.max()) / white)
    assert abs(int(files.image(0).max()) - expected) <= 1 and abs(int(arrays.image(0).max()) - expected) <= 1
    for dataset in (files, arrays):
        assert (f"pixels 0..{white:g} taken as black to white" in dataset.summary()) == (white != 255)
    odd = white not in (1, 255, 1023, 4095, 16383, 65535)
    assert len(caught) == 2 * odd and all("taken as white" in str(warning.message) for warning in caught)


def test_signed_images_keep_their_darkest_value(tmp_path: Path) -> None:
    images = [ramp(-1000, 3000, np.int32)] * 4 + [ramp(-1000, 0, np.int32)] * 2
    with pytest.warns(DatasetWarning, match="-1000 is taken as black and 3000 as white"):
        dataset = load_dataset(write_scans(tmp_path / "ct", images))
    assert dataset.image(0).min() == 0 and dataset.image(0).max() == 255
    assert int(dataset.image(len(dataset) - 1).max()) in (255, 64)
    assert "pixels -1000..3000" in dataset.summary()
    with pytest.warns(DatasetWarning, match="-1000 is taken as black"):
        assert load_dataset((np.stack(images), [0, 1] * 3)).image(5).max() == 64


def test_signed_bytes_keep_their_order(tmp_path: Path) -> None:
    steps = np.linspace(-128, 127, SIDE * SIDE).reshape(SIDE, SIDE).astype(np.int8)
    for name in ("a/0.tif", "a/1.tif", "b/2.tif", "b/3.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(steps.view(np.uint8)).save(tmp_path / name, tiffinfo={339: 2})
    with pytest.warns(DatasetWarning, match="-128 is taken as black and 127 as white"):
        pixels = load_dataset(tmp_path).image(0)[..., 0]
    assert (np.diff(pixels.astype(int).ravel()) >= 0).all() and (pixels.min(), pixels.max()) == (0, 255)


def test_files_of_8_and_16_bits_look_alike(tmp_path: Path) -> None:
    plain = ramp(0, 240, np.uint8)
    for name, deep, expected in (("same", plain.astype(np.uint16), 240), ("full", plain.astype(np.uint16) * 257, 240)):
        root = write_scans(tmp_path / name, [plain, plain, deep, deep], ".png")
        assert set(brightest(root).values()) == {expected}


def test_a_darker_image_stays_darker(tmp_path: Path) -> None:
    dim, bright = ramp(0, 0.3, np.float32), ramp(0, 1.0, np.float32)
    found = brightest(write_scans(tmp_path / "films", [dim * 200, bright * 200, dim * 2, bright * 2]))
    assert found["a/000.tif"] == 60 and found["b/001.tif"] == 200 and found["a/002.tif"] == 1
    items = [torch.from_numpy(pixels)[None] for pixels in (dim / 255, bright * 255) * 2]
    assert list(brightest(TensorDataset(torch.stack(items), torch.arange(4) % 2)).values()) == [0, 255, 0, 255]


def test_the_scale_does_not_depend_on_the_images_drawn(tmp_path: Path) -> None:
    images = [ramp(0, 5000 if i == 1 else 300) for i in range(40)]
    with pytest.warns(DatasetWarning, match="5000 is taken as white"):
        dataset = load_dataset(write_scans(tmp_path / "scans", images), max_images_per_class=2)
    assert {int(dataset.image(i).max()) for i in range(4)} <= {255, 15}
    with pytest.warns(DatasetWarning, match="5000 is taken as white"):
        zipped = load_dataset(write_zip(tmp_path / "scans", tmp_path / "scans.zip"))
    assert int(zipped.image(0).max()) == 15


def test_a_few_deep_images_are_found_when_they_are_met(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "photos", {"a": 70, "b": 70}, (4, 4))
    Image.fromarray(ramp(0, 4000)).save(root / "a" / "5.png")
    dataset = load_dataset(root)
    deep = next(i for i in range(len(dataset)) if dataset.key(i) == "a/5.png")
    assert int(dataset.image(deep).max()) == 249


def png_of_16_bits(path: Path, pixels: np.ndarray, colour: int) -> None:
    """A PNG of uint16 ``[h, w, channels]``, which Pillow does not write; `colour` is the type in its header."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(rows), b"IEND": b""}
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.parametrize(("high", "white"), [(4095, 255), (65535, 255), (30000, 117)])
@pytest.mark.parametrize("colour", [2, 6, 4], ids=["RGB", "RGBA", "LA"])
def test_deep_colours_are_scaled_too(high: int, white: int, colour: int, tmp_path: Path) -> None:
    pixels = np.repeat(ramp(0, high)[..., None], {2: 3, 6: 4, 4: 2}[colour], axis=-1)
    if colour != 2:
        pixels[..., -1] = 65535
    for i in range(4):
        png_of_16_bits(tmp_path / "photos" / "ab"[i % 2] / f"{i}.png", pixels, colour)
    dataset = load_dataset(tmp_path / "photos")
    assert abs(int(dataset.image(0).max()) - white) <= 16 and int(dataset.image(0).min()) == 0


def test_outliers_that_leave_all_else_dark_are_a_warning(tmp_path: Path) -> None:
    pixels = np.full((100, 100), 300, np.uint16)
    pixels[0, 0] = 65535
    with pytest.warns(DatasetWarning, match="65535 is taken as white, so that 99% of the pixels, up to 300, are"):
        load_dataset(write_scans(tmp_path / "scans", [pixels] * 4))


def test_files_of_8_bits_that_are_almost_black_are_a_warning(tmp_path: Path) -> None:
    marks = [np.eye(8, dtype=np.uint8)] * 6
    with pytest.warns(DatasetWarning, match=r"the largest pixel of 'dark' is 1, .*pixels times 255"):
        load_dataset(write_scans(tmp_path / "dark", marks, ".png"))


def test_a_tiff_that_is_not_read_says_what_is(tmp_path: Path) -> None:
    root = write_scans(tmp_path / "scans", [ramp(0, 1000)] * 6)
    next(root.rglob("*.tif")).write_bytes(b"II*\0" + bytes(60))
    with pytest.warns(DatasetWarning, match=r"1 of 6 images .*a damaged TIFF, or one that Pillow does not read"):
        load_dataset(root).verified()


def test_a_broken_pixel_is_the_fault_of_one_image(tmp_path: Path) -> None:
    holes = ramp(0, 1, np.float32)
    holes[0, 0] = np.nan
    dataset = load_dataset(write_scans(tmp_path / "films", [ramp(0, 1, np.float32)] * 5 + [holes]))
    with pytest.warns(DatasetWarning, match="1 of 6 images .*NaN or infinity"):
        assert len(dataset.verified()) == 5


def test_plain_images_are_not_opened_for_their_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_folder(tmp_path / "photos", {"a": 60, "b": 60}, (4, 4))
    for file in root.rglob("*.png"):
        Image.open(file).save(file.with_suffix(".jpg"))
        file.unlink()
    monkeypatch.setattr(FileSource, "_is_deep", lambda self, i: pytest.fail("opened"))
    assert load_dataset(root).image(3).shape == (4, 4, 3)


def test_torch_items_are_asked_for_when_pixels_are(tmp_path: Path) -> None:
    class Films(Dataset[Any]):
        targets = (0, 1) * 200
        made = 0

        def __len__(self) -> int:
            return 400

        def __getitem__(self, i: int) -> Any:
            self.made += 1
            return ramp(0, 4000 if i % 4 else 100), i % 2

    films = Films()
    dataset = load_dataset(films)
    assert films.made <= 3
    assert int(dataset.image(0).max()) == 6 and int(dataset.image(1).max()) == 249
    assert films.made <= 100 and "pixels 0..4095" in dataset.summary()


def test_normalised_items_are_read_once_for_their_scale() -> None:
    class Normalised(Dataset[Any]):
        targets = (0, 1) * 50
        made = 0

        def __len__(self) -> int:
            return 100

        def __getitem__(self, i: int) -> Any:
            self.made += 1
            return torch.full((3, 4, 4), -1.0 - i), i % 2

    items = Normalised()
    dataset = load_dataset(items)
    broken = dataset.decode(range(100), 8)[1]
    assert len(broken) == 100 and "drop the Normalize" in broken[0] and items.made < 200


def test_pillow_items_of_16_bits_share_a_scale() -> None:
    class Scans(Dataset[Any]):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, i: int) -> Any:
            return Image.fromarray(ramp(0, 5000 if i else 2500)), i % 2

    with pytest.warns(DatasetWarning, match="5000 is taken as white"):
        assert list(brightest(Scans()).values()) == [128, 255, 255, 255]


# -- properties --------------------------------------------------------------------------------------
NUMBERS = st.sampled_from([np.uint16, np.int16, np.int32, np.float32, np.float64, np.bool_, np.uint8])


@pytest.mark.filterwarnings("ignore")
@given(st.data(), NUMBERS)
def test_any_pixels_keep_their_order_or_are_refused(data: st.DataObject, kind: Any) -> None:
    pixels = data.draw(arrays.arrays(kind, (3, 4)))
    try:
        scale = find_scale([pixels], "any", files=data.draw(st.booleans()))
        small = scale.to_uint8(pixels)
    except DatasetError:
        return
    order = np.argsort(pixels, axis=None, kind="stable")
    assert small.dtype == np.uint8 and (np.diff(small.ravel()[order].astype(int)) >= 0).all()


def test_equal_scales_are_equal() -> None:
    assert Scale(0, 255) == PLAIN and str(Scale(-1000, 3000)) == "-1000..3000"
    assert PLAIN.to_uint8(np.array([True, False])).tolist() == [255, 0]


def test_case_of_16_bit_tiffs(data_root: Path) -> None:
    case = data_root.parent / "cases" / "ct_tif16"
    if not case.is_dir():
        pytest.skip(f"no case at {case}, beside the folder that METAD2A_DATA names")
    with pytest.warns(DatasetWarning, match="5000 is taken as white"):
        dataset = load_dataset(case)
    assert max(int(dataset.image(i).max()) for i in range(len(dataset))) == 255
    assert "pixels 0..5000" in dataset.summary()


def test_one_and_a_rounding_error_is_one() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find_scale([np.array([0.0, 0.5, np.nextafter(1, 2), 1.000001])], "x") == Scale(0.0, 1.0)
