from __future__ import annotations

import json
from pathlib import Path

import pytest
import speed

from metad2a_plugin.models.checkpoint import PRETRAINED


@pytest.mark.slow
def test_a_tiny_run_writes_everything(toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (PRETRAINED / "nasbench201-paper").is_dir():
        pytest.skip("no shipped checkpoint")
    # A process that imports torch takes seconds; the statements are tested on the real command line.
    monkeypatch.setattr(speed, "MEMORY", {"nothing": "pass"})
    monkeypatch.setattr(speed.shutil, "which", lambda name, path: speed.sys.executable)
    repeats = ["--repeats", "2", "--loop-repeats", "1", "--starts", "1", "--threads", "1", "--candidates", "3"]
    speed.main(["--data", str(toy_data), "--out", str(tmp_path), "--model", "nasbench201-paper", *repeats])
    results = json.loads((tmp_path / "speed.json").read_text())
    assert len(results["seconds"]) == 4 and 0 < results["memory"]["nothing"] < 2
    assert results["settings"]["threads"] == 1
    assert "the paper's loop" in (tmp_path / "speed.md").read_text()


@pytest.mark.slow
def test_memory_is_that_of_the_fresh_process() -> None:
    """Neither what this process holds counts, nor is the peak of the imports added to what is held after them."""
    before = speed.peak_memory("pass", 1)
    here = bytearray(int(4e9 * before))
    idle = speed.peak_memory("pass", 1)
    del here
    # Twice what a process without it needs at most, so the peak is where this is held, whatever the imports take.
    held = 2 * idle
    found = speed.peak_memory(f"held = bytearray({int(1e9 * held)})", 1)
    assert idle < 1.5 * before and held < found < held + 1.5 * idle


def test_the_table_compares_medians_with_the_loop() -> None:
    results = {
        "seconds": {"the paper's loop": [200.0], "ours": [1.0, 9.0, 2.0]},
        "memory": {"search": 1.2},
        "start_up": {"import": [0.1], "help": [0.7]},
    }
    text = speed.report(results)
    assert "| ours | 2 s (1 to 9) | 100 x | ≥ 100 met, < 3 s met |" in text
    assert "| search | 1.20 GB | < 1 GB missed |" in text and "| help | 0.7 s | < 0.5 s missed |" in text
