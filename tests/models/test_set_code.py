from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metad2a_plugin.models.set_code import IMAGE_STATISTICS, code_length, image_separability, task_code


def images(gap: float, *, classes: int = 4, per_class: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Classes `gap` apart along an axis each, with unit noise around them."""
    labels = torch.arange(classes).repeat_interleave(per_class)
    centers = gap * torch.eye(classes, 8)
    return centers[labels] + torch.randn(len(labels), 8, generator=torch.Generator().manual_seed(seed)), labels


def test_separable_images_are_told_apart() -> None:
    near, far = (image_separability(*images(gap), 1.0) for gap in (0.5, 30.0))
    assert near.shape == (IMAGE_STATISTICS,) and far[0] == 1 and near[0] < 0.8
    assert far[1] > near[1] + 1, "the margin"
    assert (far[2:4] < near[2:4]).all(), "the cross-entropies"
    assert far[4] == pytest.approx(near[4].item(), rel=0.5), "the scatter within classes does not depend on the gap"


def test_an_image_is_not_compared_with_itself() -> None:
    """Two classes of the same two points each: with itself in the mean, every image would be nearer to its own."""
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.1], [1.0, 0.1]])
    assert image_separability(points, torch.tensor([0, 0, 1, 1]), 1.0)[0] == 0


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_neither_the_order_of_images_nor_of_classes_matters(seed: int) -> None:
    features, labels = images(3.0, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    order, names = (torch.randperm(n, generator=generator) for n in (len(labels), 4))
    found = image_separability(features[order], names[labels[order]], 2.0)
    torch.testing.assert_close(found, image_separability(features, labels, 2.0), rtol=1e-3, atol=1e-3)


def test_classes_of_one_image_are_left_out() -> None:
    features, labels = images(3.0)
    alone = torch.cat([features, torch.full((1, 8), 50.0)]), torch.cat([labels, torch.tensor([4])])
    assert image_separability(*alone, 1.0)[0] == image_separability(features, labels, 1.0)[0]
    assert image_separability(features[::6], labels[::6], 1.0).isnan().all()


def test_the_length_of_a_code() -> None:
    assert task_code(torch.randn(2, 5, 8), torch.randn(7, 8), 1.0).shape == (2, code_length(7))
