"""Pages of runs that are done."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from metad2a_plugin.cli.main import main
from metad2a_plugin.contest import run as module
from metad2a_plugin.contest.config import AutoConfig
from metad2a_plugin.contest.reports import trainings, write_report
from metad2a_plugin.contest.run import auto
from metad2a_plugin.contest.training import ContenderFit
from metad2a_plugin.errors import CheckpointError, ConfigError

TINY = ["--epochs", "1", "--channels", "4", "--cells", "1", "--input-size", "8", "--batch-size", "16"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    labels = np.arange(40) % 2
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "noise.npz", images=pixels, labels=labels)
    return tmp_path / "noise.npz"


def test_the_trainings_of_a_folder(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "runs"
    cells = [
        "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|",
        "|skip_connect~0|+|none~0|skip_connect~1|+|none~0|none~1|skip_connect~2|",
    ]
    given = [part for cell in cells for part in ("-a", cell)]
    assert main(["train", str(images), *given, *TINY, "--out", str(out)]) == 0
    assert main(["report", str(out)]) == 0
    assert "index.html" in "".join(capsys.readouterr())
    text = (out / "index.html").read_text()
    assert all(cell in text for cell in cells) and "of 2:" in text and "http" not in text
    found = trainings(out)
    assert len(found) == 2 and found[0]["accuracy"] >= found[1]["accuracy"]
    damaged = out / found[0]["folder"] / "result.json"
    damaged.write_text(json.dumps({"accuracy": 3}))
    with pytest.raises(CheckpointError, match=r"result.json' cannot be read .*remove the folder"):
        write_report(out)


def test_a_run_of_auto_is_made_into_a_page_again_and_nothing_is_trained(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_EPOCHS", 1)
    out = tmp_path / "auto"
    config = AutoConfig(seconds=36_000, encoders=["default"], device="cpu")
    auto(str(images), out, config, limits={"max_params": 0.02})
    before = json.loads((out / "auto.json").read_text())["trained"]
    monkeypatch.setattr(ContenderFit, "step", lambda self: pytest.fail("trained"))
    assert "What was tried" in write_report(out).read_text()
    assert json.loads((out / "auto.json").read_text())["trained"] == before
    images.rename(images.with_name("elsewhere.npz"))
    assert write_report(out, images.with_name("elsewhere.npz")).is_file()


def test_a_folder_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no finished run"):
        write_report(tmp_path)
    (tmp_path / "auto.json").write_text("{}")
    with pytest.raises(CheckpointError, match="the run must be made again"):
        write_report(tmp_path)
