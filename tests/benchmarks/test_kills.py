"""Long commands, killed at random moments and run again, end as if nobody had killed them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the script forks")
def test_commands_that_were_killed_end_the_same(tmp_path: Path) -> None:
    """All of them, forks of one process that has imported everything; each signal once for each."""
    commands = 13
    kills = str(3 * commands)
    script = [sys.executable, ROOT / "benchmarks" / "kills.py", "--kills", kills, "--out", tmp_path]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(script, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "kills.json").read_text())["commands"]
    assert [one["kills"] for one in found.values()] == [3] * commands
    for name, one in found.items():
        faults = {key: value for key, value in one.items() if key not in ("seconds", "kills", "runs") and value}
        assert not faults, f"{name}: {done.stderr[-2000:]}"
