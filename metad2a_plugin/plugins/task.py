"""`Task`: the features of a dataset's images by class, and the random image sets drawn from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from metad2a_plugin.errors import DatasetError


@dataclass(frozen=True)
class Task:
    """A classification dataset as a set encoder sees it.

    Attributes:
        features: image features, float32 ``[images, dim]``.
        labels: class of each image, int64 ``[images]``, values ``0 .. classes-1``, every class present.
        name: where it came from, for messages and reports.
        class_names: one name per class.
        encoder: name of the image encoder that made the features.
        images: of the whole dataset, of which `features` can be a sample; None where that is not known.
        statistics: what the pixels say, by name (`data.statistics.image_statistics`); None where that is not known.
    """

    features: torch.Tensor
    labels: torch.Tensor
    name: str = "task"
    class_names: tuple[str, ...] = ()
    encoder: str = ""
    images: int | None = None
    statistics: Mapping[str, float] | None = None
    _members: tuple[np.ndarray, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or len(self.features) != len(self.labels) or len(self.labels) == 0:
            raise DatasetError(
                f"a task needs features [images, dim] and one label per image, got "
                f"{tuple(self.features.shape)} and {tuple(self.labels.shape)}"
            )
        labels = self.labels.cpu().numpy()
        counts = np.bincount(labels)
        if (counts == 0).any():
            raise DatasetError(f"class {int(np.argmin(counts))} of {self.name!r} has no image; drop the class")
        order = np.argsort(labels, kind="stable")
        object.__setattr__(self, "_members", tuple(np.split(order, np.cumsum(counts)[:-1])))

    @property
    def num_classes(self) -> int:
        return len(self._members)

    def draw(
        self, draws: int = 10, *, images_per_class: int = 20, max_classes: int = 20, seed: int = 0
    ) -> torch.Tensor:
        """Random image sets, float32 ``[draws, classes, images_per_class, dim]``.

        A class with fewer images than asked for is drawn from with replacement; of more than
        `max_classes` classes, each draw takes a random subset (the meta-training tasks have 20).
        """
        rng = np.random.default_rng(seed)
        classes = min(self.num_classes, max_classes)
        index = np.empty((draws, classes, images_per_class), dtype=np.int64)
        for d in range(draws):
            chosen = rng.permutation(self.num_classes)[:classes] if classes < self.num_classes else range(classes)
            for row, c in enumerate(chosen):
                members = self._members[c]
                index[d, row] = rng.choice(members, images_per_class, replace=len(members) < images_per_class)
        return self.features[torch.from_numpy(index)]

    def sets(
        self, draws: int = 10, *, images_per_class: int = 50, max_classes: int = 20, seed: int = 0
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Random image sets without repetition: features ``[n, dim]``, and classes int64 ``[n]`` numbered from 0.

        At most `images_per_class` images of a class. Of more than `max_classes` classes, each draw takes a random
        subset (the meta-training tasks have 20). One draw is returned when nothing is left to chance.
        """
        rng = np.random.default_rng(seed)
        classes = min(self.num_classes, max_classes)
        if classes == self.num_classes and max(map(len, self._members)) <= images_per_class:
            draws = 1
        found = []
        for _ in range(draws):
            chosen = []
            for c in np.sort(rng.permutation(self.num_classes)[:classes]):
                members = self._members[c]
                chosen.append(rng.choice(members, min(len(members), images_per_class), replace=False))
            labels = torch.repeat_interleave(torch.arange(classes), torch.tensor([len(part) for part in chosen]))
            found.append((self.features[torch.from_numpy(np.concatenate(chosen))], labels))
        return found

    def prototypes(
        self, draws: int = 10, *, images_per_class: int = 50, max_classes: int = 20, seed: int = 0
    ) -> torch.Tensor:
        """Mean feature of each class of `sets`, float32 ``[draws, classes, dim]``; arguments as there."""
        sets = self.sets(draws, images_per_class=images_per_class, max_classes=max_classes, seed=seed)
        return torch.stack([class_means(*one) for one in sets])


def class_means(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean feature of each class, ``[classes, dim]``, of features ``[n, dim]`` in the order of their labels."""
    return torch.stack([part.mean(0) for part in features.split(labels.bincount().tolist())])
