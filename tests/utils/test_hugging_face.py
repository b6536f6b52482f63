from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hub_toys import LocalHub
from hypothesis import given
from hypothesis import strategies as st

from metad2a_plugin.errors import CheckpointError, ConfigError, MissingExtraError
from metad2a_plugin.utils.hugging_face import Place, download, on_hub, parse_place, upload

FILES = {"config.json": 100, "model.safetensors": 1000}
CONTENT = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "evil.py": b"raise SystemExit",
    "big.bin": b"0" * 5000,
}
NO_PLACES = (
    *("hf:gpt", "hf:", "hf:a/b/c", "hf:a/b@", "hf:../b", "hf:a/..", "hf:a/b@../c"),
    *("hf:a/b c", "hf:/b", "hf:a/-b", "hf:a/b."),
)
WORD = st.lists(st.text("abzAZ09_", min_size=1, max_size=9), min_size=1, max_size=3).map(".".join)


# -- names -----------------------------------------------------------------------------------------
@given(WORD, WORD, st.none() | WORD)
def test_a_place_is_read_as_it_is_written(user: str, name: str, revision: str | None) -> None:
    text = f"hf:{user}/{name}" + ("" if revision is None else f"@{revision}")
    assert on_hub(text) and parse_place(text) == Place(f"{user}/{name}", revision) == parse_place(text[3:])


@given(st.text())
def test_any_text_is_a_place_or_a_sentence(text: str) -> None:
    with suppress(ConfigError):
        assert parse_place(text).repo.count("/") == 1 and ".." not in text


@pytest.mark.parametrize("name", NO_PLACES)
def test_what_is_no_place_is_refused_before_anything_is_asked(name: str, hub: LocalHub) -> None:
    with pytest.raises(ConfigError, match="expected 'hf:user/repo'"):
        download(name, FILES)
    assert not hub.asked


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for use in (lambda: download("hf:a/b", FILES), lambda: upload("a/b", {}, message="new")):
        with pytest.raises(MissingExtraError, match=r"metad2a-plugin\[hub\]"):
            use()


# -- down ------------------------------------------------------------------------------------------
def test_only_the_files_that_are_needed_come_down(hub: LocalHub) -> None:
    hub.commit("me/model", CONTENT)
    folder = download("hf:me/model", FILES)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {name: CONTENT[name] for name in FILES}
    assert not [line for line in hub.asked if "evil" in line or "big" in line]


def test_a_revision_is_a_branch_or_a_commit(hub: LocalHub) -> None:
    first = hub.commit("me/model", CONTENT)
    hub.commit("me/model", {"config.json": b"[2]"})
    hub.commit("me/model", CONTENT | {"config.json": b"[3]"}, branch="next")
    found = {name: (download(name, FILES) / "config.json").read_bytes() for name in _places(first)}
    assert list(found.values()) == [b"[2]", b"{}", b"[3]"]


def _places(first: str) -> tuple[str, ...]:
    return "hf:me/model", f"hf:me/model@{first}", "hf:me/model@next"


def test_a_file_that_is_too_large_is_not_fetched(hub: LocalHub) -> None:
    hub.commit("me/model", CONTENT)
    with pytest.raises(CheckpointError, match=r"big.bin of 'hf:me/model' has 5,000 bytes, more than the 4,999"):
        download("hf:me/model", {"config.json": 10, "big.bin": 4999})
    assert not [line for line in hub.asked if line.startswith("GET")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("hf:me/none", "there is no repository 'hf:me/none'.*HF_TOKEN"),
        ("hf:me/model@v9", "no branch, tag or commit 'v9'; leave @v9 out"),
        ("hf:me/model@" + "0" * 40, "no branch, tag or commit"),
        ("hf:me/other", "has no config.json, so it is no model of this package"),
        ("hf:me/gated", "is gated: ask for access on its page, then log in"),
        ("hf:me/private", "does not give 'hf:me/private' to you.*HF_TOKEN"),
    ],
)
def test_what_the_hub_refuses_is_said_in_own_words(name: str, text: str, hub: LocalHub) -> None:
    for repo in ("me/model", "me/gated", "me/private"):
        hub.commit(repo, CONTENT)
    hub.commit("me/other", {"README.md": b""})
    hub.refuses = {"me/gated": (403, "GatedRepo"), "me/private": (403, "")}
    with pytest.raises(CheckpointError, match=f"(?s){text}"):
        download(name, FILES)


# -- without the hub -------------------------------------------------------------------------------
def test_a_commit_that_is_in_the_cache_asks_nobody(hub: LocalHub) -> None:
    name = f"hf:me/model@{hub.commit('me/model', CONTENT)}"
    first = download(name, FILES)
    hub.asked.clear()
    assert download(name, FILES) == first and not hub.asked


def test_the_cache_is_taken_where_the_hub_is_away_and_that_is_said(
    hub: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.commit("me/model", CONTENT)
    first = download("hf:me/model", FILES)
    hub.commit("me/model", {"config.json": b"[2]"})
    assert download("hf:me/model", FILES, local_files_only=True) == first
    hub.refuses = {"me/model": (503, "")}
    with pytest.warns(UserWarning, match="cannot be reached.*is taken from the cache"):
        assert download("hf:me/model", FILES) == first
    hub.refuses = {}
    assert download("hf:me/model", FILES) != first


def test_what_is_not_in_the_cache_is_said(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match="not in the cache, and it was to be taken from the cache"):
        download("hf:me/model", FILES, local_files_only=True)
    hub.use_nobody(monkeypatch)
    with (
        pytest.warns(UserWarning, match="cannot be reached"),
        pytest.raises(CheckpointError, match="is not in the cache, and the hub cannot be reached"),
    ):
        download("hf:me/model", FILES)


def test_a_cache_that_others_have_filled_is_bounded_too(hub: LocalHub) -> None:
    hub.commit("me/model", CONTENT)
    download("hf:me/model", {"big.bin": 5000})
    with pytest.raises(CheckpointError, match="more than the 100 that are read"):
        download("hf:me/model", {"big.bin": 100}, local_files_only=True)


@pytest.mark.slow
def test_the_variables_of_the_hub_are_obeyed(hub: LocalHub, tmp_path: Path) -> None:
    hub.commit("me/model", CONTENT)
    code = "from metad2a_plugin.utils.hugging_face import *; print(download('hf:me/model', {'config.json': 9}))"
    environment = os.environ | hub.environment(tmp_path / "own")

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=environment | more, capture_output=True, text=True, check=False)

    assert "HF_HUB_OFFLINE is set; fetch it once" in run(HF_HUB_OFFLINE="1").stderr
    folder = Path(run().stdout.strip())
    assert (folder / "config.json").read_bytes() == b"{}" and tmp_path / "own" in folder.parents
    hub.asked.clear()
    offline = run(HF_HUB_OFFLINE="1")
    assert Path(offline.stdout.strip()) == folder and not offline.stderr and not hub.asked


# -- up --------------------------------------------------------------------------------------------
def test_files_go_up_as_one_commit_that_can_be_read_again(hub: LocalHub) -> None:
    name = upload("me/new", {"a.json": b"{}", "b.json": b"[]"}, message="first")
    assert name == f"hf:me/new@{hub.named('me/new', 'main')}" and len(hub.commits["me/new"]) == 1
    assert (download(name, {"a.json": 9, "b.json": 9}) / "b.json").read_bytes() == b"[]"


def test_a_branch_must_be_there(hub: LocalHub) -> None:
    hub.commit("me/model", CONTENT)
    with pytest.raises(ConfigError, match=r"cannot write to 'me/model@next'.*no branch 'next'; make one"):
        upload("me/model@next", {"a.json": b"{}"}, message="new")


def test_who_may_not_write_is_told_how(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_of_another")
    with pytest.raises(ConfigError, match=r"(?s)cannot write to 'hf:me/new'.*log in .*a token that may write there"):
        upload("hf:me/new", {"a.json": b"{}"}, message="new")
    hub.use_nobody(monkeypatch)
    with pytest.raises(ConfigError, match=r"(?s)cannot write to 'me/new' \(.*; try again"):
        upload("me/new", {"a.json": b"{}"}, message="new")
