"""Ray Tune and the pool of workers on real clusters of this machine; minutes, on few cores."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("metad2a_plugin.adapters.ray", reason="Ray is not installed (extra ray)", exc_type=ImportError)

from page_scripts import scripts_of

ROOT = Path(__file__).resolve().parents[2]
NODES, TRIALS = 3, 6
pytestmark = pytest.mark.slow


def run(folder: Path, *command: str | Path) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    whole = [sys.executable, "-W", "ignore", *map(str, command)]
    done = subprocess.run(whole, cwd=folder, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.mark.parametrize("kind", ["a trial", "a node", "the search"])
def test_what_is_killed_loses_no_training_and_repeats_none_that_tune_has_noted(kind: str, tmp_path: Path) -> None:
    script = ROOT / "benchmarks" / "ray_nodes.py"
    run(tmp_path, script, "--trials", str(TRIALS), "--kinds", kind, "--out", tmp_path, "--runs", tmp_path)
    found = json.loads((tmp_path / "ray_nodes.json").read_text())["runs"][kind]
    assert found["lost"] == 0, found
    # Tune copies its own state and the search's in the background: killed amid that, it has been seen to make one
    # training fewer, or to end without the last report of one.
    assert TRIALS - (kind == "the search") <= found["made"] - found["unfinished"] <= TRIALS, found
    # Of the reports in the moment before the search is killed, one a node, Tune may not have noted anything; older
    # releases also not of the one report in the moment before its node is.
    assert found["twice"] <= {"a trial": 0, "a node": 1, "the search": NODES}[kind]


def test_the_page_names_the_extra_first_and_its_script_prints_what_it_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "ray.md").read_text()
    assert page.splitlines()[2].startswith("`pip install '.[ray,digits]'`")
    [(name, script, output)] = scripts_of("ray.md")
    (tmp_path / name).write_text(script)
    # What trained weights reach, and so the order by it, differs between processors.
    lines = r"^\d+\.\d% (.*)$"
    printed = re.findall(lines, run(tmp_path, name), re.MULTILINE)
    assert sorted(printed) == sorted(re.findall(lines, output, re.MULTILINE))
    assert len(printed) == len(output.splitlines())
