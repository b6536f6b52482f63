"""Bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import io
import logging
import sys

import pytest

from metad2a_plugin.utils import progress
from metad2a_plugin.utils.progress import stages


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, steps: int, **options: bool) -> str:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "stderr", stream)
    with stages(**options) as report:
        for done in range(1, steps + 1):
            report("networks", done, steps, f"loss {1 / done:.2f}")
    return stream.getvalue()


def test_a_log_file_gets_about_ten_lines_and_the_last(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "metad2a_plugin")
    assert shown(monkeypatch, io.StringIO(), 105) == ""
    lines = caplog.messages
    assert len(lines) == 11 and lines[0] == "networks 10/105 loss 0.10" and lines[-1] == "networks 105/105 loss 0.01"


def test_a_log_file_gets_a_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "metad2a_plugin")
    clock = iter(range(0, 10_000, 25))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    shown(monkeypatch, io.StringIO(), 200)
    assert len(caplog.messages) > 40, "steps of 25 seconds and more"


def test_a_terminal_gets_a_bar_with_its_note(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, Terminal(), 3)
    assert "networks" in text and "3/3" in text and "loss 0.33" in text


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_what_is_not_wanted_is_not_shown(stream: type[io.StringIO], monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, stream(), 3, wanted=False) == ""


def test_a_log_of_warnings_only_has_no_bars(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "metad2a_plugin")
    assert shown(monkeypatch, Terminal(), 3) == "" and caplog.messages == []


def test_brief_work_is_shown_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, io.StringIO(), 3, brief=True) == ""
    assert "networks" in shown(monkeypatch, Terminal(), 3, brief=True)
