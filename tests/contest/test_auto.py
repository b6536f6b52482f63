"""Whole runs on a few coloured images, with few epochs so that time decides nothing."""

from __future__ import annotations

import inspect
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_toys import MeanColour

from metad2a_plugin import load_network
from metad2a_plugin.cli.main import main
from metad2a_plugin.contest import run as module
from metad2a_plugin.contest.config import AutoConfig
from metad2a_plugin.contest.page import page
from metad2a_plugin.contest.result import AutoResult
from metad2a_plugin.contest.run import auto
from metad2a_plugin.contest.training import ContenderFit
from metad2a_plugin.data import ImageDataset, load_dataset
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.training import encoder_network
from metad2a_plugin.training.encoder_network import EncoderClassifier

CONFIG = AutoConfig(seconds=36_000, encoders=["default"], device="cpu")
SMALL = {"max_params": 0.03}


def coloured(name: str = "<b>&co", count: int = 60) -> ImageDataset:
    """Three classes of noise of different brightness."""
    rng, labels = np.random.default_rng(0), np.arange(count) % 3
    images = rng.integers(0, 120, (count, 16, 16, 3)) + 60 * labels[:, None, None, None]
    return load_dataset((images.astype(np.uint8), labels), name=name)


@pytest.fixture(autouse=True)
def few_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the same happens however fast the machine is."""
    monkeypatch.setattr(module, "_MOST_EPOCHS", 2)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> AutoResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_MOST_EPOCHS", 2)
        return auto(coloured(), tmp_path_factory.mktemp("run"), CONFIG, limits=SMALL)


def test_the_best_by_validation_comes_out_and_is_measured_once_more(found: AutoResult) -> None:
    everything = [t.accuracy for t in found.trained]
    assert found.validation >= max(everything)
    network = load_network(found.folder / "network.safetensors")
    pixels = found.tested.images(range(len(found.tested)), network.input_size)
    assert torch.equal(network(pixels).argmax(1), found.test.logits.argmax(1))
    assert found.test.interval[0] <= found.test.accuracy <= found.test.interval[1]


def test_limits_hold_for_whatever_comes_out(found: AutoResult) -> None:
    assert found.network.cost.params <= SMALL["max_params"]
    assert all(cost.params <= SMALL["max_params"] for cost in found.costs.values())
    assert not any(name.startswith("encoder") for name in found.contenders) and found.trained


def test_no_image_is_in_two_parts(found: AutoResult) -> None:
    everything = set(map(found.images.key, range(len(found.images))))
    tested = set(map(found.tested.key, range(len(found.tested))))
    assert tested < everything and len(tested) == round(0.15 * len(everything))


def test_soft_labels_are_tried_and_so_is_doing_without(found: AutoResult) -> None:
    assert {"design-1-soft", "design-1"} <= set(found.contenders)
    first = {t.contender for t in found.trained if t.round == 1}
    assert {"design-1-soft", "design-1"} <= first


def test_a_finished_run_is_not_repeated(found: AutoResult, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: ContenderFit) -> Any:
        raise AssertionError("trained again")

    monkeypatch.setattr(ContenderFit, "step", refuse)
    again = auto(coloured(), found.folder, CONFIG, limits=SMALL)
    assert again.trained == found.trained and again.source == found.source


def test_another_run_in_the_folder_is_refused(found: AutoResult) -> None:
    for images, config in ((coloured(count=63), CONFIG), (coloured(), replace(CONFIG, flip=True))):
        with pytest.raises(CheckpointError, match="of other settings or images"):
            auto(images, found.folder, config, limits=SMALL)


@pytest.mark.parametrize("moment", [1, pytest.param(13, marks=pytest.mark.slow)])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    moment: int, found: AutoResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, steps = ContenderFit.step, 0

    def interrupted(self: ContenderFit) -> Any:
        nonlocal steps
        steps += 1
        if steps == moment:
            raise KeyboardInterrupt
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(ContenderFit, "step", interrupted)
        if moment == 1:
            # The linear classifier is there before any training, but too large for these limits.
            with pytest.raises(KeyboardInterrupt):
                auto(coloured(), tmp_path, CONFIG, limits=SMALL)
        else:
            early = auto(coloured(), tmp_path, CONFIG, limits=SMALL)
            assert early.interrupted and (tmp_path / "network.safetensors").exists()
    whole = auto(coloured(), tmp_path, CONFIG, limits=SMALL)
    assert not whole.interrupted
    assert [t.curve for t in whole.trained] == [t.curve for t in found.trained]


@pytest.mark.slow
def test_without_limits_the_encoder_takes_part(tmp_path: Path) -> None:
    free = auto(coloured(), tmp_path, CONFIG)
    assert "encoder-default-64" in free.contenders
    assert free.validation >= max(reference.validation for reference in free.references)


def test_limits_that_nothing_keeps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing fits in the time within the limits"):
        auto(coloured(), tmp_path, CONFIG, limits={"max_params": 1e-5})


def test_the_page_is_whole_and_names_are_escaped(found: AutoResult) -> None:
    text = page(found)
    assert "&lt;b&gt;&amp;co" in text and "<b>&co" not in text
    assert "http" not in text.replace("http://www.w3.org", "")
    for part in ("What came in", "What was tried", "What it confuses", "How sure is this", "Use it"):
        assert part in text
    json.dumps(found.to_dict())


@pytest.mark.slow
def test_the_command_ends_with_a_network_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)), np.arange(40) % 2
    np.savez(tmp_path / "noise.npz", images=images.astype(np.uint8), labels=labels)
    out = tmp_path / "out"
    arguments = ["auto", str(tmp_path / "noise.npz"), "--time", "10h", "--out", str(out), "--max-params", "0.02"]
    assert main([*arguments, "--device", "cpu"]) == 0
    assert (out / "network.safetensors").exists() and (out / "index.html").exists()
    assert "by which nothing was chosen" in capsys.readouterr().out


@pytest.mark.parametrize("time", ["30", "half an hour", "", "-3m", "1m30"])
def test_a_time_without_a_unit_is_refused(time: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["auto", "sklearn:digits", "--time", time]) != 0
    assert "such as 1h30m" in capsys.readouterr().err


def test_an_encoder_that_cannot_be_trained_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_network, "get_encoder", lambda name: MeanColour())
    with pytest.raises(ConfigError, match="no network to train"):
        EncoderClassifier("mean-colour", ["a", "b"])


class _Killed(BaseException):
    """As if the process had ended: nobody catches it."""


@pytest.mark.slow
def test_killed_at_ten_moments_and_resumed_it_ends_the_same_and_trains_nothing_twice(
    found: AutoResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs = sum(t.epochs for t in found.trained)
    moments = iter(sorted(random.Random(0).sample(range(epochs), min(10, epochs - 1))))
    step, done, killed = ContenderFit.step, 0, next(moments)

    def fragile(self: ContenderFit) -> Any:
        nonlocal done, killed
        if done == killed and not measuring():
            killed = next(moments, -1)
            raise _Killed
        epoch = step(self)
        done += not measuring()
        return epoch

    def measuring() -> bool:
        """Whether the speed of an epoch is measured, which is no training of the run."""
        return any(frame.function == "epoch_seconds" for frame in inspect.stack(0))

    monkeypatch.setattr(ContenderFit, "step", fragile)
    for _ in range(20):
        try:
            whole = auto(coloured(), tmp_path, CONFIG, limits=SMALL)
            break
        except _Killed:
            continue
    assert killed == -1 and done == epochs
    assert [t.curve for t in whole.trained] == [t.curve for t in found.trained]
    assert whole.source == found.source and torch.equal(whole.test.logits, found.test.logits)
