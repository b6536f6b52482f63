"""The predictor on the tables: its order of cells with few labelled ones is that without any, or better."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from naslib_toys import SPACE, naslib_adapter

pytest.importorskip("metad2a_plugin.adapters", reason="adapters are inside the package once it is installed")

SEEDS, TESTED = 4, 300
CELLS = [SPACE.format(cell) for cell in SPACE.enumerate()]


@pytest.fixture(scope="module")
def naslib() -> Iterator[Any]:
    with naslib_adapter() as adapter:
        yield adapter


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(*(np.unique(part, return_inverse=True)[1] for part in (a, b)))[0, 1])


@pytest.mark.slow
@pytest.mark.parametrize("model", ["nasbench201-paper", "nasbench201"])
@pytest.mark.parametrize("dataset", ["cifar10", "imagenet16-120"])
def test_few_labels_do_not_lower_the_rank_correlation(
    naslib: Any, dataset: str, model: str, data_root: Path
) -> None:
    from metad2a_plugin.adapters.nas_bench_201 import open_benchmark

    benchmark = open_benchmark(data_root / "nas_bench_201" / "nb201.csv.gz")
    predictor = naslib.MetaD2APredictor(model=model)
    found: dict[int, list[float]] = {}
    for seed in range(SEEDS):
        order = torch.randperm(len(CELLS), generator=torch.Generator().manual_seed(seed)).tolist()
        tested, rest = order[:TESTED], order[TESTED:]
        accuracy = {i: benchmark.accuracy(i, dataset, "valid") for i in (*tested, *rest[:50])}
        for labels in (0, 5, 10, 20, 50):
            predictor.fit([CELLS[i] for i in rest[:labels]], [accuracy[i] for i in rest[:labels]])
            scores = predictor.query([CELLS[i] for i in tested])
            correlation = rank_correlation(scores, np.array([accuracy[i] for i in tested]))
            found.setdefault(labels, []).append(correlation)
    mean = {labels: sum(values) / SEEDS for labels, values in found.items()}
    assert min(mean.values()) > mean[0] - 0.005, mean
    assert mean[50] > mean[20] > mean[0] - 0.001, mean
    losses = [before - after for values in found.values() for before, after in zip(found[0], values, strict=True)]
    assert max(losses) < 0.05, losses
