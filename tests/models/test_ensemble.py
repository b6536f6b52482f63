from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from meta_toys import CELLS, SPACE, Toy, fitted, task_of

from metad2a_plugin.data import Task
from metad2a_plugin.errors import CheckpointError
from metad2a_plugin.models.ensemble import IGNORANCE, SCALE, SubspaceEnsemble
from metad2a_plugin.plugins.predictor import Prediction

SOME = CELLS[::40]
NEAR, OTHER = 130, 156
"""Tasks whose classes lie apart."""
quick = settings(max_examples=20)


@pytest.fixture(scope="module")
def made() -> Toy:
    return fitted()[0]


@pytest.fixture(scope="module")
def model() -> SubspaceEnsemble:
    return fitted()[1]


def scaled(task: Task, factor: float) -> Task:
    """The same images `factor` times as far apart."""
    return Task(task.features * factor, task.labels, encoder=task.encoder)


def same(a: Prediction, b: Prediction) -> bool:
    return torch.allclose(a.mean, b.mean, atol=1e-3) and torch.allclose(a.std, b.std, atol=1e-3)


# -- the dataset ---------------------------------------------------------------------------------
@quick
@given(st.randoms(use_true_random=False))
def test_the_order_of_classes_and_images_does_not_matter(made: Toy, model: SubspaceEnsemble, random) -> None:
    task = task_of(made, NEAR)
    images, classes = list(range(len(task.labels))), list(range(task.num_classes))
    random.shuffle(images)
    random.shuffle(classes)
    shuffled = Task(task.features[images], torch.tensor(classes)[task.labels[images]])
    assert same(model.predict_task(shuffled, SOME), model.predict_task(task, SOME))
    assert model.distance(shuffled) == pytest.approx(model.distance(task), abs=1e-4)


def test_images_given_twice_change_nothing(made: Toy, model: SubspaceEnsemble) -> None:
    task = task_of(made, NEAR)
    twice = Task(task.features.repeat(2, 1), task.labels.repeat(2))
    assert same(model.predict_task(twice, SOME), model.predict_task(task, SOME))


@quick
@given(st.permutations(range(len(SOME))))
def test_a_cell_s_prediction_does_not_depend_on_the_others(made: Toy, model: SubspaceEnsemble, order) -> None:
    task = task_of(made, NEAR)
    whole, part = (model.predict_task(task, cells) for cells in (SOME, SOME[order][:7]))
    assert same(Prediction(whole.mean[order][:7], whole.std[order][:7]), part)


def test_a_dataset_among_those_of_meta_training_moves_the_prediction(made: Toy, model: SubspaceEnsemble) -> None:
    near, other, none = (
        model.predict_task(task, CELLS) for task in (task_of(made, NEAR), task_of(made, OTHER), None)
    )
    change = (near.mean - other.mean).mean().item()
    truth = (made.effect[NEAR] - made.effect[OTHER]).item()
    assert abs(truth) > 4 and change == pytest.approx(truth, rel=0.5)
    assert near.std.mean() < none.std.mean(), "knowing the dataset must narrow the interval"


def part(task: Task, *, classes: int | None = None, images: int | None = None) -> Task:
    """The first classes, and the first images of each."""
    rank = torch.stack([(task.labels[:i] == label).sum() for i, label in enumerate(task.labels)])
    kept = (task.labels < (classes or task.num_classes)) & (rank < (images or len(task.labels)))
    return Task(task.features[kept], task.labels[kept])


def test_of_a_dataset_of_few_classes_the_order_is_believed_and_the_level_is_not(
    made: Toy, model: SubspaceEnsemble
) -> None:
    believed, ratios = [], []
    for index in range(0, 60, 3):
        task = task_of(made, index)
        few = part(task, classes=task.num_classes // 2)
        code, classes, _ = model.encode_task(few)
        of_order = float(model._distance(code, classes))
        believed.append(of_order <= 1.2)
        ratios.append(model.distance(few) / of_order)
    assert sum(believed) >= 0.8 * len(believed) and sum(ratios) > 1.3 * len(ratios)


@pytest.mark.parametrize("less", [{"classes": 2}, {"images": 1}, {"classes": 3, "images": 2}], ids=str)
def test_less_data_is_no_nearer_and_tells_no_more(made: Toy, model: SubspaceEnsemble, less) -> None:
    tasks = [task_of(made, index) for index in range(120)]
    pairs = [(task, part(task, **less)) for task in tasks if int(task.labels.bincount().min()) >= 4]
    assert len(pairs) > 10
    whole, some = (torch.tensor([model.distance(task) for task in one]) for one in zip(*pairs, strict=True))
    assert (some / whole).log().mean() > 0.1 and (some >= whole).float().mean() > 0.8
    whole, some = (
        torch.stack([model.predict_task(task, SOME).std.mean() for task in one]) for one in zip(*pairs, strict=True)
    )
    assert some.mean() > whole.mean() and (some >= whole - 1e-3).float().mean() > 0.8


def test_of_a_dataset_of_which_nothing_is_known_the_level_may_be_any(made: Toy, model: SubspaceEnsemble) -> None:
    """However far it is, its level lies between 0 and 100 and is taken to be the blind one."""
    far, blind = model.predict_task(scaled(task_of(made, NEAR), 1e4), SOME), model.predict_task(None, SOME)
    assert far.std.min() > IGNORANCE and far.std.max() < 1.2 * IGNORANCE
    assert torch.allclose(far.mean, blind.mean, atol=0.01)


def test_images_unlike_any_of_meta_training_are_far_however_their_classes_lie(
    made: Toy, model: SubspaceEnsemble
) -> None:
    task = task_of(made, NEAR)
    moved = Task(task.features + 100 * model.anchors.std(), task.labels)
    assert model.distance(task) <= 1 < 2 < model.distance(moved)
    near, far = (model.predict_task(t, SOME) for t in (task, moved))
    assert far.std.min() > 2 * near.std.max(), "the interval must say so"


def test_far_from_meta_training_the_order_is_the_blind_one_and_the_interval_is_wide(
    made: Toy, model: SubspaceEnsemble
) -> None:
    task, blind = task_of(made, NEAR), model.predict_task(None, CELLS)
    distances, widths, deviations = [], [], []
    for factor in (1, 4, 20, 100):
        prediction = model.predict_task(scaled(task, factor), CELLS)
        distances.append(model.distance(scaled(task, factor)))
        widths.append(prediction.std.mean().item())
        shift = prediction.mean - blind.mean
        deviations.append((shift - shift.mean()).abs().max().item())
    assert distances[0] < 1 < distances[1] and distances == sorted(distances)
    assert widths == sorted(widths) and widths[-1] > 2 * widths[0]
    assert deviations[-1] < 0.01 < deviations[0]
    assert torch.equal(prediction.mean.argsort(stable=True)[-10:], blind.mean.argsort(stable=True)[-10:])


@pytest.mark.parametrize("seen", [True, False])
def test_tasks_like_those_of_meta_training_are_near(made: Toy, model: SubspaceEnsemble, seen: bool) -> None:
    tasks = range(0, 120, 4) if seen else range(120, 160)
    near = [model.distance(task_of(made, i)) <= 1 for i in tasks]
    assert sum(near) >= 0.9 * len(near)


def test_cells_the_database_would_not_hold_take_little_of_the_interaction(made: Toy, model: SubspaceEnsemble) -> None:
    """The interaction tells how a dataset changes the differences between cells."""
    first, second = (task_of(made, i) for i in (NEAR, OTHER))

    def changed(gate: list[float]) -> torch.Tensor:
        gated = dataclasses.replace(model, gate=torch.tensor(gate).expand_as(model.gate))
        moved = gated.predict_task(first, CELLS).mean - gated.predict_task(second, CELLS).mean
        return (moved - moved.median()).abs()

    shut, wide = changed([-50.0, 0.0]), changed([math.inf, 0.0])
    assert shut.max() < 1e-3 < wide.max() / 10
    # As fitted: open for cells of high quality, shut for the others.
    fitted_share = model.predict_task(None, CELLS).mean.argsort()
    gated, poor, good = changed(model.gate[0].tolist()), fitted_share[:1500], fitted_share[-1500:]
    assert (gated[poor] / wide[poor].clamp(min=1e-6)).median() < (gated[good] / wide[good].clamp(min=1e-6)).median()


# -- intervals -----------------------------------------------------------------------------------
@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_intervals_nest_and_stay_in_percent(first: float, second: float) -> None:
    prediction = Prediction(torch.tensor([2.0, 50.0, 99.0]), torch.tensor([4.0, 1.0, 3.0]), percent=True)
    inner, outer = (prediction.interval(level) for level in sorted((first, second)))
    assert (outer[0] <= inner[0]).all() and (inner[1] <= outer[1]).all()
    assert (outer[0] >= 0).all() and (outer[1] <= 100).all()
    assert (inner[0] <= prediction.mean).all() and (prediction.mean <= inner[1]).all()


def test_an_interval_holds_its_share_of_draws() -> None:
    prediction = Prediction(torch.full((20_000,), 60.0), torch.full((20_000,), 5.0))
    draws = torch.normal(60.0, 5.0, (20_000,), generator=torch.Generator().manual_seed(0))
    for level in (0.5, 0.9):
        low, high = prediction.interval(level)
        assert ((low <= draws) & (draws <= high)).float().mean().item() == pytest.approx(level, abs=0.01)


def test_a_mixture_covers_rows_whose_protocol_is_not_known(made: Toy, model: SubspaceEnsemble) -> None:
    code = model.codes(task_of(made, NEAR).sets()).mean(0)
    cells = model.cell_features(SOME)
    first, generator = model.predict_code(code, cells), torch.Generator().manual_seed(0)
    chance = torch.sigmoid(model.second_logit[0] + cells @ model.second_logit[1:])
    second = torch.rand(400, len(SOME), generator=generator) < chance
    extra = (model.noise[1] ** 2 - model.noise[0] ** 2) * SCALE**2
    std = torch.where(second, (first.std**2 + extra).sqrt(), first.std)
    shift = SCALE * model.second_offset.mean()
    draws = first.mean + second * shift + std * torch.randn(400, len(SOME), generator=generator)
    for level in (0.5, 0.9, 0.99):
        mean, low, high = model.mixture(code, cells, level)
        inside = ((low <= draws) & (draws <= high)).float().mean().item()
        assert inside == pytest.approx(level, abs=0.01)
    assert torch.allclose(draws.mean(0), mean, atol=2.0) and (draws.mean() - mean.mean()).abs() < 0.2
    assert shift < -10, "the second protocol of the toy is 16 points lower"


@quick
@given(st.floats(0.05, 0.95), st.floats(0.05, 0.95))
def test_intervals_of_a_mixture_nest(made: Toy, model: SubspaceEnsemble, first: float, second: float) -> None:
    code, cells = model.codes(task_of(made, NEAR).sets()).mean(0), model.cell_features(SOME)
    (_, low, high), (_, lower, higher) = (model.mixture(code, cells, x) for x in sorted((first, second)))
    assert (lower <= low).all() and (low < high).all() and (high <= higher).all()


def test_without_a_second_protocol_a_mixture_is_the_prediction(made: Toy, model: SubspaceEnsemble) -> None:
    logit = torch.zeros_like(model.second_logit)
    logit[0] = -60
    only = dataclasses.replace(model, second_logit=logit)
    code, cells = only.codes(task_of(made, NEAR).sets()).mean(0), only.cell_features(SOME)
    mean, low, high = only.mixture(code, cells, 0.9)
    prediction = only.predict_code(code, cells)
    for ours, theirs in zip((mean, low, high), (prediction.mean, *prediction.interval(0.9)), strict=True):
        assert torch.allclose(ours.clamp(0, 100), theirs, atol=1e-2)


# -- weights -------------------------------------------------------------------------------------
def test_weights_make_the_model_again(made: Toy, model: SubspaceEnsemble) -> None:
    task = task_of(made, NEAR)
    again = SubspaceEnsemble.from_state_dict({k: v.clone() for k, v in model.state_dict().items()}, SPACE)
    assert torch.equal(again.predict_task(task, SOME).mean, model.predict_task(task, SOME).mean)
    assert again.feature_dim == made.classes.features.shape[1]
    moved = model.to("cpu")
    assert torch.equal(moved.predict_task(task, SOME).std, model.predict_task(task, SOME).std)


def test_missing_and_unknown_weights_are_named(model: SubspaceEnsemble) -> None:
    state = model.state_dict()
    with pytest.raises(CheckpointError, match=r"missing \['gate'\], unknown \['gates'\]"):
        SubspaceEnsemble.from_state_dict({{"gate": "gates"}.get(k, k): v for k, v in state.items()}, SPACE)
