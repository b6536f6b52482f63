from __future__ import annotations

import argparse
from pathlib import Path

import known_tasks as script
import numpy as np
import pytest
import torch

from metad2a_plugin.data import load_dataset

SETS = ("a", "b", "c")


def rows(seed: int = 0) -> script.Rows:
    """Three sets of two contexts; cells with more of the type 4 are better everywhere."""
    generator = torch.Generator().manual_seed(seed)
    count = 60
    inner = torch.randint(2, 5, (len(SETS) * 2 * count, 4), generator=generator)
    edge = torch.zeros(len(inner), 1, dtype=torch.int64)
    context = torch.arange(len(SETS) * 2).repeat_interleave(count)
    values = (inner == 4).sum(1).double()
    values = torch.cat([(part - part.mean()) / part.std() for part in values.split(count)])
    names = tuple(SETS[number // 2] for number in context.tolist())
    return script.Rows(torch.cat([edge, inner, edge + 1], 1), values, context, names)


def test_the_best_of_some_draws_is_the_mean_over_all_choices_of_so_many() -> None:
    values = torch.tensor([3.0, 1.0, 2.0, 5.0, 4.0, 6.0], dtype=torch.float64)
    assert script.best_of(values) == pytest.approx((1 * 5 + 5 * 6) / 6)
    assert np.isnan(script.best_of(values[:4]))


def test_the_space_of_a_whole_set_scores_its_mean_and_good_parts_score_more() -> None:
    found = rows()
    one, best = found.whole("a")
    assert one == pytest.approx(0, abs=1e-6) and best > 0.8
    assert len(found.parts("b")) == 2
    first, second = found.halves("a")
    assert not (first & second).any() and (first | second).all()


def test_nearest_and_farthest_are_never_the_new_set_itself() -> None:
    found = rows()
    asked: list[tuple[str, str]] = []

    class Watched(script.Rows):
        def scores(self, known, new, among=None):
            asked.append((known, new))
            return float(SETS.index(known)), 0.0

    watched = Watched(found.vertices, found.values, found.context, found.sets)
    # Columns are new sets: the diagonal is nearest of all, and does not count.
    distances = [[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 3.0, 0.0]]
    scores = script.compare(watched, [distances], SETS)
    assert [one for one, _ in scores["nearest"]] == [1, 0, 1]
    assert [one for one, _ in scores["farthest"]] == [2, 2, 0]
    assert [one for one, _ in scores["random"]] == [1.5, 1, 0.5]
    assert all(known != new for known, new in asked)


def test_rows_are_standardised_within_contexts_that_have_some() -> None:
    found = script.Rows.of(script.load_trainings(script.FOLDER))
    assert len(found.names) == 19
    for context in found.context.unique()[:20].tolist():
        values = found.values[found.context == context]
        assert len(values) >= script.LEAST
        assert float(values.mean()) == pytest.approx(0, abs=1e-9) and float(values.std()) == pytest.approx(1)


def test_the_sentence_says_what_the_intervals_say() -> None:
    scores = {name: [(0.0, 0.0)] * 3 for pair in script.PAIRS for name in pair}
    scores["nearest"] = [(1.0, 0.0), (1.1, 0.0), (0.9, 0.0)]
    text = script.sentence(scores, 3)
    assert "the part of the nearest known set is better than the whole space (1.00 [0.75, 1.25]" in text
    assert "the part of the farthest known set cannot be told from the whole space" in text


@pytest.mark.slow
def test_a_tiny_run_writes_everything_and_measures_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def images(seed: int):
        return load_dataset(
            (np.random.default_rng(seed).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8), np.arange(24) % 2)
        )

    datasets = {name: images(number) for number, name in enumerate(SETS)}
    options = argparse.Namespace(seeds=2, steps=1, images=24, fisher_images=4, out=tmp_path, runs=tmp_path / "runs")
    script.run(options, rows(), datasets)
    text = (tmp_path / "known_tasks.md").read_text()
    assert text.startswith("**Over 3 image sets") and "| nearest - random | frechet |" in text
    monkeypatch.setattr(script, "distances", lambda *_: pytest.fail("measured again"))
    script.run(options, rows(), datasets)
    assert (tmp_path / "known_tasks.md").read_text() == text
