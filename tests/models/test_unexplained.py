from __future__ import annotations

import pytest
import torch

from metad2a_plugin.data import Task
from metad2a_plugin.models.unexplained import ENOUGH, explained


def task(images: int, classes: int, apart: float, seed: int = 0, dim: int = 32) -> Task:
    """Classes whose means are `apart` standard deviations of their images from the middle, in all directions."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(images) % classes
    centers = apart * torch.randn(classes, dim, generator=generator)
    return Task(centers[labels] + torch.randn(images, dim, generator=generator), labels)


@pytest.mark.parametrize(("images", "classes"), [(ENOUGH, 2), (ENOUGH, 10), (1000, 2), (1000, 10), (900, 45)])
def test_labels_that_mean_nothing_are_found(images: int, classes: int) -> None:
    found = [explained(task(images, classes, 0.0, seed)) for seed in range(10)]
    assert sum(one.by_images for one in found) <= 1 and all(one.enough for one in found)
    assert all(one.share == pytest.approx(one.chance, abs=0.2) for one in found)


@pytest.mark.parametrize(("images", "classes"), [(ENOUGH, 2), (ENOUGH, 10), (1000, 2), (900, 45)])
def test_labels_that_images_explain_a_little_are_believed(images: int, classes: int) -> None:
    found = [explained(task(images, classes, 0.5, seed)) for seed in range(10)]
    assert all(one.by_images and one.share > one.chance for one in found)


def test_few_images_cannot_tell(recwarn: pytest.WarningsRecorder) -> None:
    for few in (task(6, 2, 5.0), task(4, 4, 5.0), task(2, 2, 5.0)):
        found = explained(few)
        assert not found.by_images and not found.enough and 0 <= found.share <= 1
    assert not recwarn


def test_images_that_are_all_the_same_explain_nothing() -> None:
    same = Task(torch.ones(200, 8), torch.arange(200) % 4)
    assert not explained(same).by_images


def test_rare_classes_do_not_matter() -> None:
    labels = torch.cat([torch.zeros(500), torch.ones(4)]).long()
    generator = torch.Generator().manual_seed(0)
    assert not explained(Task(torch.randn(504, 16, generator=generator), labels)).by_images
