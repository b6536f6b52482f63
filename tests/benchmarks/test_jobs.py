from __future__ import annotations

import math

import _jobs as jobs
import pytest


def test_values_come_in_the_order_of_the_jobs() -> None:
    assert jobs.each(math.sqrt, [9.0, 4.0, 1.0], 1) == [3.0, 2.0, 1.0]


@pytest.mark.slow
def test_several_processes_give_the_same() -> None:
    assert jobs.each(math.sqrt, [9.0, 4.0, 1.0], 2) == [3.0, 2.0, 1.0]


def test_an_interval_is_student_s() -> None:
    mean, low, high = jobs.interval([1.0, 2.0, 3.0])
    assert mean == 2 and high - mean == pytest.approx(4.302653 / math.sqrt(3)) == pytest.approx(mean - low)
    assert jobs.shown([1.0, 2.0, 3.0]) == "2.00 [-0.48, 4.48]" and jobs.shown([1.0]) == "1.00"


def test_a_verdict_needs_an_interval_without_zero() -> None:
    assert jobs.verdict([1.0, 1.1, 0.9]) == "better" and jobs.verdict([-1.0, -1.1, -0.9]) == "worse"
    assert jobs.verdict([1.0, -0.9, 0.2]) == jobs.verdict([5.0]) == "cannot be told"


def test_how_many_seeds_it_would_take() -> None:
    assert jobs.seeds_to_tell([1.0, 1.0]) == "2"
    assert jobs.seeds_to_tell([0.0, 0.0]) == jobs.seeds_to_tell([3.0]) == ""
    # t(0.975, 5) / sqrt(6) = 1.049 is above the ratio of mean and spread, t(0.975, 6) / sqrt(7) = 0.925 below.
    assert jobs.seeds_to_tell([0.0, 1.0, 2.0]) == "7"
    assert jobs.seeds_to_tell([1.0, -1.0, 0.001]) == "over 1000"
