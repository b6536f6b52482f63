from __future__ import annotations

import bz2
import json
import pickle
from pathlib import Path
from typing import Any

import convert_benchmark
import numpy as np
import pytest
import torch
from metad2a_plugin.adapters.nas_bench_201 import convert

SPACE = convert_benchmark.common.SPACE


@pytest.fixture(scope="module")
def published(data_root: Path) -> Any:
    return pickle.loads(bz2.decompress((data_root / "nas_bench_201" / "nats_raw" / "000011.pickle.pbz2").read_bytes()))


@pytest.fixture(scope="module")
def generated(published: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    generator = convert_benchmark.Generator(published, 4)
    path = tmp_path_factory.mktemp("generated") / "generated.pth"
    with path.open("wb") as stream:
        generator.write(stream)
    return generator, path


def shape(value: Any) -> Any:
    """Structure without the numbers."""
    if isinstance(value, dict):
        return type(value), [(key, shape(item)) for key, item in value.items()]
    return type(value), len(value) if isinstance(value, (list, tuple)) else None


def test_a_generated_file_is_what_torch_reads_with_the_structure_of_the_published_record(
    generated: tuple[Any, Path], published: Any
) -> None:
    _, path = generated
    root = torch.load(path, weights_only=False)
    assert root["evaluated_indexes"] == list(root["arch2infos"]) == [0, 1, 2, 3]
    assert root["meta_archs"] == [SPACE.format(cell) for cell in SPACE.enumerate()]
    for cell, record in root["arch2infos"].items():
        assert list(record) == ["full", "less"]
        for theirs, ours in (("200", "full"), ("12", "less")):
            results = record[ours]
            assert results["arch_str"] == root["meta_archs"][cell]
            assert list(results) == list(published[theirs])
            seeds = {seed for _, seed in results["all_results"]}
            assert seeds == ({111, 777} if ours == "less" else set((777, 888, 999)[: len(seeds)]))
            for key, fields in results["all_results"].items():
                assert shape(fields) == shape(published[theirs]["all_results"][key])
                assert fields["arch_config"]["arch_str"] == root["meta_archs"][cell]
    first = root["arch2infos"][0]["full"]["all_results"]
    assert len({fields["train_acc1es"][199] for fields in first.values()}) == len(first)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*has 4 of the 15,625 cells")
def test_every_number_is_compared(generated: tuple[Any, Path], tmp_path: Path) -> None:
    generator, path = generated
    out = convert(path, tmp_path / "out.npz", curves=True)
    numbers, points = convert_benchmark.compare(generator, out, True)
    assert numbers > 200 and points > 5000 and convert_benchmark.compare(generator, out, False) == (numbers, 0)
    with np.load(out) as file:
        columns = {name: file[name] for name in file.files}
    name = "200/cifar10/777/ori-test"
    for change, message in ((1e-5, "cell 2 has"), (np.nan, "cell 2 has")):
        changed = columns[name].copy()
        changed[2] += change
        np.savez(tmp_path / "changed.npz", **columns | {name: changed})
        with pytest.raises(SystemExit, match=message):
            convert_benchmark.compare(generator, tmp_path / "changed.npz", False)
    extra = columns[name].copy()
    extra[9] = 50
    np.savez(tmp_path / "changed.npz", **columns | {name: extra})
    with pytest.raises(SystemExit, match="that were not generated"):
        convert_benchmark.compare(generator, tmp_path / "changed.npz", False)


@pytest.mark.slow
def test_a_tiny_run_writes_everything_and_leaves_nothing(data_root: Path, tmp_path: Path) -> None:
    scratch, out = tmp_path / "scratch", tmp_path / "out"
    scratch.mkdir()
    convert_benchmark.main(["--data", str(data_root), "--out", str(out), "--scratch", str(scratch), "--cells", "2"])
    assert list(scratch.iterdir()) == []
    results = json.loads((out / "convert_benchmark.json").read_text())
    for found in results["conversions"].values():
        assert 0 < found["imported"] < found["peak"] and found["limit"] == 300 + 2 * results["record"] / 1e6
    text = (out / "convert_benchmark.md").read_text()
    assert "| final accuracies |" in text and "< 1 s met" in text and str(scratch) not in json.dumps(results)
