from __future__ import annotations

import csv
import gzip
import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metad2a_plugin.devices.nasbench201 import NUM_FEATURES, LatencyModel, cell_features, cell_ranks
from metad2a_plugin.errors import ArchitectureError, CheckpointError, ConfigError
from metad2a_plugin.spaces.nasbench201.space import NASBench201

SPACE = NASBench201()
VERTICES = SPACE.all_vertices()
CONV, SKIP = (
    SPACE.parse(f"|{op}~0|+|{op}~0|{op}~1|+|{op}~0|{op}~1|{op}~2|") for op in ("nor_conv_3x3", "skip_connect")
)
choices = st.tuples(*[st.integers(0, 4)] * 6)


@pytest.fixture(scope="module")
def model() -> LatencyModel:
    return LatencyModel.load()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(LatencyModel.folder, tmp_path / "latency"))


@pytest.fixture(scope="module")
def table(data_root: Path) -> list[dict[str, str]]:
    with gzip.open(data_root / "nas_bench_201" / "latency.csv.gz", "rt", newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_device_predicts_positive_numbers_for_every_cell(model: LatencyModel) -> None:
    for device in model.devices:
        values = model.predict(device, VERTICES)
        assert values.shape == (SPACE.size,) and values.dtype == torch.float32
        assert values.isfinite().all() and (values > 0).all()


def test_convolutions_cost_more_than_skips(model: LatencyModel) -> None:
    vertices = SPACE.encode([SKIP, CONV])
    for device in model.devices:
        skip, conv = model.predict(device, vertices).tolist()
        assert conv > skip, device


def test_units(model: LatencyModel) -> None:
    assert {"pixel3", "raspi4", "edgegpu", "edgetpu", "titanx_32", "pixel3_imagenet16"} <= set(model.devices)
    assert all(model.unit(d) == ("mJ" if "energy" in d else "ms") for d in model.devices)


@given(rows=st.lists(choices, max_size=8))
def test_a_prediction_does_not_depend_on_its_neighbours(
    model: LatencyModel, rows: list[tuple[int, ...]]
) -> None:
    vertices = torch.tensor([(0, *(c + 2 for c in row), 1) for row in rows], dtype=torch.int64).reshape(-1, 8)
    together = model.predict("pixel3", vertices)
    apart = [model.predict("pixel3", vertices[i : i + 1]) for i in range(len(vertices))]
    assert together.tolist() == [value.item() for value in apart]
    assert cell_ranks(vertices).tolist() == [int("".join(map(str, row)), 5) for row in rows]


def test_features_are_distinct_for_every_cell() -> None:
    features = cell_features()
    assert features.shape == (SPACE.size, NUM_FEATURES) and features.isfinite().all()
    assert len(torch.unique(features[:, :30], dim=0)) == SPACE.size


def test_bound_keeps_a_margin_and_refuses_dead_and_unsupported_cells(model: LatencyModel) -> None:
    for device in ("pixel3", "edgetpu"):
        limit = model.predict(device, VERTICES).median().item()
        mask = model.bound_mask(device, limit, VERTICES)
        margin = 1 + model.error(device)["p95"]
        assert mask.dtype == torch.bool and mask.any() and not mask.all()
        assert model.predict(device, VERTICES[mask]).max() * margin <= limit
        assert not SPACE.dead_mask(VERTICES[mask]).any()
        assert model.supported_mask(device, VERTICES[mask]).all()
    assert (
        model.supported_mask("pixel3", VERTICES).all() and not model.supported_mask("edgetpu", VERTICES).all()
    )


@given(first=st.floats(0.5, 60), second=st.floats(0.5, 60))
def test_a_looser_bound_keeps_all_that_a_tighter_one_keeps(
    model: LatencyModel, first: float, second: float
) -> None:
    tight, loose = (model.bound_mask("pixel3", x, VERTICES[::50]) for x in sorted((first, second)))
    assert not (tight & ~loose).any()


def test_predicting_the_space_is_fast_after_the_first_call(model: LatencyModel) -> None:
    model.predict("pixel3", VERTICES)
    start = time.process_time()
    model.predict("raspi4", VERTICES)
    assert time.process_time() - start < 0.05


@pytest.mark.parametrize("device", ["pixel4", "Pixel3", "pixle3"])
def test_an_unknown_device_is_named_with_the_nearest(model: LatencyModel, device: str) -> None:
    vertices = SPACE.encode([CONV])
    for call in (
        lambda: model.predict(device, vertices),
        lambda: model.error(device),
        lambda: model.unit(device),
        lambda: model.bound_mask(device, 1.0, vertices),
    ):
        with pytest.raises(ConfigError, match=f"{device}.*did you mean 'pixel[23]'.*raspi4"):
            call()


@pytest.mark.parametrize("limit", [0, -3.0, float("nan"), "20", True, None])
def test_a_limit_must_be_a_positive_number(model: LatencyModel, limit: object) -> None:
    with pytest.raises(ConfigError, match="positive number of ms"):
        model.bound_mask("pixel3", limit, SPACE.encode([CONV]))  # type: ignore[arg-type]


def test_rows_that_are_no_cell_are_refused(model: LatencyModel) -> None:
    with pytest.raises(ArchitectureError, match="row 0"):
        model.predict("pixel3", torch.zeros(2, 8, dtype=torch.int64))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_missing_and_damaged_files(copy: Path, name: str) -> None:
    whole = (copy / name).read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"\x80\x04" + whole, b"[]", b"{}"):
        (copy / name).write_bytes(content)
        with pytest.raises(CheckpointError, match="damaged or of another kind"):
            LatencyModel.load(copy)
    (copy / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name}.*expected config.json and model.safetensors"):
        LatencyModel.load(copy)


@pytest.mark.parametrize(
    ("key", "value"),
    [("unit", None), ("error", {}), ("error", {"p95": -1}), ("support", 7), ("support", "x")],
)
def test_a_config_that_does_not_fit(copy: Path, key: str, value: object) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["devices"]["pixel3"][key] = value
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="damaged or of another kind"):
        LatencyModel.load(copy)


def test_one_device_less_in_the_config(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    del config["devices"]["pixel3"]
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="weight vectors for"):
        LatencyModel.load(copy)


def test_the_shipped_files_are_small_and_hold_no_table() -> None:
    files = [path for path in LatencyModel.folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"model.safetensors", "config.json", "README.md"}
    assert sum(path.stat().st_size for path in files) < 600_000


def test_the_recorded_errors_are_those_of_the_shipped_weights(
    model: LatencyModel, table: list[dict[str, str]]
) -> None:
    vertices = SPACE.encode([SPACE.parse(row["arch_str"]) for row in table])
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(model.config["seed"]))
    rows = order[len(order) * 4 // 5 :]
    rows = rows[~SPACE.dead_mask(vertices[rows])]
    for device, entry in model.config["devices"].items():
        measured = torch.tensor([float(table[i][entry["columns"][0]]) for i in rows.tolist()])
        ran = measured > 0
        error = ((model.predict(device, vertices[rows]) - measured).abs() / measured)[ran]
        assert int(ran.sum()) == model.error(device)["cells"]
        assert error.mean().item() == pytest.approx(model.error(device)["mape"], rel=0.01, abs=1e-4)
        assert error.quantile(0.95).item() == pytest.approx(model.error(device)["p95"], rel=0.01, abs=1e-4)
        assert model.error(device)["mape"] < 0.14 and model.error(device)["spearman"] > 0.88
