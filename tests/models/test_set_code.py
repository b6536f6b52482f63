"""How well images are told apart: from nothing to everything, whatever their order and scale."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metad2a_plugin.models.set_code import OF_IMAGES, image_separability
from metad2a_plugin.plugins.task import Task, class_means


def images(apart: float, classes: int = 5, each: int = 12, dim: int = 6, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Classes around centres that lie `apart` times as far from each other as images from their centre."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(each)
    centers = torch.randn(classes, dim, generator=generator)
    return apart * centers[labels] + torch.randn(len(labels), dim, generator=generator), labels


def test_the_further_apart_the_better_told() -> None:
    found = torch.stack([image_separability(*images(apart), 1.0) for apart in (0.0, 0.5, 1.0, 4.0)])
    right, ratio, soft, sharp, _ = found.unbind(1)
    for rising in (right, ratio, -soft, -sharp):
        assert (rising.diff() > 0).all()
    # The share is a sum of 60 weights: each addition may round.
    assert right[0] < 0.4 and right[-1] == pytest.approx(1, rel=60 * torch.finfo(right.dtype).eps)


def test_an_image_is_no_part_of_its_own_prototype() -> None:
    """Two images a class of pure noise: each is as far from the other as from all."""
    rights = [image_separability(*images(0.0, classes=10, each=2, seed=seed), 1.0)[0] for seed in range(30)]
    assert torch.stack(rights).mean() < 0.2  # 0.1 by chance; with itself in the prototype, nearly all would be right
    features, labels = images(1.0, classes=3, each=4)
    chosen = 5
    left = torch.arange(len(labels)) != chosen
    own = class_means(features[left], labels[left])[labels[chosen]]
    others = class_means(features, labels)
    expected = (features[chosen] - own).square().sum()
    prototype = others[labels[chosen]]
    assert torch.isclose(expected, (4 / 3) ** 2 * (features[chosen] - prototype).square().sum(), rtol=1e-4)


@given(st.integers(0, 100), st.floats(0.1, 10))
def test_order_and_scale_do_not_matter(seed: int, scale: float) -> None:
    features, labels = images(1.0, seed=seed)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    first = image_separability(features, labels, 1.0)
    second = image_separability(scale * features[order], labels[order], scale**2)
    assert first.shape == (OF_IMAGES,)
    torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-3)


def test_classes_of_one_image_do_not_count() -> None:
    features, labels = images(1.0)
    lone = torch.cat([features, torch.full((1, 6), 100.0)]), torch.cat([labels, torch.tensor([5])])
    found, right = image_separability(*lone, 1.0)[0], image_separability(features, labels, 1.0)[0]
    torch.testing.assert_close(found, right)  # 1 of 60 would be 0.017
    assert image_separability(torch.randn(3, 6), torch.arange(3), 1.0).isnan().all()


@pytest.mark.parametrize(("counts", "draws"), [((4, 4, 4), 1), ((60, 4), 10), ((2,) * 25, 10)])
def test_sets_are_drawn_without_repetition(counts: tuple[int, ...], draws: int) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    task = Task(torch.arange(len(labels)).float()[:, None], labels)
    sets = task.sets()
    assert len(sets) == draws
    for features, drawn in sets:
        assert len(features.unique()) == len(features)
        assert drawn.unique().tolist() == list(range(min(20, len(counts))))
        assert drawn.bincount().max() <= 50
        owners = labels[features[:, 0].long()]
        assert (owners.diff() != 0).equal(drawn.diff() != 0)
    assert torch.equal(task.prototypes(), torch.stack([class_means(*one) for one in sets]))
