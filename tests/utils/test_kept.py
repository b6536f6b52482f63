"""What is computed once is read afterwards, and a damaged file does what its user wants."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metad2a_plugin.errors import CheckpointError, ConfigError
from metad2a_plugin.utils.kept import digest, kept


def number(path: Path, value: int, advice: str | None = None) -> int:
    return kept(
        path, lambda path: int(json.loads(path.read_text())), lambda: value, lambda n: str(n).encode(), advice=advice
    )


def test_it_is_computed_once(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "one"
    assert number(path, 1) == 1
    assert number(path, 2) == 1


def test_a_damaged_file_is_made_again_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_text("{")
    with pytest.raises(CheckpointError, match=r"one' cannot be read \(JSONDecodeError: .*; remove it$"):
        number(path, 1, "remove it")
    assert path.read_text() == "{"
    assert number(path, 1) == 1 and path.read_text() == "1"


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot write"):
        number(tmp_path / "file" / "one", 1)


def test_digests_tell_values_apart() -> None:
    assert digest([1, {"a": 2}]) == digest((1, {"a": 2})) != digest([1, {"a": 3}])
    assert len(digest("")) == 16
