"""Files are whole or not there; links, devices and pipes stay what they are.

Devices are written to in a process of its own at most; what stands for one is a pipe in a temporary folder.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.utils.files import check_writable, replacing, write_atomically, write_json


def test_a_file_is_replaced_whole_and_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "r.json"
    write_json(path, {"a": 1})
    assert path.read_text() == '{\n "a": 1\n}\n'
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_bytes(bytes(1 // 0))
    assert path.read_text() == '{\n "a": 1\n}\n' and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("target", ["target", "other/target", "ABSOLUTE", "second"])
@pytest.mark.parametrize("there", [True, False], ids=["file", "dangling"])
def test_a_link_stays_and_its_target_is_written(tmp_path: Path, target: str, there: bool) -> None:
    (tmp_path / "links").mkdir()
    link, end = tmp_path / "links" / "link", tmp_path / "links" / target
    if target == "ABSOLUTE":
        target, end = str(tmp_path / "far" / "target"), tmp_path / "far" / "target"
    elif target == "second":
        (tmp_path / "links" / "second").symlink_to("../deep/third")
        (tmp_path / "deep").symlink_to("deeper")
        (tmp_path / "deeper").mkdir()
        end = tmp_path / "deeper" / "third"
    link.symlink_to(target)
    if there:
        end.parent.mkdir(parents=True, exist_ok=True)
        end.write_bytes(b"old")
    write_atomically(link, b"new")
    assert link.is_symlink() and os.readlink(link) == target
    assert end.read_bytes() == link.read_bytes() == b"new" and not end.is_symlink()
    assert not list(tmp_path.rglob(".partial-*"))


def test_a_link_in_a_linked_folder(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "short").symlink_to("a/b")
    (tmp_path / "a" / "b" / "link").symlink_to("../target")
    write_atomically(tmp_path / "short" / "link", b"new")
    assert (tmp_path / "a" / "target").read_bytes() == b"new"


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    for write in (lambda path: write_atomically(path, b""), check_writable):
        with pytest.raises(ConfigError, match="cannot write"):
            write(tmp_path / "a")
    assert (tmp_path / "a").is_symlink() and (tmp_path / "b").is_symlink()


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to("pipe")
    for path in (pipe, link):
        read: list[bytes] = []
        reader = threading.Thread(target=lambda read=read: read.append(pipe.read_bytes()), daemon=True)
        reader.start()
        write_atomically(path, b"x" * 200_000)
        reader.join(30)
        assert read == [b"x" * 200_000] and stat.S_ISFIFO(pipe.lstat().st_mode)
    assert sorted(tmp_path.iterdir()) == [link, pipe]


def test_what_may_not_be_written_is_said_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("file/below")
    for path, message in (("file/r.json", "is a file"), ("link", "is a file"), (".", "is a folder")):
        with pytest.raises(ConfigError, match=message):
            check_writable(tmp_path / path)
    check_writable(tmp_path / "not" / "yet" / "there.json")
    assert not (tmp_path / "not").exists()


@pytest.fixture
def safe(tmp_path: Path) -> Path:
    """A program that writes, in which replacing anything outside the temporary folder is an error."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys\n"
        "from metad2a_plugin.utils.files import write_atomically\n"
        "replace = os.replace\n"
        "def inside(source, target):\n"
        f"    assert os.path.realpath(target).startswith({os.path.realpath(tmp_path)!r}), target\n"
        "    replace(source, target)\n"
        "os.replace = inside\n"
        "print('before')\n"
        "for path in sys.argv[1:]:\n"
        "    write_atomically(path, b'content\\n')\n"
        "print('after')\n"
    )
    return program


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no /dev")
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_standard_output_stays_a_pipe_or_a_file(safe: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "link").symlink_to("/dev/stdout")
    if not Path(name).is_absolute():
        name = str(tmp_path / name)
    kinds = [(path, os.lstat(path).st_mode, os.lstat(path).st_ino) for path in ("/dev/stdout", "/dev/null")]
    command = [sys.executable, str(safe), "/dev/null", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "before\ncontent\nafter\n"
    with (tmp_path / "out.txt").open("w") as file:
        subprocess.run(command, stdout=file, check=True)
    assert (tmp_path / "out.txt").read_text() == "before\ncontent\nafter\n"
    assert kinds == [(path, os.lstat(path).st_mode, os.lstat(path).st_ino) for path in ("/dev/stdout", "/dev/null")]
