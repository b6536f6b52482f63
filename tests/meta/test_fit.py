from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from meta_toys import CELLS, MOBILE, QUICK, SPACE, Toy, mobile_quality, mobile_toy, quality, task_of, toy

from metad2a_plugin.errors import CheckpointError, ConfigError, DatasetError
from metad2a_plugin.meta.config import population
from metad2a_plugin.meta.fit import BenchmarkTable, FitConfig, Member, fit_ensemble, normal_scores
from metad2a_plugin.meta.metrics import pearson, spearman
from metad2a_plugin.meta.validation import validate
from metad2a_plugin.models.ensemble import SubspaceEnsemble
from metad2a_plugin.testing import ToySpace

LIVE = ~SPACE.dead_mask(CELLS)
TRUTH = quality(CELLS)
FASTER = dataclasses.replace(QUICK, iterations=6)


def fit(made: Toy, config: FitConfig = QUICK, **options: object) -> SubspaceEnsemble:
    return fit_ensemble(made.database, made.classes, CELLS, config, **options)


def same(a: SubspaceEnsemble, b: SubspaceEnsemble) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.fixture(scope="module")
def made() -> Toy:
    return toy()


@pytest.fixture(scope="module")
def model(made: Toy) -> SubspaceEnsemble:
    return fit(made)


@pytest.fixture(scope="module")
def small() -> Toy:
    return toy(rows=80)


# -- what it learns ------------------------------------------------------------------------------
def test_cells_it_never_saw_are_ranked_by_their_truth(made: Toy, model: SubspaceEnsemble) -> None:
    seen = torch.isin(SPACE.canonical_ids(CELLS), SPACE.canonical_ids(made.database.vertices))
    mean = model.predict_task(None, CELLS).mean
    assert spearman(mean[LIVE & ~seen], TRUTH[LIVE & ~seen]) > 0.9
    assert TRUTH[mean.topk(20).indices].min() > TRUTH.quantile(0.98)


def test_knowing_the_dataset_helps_where_datasets_differ(made: Toy, model: SubspaceEnsemble) -> None:
    metrics = validate(model, made.database, made.classes)
    assert metrics["pearson"] > metrics["pearson_blind"] + 0.2 and metrics["pearson"] > 0.8
    assert metrics["spearman"] > metrics["spearman_blind"] + 0.2
    levels = [model.predict_task(task_of(made, i), CELLS[:1]).mean.item() for i in range(120, 160)]
    assert pearson(torch.tensor(levels), made.effect[120:]) > 0.9


def test_knowing_the_dataset_does_no_harm_where_datasets_are_alike() -> None:
    alike = toy(effect=0.0)
    metrics = validate(fit(alike), alike.database, alike.classes)
    assert metrics["pearson"] > metrics["pearson_blind"] - 0.03


def test_intervals_hold_about_nine_in_ten_validation_rows(made: Toy, model: SubspaceEnsemble) -> None:
    metrics = validate(model, made.database, made.classes)
    assert 0.8 <= metrics["coverage_90"] <= 1
    # Two protocols 16 points apart; an interval of all values would be as wide as their range.
    accuracy = made.database.accuracy[made.database.valid]
    assert metrics["width_90"] < 0.7 * (accuracy.max() - accuracy.min())


def test_the_second_protocol_is_told_apart_from_the_cells(made: Toy, model: SubspaceEnsemble) -> None:
    assert 5 * model.second_offset.mean().item() == pytest.approx(-16, abs=1)
    database = made.database
    first = database.valid & (database.protocol == 0)
    codes = torch.cat([model.codes(task_of(made, int(i)).sets()) for i in database.task[first]])
    mean = model.predict_code(codes, model.cell_features(database.vertices[first])).mean
    assert (mean - database.accuracy[first]).mean().abs() < 1.0, "predictions are on the first protocol's scale"


def test_the_evidence_of_the_selection_can_be_left_out(made: Toy) -> None:
    plain = fit(made, dataclasses.replace(FASTER, selection=False))
    assert spearman(plain.predict_task(None, CELLS).mean[LIVE], TRUTH[LIVE]) > 0.85
    assert validate(plain, made.database, made.classes)["pearson"] > 0.75


def test_a_table_of_the_truth_helps(small: Toy) -> None:
    noise = torch.full((len(CELLS),), 0.5)
    disturbed = 20 + 0.5 * TRUTH + noise * torch.randn(len(CELLS), generator=torch.Generator().manual_seed(0))
    without, with_it = (fit(small, FASTER, tables=t) for t in ((), (BenchmarkTable(disturbed, noise),)))
    scores = [spearman(m.predict_task(None, CELLS).mean[LIVE], TRUTH[LIVE]) for m in (without, with_it)]
    assert scores[1] > scores[0] + 0.02 and scores[1] > 0.9
    assert with_it.predict_task(None, CELLS).mean.isfinite().all()


# -- what it does not depend on ------------------------------------------------------------------
def test_same_seed_same_weights_whatever_the_global_state(small: Toy) -> None:
    state = torch.get_rng_state()
    first = fit(small, FASTER)
    assert torch.equal(state, torch.get_rng_state())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(123)
        assert same(first, fit(small, FASTER))
    assert not same(first, fit(small, dataclasses.replace(FASTER, seed=1)))


def test_validation_rows_do_not_train(small: Toy) -> None:
    database = small.database
    changed = dataclasses.replace(
        database,
        accuracy=torch.where(database.valid, 30.0, database.accuracy),
        vertices=torch.where(database.valid[:, None], CELLS[0], database.vertices),
    )
    assert same(fit(small, FASTER), fit(dataclasses.replace(small, database=changed), FASTER))


def test_rows_can_be_chosen(small: Toy) -> None:
    rows = torch.nonzero(~small.database.valid).squeeze(1)
    assert same(fit(small, FASTER), fit(small, FASTER, rows=rows))
    assert not same(fit(small, FASTER), fit(small, FASTER, rows=rows[:40]))


# -- interruption --------------------------------------------------------------------------------
class Interrupted(Exception):  # noqa: N818 - as a user's Ctrl-C
    pass


def memory(kept: dict[str, Member], stop_after: int = 10**6) -> Callable[[str, Callable[[], Member]], Member]:
    def remember(name: str, make: Callable[[], Member]) -> Member:
        if name not in kept:
            if len(kept) == stop_after:
                raise Interrupted
            kept[name] = {k: v.clone() for k, v in make().items()}
        return kept[name]

    return remember


@pytest.mark.parametrize(
    "stop_after", [pytest.param(0, marks=pytest.mark.slow), 1, pytest.param(3, marks=pytest.mark.slow)]
)
def test_an_interrupted_fit_ends_like_an_uninterrupted_one(small: Toy, stop_after: int) -> None:
    kept: dict[str, Member] = {}
    with pytest.raises(Interrupted):
        fit(small, FASTER, remember=memory(kept, stop_after))
    assert len(kept) == stop_after
    resumed = fit(small, FASTER, remember=memory(kept))
    assert len(kept) == FASTER.members + FASTER.folds * FASTER.fold_members
    assert same(resumed, fit(small, FASTER))
    # Everything is remembered: nothing is left to fit.
    assert same(resumed, fit(small, FASTER, remember=lambda name, make: kept[name]))


# -- wrong input ---------------------------------------------------------------------------------
@pytest.mark.parametrize(("accuracies", "noises"), [(100, 15_625), (15_625, 100), (15_626, 15_626)])
def test_a_table_of_another_length_is_refused(small: Toy, accuracies: int, noises: int) -> None:
    table = BenchmarkTable(torch.rand(accuracies), torch.rand(noises))
    with pytest.raises(ConfigError, match=f"{accuracies} accuracies and {noises} noise levels for 15625"):
        fit(small, FASTER, tables=[table])


@pytest.mark.parametrize("changes", [{"members": 0}, {"subspace": 0}], ids=str)
def test_wrong_settings(changes: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=next(iter(changes))):
        dataclasses.replace(QUICK, **changes)


# -- scores --------------------------------------------------------------------------------------
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=30))
def test_normal_scores_keep_the_order_and_the_ties(values: list[int]) -> None:
    tensor = torch.tensor(values, dtype=torch.float32)
    scores = normal_scores(tensor)
    assert scores.isfinite().all()
    less, fewer = tensor[:, None] < tensor, scores[:, None] < scores
    assert torch.equal(less, fewer)
    assert torch.allclose(normal_scores(3 * tensor + 7), scores) and torch.allclose(normal_scores(-tensor), -scores)


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=12), st.lists(st.integers(-5, 5), min_size=2, max_size=12))
def test_correlations_are_symmetric_and_bounded(first: list[int], second: list[int]) -> None:
    n = min(len(first), len(second))
    a, b = torch.tensor(first[:n]).float(), torch.tensor(second[:n]).float()
    for correlation in (pearson, spearman):
        assert correlation(a, b) == pytest.approx(correlation(b, a), abs=1e-9)
        assert -1 - 1e-9 <= correlation(a, b) <= 1 + 1e-9
        assert correlation(a, torch.ones(n)) == 0
    assert spearman(a, b) == pytest.approx(spearman(a**3, 2 * b - 1), abs=1e-9)
    if len(set(first[:n])) > 1:
        assert spearman(a, -a) == pytest.approx(-1)


# -- spaces that cannot be listed ----------------------------------------------------------------
GENERAL = dataclasses.replace(QUICK, selection=False, task_level=True, response=None, members=4)


@pytest.fixture(scope="module")
def mobile() -> Toy:
    return mobile_toy()


@pytest.fixture(scope="module")
def mobile_model(mobile: Toy) -> SubspaceEnsemble:
    return fit_ensemble(mobile.database, mobile.classes, population(MOBILE), GENERAL)


def test_networks_and_datasets_of_new_classes_are_told_apart(mobile: Toy, mobile_model: SubspaceEnsemble) -> None:
    networks = population(MOBILE, seed=5)[:500]
    mean = mobile_model.predict_task(task_of(mobile, 1), networks).mean
    assert spearman(mean, mobile_quality(networks)) > 0.9
    metrics = validate(mobile_model, mobile.database, mobile.classes)
    assert metrics["spearman"] == metrics["spearman_new"] > 0.85
    assert metrics["pearson_within"] > 0.8 and metrics["spearman"] > metrics["spearman_blind"] + 0.2
    train, valid = (mobile.database.accuracy[s] for s in (~mobile.database.valid, mobile.database.valid))
    assert mobile_model.response.tolist() == pytest.approx([train.mean().item(), train.std().item()])
    assert abs(mean.mean() - valid.mean()) < 15


def test_a_twin_without_the_dataset_predicts_the_same_for_all(mobile: Toy, mobile_model: SubspaceEnsemble) -> None:
    twin = fit_ensemble(mobile.database, mobile.classes, population(MOBILE), GENERAL, blind=True)
    networks = mobile.database.vertices[:50]
    first, second = (twin.predict_task(task_of(mobile, i), networks).mean for i in (1, 5))
    assert torch.equal(first, second) and torch.equal(first, twin.predict_task(None, networks).mean)
    metrics = validate(mobile_model, mobile.database, mobile.classes, twin)
    assert metrics["spearman"] > metrics["spearman_twin"] + 0.2
    assert metrics["pearson_within_twin"] == pytest.approx(metrics["pearson_within"], abs=0.1)


def test_what_tasks_have_in_common_does_not_blur_the_networks() -> None:
    """With rows of a task that deviate together, only differences within tasks tell of networks."""
    blurred = mobile_toy(deviation=12.0)
    networks = population(MOBILE, seed=5)[:500]
    known = [
        spearman(
            fit_ensemble(
                blurred.database,
                blurred.classes,
                population(MOBILE),
                dataclasses.replace(GENERAL, task_level=level),
            ).predict_task(None, networks).mean,
            mobile_quality(networks),
        )
        for level in (False, True)
    ]
    assert known[1] > known[0] + 0.05 and known[1] > 0.85


def test_a_space_of_few_descriptors_shows_them_all() -> None:
    space = ToySpace(length=3)
    base = mobile_toy(tasks=40)
    listed = space.all_vertices()
    chosen = torch.randint(len(listed), (160,), generator=torch.Generator().manual_seed(0))
    accuracy = 50 + 5.0 * (listed[chosen] == 4).sum(1) - base.database.task % 3
    database = dataclasses.replace(base.database, vertices=listed[chosen], accuracy=accuracy.float(), space=space)
    model = fit_ensemble(database, base.classes, population(space), GENERAL)
    assert torch.equal(population(space), listed)
    assert pearson(model.predict_task(None, listed).mean, (listed == 4).sum(1).float()) > 0.99
    again = SubspaceEnsemble.from_state_dict(model.state_dict(), space)
    assert torch.equal(again.predict_task(None, listed).mean, model.predict_task(None, listed).mean)
    with pytest.raises(CheckpointError, match=r"reads \d+ descriptors .* 'toy' has"):
        SubspaceEnsemble.from_state_dict(model.state_dict(), ToySpace(length=4))


@pytest.mark.parametrize("evidence", ["selection", "tables"])
def test_selection_and_tables_need_a_space_that_can_be_listed(evidence: str, mobile: Toy) -> None:
    some = population(MOBILE)
    config = dataclasses.replace(GENERAL, selection=evidence == "selection")
    table = BenchmarkTable(torch.rand(len(some)), torch.ones(len(some)))
    with pytest.raises(ConfigError, match=r"a space that can be listed: mobilenetv3 has 2.18e\+19 networks"):
        fit_ensemble(
            mobile.database, mobile.classes, some, config, tables=[table] if evidence == "tables" else []
        )


def test_equal_accuracies_cannot_be_scaled(mobile: Toy) -> None:
    flat = dataclasses.replace(mobile.database, accuracy=torch.full_like(mobile.database.accuracy, 50.0))
    with pytest.raises(DatasetError, match="same accuracy"):
        fit_ensemble(flat, mobile.classes, population(MOBILE), GENERAL)
