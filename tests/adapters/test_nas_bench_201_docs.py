"""The page's scripts run as they stand and print what it says."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
from pathlib import Path

import numpy as np
import pytest

nas_bench_201 = pytest.importorskip(
    "metad2a_plugin.adapters.nas_bench_201", reason="adapters are inside the package once it is installed"
)
PAGE = Path(__file__).parents[2] / "docs" / "nas_bench_201.md"
SCRIPTS = re.findall(r"<!-- script: (\S+) -->\n```python\n(.*?)```\n\n```\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def folder(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the scripts open, by the names they use; of the cells whose records are at hand."""
    folder, data = tmp_path_factory.mktemp("docs"), data_root / "nas_bench_201"
    with pytest.warns(UserWarning, match="3 of the 15,625 cells"):
        nas_bench_201.convert(data / "nats_raw", folder / "nb201.npz", curves=True)
    (folder / "NATS-tss-v1_0-3ffb9-simple").symlink_to(data.resolve() / "nats_raw")
    (folder / "best").mkdir()
    write_means(data / "nb201.csv.gz", folder / "best" / "nb201.npz")
    return folder


def write_means(table: Path, path: Path) -> None:
    """A converted file of all cells, with the means over seeds in the place of one seed."""
    benchmark = nas_bench_201.open_benchmark(table)
    trained = {"cifar10": ("cifar10-valid/777/x-valid", "cifar10/777/ori-test")}
    trained["imagenet16-120"] = ("ImageNet16-120/777/x-valid", "ImageNet16-120/777/x-test")
    columns = {
        f"200/{name}": benchmark.accuracies(dataset, split).astype(np.float32)
        for dataset, names in trained.items()
        for split, name in zip(("valid", "test"), names, strict=True)
    }
    np.savez(path, format=np.array("metad2a NAS-Bench-201 results, version 1"), **columns)


@pytest.mark.parametrize(("name", "script", "output"), SCRIPTS, ids=[name for name, *_ in SCRIPTS])
def test_a_script_prints_what_the_page_says(
    name: str, script: str, output: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "packages.py" and importlib.util.find_spec("nats_bench") is None:
        pytest.skip("nats_bench is not installed (pip install nats_bench)")
    monkeypatch.chdir(folder / "best" if name == "best.py" else folder)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(script, name, "exec"), {"__name__": "__main__"})
    assert printed.getvalue() == output


def test_every_script_is_found() -> None:
    assert {name for name, *_ in SCRIPTS} == {"lookup.py", "folder.py", "packages.py", "best.py"}
