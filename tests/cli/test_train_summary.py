"""What ``train`` tells: every network beside what it must beat, on a terminal, in a log file and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metad2a_plugin.cli.main import main
from metad2a_plugin.cli.trained import few_steps
from metad2a_plugin.training import TrainConfig, load_network

CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|skip_connect~0|none~1|nor_conv_1x1~2|"
TINY = ["--channels", "4", "--cells", "1", "--input-size", "8", "--device", "cpu"]


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images of three colours, one of which half of them have."""
    monkeypatch.setenv("METAD2A_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    labels = np.repeat([0, 1, 2], [30, 20, 10])
    noise = np.random.default_rng(0).integers(0, 40, (60, 8, 8, 3))
    images = (noise + 200 * np.eye(3, dtype=int)[labels][:, None, None]).astype(np.uint8)
    np.savez("images.npz", images=images, labels=labels)
    return tmp_path


def summary(*arguments: str) -> dict[str, Any]:
    assert main(["train", "images.npz", *arguments, *TINY, "--json", "s.json"]) == 0
    found: dict[str, Any] = json.loads(Path("s.json").read_text())
    return found


def test_every_network_has_its_rank_and_role_beside_the_references(capsys: Any) -> None:
    found = summary("-a", CELL, "--random", "2", "--epochs", "2")
    roles = {network["name"]: network["role"] for network in found["networks"]}
    assert roles == {"given 1": "given", "random 1": "random", "random 2": "random"}
    accuracies = [network["accuracy"] for network in found["networks"]]
    assert [network["rank"] for network in found["networks"]] == [1, 2, 3]
    assert accuracies == sorted(accuracies, reverse=True)
    assert (found["quantity"], found["unit"]) == ("validation accuracy", "%")
    majority, linear = found["references"]
    assert majority["accuracy"] == pytest.approx(50) and majority["encoder"] is None
    assert linear["name"] == "linear classifier" and linear["accuracy"] == 100 and linear["encoder"] == "default"
    for network in found["networks"]:
        loaded = load_network(network["network"])
        assert network["params_m"] == loaded.cost.params and network["flops_m"] == loaded.cost.flops
    shown = capsys.readouterr().out
    assert "majority class" in shown and "linear classifier" in shown and "summary: s.json" in shown


def test_what_is_better_than_every_network_is_said(capsys: Any) -> None:
    found = summary("-a", CELL, "--epochs", "1", "--lr", "1e-9")
    sentence = "The linear classifier is better than every network trained here: metad2a auto"
    assert found["networks"][0]["accuracy"] < 100 and any(note.startswith(sentence) for note in found["notes"])
    assert sentence in " ".join(capsys.readouterr().out.split())


def test_a_split_seed_holds_other_images_out() -> None:
    first, again, other = (
        summary("-a", CELL, "--epochs", "1", "--out", out, "--split-seed", seed)
        for out, seed in (("a", "0"), ("b", "0"), ("c", "1"))
    )
    histories = [[(e["loss"], e["accuracy"]) for e in one["networks"][0]["history"]] for one in (first, again, other)]
    assert histories[0] == histories[1] != histories[2]
    assert other["config"]["split_seed"] == 1 and other["config"]["seed"] == 0


def test_the_batch_size_follows_the_images_unless_it_is_given(capsys: Any) -> None:
    found = summary("-a", CELL, "--epochs", "2")
    assert found["config"]["batch_size"] == 16 and found["steps"] == 2 * 3
    assert "are 6 steps" in " ".join(capsys.readouterr().err.split())
    found = summary("-a", CELL, "--epochs", "2", "--batch-size", "48")
    assert found["config"]["batch_size"] == 48 and found["steps"] == 2


@pytest.mark.parametrize(
    ("config", "images", "note"),
    [
        (TrainConfig(epochs=15, batch_size=128), 826, "in batches of up to 128 are 105 steps"),
        (TrainConfig(epochs=15), 826, None),
        (TrainConfig(epochs=200), 100, None),
        (TrainConfig(epochs=1), 50, "1 epoch of 50 images in batches of up to 16 are 4 steps"),
        (TrainConfig(epochs=1, weights="shipped"), 50, None),
    ],
)
def test_few_steps_are_noted(config: TrainConfig, images: int, note: str | None) -> None:
    said = few_steps(config, images)
    assert said is None if note is None else note in str(said)


def test_a_log_file_has_a_line_an_epoch_and_no_control_characters(capsys: Any) -> None:
    assert main(["train", "images.npz", "-a", CELL, "--epochs", "3", *TINY]) == 0
    shown = capsys.readouterr()
    epochs = [line for line in shown.err.splitlines() if line.startswith("network 1/1, epoch ")]
    assert [line.split()[3] for line in epochs] == ["1/3", "2/3", "3/3"] and "\x1b" not in shown.out + shown.err


def test_the_table_fits_a_terminal_of_80_columns(capsys: Any) -> None:
    summary("-a", CELL, "--epochs", "1")
    table = capsys.readouterr().out.partition("\n\n")[0].splitlines()[1:]  # without what was read
    assert len(table) == 4 and max(map(len, table)) <= 80
