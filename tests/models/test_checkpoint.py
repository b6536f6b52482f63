from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from meta_toys import CELLS, checkpoint, image_dataset
from safetensors.torch import load, save

from metad2a_plugin.data import Task, extract_task
from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.models import checkpoint as module
from metad2a_plugin.models.checkpoint import Checkpoint, load_checkpoint, shipped
from metad2a_plugin.models.predictor import PaperAccuracy, PaperPredictor

WEIGHTS, CONFIG = "model.safetensors", "config.json"


@pytest.fixture(scope="module")
def task() -> Task:
    return extract_task(image_dataset(), cache_dir=False)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints") / "mine"
    checkpoint().save(folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def rewrite(folder: Path, **changes: Any) -> None:
    """Change entries of the config, or drop those set to None."""
    config = json.loads((folder / CONFIG).read_text()) | changes
    (folder / CONFIG).write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def replace_weights(folder: Path, content: bytes) -> None:
    """With a config that says they are right."""
    (folder / WEIGHTS).write_bytes(content)
    rewrite(folder, sha256=hashlib.sha256(content).hexdigest())


# -- round trip ----------------------------------------------------------------------------------
def test_what_is_read_back_predicts_and_generates_as_what_was_saved(saved: Path, task: Task) -> None:
    mine, read = checkpoint(), load_checkpoint(saved)
    before, after = (c.predictor.predict_task(task, CELLS) for c in (mine, read))
    assert (before.mean - after.mean).abs().max() < 0.02 and (before.std - after.std).abs().max() < 0.02
    assert torch.equal(before.mean.topk(20).indices, after.mean.topk(20).indices)
    assert mine.generator is not None and read.generator is not None
    sets = task.draw(1)
    assert torch.allclose(read.generator.encode(sets)[0], mine.generator.encode(sets)[0], atol=5e-3)
    assert not read.generator.training
    for name in ("space", "encoder", "encoder_fingerprint", "training", "kind"):
        assert getattr(read, name) == getattr(mine, name)
    assert read.name == "mine"


def test_saving_what_was_read_writes_the_same_files(saved: Path, tmp_path: Path) -> None:
    load_checkpoint(str(saved)).save(tmp_path)
    for name in (WEIGHTS, CONFIG):
        assert (tmp_path / name).read_bytes() == (saved / name).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [CONFIG, WEIGHTS]


def test_without_a_generator(tmp_path: Path) -> None:
    dataclasses.replace(checkpoint(), generator=None).save(tmp_path)
    assert load_checkpoint(tmp_path).generator is None


def test_the_paper_s_predictor_comes_back(tmp_path: Path, task: Task) -> None:
    torch.manual_seed(0)
    network = PaperPredictor(feature_dim=task.features.shape[1], hidden=24, latent=8).eval()
    mine = dataclasses.replace(checkpoint(), predictor=PaperAccuracy(network, 70.0, 5.0, 1.5), generator=None)
    mine.save(tmp_path)
    read = load_checkpoint(tmp_path)
    before, after = (c.predictor.predict_task(task, CELLS[:50]) for c in (mine, read))
    assert read.kind == mine.kind == "paper" and read.predictor.distance(task) is None
    assert torch.allclose(before.mean, after.mean, atol=0.05) and torch.allclose(before.std, after.std, atol=0.05)
    with pytest.raises(ConfigError, match="needs a dataset"):
        read.predictor.predict_task(None, CELLS[:2])


@pytest.mark.parametrize("failing", [WEIGHTS, CONFIG])
def test_a_folder_with_a_config_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    write = module.write_atomically

    def full_disk(path: Path, data: bytes) -> None:
        if path.name == failing:
            raise ConfigError("no space left")
        write(path, data)

    monkeypatch.setattr(module, "write_atomically", full_disk)
    with pytest.raises(ConfigError, match="no space left"):
        checkpoint().save(tmp_path / "half")
    assert not (tmp_path / "half" / CONFIG).exists()
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_checkpoint(tmp_path / "half")


# -- names ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["nasbench-201", "", "a" * 5000, "~nobody-here/model", "a\0b", "/dev/null"])
def test_an_unknown_name_lists_the_shipped_ones(name: str, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PRETRAINED", saved.parent)
    with pytest.raises(CheckpointError, match=r"no checkpoint .*mine.*metad2a meta-train"):
        load_checkpoint(name)


def test_shipped_checkpoints_are_found_by_name(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PRETRAINED", copy.parent)
    assert shipped() == ("copy",)
    assert load_checkpoint("copy").name == "copy"
    (copy / WEIGHTS).write_bytes(b"")
    with pytest.raises(CheckpointError, match="reinstall metad2a-plugin"):
        load_checkpoint("copy")


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b'{"format": 1'])
def test_a_damaged_config_among_the_shipped_ones_is_no_crash(
    saved: Path, copy: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setattr(module, "PRETRAINED", copy.parent)
    (copy / CONFIG).write_bytes(content)
    assert load_checkpoint(saved).name == "mine"
    with pytest.raises(CheckpointError):
        load_checkpoint("copy")


# -- damage --------------------------------------------------------------------------------------
def truncated(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])


def truncated_with_its_digest(folder: Path) -> None:
    replace_weights(folder, (folder / WEIGHTS).read_bytes()[:1000])


def one_bit(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-5] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(data))


def without(prefix: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        tensors = load((folder / WEIGHTS).read_bytes())
        replace_weights(folder, save({k: v for k, v in tensors.items() if not k.startswith(prefix)}))

    return change


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "half of the weights": (truncated, "not the file that config.json was written with"),
    "half of the weights, digest renewed": (truncated_with_its_digest, "cannot be read"),
    "one bit": (one_bit, "not the file that config.json was written with"),
    "empty weights": (lambda f: (f / WEIGHTS).write_bytes(b""), "not the file"),
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "No such file.*model.safetensors"),
    "weights are a folder": (lambda f: ((f / WEIGHTS).unlink(), (f / WEIGHTS).mkdir()), "cannot be read"),
    "no config": (lambda f: (f / CONFIG).unlink(), "no checkpoint .*config.json and model.safetensors"),
    "config is text": (lambda f: (f / CONFIG).write_text("hello"), "JSONDecodeError"),
    "config is binary": (lambda f: (f / CONFIG).write_bytes(b"\x80\x04\xff"), "cannot be read"),
    "config is a list": (lambda f: (f / CONFIG).write_text("[]"), "its format is not 'metad2a-checkpoint-1'"),
    "other format": (lambda f: rewrite(f, format="metad2a-network-1"), "its format is not"),
    "no format": (lambda f: rewrite(f, format=None), "its format is not"),
    "wrong digest": (lambda f: rewrite(f, sha256="0" * 64), "not the file"),
    "no digest": (lambda f: rewrite(f, sha256=None), "'sha256' is missing"),
    "unknown predictor": (lambda f: rewrite(f, predictor="oracle"), "predictor must be .* got 'oracle'"),
    "other predictor": (lambda f: rewrite(f, predictor="paper"), "cannot be read"),
    "no space": (lambda f: rewrite(f, space=None), "'space' is missing"),
    "encoder is text": (lambda f: rewrite(f, encoder="default"), "cannot be read"),
    "generator sizes": (lambda f: rewrite(f, generator={"feature_dim": 256, "hidden": 8}), "cannot be read"),
    "generator options": (lambda f: rewrite(f, generator={"width": 3}), "generator.feature_dim"),
    "no generator weights": (without("generator."), "missing .*decoder"),
    "no predictor weights": (without("predictor.gate"), r"missing \['gate'\]"),
    "no training": (lambda f: rewrite(f, training=None), "'training' is missing"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_refused_with_a_sentence_that_names_the_checkpoint(kind: str, copy: Path) -> None:
    damage, message = DAMAGE[kind]
    damage(copy)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(copy)
    assert str(copy) in str(caught.value)


class Mine:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [pickle.dumps, None], ids=["pickle", "torch"])
def test_pickles_are_never_loaded(copy: Path, tmp_path: Path, write: Any) -> None:
    trap = tmp_path / "trap"
    if write is None:
        torch.save(Mine(trap), tmp_path / "weights.pt")
        content = (tmp_path / "weights.pt").read_bytes()
    else:
        content = write(Mine(trap))
    for change in (lambda: replace_weights(copy, content), lambda: (copy / CONFIG).write_bytes(content)):
        change()
        with pytest.raises(CheckpointError):
            load_checkpoint(copy)
    assert not trap.exists()
    pickle.loads(pickle.dumps(Mine(trap)))  # the trap works
    assert trap.exists()


def test_a_checkpoint_of_an_unknown_space_says_so(copy: Path) -> None:
    from metad2a_plugin.search.metad2a import MetaD2A

    rewrite(copy, space="nasbench-101")
    with pytest.raises(ConfigError, match="nasbench-101"):
        MetaD2A.from_pretrained(copy)


# -- those of the package ------------------------------------------------------------------------
@pytest.mark.parametrize("name", shipped())
def test_shipped_checkpoints_load_and_tell_how_they_were_made(name: str) -> None:
    found: Checkpoint = load_checkpoint(name)
    told = found.training["metrics"]
    assert told["spearman_of_configurations" if found.kind == "budget" else "pearson"] > 0.5
    assert (module.PRETRAINED / name / "README.md").read_text().startswith(f"# {name}")
    assert not re.search(r"(^|[ =])[/~]", found.training["command"]), "a path of one machine"
