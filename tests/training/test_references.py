"""What a trained network must beat."""

from __future__ import annotations

import numpy as np
import pytest

from metad2a_plugin.data import load_dataset
from metad2a_plugin.errors import ConfigError
from metad2a_plugin.training import TrainConfig, fit_references, prepare, wilson_interval


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAD2A_CACHE", str(tmp_path))


def prepared(labels: np.ndarray, spread: int = 40):
    noise = np.random.default_rng(0).integers(0, spread, (len(labels), 8, 8, 3))
    images = (noise + (255 - spread) * np.eye(3, dtype=int)[labels][:, None, None]).astype(np.uint8)
    return prepare(load_dataset((images, labels)), TrainConfig(input_size=8))


def test_the_most_frequent_training_class_is_measured_on_the_validation_part() -> None:
    data = prepared(np.repeat([0, 1, 2], [20, 50, 30]))
    majority, linear = fit_references(data)
    assert majority.accuracy == pytest.approx(50) and linear.accuracy == pytest.approx(100)
    assert majority.interval == pytest.approx([100 * end for end in wilson_interval(10, 20)])
    assert linear.to_dict()["encoder"] == "default" and linear.seconds > 0


def test_a_class_without_validation_images_keeps_the_others_in_place() -> None:
    data = prepared(np.array([0] * 20 + [1] + [2] * 20))
    assert 1 not in data.validation_labels.tolist()
    assert fit_references(data)[1].accuracy == pytest.approx(100)


def test_labels_that_nothing_explains_are_no_better_than_chance() -> None:
    data = prepared(np.random.default_rng(1).integers(0, 2, 400), spread=255)
    assert 30 < fit_references(data)[1].accuracy < 70


def test_an_encoder_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown image encoder 'nothing'"):
        fit_references(prepared(np.arange(12) % 3), "nothing")
