"""Searchers of all hosts on made-up values."""

from __future__ import annotations

import numpy as np
import pytest

for host in ("optuna", "ray", "neps"):
    pytest.importorskip(
        f"metad2a_plugin.adapters.{host}", reason=f"{host} is not installed, or does not import", exc_type=ImportError
    )

import _hosts  # noqa: E402
import hosts  # noqa: E402

from metad2a_plugin import get_space  # noqa: E402

pytestmark = pytest.mark.slow
SPACE = get_space("nasbench201")
VALUES = np.random.default_rng(0).normal(size=SPACE.size)
CELLS = _hosts.Problem(
    "cells", SPACE.decisions, lambda chosen: SPACE.index(SPACE.decide(lambda name: chosen[name])), VALUES, -VALUES
)
LISTED = _hosts.Problem("listed", {"cell": ["0", "1", "2"]}, lambda chosen: int(chosen["cell"]), VALUES, VALUES)
ROWS = _hosts.searchers()


@pytest.mark.parametrize("searcher", ROWS, ids=_hosts.key)
def test_every_searcher_proposes_and_is_scored_by_the_best_told(searcher: _hosts.Searcher) -> None:
    places = []
    asked = searcher.run(CELLS, 0)
    chosen = next(asked)
    for _ in range(4):
        places.append(CELLS.place(chosen))
        chosen = asked.send(float(VALUES[places[-1]]))
    found = _hosts.curve(searcher, CELLS, 0, 4)
    assert found["scores"] == [-VALUES[max(places[:n], key=lambda place: VALUES[place])] for n in (1, 2, 3, 4)]
    assert len(found["seconds"]) == 4


@pytest.mark.parametrize("searcher", [row for row in ROWS if not row.ours], ids=_hosts.key)
def test_what_a_host_has_of_its_own_searches_a_list_too(searcher: _hosts.Searcher) -> None:
    assert len(_hosts.curve(searcher, LISTED, 0, 3)["scores"]) == 3


def test_pools_are_the_contexts_of_the_real_trainings() -> None:
    [first, *others] = hosts.pools()
    assert len(others) == 18 and len(first.told) == len(first.decisions["cell"]) >= 12
    assert hosts.gains(first, [[first.told.max(), first.told.mean()]]).tolist() == [[100, 0]]


def test_the_tables_say_where_ours_are_behind() -> None:
    rows = [row for row in ROWS if row.host == "Ray Tune" and row.name in ("OptunaSearch", "MetaD2A")]
    runs = {row: [{"scores": [90.0 + row.ours] * 100, "seconds": [0.1] * 100}] for row in rows}
    found = {"cifar10": {_hosts.key(row): each for row, each in runs.items()}}
    assert "**MetaD2A** in 0 of 3 comparisons\n" in hosts.behind(rows, found)
    for each in runs[rows[0]]:
        each["scores"][9:] = [95.0] * 91
    assert "CIFAR-10 after 10, Ray Tune: OptunaSearch (+4.00)" in hosts.behind(rows, found)
    assert "| Ray Tune | **MetaD2A** | 1 | 91.00 |" in hosts.table_of_tables(rows, found)


def test_whole_searches_by_each_host_end() -> None:
    assert hosts.whole(CELLS, 2).keys() == {"Optuna", "neps", "Ray Tune"}
