from __future__ import annotations

import json
import math

import pytest

trace = pytest.importorskip(
    "metad2a_plugin.adapters.trace", reason="adapters are inside the package once it is installed"
)


def make(told: list[float]) -> object:
    n = len(told)
    return trace.Trace("m", "cifar10", 0, ["c"] * n, told, [100 + t for t in range(n)], [10.0] * n, [1.0] * n, 5.0)


def test_the_incumbent_is_the_earliest_of_the_best() -> None:
    found = make([3, 1, 4, 4, 2, 5])
    assert found.incumbents().tolist() == [0, 0, 2, 2, 2, 5]
    assert found.curve().tolist() == [100, 100, 102, 102, 102, 105]
    assert found.curve("told").tolist() == [3, 3, 4, 4, 4, 5]


def test_what_was_not_told_is_no_incumbent() -> None:
    assert make([math.nan, 1, math.nan, 2]).incumbents().tolist() == [0, 1, 1, 3]


def test_the_clock_counts_the_search_itself() -> None:
    assert make([1, 2]).clock().tolist() == [16, 27]
    assert make([]).clock().tolist() == [] and make([]).curve().tolist() == []


def test_unknown_seconds_make_an_unknown_clock_and_strict_json() -> None:
    found = trace.Trace("m", "cifar10", 0, ["c"] * 2, [1.0, 2.0], [1.0, 2.0], [10.0, math.nan], [1.0, 1.0])
    assert found.clock()[0] == 11 and math.isnan(found.clock()[1])
    text = json.dumps(found.to_dict(), allow_nan=False)
    again = trace.Trace(**json.loads(text))
    assert again.train_seconds[0] == 10 and math.isnan(again.train_seconds[1]) and again.told == [1, 2]
