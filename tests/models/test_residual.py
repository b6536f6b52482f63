from __future__ import annotations

import torch

from metad2a_plugin.models.residual import GrowingProcess, ResidualProcess
from metad2a_plugin.spaces.nasbench201.space import NASBench201

SPACE = NASBench201()
CELLS = SPACE.all_vertices()[::50]
QUALITY = (CELLS == 5).sum(1).double()


def process(values: torch.Tensor, predicted: torch.Tensor, told: int = 20) -> ResidualProcess:
    return ResidualProcess(CELLS[:told], values[:told], predicted[:told], predicted.std())


def test_values_follow_what_was_told_where_it_was_told() -> None:
    values = QUALITY + 90
    mean, std = (found := process(values, torch.zeros_like(QUALITY))).posterior(CELLS, torch.zeros_like(QUALITY))
    told = found.center + found.scale * mean[:20]
    assert (told - values[:20]).abs().mean() < 0.3 * found.scale
    assert std[:20].max() < 0.3 and std[20:].max() > 0.9


def test_far_from_everything_told_the_prediction_decides() -> None:
    mean, std = process(90 - QUALITY, QUALITY).posterior(CELLS, QUALITY)
    far = std > std.quantile(0.95)
    assert torch.corrcoef(torch.stack([mean[far], QUALITY[far]]))[0, 1] > 0.7


def test_the_scale_of_values_does_not_matter() -> None:
    noise = torch.rand(len(QUALITY), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = QUALITY + noise
    one, other = (process(v, QUALITY).posterior(CELLS, QUALITY)[0] for v in (values, 7 * values - 3))
    assert torch.allclose(one, other)


def test_equal_values_say_nothing_and_break_nothing() -> None:
    mean, std = process(torch.full_like(QUALITY, 90), QUALITY).posterior(CELLS, QUALITY)
    assert bool(mean.isfinite().all() and std.isfinite().all())


def test_growing_by_one_value_is_the_same_as_all_at_once() -> None:
    generator = torch.Generator().manual_seed(1)
    told = torch.randperm(len(CELLS), generator=generator)[:40]
    values = QUALITY + torch.rand(len(QUALITY), dtype=torch.float64, generator=generator)
    growing = GrowingProcess(CELLS, QUALITY)
    for number, place in enumerate(told.tolist(), 1):
        growing.tell(CELLS[place], float(QUALITY[place]), float(values[place]))
        assert len(growing) == number
        if number > 1:
            known = told[:number]
            whole = ResidualProcess(CELLS[known], values[known], QUALITY[known], QUALITY.std())
            for one, other in zip(growing.posterior(), whole.posterior(CELLS, QUALITY), strict=True):
                assert torch.allclose(one, other, atol=1e-9)
