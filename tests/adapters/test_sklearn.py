"""The classifier and the regressor as scikit-learn expects them; trainings are a linear classifier of the pixels."""

from __future__ import annotations

import pickle
import random
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("sklearn", "1.6", reason="scikit-learn 1.6 is not installed (extra sklearn)")
from metad2a_plugin.adapters import _sklearn_classifier as module
from metad2a_plugin.adapters.sklearn import ArchitectureRegressor, MetaD2AClassifier
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from metad2a_plugin.data import ImageDataset
from metad2a_plugin.data.pixels import DatasetWarning
from metad2a_plugin.errors import ArchitectureError, ConfigError, DatasetError
from metad2a_plugin.nn.probe import fit_ridge
from metad2a_plugin.plugins.registry import get_space

RUN = module.auto
SIDE = 8


class Linear(nn.Module):
    """A linear classifier of pixels, 8 x 8."""

    input_size = SIDE

    def __init__(self, images: ImageDataset) -> None:
        super().__init__()
        self.class_names = images.class_names
        pixels = images.images(range(len(images)), SIDE).flatten(1).float() / 255
        head = fit_ridge(pixels, torch.from_numpy(images.labels), images.num_classes)
        self.weight, self.bias = nn.Parameter(head.weight.float()), nn.Parameter(head.bias.float())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images.flatten(1).float() / 255) @ self.weight + self.bias


@pytest.fixture(autouse=True)
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[ImageDataset, Any, Any]]:
    """What was asked of `auto`, which takes no time here."""
    asked: list[tuple[ImageDataset, Any, Any]] = []

    def auto(images: ImageDataset, out: str, config: Any, *, limits: Any) -> Any:
        asked.append((images, config, limits))
        return SimpleNamespace(network=Linear(images), source_title="linear", validation=50.0, interrupted=False)

    monkeypatch.setattr(module, "auto", auto)
    return asked


def bars(count: int = 40, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Grey images of two classes, bright on the left or on the right, uint8 ``[count, side, side]``."""
    images = np.random.default_rng(0).integers(0, 60, (count, side, side)).astype(np.uint8)
    labels = np.arange(count) % 2
    for image, label in zip(images, labels, strict=True):
        image[:, : side // 2] += np.uint8(150 * (1 - label))
        image[:, side // 2 :] += np.uint8(150 * label)
    return images, labels


# -- scikit-learn's own checks -------------------------------------------------------------------------
@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([MetaD2AClassifier(shape="square", time=60)])
def test_the_classifier_passes(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.filterwarnings("ignore")
def test_what_takes_images_or_architectures_only_says_so_and_passes_what_is_left() -> None:
    for estimator in (MetaD2AClassifier(), ArchitectureRegressor()):
        assert not estimator.__sklearn_tags__().input_tags.two_d_array
        assert all(one["status"] == "passed" for one in check_estimator(estimator, on_skip=None))


# -- images ----------------------------------------------------------------------------------------------
def forms(images: np.ndarray) -> dict[str, tuple[Any, Any]]:
    pandas = pytest.importorskip("pandas")
    flat = images.reshape(len(images), -1)
    colours = np.repeat(images[..., None], 3, axis=-1)
    return {
        "grey": (images, None),
        "one channel": (images[..., None], None),
        "colours": (colours, None),
        "a tensor": (torch.from_numpy(colours).permute(0, 3, 1, 2), None),
        "floats": (images / 255, None),
        "lists": (images.tolist(), None),
        "rows": (flat, (SIDE, SIDE)),
        "rows of colours": (colours.reshape(len(images), -1), (SIDE, SIDE, 3)),
        "rows of planes of colours": (np.moveaxis(colours, -1, 1).reshape(len(images), -1), (3, SIDE, SIDE)),
        "squares": (flat, "square"),
        "a frame": (pandas.DataFrame(flat, columns=[f"p{i}" for i in range(flat.shape[1])]), [SIDE, SIDE]),
    }


@pytest.mark.parametrize("form", forms(bars()[0]))
def test_images_are_read_in_any_form(form: str) -> None:
    images, labels = bars()
    given, shape = forms(images)[form]
    found = MetaD2AClassifier(shape=shape).fit(given, labels)
    assert found.score(given, labels) == 1
    expected = MetaD2AClassifier().fit(images, labels).predict_proba(images)
    np.testing.assert_allclose(found.predict_proba(given), expected, atol=1e-3)
    assert found.image_shape_ == (SIDE, SIDE, 3 if "colours" in form or "tensor" in form else 1)
    assert found.n_features_in_ == np.prod(found.image_shape_)


def test_rows_that_are_no_square_are_filled_up_with_black(runs: list[Any]) -> None:
    rows = np.full((8, 3), 200, np.uint8)
    MetaD2AClassifier(shape="square").fit(rows, [0, 1] * 4)
    assert runs[-1][0].image(0)[..., 0].tolist() == [[200, 200], [200, 0]]


@pytest.mark.filterwarnings("ignore:pixels run from")
def test_which_value_is_white_is_decided_in_fit() -> None:
    images, labels = bars()
    known = MetaD2AClassifier().fit(images / 255, labels)
    dark = images[:1] / 255 / 10
    both = np.concatenate([images / 255, dark])
    np.testing.assert_allclose(known.predict_proba(dark), known.predict_proba(both)[-1:], atol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "factor", "message"),
    [(float, 255, "what is beyond is cut off"), (float, 1 / 255, "almost black"), (np.uint8, 1 / 16, "almost black")],
)
def test_images_of_another_scale_are_warned_of(dtype: Any, factor: float, message: str) -> None:
    images, labels = bars()
    known = MetaD2AClassifier().fit(images.astype(float), labels)
    with pytest.warns(DatasetWarning, match=message):
        known.predict((images.astype(float) * factor).astype(dtype))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        known.predict(images)


@pytest.mark.parametrize("names", [["cat", "dog"], [3, 7], [-1, 1], [False, True], ["1", "01"]])
def test_labels_come_back_as_they_were_given(names: list[Any], runs: list[Any]) -> None:
    images, labels = bars()
    given = np.array(names)[labels]
    known = MetaD2AClassifier().fit(images, given)
    assert (known.predict(images) == given).all() and known.classes_.dtype == given.dtype
    assert runs[-1][0].class_names == tuple(str(one) for one in np.unique(given))


def test_settings_are_handed_on(runs: list[Any]) -> None:
    limits = {"max_params": 0.3, "max_flops": 40.0, "max_latency": {"pixel3": 30}}
    settings = {"flip": True, "refit": True, "encoders": ["default"], "device": "cpu"}
    MetaD2AClassifier(time="1m30s", random_state=3, **limits, **settings).fit(*bars())
    _, config, given = runs[-1]
    assert given == limits and config.seconds == 90
    assert {name: getattr(config, name) for name in settings} == settings


def test_the_seed_follows_the_random_state(runs: list[Any]) -> None:
    for state in (0, 0, 1, np.random.RandomState(0)):
        MetaD2AClassifier(random_state=state).fit(*bars())
    seeds = [config.seed for _, config, _ in runs]
    assert seeds[0] == seeds[1] == seeds[3] != seeds[2]


# -- in the company of other estimators ------------------------------------------------------------------
@pytest.mark.filterwarnings("ignore:pixels run from")
def test_it_stands_in_a_pipeline_and_a_grid() -> None:
    images, labels = bars()
    flat = images.reshape(len(images), -1).astype(float)
    steps = make_pipeline(MinMaxScaler(), MetaD2AClassifier(shape=(SIDE, SIDE)))
    grid = GridSearchCV(steps, {"metad2aclassifier__max_params": [0.1, 0.3]}, cv=2).fit(flat, labels)
    assert grid.best_score_ == 1 and grid.score(flat, labels) == 1
    smaller = make_pipeline(FunctionTransformer(lambda x: x[:, ::2, ::2]), MetaD2AClassifier())
    assert cross_val_score(smaller, images, labels, cv=2).tolist() == [1, 1]
    assert cross_val_predict(MetaD2AClassifier(), images, labels, cv=2, method="predict_proba").shape == (40, 2)


def test_a_clone_has_the_parameters_and_nothing_else() -> None:
    known = MetaD2AClassifier(time=20, shape=(SIDE, SIDE), max_latency={"pixel3": 30}).fit(*bars())
    again = clone(known)
    assert again.get_params() == known.get_params()
    with pytest.raises(NotFittedError):
        again.predict(bars()[0])


def test_a_pickle_answers_the_same() -> None:
    images, labels = bars()
    known = MetaD2AClassifier().fit(images, labels)
    assert (pickle.loads(pickle.dumps(known)).predict_proba(images) == known.predict_proba(images)).all()


def test_ctrl_c_ends_it_with_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = bars()
    monkeypatch.setattr(
        module,
        "auto",
        lambda images, out, config, limits: SimpleNamespace(
            network=Linear(images), source_title="linear", validation=50.0, interrupted=True
        ),
    )
    known = MetaD2AClassifier()
    with pytest.raises(KeyboardInterrupt):
        known.fit(images, labels)
    assert known.score(images, labels) == 1


# -- what is refused -----------------------------------------------------------------------------------
FLAT = bars()[0].reshape(40, -1)


@pytest.mark.parametrize(
    ("options", "images", "error", "message"),
    [
        ({"space": "nasbench"}, FLAT, ConfigError, "did you mean 'nasbench201'"),
        ({"space": "mobilenetv3"}, FLAT, ConfigError, "'nasbench201' so far, not 'mobilenetv3'"),
        ({"time": "soon"}, FLAT, ConfigError, "such as 1h30m"),
        ({"time": 1}, FLAT, ConfigError, "10 seconds or more"),
        ({}, FLAT, DatasetError, r"rows of 64 numbers.*shape=\(28, 28\)"),
        ({"shape": "round"}, FLAT, ConfigError, "or 'square', got 'round'"),
        ({"shape": (8, 9)}, FLAT, ConfigError, r"of the 64 numbers of a row, .* got \(8, 9\)"),
        ({"shape": 8}, FLAT, ConfigError, "got 8"),
        ({"shape": (2, 2, 4, 4)}, FLAT, ConfigError, "got"),
        ({"shape": (-8, -8)}, FLAT, ConfigError, "got"),
        ({"shape": (8, 4, 2)}, FLAT, DatasetError, r"1 \(grey\), 3 \(RGB\)"),
        ({"shape": (8, 8)}, FLAT - 100.0, DatasetError, "Negative values.*StandardScaler"),
        ({}, np.zeros((40, 8, 8, 2)), DatasetError, r"1 \(grey\), 3 \(RGB\)"),
        ({}, np.full((40, 8, 8), np.nan), ValueError, "NaN"),
        ({}, [np.zeros((8, 8)), np.zeros((9, 9))] * 20, DatasetError, "different sizes"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(
    options: dict[str, Any], images: Any, error: type[Exception], message: str, runs: list[Any]
) -> None:
    with pytest.raises(error, match=message):
        MetaD2AClassifier(**options).fit(images, bars()[1])
    assert runs == []


def test_other_images_than_those_of_fit_are_refused() -> None:
    images, labels = bars()
    known = MetaD2AClassifier().fit(images, labels)
    with pytest.raises(ValueError, match="144 features"):
        known.predict(np.zeros((2, 12, 12)))
    with pytest.raises(DatasetError, match=r"\[4, 16, 1\], those of fit were \[8, 8, 1\]"):
        known.predict(np.zeros((2, 4, 16)))


@pytest.mark.slow
def test_a_real_run_ends_with_a_network_that_can_be_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "auto", RUN)
    images, labels = bars(60)
    known = MetaD2AClassifier(time=10, encoders=["default"], device="cpu").fit(images, np.array(["l", "r"])[labels])
    assert known.score(images, np.array(["l", "r"])[labels]) > 0.9 and known.source_
    again = pickle.loads(pickle.dumps(known))
    assert (again.predict_proba(images) == known.predict_proba(images)).all()


# -- architectures ---------------------------------------------------------------------------------------
SPACE = get_space("nasbench201")
CELLS = [SPACE.format(SPACE.decode(SPACE.all_vertices()[i : i + 1])[0]) for i in range(7, 15625, 500)]
SIZES = np.array([SPACE.cost(SPACE.parse(cell)).params for cell in CELLS])


@pytest.fixture(scope="module")
def regressor() -> ArchitectureRegressor:
    return ArchitectureRegressor().fit(CELLS[::2], SIZES[::2])


def test_a_regressor_learns_from_values_of_any_kind(regressor: ArchitectureRegressor) -> None:
    found, std = regressor.predict(CELLS[1::2], return_std=True)
    assert found.shape == std.shape == SIZES[1::2].shape and (std > 0).all()
    assert np.corrcoef(found, SIZES[1::2])[0, 1] > 0.6
    assert regressor.n_labels_ == len(CELLS[::2])
    assert regressor.score(CELLS[::2], SIZES[::2]) > 0.8


def test_architectures_are_read_in_any_form(regressor: ArchitectureRegressor) -> None:
    pandas = pytest.importorskip("pandas")
    expected = regressor.predict(CELLS)
    column = np.array(CELLS)[:, None]
    parsed = [SPACE.parse(cell) for cell in CELLS]
    series = pandas.Series(CELLS)
    for form in (np.array(CELLS), column, column.tolist(), parsed, series, series.to_frame()):
        np.testing.assert_array_equal(regressor.predict(form), expected)


def test_a_regressor_is_pickled_cloned_and_searched_over(regressor: ArchitectureRegressor) -> None:
    assert (pickle.loads(pickle.dumps(regressor)).predict(CELLS) == regressor.predict(CELLS)).all()
    with pytest.raises(NotFittedError):
        clone(regressor).predict(CELLS)
    models = {"architectureregressor__model": ["nasbench201", "nasbench201-paper"]}
    steps = make_pipeline(FunctionTransformer(), ArchitectureRegressor())
    grid = GridSearchCV(steps, models, cv=2).fit(np.array(CELLS)[:, None], SIZES)
    assert grid.best_params_["architectureregressor__model"] in models["architectureregressor__model"]


@pytest.mark.slow
def test_a_regressor_looks_at_images_and_budgets() -> None:
    images, labels = bars(20, 32)
    plain = ArchitectureRegressor().fit(CELLS[:6], SIZES[:6]).predict(CELLS)
    for options in ({"dataset": (images, labels)}, {"budget": {"epochs": 1, "images": 1000}}):
        assert (ArchitectureRegressor(**options).fit(CELLS[:6], SIZES[:6]).predict(CELLS) != plain).any()


def test_large_spaces_are_learned_from_a_sample() -> None:
    space = get_space("mobilenetv3")
    cells = [space.format(cell) for cell in map(space.sample, map(random.Random, range(12)))]
    sizes = [space.cost(space.parse(cell)).params for cell in cells]
    first, second = (ArchitectureRegressor("mobilenetv3").fit(cells, sizes).predict(cells) for _ in range(2))
    assert (first == second).all() and np.corrcoef(first, sizes)[0, 1] > 0.8


@pytest.mark.parametrize(
    ("cells", "values", "error", "message"),
    [
        (CELLS[:2], [1, 2], ConfigError, "at least 3"),
        (CELLS[:4], [1, 2, 3], ConfigError, "4 architectures and 3 values"),
        (CELLS[:4], [1, 2, 3, float("nan")], ConfigError, "3 of them finite"),
        (CELLS[:4], None, ConfigError, "requires y"),
        (["conv"] * 4, [1, 2, 3, 4], ArchitectureError, "conv"),
        (np.zeros((4, 2)), [1, 2, 3, 4], ArchitectureError, r"\[n\] or \[n, 1\]"),
        (CELLS[0], [1, 2, 3, 4], ArchitectureError, "a list or an array"),
    ],
)
def test_what_a_regressor_cannot_learn_from_is_said(
    cells: Any, values: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ArchitectureRegressor().fit(cells, values)
