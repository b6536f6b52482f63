from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metad2a_plugin.data import Task
from metad2a_plugin.models.few_images import MOST_CLASSES, MOST_IMAGES, images_of_a_class, underestimate


@given(st.floats(1, 1000), st.floats(1, 10), st.integers(2, 1000), st.integers(0, 100))
def test_what_is_hidden_never_grows_with_images_or_classes(
    images: float, more: float, classes: int, further: int
) -> None:
    assert underestimate(images * more, classes) <= underestimate(images, classes)
    assert underestimate(images, classes + further) <= underestimate(images, classes)
    assert underestimate(images, classes) >= underestimate(MOST_IMAGES, MOST_CLASSES) > 1


def test_equal_images_count_once() -> None:
    features, labels = torch.randn(6, 9), torch.tensor([0, 0, 0, 0, 1, 1])
    assert images_of_a_class(Task(features, labels).sets()) == 3
    assert images_of_a_class(Task(features.repeat(4, 1), labels.repeat(4)).sets()) == 3
    # The same image in two classes is one of each.
    assert images_of_a_class(Task(features[:1].repeat(2, 1), torch.tensor([0, 1])).sets()) == 1


@pytest.mark.parametrize("images", [[200, 200], [10_000, 60]])
def test_of_a_class_no_more_count_than_are_seen(images: list[int]) -> None:
    labels = torch.repeat_interleave(torch.arange(2), torch.tensor(images))
    assert images_of_a_class(Task(torch.randn(len(labels), 3), labels).sets()) == MOST_IMAGES
