"""The page's scripts run as they stand and print what it says."""

from __future__ import annotations

import importlib.util

import pytest
from page_scripts import printed_by, scripts_of

SCRIPTS = scripts_of("mobilenetv3.md")


@pytest.mark.parametrize(("name", "script", "output"), SCRIPTS, ids=[name for name, *_ in SCRIPTS])
def test_a_script_prints_what_the_page_says(name: str, script: str, output: str) -> None:
    if name == "supernet.py":
        pytest.importorskip("metad2a_plugin.adapters", reason="adapters are inside the package once it is installed")
        if importlib.util.find_spec("ofa") is None:
            pytest.skip("ofa is not installed (pip install 'metad2a-plugin[ofa]')")
    assert printed_by(name, script) == output


def test_every_script_is_found() -> None:
    assert [name for name, *_ in SCRIPTS] == ["space.py", "bounded.py", "supernet.py"]
