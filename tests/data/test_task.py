from __future__ import annotations

import pytest
import torch

from metad2a_plugin.data import Task


def task(classes: int, per_class: int) -> Task:
    """The first feature of an image is the number of its class, the second its own number."""
    labels = torch.arange(classes).repeat(per_class)
    return Task(torch.stack([labels.float(), torch.arange(len(labels)).float()], dim=1), labels)


@pytest.mark.parametrize(("classes", "per_class", "draws"), [(5, 7, 1), (5, 60, 10), (30, 7, 10)])
def test_prototypes_are_the_means_of_the_subsets(classes: int, per_class: int, draws: int) -> None:
    dataset = task(classes, per_class)
    prototypes, subsets = dataset.prototypes(), dataset.subsets()
    assert prototypes.shape == (draws, min(classes, 20), 2) and len(subsets) == draws
    for means, (features, labels) in zip(prototypes, subsets, strict=True):
        assert labels.unique().tolist() == list(range(len(means)))
        assert labels.bincount().tolist() == [min(per_class, 50)] * len(means)
        for c, mean in enumerate(means):
            assert torch.allclose(features[labels == c].mean(0), mean)
        assert len(features[:, 1].unique()) == len(features), "an image is there twice"
    assert torch.equal(dataset.prototypes(), prototypes)
    if draws > 1:
        assert not torch.equal(dataset.prototypes(seed=1), prototypes)
