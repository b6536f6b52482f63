from __future__ import annotations

import math

import pytest
import torch

from metad2a_plugin.models.evidence import Pairs, log_improvement, squash, unsquash
from metad2a_plugin.models.residual import GrowingProcess, ResidualProcess, structure_of
from metad2a_plugin.spaces.nasbench201.space import NASBench201

SPACE = NASBench201()
CELLS = SPACE.all_vertices()[::50]
QUALITY = (CELLS == 5).sum(1).double()
NEAR = SPACE.all_vertices()[5000:5400]
"""Cells of which many differ in one decision: only among those does noise differ from what one decision changes."""
DESCRIBE = structure_of(SPACE, CELLS)


def process(values: torch.Tensor, predicted: torch.Tensor, told: int = 20) -> ResidualProcess:
    return ResidualProcess(CELLS[:told], values[:told], predicted[:told], predicted)


def test_values_follow_what_was_told_where_it_was_told() -> None:
    values, none = QUALITY + 90, torch.zeros_like(QUALITY)
    found = process(values, none, 60)
    told, _ = found.predict(CELLS[:60], none[:60])
    assert (told - values[:60]).abs().mean() < 0.3 * values[:60].std()
    _, std = found.posterior(CELLS, none)
    assert std[:60].max() < 0.3 and std[60:].max() > 2.5 * std[:60].max()


def test_far_from_everything_told_the_prediction_decides() -> None:
    mean, std = process(90 + QUALITY, QUALITY).posterior(CELLS, QUALITY)
    far = std > std.quantile(0.95)
    assert torch.corrcoef(torch.stack([mean[far], QUALITY[far]]))[0, 1] > 0.7


def test_a_prediction_that_is_the_wrong_way_round_is_turned_round() -> None:
    found = process(90 - QUALITY, QUALITY)
    mean, std = found.posterior(CELLS, QUALITY)
    far = std > std.quantile(0.95)
    assert found.slope < 0
    assert torch.corrcoef(torch.stack([mean[far], -QUALITY[far]]))[0, 1] > 0.7


def drawn(seed: int, slope: float, noise: float, share: float = 0.9, n: int = 120) -> tuple[torch.Tensor, ...]:
    """Values of a process with these hyper-parameters, and predictions that say nothing but `slope` of them."""
    generator = torch.Generator().manual_seed(seed)
    told = NEAR[torch.randperm(len(NEAR), generator=generator)[:n]]
    predicted = torch.randn(n, dtype=torch.float64, generator=generator)
    changed = (told[:, None] != told).sum(-1).double()
    structure = DESCRIBE(told)
    apart = (structure[:, None] - structure).square().mean(-1)
    covariance = share * (-apart / 2).exp() + (1 - share) * (-changed / 2).exp() + noise * torch.eye(n)
    own = torch.linalg.cholesky(covariance) @ torch.randn(n, dtype=torch.float64, generator=generator)
    return told, 80 + 3 * (own + slope * predicted), predicted


@pytest.mark.parametrize("noise", [0.05, 0.5])
@pytest.mark.parametrize("slope", [0.0, 2.0])
def test_hyper_parameters_are_found_on_draws_of_the_model(slope: float, noise: float) -> None:
    slopes, noises, deviations, shares = [], [], [], []
    for seed in range(8):
        told, values, predicted = drawn(seed, slope, noise)
        # One network with two predictions shows the slope.
        candidates, told_of = torch.cat((told, told[:1], told[:1])), predicted.new_tensor([0.0, 1.0])
        found = GrowingProcess(candidates, torch.cat((predicted, told_of)), DESCRIBE)
        for architecture, p, value in zip(told, predicted.tolist(), values.tolist(), strict=True):
            found.tell(architecture, p, value)
        scale, mean = float(values.std()), found.posterior()[0]
        slopes.append(float(mean[-1] - mean[-2]) * scale / 3)
        noises.append(found.learned.noise * (found.learned.deviation * scale / 3) ** 2)
        deviations.append(found.learned.deviation * scale)
        shares.append(found.learned.share)
    assert abs(sum(slopes) / 8 - slope) < 0.15
    assert noise / 3 < sorted(noises)[4] < 3 * noise
    assert sorted(shares)[4] >= 0.6
    assert 2 < sorted(deviations)[4] < 4.5


def test_a_prediction_that_says_nothing_is_left() -> None:
    weights = []
    for n in (10, 40, 120):
        slopes = []
        for seed in range(8):
            told, values, predicted = drawn(seed, 0.0, 0.05)
            slopes.append(ResidualProcess(told[:n], values[:n], predicted[:n], predicted, DESCRIBE).slope)
        weights.append(sum(map(abs, slopes)) / 8)
    assert weights[2] < weights[0] and weights[2] < 0.1


def test_few_values_do_no_harm() -> None:
    """Two values neither abolish the noise nor tell the prediction's weight."""
    for seed in range(8):
        told, values, predicted = (part[:2] for part in drawn(seed, 1.0, 0.1))
        mean, std = ResidualProcess(told, values, predicted, QUALITY, DESCRIBE).posterior(CELLS, QUALITY)
        assert bool(mean.isfinite().all()) and 0.3 < float(std.median()) < 10


def test_structure_shares_strength_where_no_decision_is_shared() -> None:
    told, rest = CELLS[::8], CELLS[1::8]
    values, none = QUALITY + 90, torch.zeros_like(QUALITY)
    error = []
    for describe in (None, DESCRIBE):
        found = ResidualProcess(told, values[::8], none[::8], none, describe)
        mean, _ = found.predict(rest, none[1::8])
        error.append(float((mean - values[1::8]).abs().mean()))
    assert error[1] < 0.8 * error[0]


@pytest.mark.parametrize("labels", [3, 5, 10, 20])
def test_few_values_do_not_lower_the_order_of_a_good_prediction(labels: int) -> None:
    """The worst values are far below all others, as in the tables of trainings."""
    before, after, all_cells = [], [], SPACE.all_vertices()[::11]
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        quality = (all_cells == 5).sum(1) + torch.rand(len(all_cells), dtype=torch.float64, generator=generator)
        values = 95 - (4 - 1.5 * quality).exp()
        predicted = quality + 0.5 * torch.randn(len(all_cells), dtype=torch.float64, generator=generator)
        told = torch.randperm(len(all_cells), generator=generator)[:labels]
        found = ResidualProcess(all_cells[told], values[told], predicted[told], predicted, DESCRIBE)
        mean, _ = found.predict(all_cells, predicted)
        before.append(rank_correlation(predicted, values))
        after.append(rank_correlation(mean, values))
    assert sum(after) / 6 > sum(before) / 6 - 0.005 and min(a - b for a, b in zip(after, before, strict=True)) > -0.03


def rank_correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.argsort().argsort().double(), b.argsort().argsort().double()]))[0, 1])


def test_what_is_answered_does_not_depend_on_when_it_was_asked_nor_on_what_was_forgotten() -> None:
    generator = torch.Generator().manual_seed(2)
    values = (QUALITY + torch.rand(len(QUALITY), dtype=torch.float64, generator=generator)).tolist()
    often, once, again = (GrowingProcess(CELLS, QUALITY, DESCRIBE, squashed=True) for _ in range(3))
    for place in (3, 1, 7):
        again.tell_of(place, 1.0)
    again.improvement()
    again.forget()
    for place in range(45):
        for growing in (often, once):
            growing.tell(CELLS[place], float(QUALITY[place]), values[place])
        again.tell_of(place, values[place])
        if place:
            often.posterior()
    assert torch.equal(often.improvement(), once.improvement())
    assert torch.equal(again.improvement(), once.improvement())


def test_improvement_is_expected_where_the_mean_or_its_uncertainty_is_high() -> None:
    mean, std = torch.tensor([[0.0, 0.0, 1.0, -60.0], [1.0, 2.0, 1.0, 1.0]], dtype=torch.float64)
    low, wide, high, hopeless = log_improvement(mean, std, 0.0).tolist()
    assert math.exp(low) == pytest.approx(1 / math.sqrt(2 * math.pi))
    assert hopeless < low < wide < high and math.isfinite(hopeless)
    near = log_improvement(torch.tensor([-5.001, -4.999], dtype=torch.float64), torch.ones(2, dtype=torch.float64), 0.0)
    assert float(near[1] - near[0]) == pytest.approx(0, abs=0.2), "both forms agree where they meet"


def test_the_low_tail_is_drawn_in_and_the_order_kept() -> None:
    values = torch.tensor([91.0, 90.0, 89.0, 50.0, 10.0], dtype=torch.float64)
    found = squash(values)
    assert (found[:-1] > found[1:]).all()
    assert float(found[0] - found[-1]) < 7


def test_the_scale_of_values_does_not_matter() -> None:
    noise = torch.rand(len(QUALITY), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = QUALITY + noise
    one, other = (process(v, QUALITY).posterior(CELLS, QUALITY)[0] for v in (values, 7 * values - 3))
    assert torch.allclose(one, other)


def test_equal_values_say_nothing_and_break_nothing() -> None:
    mean, std = process(torch.full_like(QUALITY, 90), QUALITY).posterior(CELLS, QUALITY)
    assert bool(mean.isfinite().all() and std.isfinite().all())


def test_growing_by_one_value_is_the_same_as_solving_for_all_at_once() -> None:
    generator = torch.Generator().manual_seed(1)
    told = torch.randperm(len(CELLS), generator=generator)[:40]
    values = QUALITY + torch.rand(len(QUALITY), dtype=torch.float64, generator=generator)
    standard = (QUALITY - QUALITY.mean()) / QUALITY.std(correction=0)
    changed = (CELLS[:, None] != CELLS).sum(-1).double()
    pairs = Pairs(changed, torch.zeros_like(changed), standard[:, None] * standard)
    growing = GrowingProcess(CELLS, QUALITY)
    for number, place in enumerate(told.tolist(), 1):
        growing.tell(CELLS[place], float(QUALITY[place]), float(values[place]))
        assert len(growing) == number
        if number > 1:
            known, learned = told[:number], growing.learned
            covariance = learned.covariance(pairs)
            inverse = torch.linalg.inv(covariance[known][:, known] + learned.noise * torch.eye(number))
            residual = (values[known] - values[known].mean()) / values[known].std() - learned.slope * standard[known]
            mean, std = growing.posterior()
            expected = learned.slope * standard + covariance[:, known] @ inverse @ residual
            assert torch.allclose(mean, expected, atol=1e-8)
            explained = (covariance[:, known] @ inverse * covariance[:, known]).sum(1)
            assert torch.allclose(std, learned.deviation * (covariance.diagonal() - explained).sqrt(), atol=1e-6)


def test_squashed_values_are_drawn_out_again() -> None:
    values = torch.tensor([91.0, 90.0, 89.0, 50.0, 10.0], dtype=torch.float64)
    assert torch.allclose(unsquash(squash(values), values), values)
    grid = torch.linspace(-30, 5, 500, dtype=torch.float64)
    assert (unsquash(grid, values).diff() > 0).all(), "the order stays, also beyond what was told"
    equal = torch.full((3,), 90.0, dtype=torch.float64)
    assert torch.allclose(unsquash(squash(equal), equal), equal)


def test_one_bad_value_at_a_tie_of_the_best_is_no_outlier() -> None:
    assert float(squash(torch.tensor([90.0, 90.0, 50.0], dtype=torch.float64)).min()) > -4
