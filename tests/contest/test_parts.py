from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metad2a_plugin.contest.config import AutoConfig, seconds_of
from metad2a_plugin.contest.images import Images
from metad2a_plugin.contest.journal import Journal, Trained
from metad2a_plugin.contest.latencies import Latency, here, predicted
from metad2a_plugin.contest.references import as_good, mirrored
from metad2a_plugin.contest.schedule import best, epochs_within, rounds
from metad2a_plugin.data import load_dataset
from metad2a_plugin.errors import CheckpointError
from metad2a_plugin.nn.probe import fit_ridge
from metad2a_plugin.plugins.registry import get_space
from metad2a_plugin.training.classifier import ImageClassifier
from metad2a_plugin.training.encoder_network import EncoderClassifier
from metad2a_plugin.training.files import export_network, load_network
from metad2a_plugin.training.soft import SoftLabels


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("1.5h", 5400)])
def test_times_are_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("contenders", range(1, 9))
def test_rounds_take_the_time_there_is(contenders: int) -> None:
    found = rounds(600, contenders)
    assert sum(one.seconds * one.contenders for one in found) == pytest.approx(600)
    counts = [one.contenders for one in found]
    assert counts == sorted(set(counts), reverse=True) and counts[-1] == 1
    assert [one.seconds for one in found] == sorted(one.seconds for one in found)


def test_what_trains_at_once_takes_the_time_of_one() -> None:
    alone, four = rounds(600, 6), rounds(600, 6, at_once=4)
    assert [one.contenders for one in alone] == [one.contenders for one in four] == [6, 2, 1]
    # Six are two turns of four, and two are one.
    assert [b.seconds / a.seconds for a, b in zip(alone, four, strict=True)] == pytest.approx([3, 2, 1])


def test_the_most_accurate_go_on_and_of_equals_the_cheaper() -> None:
    assert best({"a": 70, "b": 80, "c": 80}, {"a": 1, "b": 3, "c": 2}, 2) == ["c", "b"]
    assert epochs_within(10, 3, 99) == 3 and epochs_within(1, 3, 99) == 1 and epochs_within(10, 1, 5) == 5


def test_a_journal_keeps_decisions_and_time(tmp_path: Path) -> None:
    now = 0.0
    journal = Journal(tmp_path, {"a": 1}, lambda: now)
    assert journal.decide("epochs", lambda: (1, 2)) == [1, 2]
    now = 5.0
    journal.add(Trained("x", 1, (10.0, 20.0), 3.0))
    later = Journal(tmp_path, {"a": 1}, lambda: now + 100)
    assert later.elapsed == 5 and later.decide("epochs", lambda: 9) == [1, 2]
    assert later.find("x", 1) == journal.trained[0] and later.find("x", 2) is None
    with pytest.raises(CheckpointError, match="of other settings"):
        Journal(tmp_path, {"a": 2})
    (tmp_path / "auto.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        Journal(tmp_path, {"a": 1})


@pytest.mark.parametrize(("count", "dim"), [(40, 6), (12, 30)])
def test_left_out_scores_are_those_of_a_fit_to_the_others(count: int, dim: int) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    x = torch.randn(3, dim, generator=generator)[labels] + torch.randn(count, dim, generator=generator)
    found = fit_ridge(x, labels)
    # The same penalty, center and scale with one example left out, by plain algebra.
    center, spread = x.double().mean(0), (x - x.mean(0)).double().square().mean().sqrt()
    rows = torch.cat([(x.double() - center) / spread, torch.ones(count, 1).double()], dim=1)
    errors = []
    for ridge in (1e-3, 1e-2, 1e-1, 1.0):
        kept = torch.arange(count) != 4
        gram = rows[kept].T @ rows[kept] + ridge * count * torch.eye(dim + 1).double()
        weight = torch.linalg.solve(gram, rows[kept].T @ F.one_hot(labels[kept], 3).double())
        errors.append(float((rows[4] @ weight - found.left_out[4]).abs().max()))
    assert min(errors) < 1e-6
    logits = found(x)
    assert (logits.argmax(1) == labels).double().mean() >= found.accuracy


def test_soft_labels_alone_are_met_by_the_teachers_own_logits() -> None:
    generator = torch.Generator().manual_seed(0)
    told = torch.randn(8, 4, generator=generator)
    soft = SoftLabels(told, share=1.0)
    logits = told[2:5].clone().requires_grad_(True)
    soft.mixed(torch.tensor(7.0), logits, torch.tensor([2, 3, 4])).backward()
    assert logits.grad is not None and logits.grad.abs().max() < 1e-6
    none = SoftLabels(told, share=0.0)
    assert none.mixed(torch.tensor(7.0), told[:2], torch.tensor([5, 6])) == 7


def test_an_encoder_with_a_classifier_is_written_and_read(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(30, 256, generator=generator), torch.arange(30) % 3
    head = fit_ridge(features, labels)
    network = EncoderClassifier("default", ["a", "b", "c"], head=head).eval()
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8, generator=generator)
    assert torch.allclose(network(images), head(network.network[0](images)), atol=1e-4)  # type: ignore[index]
    export_network(tmp_path / "n.safetensors", network)
    read = load_network(tmp_path / "n.safetensors")
    assert torch.equal(read(images), network(images)) and read.metadata() == network.metadata()
    assert 1.5 < network.cost.params < 1.7


def test_training_leaves_the_batch_statistics_of_the_encoder() -> None:
    network = EncoderClassifier("default", ["a", "b"]).train()
    before = {name: value.clone() for name, value in network.named_buffers()}
    network(torch.zeros(4, 3, 64, 64, dtype=torch.uint8))
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_latencies_of_known_devices_are_bounds_for_smaller_networks() -> None:
    space = get_space("nasbench201")
    architecture = space.parse("|nor_conv_3x3~0|+|skip_connect~0|none~1|+|none~0|none~1|nor_conv_1x1~2|")

    def of(size: int, **options: int) -> list[Latency]:
        return predicted(ImageClassifier(space, architecture, 2, input_size=size, options=options))

    known, smaller = of(32), of(32, channels=8, cells=1)
    assert {"pixel3", "raspi4"} <= {one.device for one in known} and not any(one.most for one in known)
    assert all(one.most and one.value > same.value for one, same in zip(smaller, known, strict=True))
    assert of(24) == of(32, channels=32) == []
    assert here(ImageClassifier(space, architecture, 2, input_size=16)) > 0


@pytest.mark.parametrize("kind", ["one-sided", "even"])
def test_the_images_decide_whether_they_are_mirrored(kind: str, tmp_path: Path) -> None:
    rng, labels = np.random.default_rng(0), np.arange(240) % 2
    pixels = rng.integers(0, 60, (240, 32, 32, 3)).astype(np.uint8)
    pixels[labels == 0, :, :16] += 150  # one side is bright, which tells the classes apart
    pixels[labels == 1, :, 16:] += 150
    if kind == "even":
        pixels[labels == 0] = pixels[labels == 0].max(axis=2, keepdims=True)
    images = Images(load_dataset((pixels, labels), name=kind), AutoConfig(60, device="cpu"))
    images.sides = {"default": 64}
    lost, error = mirrored(images)
    assert as_good(lost, error) == (kind == "even") and error > 0
    assert (lost > 50) == (kind == "one-sided")


def test_few_images_are_no_reason_to_mirror() -> None:
    pixels = np.zeros((12, 32, 32, 3), np.uint8) + (np.arange(12) % 2 * 200).astype(np.uint8)[:, None, None, None]
    images = Images(load_dataset((pixels, np.arange(12) % 2), name="few"), AutoConfig(60, device="cpu"))
    images.sides = {"default": 64}
    assert not as_good(*mirrored(images))
