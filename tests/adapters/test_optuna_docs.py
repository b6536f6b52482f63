"""The page's scripts run as they stand and print what it says; OptunaHub's package is one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from page_scripts import DOCS, printed_by, scripts_of

optuna = pytest.importorskip("optuna", reason="Optuna is not installed")
SCRIPTS = {name: (script, output) for name, script, output in scripts_of("optuna.md")}
REGISTRY = DOCS.parent / "adapters" / "optunahub" / "package"
NAME = "samplers/metad2a"


def test_every_script_is_found() -> None:
    assert list(SCRIPTS) == ["search.py", "compare.py", "resume.py"]


def test_a_study_that_goes_on_prints_what_the_page_says() -> None:
    script, output = SCRIPTS["resume.py"]
    assert printed_by("resume.py", script) == output


@pytest.mark.slow
def test_a_search_that_trains_prints_what_the_page_says() -> None:
    pytest.importorskip("sklearn")
    script, output = SCRIPTS["search.py"]
    assert printed_by("search.py", script) == output


@pytest.mark.slow
def test_a_comparison_prints_what_the_page_says(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAD2A_DATA", str(data_root.resolve()))
    script, output = SCRIPTS["compare.py"]
    assert printed_by("compare.py", script) == output


# -- OptunaHub -----------------------------------------------------------------------------------
def test_the_package_has_what_the_registry_asks_for() -> None:
    folder = REGISTRY / NAME
    assert {path.name for path in folder.iterdir()} >= {"LICENSE", "README.md", "__init__.py", "example.py"}
    found = re.match(r"---\n(.*?)\n---\n", (folder / "README.md").read_text(), re.DOTALL)
    assert found
    fields = [line.partition(":")[0] for line in found[1].splitlines()]
    assert fields == ["author", "title", "description", "tags", "optuna_versions", "license"]


def test_optunahub_loads_the_package() -> None:
    hub = pytest.importorskip("optunahub", reason="OptunaHub's package is not installed")
    module = hub.load_local_module(NAME, registry_root=str(REGISTRY))
    study = optuna.create_study(sampler=module.StrategySampler("random", seed=0))
    study.optimize(lambda trial: float(sum(module.suggest_architecture(trial).choices)), n_trials=2)
    assert issubclass(module.MetaD2ASampler, optuna.samplers.BaseSampler)


@pytest.mark.slow
def test_the_example_of_the_package_runs() -> None:
    hub = pytest.importorskip("optunahub", reason="OptunaHub's package is not installed")
    scope: dict[str, object] = {"__name__": "example"}
    exec((REGISTRY / NAME / "example.py").read_text(), scope)
    study = scope["run"](hub.load_local_module(NAME, registry_root=str(REGISTRY)), 4)  # type: ignore[operator]
    assert len(study.trials) == 4
