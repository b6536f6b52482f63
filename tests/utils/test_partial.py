"""What a killed process was writing is removed by the next that writes there; what a living one writes is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.utils import partial as module
from metad2a_plugin.utils.files import replacing, write_atomically
from metad2a_plugin.utils.locks import alone, alone_in
from metad2a_plugin.utils.partial import remove_abandoned

WRITES = """
import sys, time
from pathlib import Path
from metad2a_plugin.utils.files import replacing
with replacing(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""
HOLDS = """
import sys, time
from pathlib import Path
from metad2a_plugin.utils.locks import alone_in
with alone_in(Path(sys.argv[1])):
    print("alone", flush=True)
    time.sleep(60)
"""


def started(program: str, *arguments: object) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline()
    return process


def ended(process: subprocess.Popen[str], how: int = signal.SIGKILL) -> None:
    process.send_signal(how)
    process.communicate(timeout=30)


def partials(folder: Path) -> list[Path]:
    return list(folder.rglob(".partial-*"))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
def test_the_next_to_write_removes_what_a_killed_process_left(tmp_path: Path, how: int) -> None:
    write_atomically(tmp_path / "file", b"before")
    process = started(WRITES, tmp_path / "file")
    ended(process, how)
    assert len(partials(tmp_path)) == 1 and (tmp_path / "file").read_bytes() == b"before"
    write_atomically(tmp_path / "another", b"")
    assert partials(tmp_path) == []


def test_what_a_living_process_or_thread_writes_stays(tmp_path: Path) -> None:
    process = started(WRITES, tmp_path / "file")
    try:
        with replacing(tmp_path / "own") as temporary:
            temporary.write_bytes(b"own")
            thread = threading.Thread(target=write_atomically, args=(tmp_path / "third", b""))
            thread.start()
            thread.join()
            assert len(partials(tmp_path)) == 2
        assert (tmp_path / "own").read_bytes() == b"own" and len(partials(tmp_path)) == 1
    finally:
        ended(process)


def test_only_our_own_names_are_removed(tmp_path: Path) -> None:
    ours, theirs = tmp_path / f".partial-{'0' * 16}", [tmp_path / ".partial-notes", tmp_path / "partial-0"]
    for path in (ours, *theirs):
        path.write_text("")
    (tmp_path / f".partial-{'1' * 16}").symlink_to("partial-0")
    (tmp_path / f".partial-{'2' * 16}").mkdir()
    remove_abandoned(tmp_path)
    remove_abandoned(tmp_path / "not there")
    assert not ours.exists() and all(path.exists() for path in theirs)
    assert len(partials(tmp_path)) == 3


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}") if Path("/proc/self/fd").exists() else "?"
        done.append(Path(name).name[:9] if os.path.isfile(name) else "folder")
        sync(descriptor)

    def replaced(source: str, target: str) -> None:
        done.append("renamed")
        replace(source, target)

    monkeypatch.setattr(module.os, "fsync", synced)
    monkeypatch.setattr(module.os, "replace", replaced)
    write_atomically(tmp_path / "file", b"content")
    assert done == [".partial-", "renamed", "folder"]


# -- locks ---------------------------------------------------------------------------------------
def test_a_folder_is_of_one_process_until_that_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "not yet" / "run"
    process = started(HOLDS, folder)
    with pytest.raises(ConfigError, match=r"another process is writing '.*run'; wait for it"), alone_in(folder):
        pass
    ended(process)
    with alone_in(folder), pytest.raises(ConfigError, match="another process"), alone_in(folder):
        pass
    with alone_in(folder), alone_in(tmp_path), alone_in(None):
        pass


def test_who_waits_goes_on_when_the_other_is_done(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with alone(tmp_path / "file.lock", wait=True):
            order.append("second")

    with alone(tmp_path / "file.lock"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write into"), alone_in(tmp_path / "file" / "run"):
        pass
