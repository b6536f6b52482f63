"""The page's scripts run as they stand and print what it says."""

from __future__ import annotations

import pytest
from page_scripts import printed_by, scripts_of

SCRIPTS = scripts_of("one_shot.md")


@pytest.mark.parametrize(("name", "script", "output"), SCRIPTS, ids=[name for name, *_ in SCRIPTS])
def test_a_script_prints_what_the_page_says(name: str, script: str, output: str) -> None:
    assert printed_by(name, script) == output


def test_every_script_is_found() -> None:
    assert [name for name, *_ in SCRIPTS] == ["one_shot.py"]
