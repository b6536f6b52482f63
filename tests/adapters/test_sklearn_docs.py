"""The page's scripts run as they stand and print what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_scripts import printed_by, scripts_of

pytest.importorskip("sklearn", "1.6", reason="scikit-learn 1.6 is not installed (extra sklearn)")
SCRIPTS = {name: (script, output) for name, script, output in scripts_of("sklearn.md")}


def test_every_script_is_found() -> None:
    assert list(SCRIPTS) == ["classify.py", "regress.py"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_images_are_classified_as_the_page_says() -> None:
    script, output = SCRIPTS["classify.py"]
    assert printed_by("classify.py", script) == output


@pytest.mark.slow
def test_accuracies_are_predicted_as_the_page_says(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAD2A_DATA", str(data_root.resolve()))
    script, output = SCRIPTS["regress.py"]
    assert printed_by("regress.py", script) == output
