"""The batch size that follows the number of images."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metad2a_plugin.errors import ConfigError
from metad2a_plugin.training import TrainConfig, batch_size_for


@given(st.integers(1, 10**7), st.integers(0, 10**6))
def test_more_images_never_mean_smaller_batches(images: int, more: int) -> None:
    batch = batch_size_for(images)
    assert batch in (16, 32, 64, 128) and batch <= batch_size_for(images + more)
    assert batch == 16 or images / batch >= 25


@given(st.integers(1, 10**5), st.integers(1, 50), st.none() | st.integers(2, 512))
def test_a_resolved_config_has_the_same_steps(images: int, epochs: int, batch: int | None) -> None:
    config = TrainConfig(epochs=epochs, batch_size=batch)
    resolved = config.resolved(images)
    assert resolved.steps(images) == config.steps(images) == replace(resolved.budget, images=images).steps
    assert resolved.batch_size == config.batch_of(images) and resolved.resolved(1) == resolved


@pytest.mark.parametrize("batch", [0, 1, -8, 2.5, "many", True])
def test_a_batch_size_that_is_none_is_refused(batch: object) -> None:
    with pytest.raises(ConfigError, match="batch_size must be an integer of 2 or more"):
        TrainConfig(batch_size=batch)  # type: ignore[arg-type]
