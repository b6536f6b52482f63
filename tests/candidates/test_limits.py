from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from metad2a_plugin import get_space
from metad2a_plugin.candidates.chains import Chains
from metad2a_plugin.candidates.limits import Limits
from metad2a_plugin.devices.lookup_table import LookUpTable
from metad2a_plugin.devices.mobilenetv3 import MobileNetV3LatencyModel
from metad2a_plugin.errors import ConfigError

SPACE, CELLS = get_space("mobilenetv3"), get_space("nasbench201")
_RNG = random.Random(0)
NETWORKS = SPACE.encode([SPACE.sample_balanced(_RNG) for _ in range(60)])


def tables(width: float = 1.2, missing: int = 0) -> dict[int, dict[str, float]]:
    """A made-up table of 160 pixels in OFA's format."""
    blank = LookUpTable({160: {}}, width)
    names = [*blank._fixed_keys(160), *sorted({k for kinds in blank._keys(160) for k in kinds if k})]
    values = {name: round(0.1 + 0.001 * i, 4) for i, name in enumerate(names)}
    return {160: dict(list(values.items())[: len(values) - missing])}


def file(path: Path, width: float = 1.2) -> Path:
    path.write_text(json.dumps(tables(width)[160]))
    return path


@pytest.mark.parametrize("options", [{}, {"input_size": 160, "width": 1.2}], ids=str)
def test_costs_are_sums_over_vertices(options: dict[str, Any]) -> None:
    chains, bounds = Chains(SPACE), Limits.of(SPACE, {"max_params": 5, "max_flops": 300, **options})
    for limit, expected in zip(bounds.limits(7), SPACE.costs(NETWORKS, num_classes=7, **options), strict=True):
        assert torch.equal(limit.measure(NETWORKS), expected)
        assert torch.allclose(chains.sums(limit.table, NETWORKS), expected, rtol=1e-12)
    assert bounds.to_dict() == {"max_params": 5, "max_flops": 300}


@pytest.mark.parametrize("size", [128, 224])
def test_latencies_are_sums_over_vertices_with_the_device_s_error_on_top(size: int) -> None:
    model = MobileNetV3LatencyModel.load()
    bounds = Limits(SPACE, max_latency={"v100_64": 20.0}, input_size=size)
    [limit] = bounds.limits()
    predicted = model.predict("v100_64", NETWORKS, size)
    margin = 1 + model.config["devices"]["v100_64"]["margin"]
    assert torch.allclose(limit.measure(NETWORKS), predicted * margin)
    assert torch.equal(limit.within(NETWORKS), model.bound_mask("v100_64", 20.0, NETWORKS, size))
    assert torch.allclose(Chains(SPACE).sums(limit.table, NETWORKS).float(), predicted * margin, rtol=1e-5)
    assert torch.equal(bounds.measured["v100_64"].predict(NETWORKS), predicted)
    assert bounds.units() == {"v100_64": "ms"} and "95% error" in bounds.notes()[0]


def test_a_table_of_yours_is_a_bound(tmp_path: Path) -> None:
    expected = LookUpTable(tables()).predict(NETWORKS, 160)
    given = {"max_latency": {"note10": 5.0}, "input_size": 160, "width": 1.2}
    read = LookUpTable.read(file(tmp_path / "mine.json"))
    for source in (tmp_path / "mine.json", str(tmp_path / "mine.json"), [tmp_path], read):
        [limit] = Limits.of(SPACE, {"latency_tables": {"note10": source}, **given}).limits()
        assert torch.allclose(limit.measure(NETWORKS), expected)
        assert torch.allclose(Chains(SPACE).sums(limit.table, NETWORKS), expected)
        assert limit.name == "max_latency note10"


def test_networks_with_a_layer_that_a_table_lacks_are_never_within() -> None:
    lacking = LookUpTable(tables(missing=2))
    asked = {"max_latency": {"mine": 1e6}, "latency_tables": {"mine": lacking}, "input_size": 160, "width": 1.2}
    [limit] = Limits.of(SPACE, asked).limits()
    within = limit.within(NETWORKS)
    assert 0 < within.sum() < len(NETWORKS) and limit.measure(NETWORKS[~within]).isinf().all()
    assert limit.table.isfinite().all(), "what steers draws must be finite"
    assert LookUpTable(tables(missing=2)).predict(NETWORKS[within], 160).isfinite().all()


def test_devices_without_a_limit_are_reported_only(tmp_path: Path) -> None:
    bounds = Limits(SPACE, devices=["v100_1"], max_latency={"v100_64": 30})
    assert list(bounds.measured) == ["v100_64", "v100_1"] and list(bounds.to_dict()) == ["max_latency v100_64"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_latency": {"v100_64": 20}, "input_size": 100}, "128 to 224 pixels in steps of 4, not of 100"),
        ({"max_latency": {"v100_64": 20}, "input_size": 130}, "in steps of 4, not of 130"),
        ({"max_latency": {"v100_65": 20}}, "unknown device 'v100_65'.*did you mean 'v100_64'"),
        ({"max_latency": {"v100_64": -1}}, "positive number of ms, got -1"),
        ({"width": 0}, "width must be a positive number"),
        ({"width": "1.2"}, "width must be a positive number"),
        ({"latency_tables": {"mine": "nowhere.json"}}, "cannot read the look-up table"),
        ({"latency_tables": {"mine": LookUpTable(tables())}, "input_size": 160}, "the search is of width 1; set width"),
        ({"latency_tables": {"mine": LookUpTable(tables())}, "width": 1.2}, "no look-up table of 224 pixels"),
    ],
)
def test_wrong_limits(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Limits.of(SPACE, options)


def test_a_table_of_another_width_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="begins with 24 channels, a network of width 1 with 16; set width"):
        Limits(SPACE, latency_tables={"mine": file(tmp_path / "mine.json")}, input_size=160)


def test_other_spaces(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown option 'width'"):
        Limits(CELLS, options={"width": 1.2})
    with pytest.raises(ConfigError, match="look-up tables are read for networks of the space 'mobilenetv3'"):
        Limits(CELLS, latency_tables={"mine": LookUpTable(tables())})
    [limit] = Limits(CELLS, max_flops=50).limits()
    assert limit.table is None


def test_limits_by_name() -> None:
    assert Limits.of(SPACE, {"max_flops": 3}).to_dict() == {"max_flops": 3.0}
    with pytest.raises(ConfigError, match=r"unknown limit 'max_flop'.*did you mean 'max_flops'"):
        Limits.of(SPACE, {"max_flop": 3})


def test_an_infinite_limit_is_none() -> None:
    assert Limits(SPACE).cost("flops", math.inf).within(NETWORKS).all()


def test_costs_are_counted_for_the_limits_own_number_of_classes() -> None:
    [limit] = Limits(CELLS, max_params=1.0, num_classes=500).limits(10)
    cells = CELLS.encode([CELLS.parse(0)])
    assert limit.measure(cells).tolist() == CELLS.costs(cells, num_classes=500)[0].tolist()
    with pytest.raises(ConfigError, match="num_classes must be an integer from 1 to 10,000,000"):
        Limits(CELLS, num_classes=0)
