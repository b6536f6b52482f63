from __future__ import annotations

import pytest
import torch

from metad2a_plugin.data.statistics import STATISTICS, StatisticsOf, image_statistics
from metad2a_plugin.nn.probe import linear_probe


def pictures(kind: str, n: int = 24) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    if kind == "noise":
        return torch.randint(0, 256, (n, 3, 32, 32), generator=generator, dtype=torch.uint8)
    plain = torch.full((n, 3, 32, 32), 200, dtype=torch.uint8)
    plain[:, :, 12:20, 12:20] = torch.randint(0, 100, (n, 1, 1, 1), generator=generator, dtype=torch.uint8)
    if kind == "red":
        plain[:, 1:] //= 4
    return plain


def test_statistics_tell_kinds_of_images_apart() -> None:
    labels = torch.arange(24) % 2
    noise, plain, red = (image_statistics(pictures(kind), labels) for kind in ("noise", "plain", "red"))
    assert set(noise) == set(STATISTICS)
    assert noise["edges"] > plain["edges"] and noise["background"] < plain["background"]
    assert noise["spectrum_slope"] > plain["spectrum_slope"]
    assert red["colour"] > plain["colour"] == pytest.approx(0, abs=1e-6)


def test_batches_do_not_matter() -> None:
    images, labels = pictures("noise"), torch.arange(24) % 3
    gathered = StatisticsOf()
    for part in images.split(7):
        gathered.add(part)
    assert gathered.of(labels) == pytest.approx(image_statistics(images, labels), abs=1e-5)


@pytest.mark.parametrize("dim", [3, 200])
def test_a_probe_tells_what_can_be_told(dim: int) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(120) % 4
    noise = torch.randn(120, dim, generator=generator)
    assert linear_probe(noise, labels) < 0.5
    assert linear_probe(noise + 20 * torch.randn(4, dim, generator=generator)[labels], labels) > 0.95


def test_a_probe_has_not_seen_what_it_is_asked() -> None:
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(60, 12, generator=generator).double(), torch.arange(60) % 3
    right = []
    for left in range(60):
        rest = torch.arange(60) != left
        x = features - features.mean(0)
        x = torch.cat([x / x.square().mean().sqrt(), torch.ones(60, 1)], 1)
        target = torch.nn.functional.one_hot(labels).double()
        scores = []
        for ridge in (1e-3, 1e-2, 1e-1, 1.0):
            system = x[rest].T @ x[rest] + ridge * 60 * torch.eye(13)
            scores.append((x[left] @ torch.linalg.solve(system, x[rest].T @ target[rest])).argmax() == labels[left])
        right.append(torch.stack(scores))
    assert linear_probe(features, labels) == pytest.approx(float(torch.stack(right).double().mean(0).max()), abs=0.02)
