from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from image_toys import MeanColour, write_folder, write_zip

from metad2a_plugin.data import DatasetWarning, ImageDataset, Task, extract_task, load_dataset
from metad2a_plugin.data.statistics import image_statistics
from metad2a_plugin.errors import ConfigError, DatasetError


def _cached(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


def test_task(folder: Path, encoder: MeanColour, cache: Path) -> None:
    dataset = load_dataset(folder)
    task = extract_task(dataset, encoder, batch_size=5)
    assert task.features.shape == (12, 3) and task.features.dtype == torch.float32
    assert (task.name, task.encoder, task.class_names) == ("flowers", "mean-colour", dataset.class_names)
    assert task.labels.tolist() == dataset.labels.tolist()
    assert torch.allclose(task.features, encoder(dataset.images(range(12), 16)))
    assert task.draw(2, images_per_class=4).shape == (2, 3, 4, 3)


def test_second_time_comes_from_the_cache(folder: Path, tmp_path: Path, cache: Path) -> None:
    first, again = MeanColour(), MeanColour()
    task = extract_task(load_dataset(folder), first)
    assert first.calls == 1 and len(_cached(cache)) == 1
    same = extract_task(load_dataset(write_zip(folder, tmp_path / "z.zip")), again, batch_size=3)
    assert again.calls == 0 and torch.equal(same.features, task.features) and same.name == "z"


def test_the_cache_knows_content_selection_and_encoder(folder: Path, cache: Path) -> None:
    def calls(fingerprint: str = "1", **settings: int) -> int:
        encoder = MeanColour()
        encoder.fingerprint = fingerprint  # type: ignore[misc]
        extract_task(load_dataset(folder), encoder, **settings)  # type: ignore[arg-type]
        return encoder.calls

    assert calls() == 1 and calls() == 0
    assert calls(fingerprint="2") == 1
    assert calls(max_images_per_class=2) == 1 and calls(max_images_per_class=2, seed=1) == 1
    assert calls(max_images_per_class=2) == 0
    write_folder(folder, {"iris": 2})
    assert calls() == 1


def test_selection_is_per_class_and_seeded(folder: Path, encoder: MeanColour) -> None:
    dataset = load_dataset(folder)
    one, same, other = (
        extract_task(dataset, encoder, max_images_per_class=2, seed=s, cache_dir=False) for s in (0, 0, 1)
    )
    assert np.bincount(one.labels.numpy()).tolist() == [2, 2, 2]
    assert torch.equal(one.features, same.features) and not torch.equal(one.features, other.features)


def test_cache_folders(
    folder: Path, encoder: MeanColour, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_dataset(folder)
    extract_task(dataset, encoder, cache_dir=False)
    assert not _cached(cache)
    extract_task(dataset, encoder, cache_dir=tmp_path / "mine")
    assert not _cached(cache) and len(_cached(tmp_path / "mine")) == 1
    monkeypatch.delenv("METAD2A_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    extract_task(dataset, encoder)
    assert len(_cached(tmp_path / "home" / ".cache" / "metad2a")) == 1


@pytest.mark.parametrize("damage", [b"", b"not safetensors", None])
def test_damaged_cache_is_computed_again_with_a_warning(
    folder: Path, encoder: MeanColour, cache: Path, damage: bytes | None
) -> None:
    dataset = load_dataset(folder)
    task = extract_task(dataset, encoder)
    (path,) = _cached(cache)
    path.write_bytes(path.read_bytes()[:-7] if damage is None else damage)
    with pytest.warns(DatasetWarning, match="are damaged and are computed again"):
        again = extract_task(dataset, encoder)
    assert encoder.calls == 2 and torch.equal(again.features, task.features)
    extract_task(dataset, encoder)
    assert encoder.calls == 2


def test_unwritable_cache_is_a_warning(folder: Path, encoder: MeanColour, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(DatasetWarning, match="could not be cached in .*set METAD2A_CACHE"):
        task = extract_task(load_dataset(folder), encoder, cache_dir=tmp_path / "file")
    assert len(task.labels) == 12


def test_interrupts_leave_nothing(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(MeanColour):
        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            if self.calls == 1:
                raise KeyboardInterrupt
            return super().__call__(images)

    with pytest.raises(KeyboardInterrupt):
        extract_task(load_dataset(folder), Interrupted(), batch_size=5)
    assert not _cached(cache)

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        extract_task(load_dataset(folder), MeanColour())
    assert not _cached(cache)


def test_broken_images_are_left_out_with_one_warning_every_time(
    folder: Path, encoder: MeanColour, cache: Path
) -> None:
    (folder / "rose/1.png").write_bytes(b"junk")
    (folder / "tulip/0.png").write_bytes(b"")
    for _ in range(2):
        with pytest.warns(DatasetWarning) as caught:
            task = extract_task(load_dataset(folder), encoder, batch_size=4)
        (message,) = [str(w.message) for w in caught]
        assert message.startswith(
            "2 of 12 images of 'flowers' cannot be read ('rose/1.png', 'tulip/0.png'; the"
        )
        assert np.bincount(task.labels.numpy()).tolist() == [3, 4, 3]
    assert encoder.calls == 3


@pytest.mark.filterwarnings("ignore:3 of 12 images")
def test_a_class_of_broken_images_is_left_out_by_name(folder: Path, encoder: MeanColour) -> None:
    for path in (folder / "lily").iterdir():
        path.write_bytes(b"junk")
    with pytest.warns(DatasetWarning, match="left out .'lily'"):
        task = extract_task(load_dataset(folder), encoder, cache_dir=False)
    assert task.class_names == ("rose", "tulip") and task.num_classes == 2


def test_wrong_arguments(folder: Path, encoder: MeanColour) -> None:
    dataset = load_dataset(folder)
    with pytest.raises(DatasetError, match=r"got PosixPath; make one with load_dataset|got WindowsPath"):
        extract_task(folder, encoder)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="batch_size must be a positive integer, got 0"):
        extract_task(dataset, encoder, batch_size=0)
    with pytest.raises(ConfigError, match="max_images_per_class must be"):
        extract_task(dataset, encoder, max_images_per_class=0)


def test_encoders_that_break_their_contract(folder: Path, cache: Path) -> None:
    class Wide(MeanColour):
        dim = 4

    class Undefined(MeanColour):
        def __call__(self, images: torch.Tensor) -> torch.Tensor:
            return super().__call__(images) * float("nan")

    with pytest.raises(ConfigError, match=r"returned shape \[12, 3\] for 12 images, expected \[12, 4\]"):
        extract_task(load_dataset(folder), Wide())
    with pytest.raises(ConfigError, match="NaN or infinite features"):
        extract_task(load_dataset(folder), Undefined())
    assert not _cached(cache)


def test_progress_bar_only_on_a_terminal(
    folder: Path, encoder: MeanColour, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = load_dataset(folder)
    extract_task(dataset, encoder, cache_dir=False)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    extract_task(dataset, encoder, cache_dir=False, progress=False)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("TERM", "xterm")
    extract_task(dataset, encoder, cache_dir=False)
    out, err = capsys.readouterr()
    assert out == "" and "Encoding flowers" in err


def test_real_zip(data_root: Path, encoder: MeanColour) -> None:
    dataset = load_dataset(data_root / "images" / "signdigits.zip")
    task = extract_task(dataset, encoder, max_images_per_class=20, cache_dir=False)
    assert task.features.shape == (200, 3) and task.num_classes == 10


# -- what is encoded, and when ---------------------------------------------------------------------
class Summed(MeanColour):
    """Counts the images that it has seen."""

    seen = 0

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += len(images)
        return super().__call__(images)


@pytest.fixture
def many() -> ImageDataset:
    """More images than are encoded at once, of more classes than a draw takes."""
    pixels = np.random.default_rng(0).integers(0, 256, (2400, 4, 4, 3), dtype=np.uint8)
    return load_dataset((pixels, np.arange(2400) % 600))


def test_of_many_images_those_of_the_draws_are_encoded_and_answers_are_the_same(
    many: ImageDataset, cache: Path
) -> None:
    encoder = Summed()
    task = extract_task(many, encoder)
    assert encoder.seen == 0 and len(task.labels) == 2400 and task.dim == 3
    sets = task.sets()
    assert 0 < encoder.seen <= 10 * 20 * 4
    seen = encoder.seen
    assert torch.equal(task.sets()[3][0], sets[3][0]) and encoder.seen == seen
    whole = Task(encoder(many.images(range(2400), 16)), task.labels)
    for (one, _), (other, _) in zip(sets, whole.sets(), strict=True):
        assert torch.allclose(one, other)
    assert torch.allclose(task.draw(seed=1), whole.draw(seed=1))
    assert torch.allclose(task.features, whole.features)


def test_what_was_encoded_is_in_the_cache(many: ImageDataset, cache: Path) -> None:
    sets = extract_task(many, Summed()).sets()
    again = Summed()
    task = extract_task(many, again)
    assert torch.equal(task.sets()[0][0], sets[0][0]) and again.seen == 0
    assert len(task.features) == 2400 and again.seen < 2400
    assert extract_task(many, more := Summed()).features.shape == (2400, 3) and more.seen == 0


def test_statistics_are_computed_when_they_are_asked_for(
    folder: Path, encoder: MeanColour, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = extract_task(load_dataset(folder), encoder)
    assert task.statistics is not None
    expected = image_statistics(load_dataset(folder).images(range(12), 16), task.labels)
    assert task.statistics == pytest.approx(expected, abs=1e-5)
    monkeypatch.setattr("metad2a_plugin.data.encoded.StatisticsOf", None)
    assert extract_task(load_dataset(folder), encoder).statistics == pytest.approx(expected, abs=1e-5)


def test_tasks_are_pickled_with_all_features(many: ImageDataset, cache: Path) -> None:
    task = pickle.loads(pickle.dumps(extract_task(many, Summed())))
    assert task.features.shape == (2400, 3) and isinstance(task.statistics, dict)
    assert replace(task, name="other").rows(torch.tensor([5])).shape == (1, 3)


# -- features given directly -----------------------------------------------------------------------
FEATURES = np.random.default_rng(0).normal(size=(6, 4))


def test_features_of_any_numbers_make_a_task() -> None:
    for features in (FEATURES, FEATURES.astype(np.float16), torch.from_numpy(FEATURES)):
        for labels in (np.arange(6) % 2, torch.arange(6).float() % 2, np.arange(6, dtype=np.uint8) % 2):
            task = Task(features, labels)  # type: ignore[arg-type]
            assert task.features.dtype == torch.float32 and task.labels.tolist() == [0, 1] * 3
            assert task.sets()[0][0].shape == (6, 4)


BAD_FEATURES = {
    "NaN": (np.where(np.eye(6, 4) > 0, np.nan, 1), np.arange(6) % 2, r"4 of 6 rows .* NaN or infinity .*row 0"),
    "infinite": (np.full((6, 4), np.inf), np.arange(6) % 2, "6 of 6 rows"),
    "one axis": (FEATURES[0], np.arange(4) % 2, r"got shape \[4\]"),
    "complex": (FEATURES.astype(complex), np.arange(6) % 2, "features are numbers, got torch.complex128"),
    "lengths": (FEATURES, np.arange(5) % 2, "got 6 images and 5 labels"),
    "measured labels": (FEATURES, np.linspace(0, 1, 6), "whole numbers from 0 to classes-1"),
    "negative labels": (FEATURES, np.arange(6) % 2 - 1, "from -1; expected the class of each image"),
    "one-hot labels": (FEATURES, np.eye(6), r"of shape \[6, 6\]"),
    "a class without images": (FEATURES, np.arange(6) % 2 * 2, "class 1 of 'task' has no image"),
}


@pytest.mark.parametrize("kind", BAD_FEATURES)
def test_features_that_cannot_be_used(kind: str) -> None:
    features, labels, message = BAD_FEATURES[kind]
    with pytest.raises(DatasetError, match=message):
        Task(features, labels)  # type: ignore[arg-type]


# -- images that say nothing -----------------------------------------------------------------------
def _repeated(pixels: np.ndarray, labels: list[int]) -> str:
    said = []
    for _ in range(2):  # the second from the cache
        with pytest.warns(DatasetWarning) as caught:
            extract_task(load_dataset((pixels, labels)), MeanColour())
        said += [str(w.message) for w in caught]
    first, second = said
    assert first == second
    return first


def test_images_that_repeat_are_said_every_time(cache: Path) -> None:
    distinct = np.random.default_rng(0).integers(0, 256, (12, 5, 5, 3), dtype=np.uint8)
    assert "all 12 images of 'arrays' are the same" in _repeated(np.full((12, 5, 5), 90, np.uint8), [0, 1] * 6)
    contrary = np.concatenate([distinct[:11], distinct[:1]])
    assert "2 of 12 images of 'arrays' look exactly like one of another class" in _repeated(contrary, [0, 1] * 6)
    assert "only 4 of 12 images of 'arrays' differ" in _repeated(np.tile(distinct[:4], (3, 1, 1, 1)), [0, 1] * 6)
