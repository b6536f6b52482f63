"""Networks that begin with weights, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from metad2a_plugin import get_space
from metad2a_plugin.cli.main import main
from metad2a_plugin.spaces.interfaces import transferable

CELL = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|"
TINY = ["-a", CELL, "--epochs", "1", "--input-size", "8", "--batch-size", "16"]


@pytest.fixture
def images(tmp_path: Path) -> str:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "noise.npz", images=pixels, labels=np.arange(40) % 2)
    return str(tmp_path / "noise.npz")


@pytest.fixture
def weights(tmp_path: Path) -> str:
    space = transferable(get_space("nasbench201"))
    torch.manual_seed(0)
    space.write_supernet(tmp_path / "weights.safetensors", space.untrained_supernet(channels=4, cells=1))
    return str(tmp_path / "weights.safetensors")


def test_a_network_begins_with_weights_at_their_learning_rate(images: str, weights: str, tmp_path: Path) -> None:
    size, out = ["--channels", "4", "--cells", "1"], tmp_path / "runs"
    assert main(["train", images, *TINY, *size, "--weights", weights, "--out", str(out)]) == 0
    [result] = out.glob("*/result.json")
    assert json.loads(result.read_bytes())["history"][0]["lr"] == pytest.approx(0.05, rel=0.8)
    assert main(["train", images, *TINY, *size, "--weights", weights, "--lr", "0.01", "--out", str(out)]) == 0
    assert len([*out.glob("*/result.json")]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--channels", "8", "--cells", "1"], "give channels and cells of at most that"),
        (["--space", "mobilenetv3", "--random", "1"], "holds no weights of a MobileNetV3 supernet"),
    ],
)
def test_weights_of_other_networks_are_refused_before_any_image(
    arguments: list[str], message: str, weights: str, capsys: pytest.CaptureFixture[str]
) -> None:
    architecture = [] if "--space" in arguments else ["-a", CELL]
    assert main(["train", "nowhere", *architecture, *arguments, "--weights", weights]) == 2
    assert message in capsys.readouterr().err
