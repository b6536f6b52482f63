"""The page's script runs as it stands and prints what it says."""

from __future__ import annotations

from page_scripts import printed_by, scripts_of

SCRIPTS = scripts_of("topology.md")


def test_the_script_prints_what_the_page_says() -> None:
    [(name, script, output)] = SCRIPTS
    assert printed_by(name, script) == output
