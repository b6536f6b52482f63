from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from metad2a_plugin.cli import main
from metad2a_plugin.errors import HostError
from metad2a_plugin.utils import installed

adapters = pytest.importorskip(
    "metad2a_plugin.adapters._doctor", reason="adapters are inside the package once it is installed"
)
from metad2a_plugin.cli import doctor  # noqa: E402
from metad2a_plugin.cli.doctor import ABSENT, PROBLEM, WORKS, Finding  # noqa: E402

NAMES = [
    *("Python", "torch", "metad2a-plugin", "data", "torchvision", "timm", "Hugging Face hub"),
    *("NNI", "NASLib", "Optuna", "neps", "scikit-learn", "Once-for-All", "Ray", "nas-bench-201", "nats_bench"),
]


def check(name: str, timeout: float = 60) -> Finding:
    [host] = [host for host in adapters.HOSTS if host.name == name]
    return doctor.check_host(host, timeout)


# -- what works here -----------------------------------------------------------------------------
@pytest.mark.slow
def test_what_this_package_needs_is_tried() -> None:
    findings = {finding.name: finding for finding in doctor.diagnose()}
    assert list(findings) == NAMES
    assert all(findings[name].state == WORKS for name in ("Python", "torch", "metad2a-plugin")), findings
    assert "nasbench201-paper" in findings["metad2a-plugin"].found
    for finding in findings.values():
        assert finding.state in (WORKS, ABSENT, PROBLEM) and finding.found
        assert finding.state == WORKS or finding.notes


# -- hosts that misbehave ------------------------------------------------------------------------
@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a module of a name with some code, before all that is installed."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(name: str, code: str) -> None:
        (tmp_path / f"{name}.py").write_text(code)

    return make


BROKEN = {
    "raises": ("raise ValueError('no such thing\\nat all')", "^ValueError: no such thing$"),
    "exits": ("raise SystemExit", "^SystemExit: without a word$"),
    "ends": ("import os; os._exit(3)", "^the process ended with status 3: without a word$"),
    "complains and ends": (
        "import os, sys; print('out of luck', file=sys.stderr, flush=True); os._exit(3)",
        "^the process ended with status 3: out of luck$",
    ),
    "crashes": ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended with signal SIGSEGV"),
    "is too old": ("def create(*_, **__): return 3", "expected a path, .* got builtins.int"),
    "is something else": ("", "^AttributeError: .*has no attribute 'create'"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_host_is_a_problem_with_a_reason(kind: str, host: Any) -> None:
    code, reason = BROKEN[kind]
    host("nats_bench", code)
    found = check("nats_bench")
    assert found.state == PROBLEM and len(found.notes) == 1
    assert re.search(reason, found.notes[0]), found.notes


WORKING = """
import os, sys
from types import SimpleNamespace
print("welcome!" * 10000)
sys.stdout.close()
os.close(1)
def create(root, space, verbose):
    query = lambda index, hp: None
    return SimpleNamespace(meta_archs=root["meta_archs"], arch2infos_dict={}, query_meta_info_by_index=query)
"""


def test_a_host_may_print_and_close_what_it_likes(host: Any) -> None:
    host("nats_bench", WORKING)
    assert check("nats_bench").state == WORKS


def test_a_host_that_hangs_is_given_up_with_all_it_started(host: Any, tmp_path: Path) -> None:
    child = tmp_path / "child"
    code = f"""
        import pathlib, subprocess, time
        process = subprocess.Popen(["sleep", "600"])
        pathlib.Path({str(child)!r}).write_text(str(process.pid))
        time.sleep(600)
    """
    host("nats_bench", "\n".join(line.strip() for line in code.splitlines()))
    begin = time.monotonic()
    found = check("nats_bench", 10)
    assert found.state == PROBLEM and found.notes == ("no answer within 10 seconds",)
    assert time.monotonic() - begin < 60
    process = int(child.read_text())
    for _ in range(100):  # a killed process may end a moment later
        if not running(process):
            return
        time.sleep(0.1)
    raise AssertionError(f"process {process} is still running")


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


# -- hosts that are not there, or not fit --------------------------------------------------------
def test_what_is_not_installed_is_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda module: None)
    for name, remedy in (
        ("torchvision", "only the encoders of torchvision and timm"),
        ("NNI", r"pip install 'metad2a-plugin[nni]'"),
        ("NASLib", "git clone --branch Develop https://github.com/automl/NASLib"),
        ("neps", "pip install --no-deps neural-pipeline-search"),
        ("scikit-learn", r"pip install 'metad2a-plugin[sklearn]'"),
        ("Once-for-All", r"pip install 'metad2a-plugin[ofa]'"),
        ("Ray", r"pip install 'metad2a-plugin[ray]'"),
        ("nas-bench-201", "metad2a convert-benchmark"),
        ("nats_bench", "are read without it"),
    ):
        found = check(name)
        assert found.state == ABSENT and remedy in found.notes[0]


def test_torchvision_of_another_torch(host: Any) -> None:
    host("torchvision", "raise RuntimeError('operator torchvision::nms does not exist')")
    found = check("torchvision")
    assert found.state == PROBLEM
    assert found.notes[0].startswith("it is built for another torch (operator torchvision::nms does not exist); NNI")


def test_an_adapter_says_itself_what_its_host_lacks(host: Any) -> None:
    host("naslib", "")
    found = check("NASLib")
    assert found.state == PROBLEM and "NASLib" in found.notes[0]


def test_versions_that_an_extra_excludes(monkeypatch: pytest.MonkeyPatch) -> None:
    of_nni = [f"{requirement}; extra == 'nni'" for requirement in ("a<3.12", "b<2.7,>=2", "c==3.0")]
    lines = ["torch>=2.4", *of_nni, "a<1; extra == 'x'"]
    monkeypatch.setattr(installed.metadata, "requires", lambda package: lines)

    def violated(**versions: str) -> list[str]:
        monkeypatch.setattr(installed, "version_of", versions.get)
        return [str(requirement.specifier) for requirement in installed.violated("nni")]

    assert violated() == violated(a="3.11.9", b="2.6.6", c="3.0", torch="1.0") == violated(b="2.0.0+cpu", c="3") == []
    assert violated(a="3.12.0", b="2.7.0") == ["<3.12", "<2.7,>=2"]
    assert violated(b="1.9", c="2.10") == ["<2.7,>=2", "==3.0"]
    assert violated(c="3.0.1") == ["==3.0"]


# -- data ----------------------------------------------------------------------------------------
def test_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("METAD2A_DATA", raising=False)
    missing = doctor._data(60)
    assert missing.state == ABSENT and missing.found == "none" and "METAD2A_DATA" in missing.notes[0]
    monkeypatch.setenv("METAD2A_DATA", str(tmp_path / "data"))
    assert doctor._data(60).state == PROBLEM  # it was asked for
    (tmp_path / "data" / "images").mkdir(parents=True)
    found = doctor._data(60)
    assert found.state == WORKS
    assert found.found == f"{tmp_path / 'data'} has the folders images; no other file was read"
    (tmp_path / "data" / "nas_bench_201").mkdir()
    (tmp_path / "data" / "nas_bench_201" / "nb201.csv.gz").write_bytes(b"\x1f\x8bnothing")
    damaged = doctor._data(60)
    assert damaged.state == PROBLEM and "nb201.csv.gz' cannot be read, or is damaged" in damaged.notes[0]


def test_data_says_what_was_opened(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAD2A_DATA", str(data_root))
    found = doctor._data(60)
    assert found.state == WORKS and "nas_bench_201/nb201.csv.gz opens; no other file was read" in found.found


# -- NNI -----------------------------------------------------------------------------------------
def test_a_trial_of_nni_runs_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nni", reason="NNI is not installed; see the extra 'nni'")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.chdir(tmp_path)
    found = check("NNI", 120)
    assert found.state == WORKS, found
    assert re.search(r"a trial on the sequential engine runs, and node v\d+\S* of the training service", found.found)
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "nni_node", SimpleNamespace(__path__=[str(tmp_path)]))
    node = tmp_path / "node"
    for code in (None, "#!/bin/sh\nexit 3\n"):
        if code:
            node.write_text(code)
            node.chmod(0o755)
        with pytest.raises(HostError, match=r"cannot start its node .*; its sequential engine works; reinstall"):
            adapters._nni_node()


# -- the command ---------------------------------------------------------------------------------
@pytest.fixture
def findings(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    found = [Finding("Python", WORKS, "3.11"), Finding("NNI", ABSENT, "not installed", ("pip install 'x[nni]'",))]
    monkeypatch.setattr(doctor, "diagnose", lambda timeout: found)
    return found


def test_the_command_prints_what_was_found(findings: list[Finding], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == ["Python works 3.11", "NNI absent not installed", "- pip install 'x[nni]'"]
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[1] == {
        "name": "NNI", "state": "absent", "found": "not installed", "notes": ["pip install 'x[nni]'"]
    }  # fmt: skip


def test_only_a_strict_doctor_fails(findings: list[Finding]) -> None:
    assert main(["doctor", "--strict"]) == 0
    findings.append(Finding("torch", PROBLEM, "2.13", ("broken",)))
    assert main(["doctor"]) == 0 and main(["doctor", "--strict"]) == 1


def test_the_command_gives_every_try_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []
    monkeypatch.setattr(doctor, "diagnose", lambda timeout: given.append(timeout) or [])
    assert main(["doctor", "--timeout", "5"]) == 0 and given == [5]
    assert main(["doctor", "--timeout", "0"]) == 2
